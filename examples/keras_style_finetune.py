"""The classic script: a frozen ResNet-50 from a Keras weights file, and a new head that learns your classes.

    python examples/keras_style_finetune.py resnet50_weights.h5 photos/

photos/ holds a folder of pictures for each class, or train/, val/ and test/ with such folders in each. The weights are
what keras.applications' ResNet50 saves (.h5, .weights.h5, .keras; with or without its top), read without Keras and
without running anything in them. The line for line counterpart in Keras begins so:

    base = ResNet50(weights=..., include_top=False, pooling="avg"); base.trainable = False
    model = Sequential([base, Dense(1024, "relu"), Dense(1024, "relu"), Dense(classes, "softmax")])
    model.compile(Adam(1e-4), "sparse_categorical_crossentropy", ["accuracy"])
    model.fit(train, validation_data=val, epochs=5, callbacks=[EarlyStopping(restore_best_weights=True)])

`minires finetune --weights FILE.h5 --data photos --freeze all-but-head --head 1024,1024` does the same and more: it can
be resumed. `--img-size 64` is a quick look.
"""

import argparse
import time
from typing import Any

import minires as mr
from minires import nn
from minires.data import DataLoader, folder_splits, preset_caffe
from minires.finetune import freeze, set_batch_norm
from minires.io import model_directory
from minires.training import Callback, EarlyStopping, Trainer


class KerasLog(Callback):
    """Two lines for each epoch, as Keras prints them."""

    def before_epoch(self, trainer: Trainer) -> None:
        self.began = time.monotonic()
        print(f"Epoch {trainer.epoch + 1}/{trainer.epochs}", flush=True)

    def after_epoch(self, trainer: Trainer) -> None:
        row, seconds, steps = trainer.history.rows[-1], time.monotonic() - self.began, trainer.batches
        names = ("accuracy", "loss", "val_accuracy", "val_loss")
        figures = " - ".join(f"{name}: {row[name]:.4f}" for name in names if name in row)
        print(f"{steps}/{steps} {'━' * 20} {seconds:.0f}s {1000 * seconds / steps:.0f}ms/step - {figures}", flush=True)

    def on_message(self, trainer: Trainer, text: str) -> bool:
        print(text, flush=True)
        return True


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", help="weights file of keras.applications' ResNet50")
    parser.add_argument("data", help="folder with a folder of pictures for each class")
    parser.add_argument("--img-size", type=int, default=224, help="side of the pictures (default: 224)")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--patience", type=int, default=2, help="epochs without a better val_loss (default: 2)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", help="folder for the trained model, which `minires predict` takes")
    return parser.parse_args()


def build_model(weights: str, classes: int) -> Any:
    """The network from the file, frozen; in the place of its top two layers of 1024 and one for the classes."""
    model = mr.create("resnet50", weights=weights, num_classes=classes)
    width = model.num_features  # 2048 means over the last feature map: global average pooling is in the model
    model.reset_head(nn.Sequential(
        nn.Linear(width, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, classes),
    ))  # fmt: skip
    freeze(model, [stage for stage in model.stages() if stage != "head"])
    set_batch_norm(model, "frozen")  # Keras's trainable=False keeps the statistics, too
    return model


def main() -> None:
    given = arguments()
    mr.manual_seed(given.seed)
    preprocessing = preset_caffe((given.img_size, given.img_size))
    parts = folder_splits(given.data, seed=given.seed, train_transform=preprocessing, eval_transform=preprocessing)
    classes = list(parts["train"].classes)
    for name, part in parts.items():
        print(f"Found {len(part)} pictures of {len(classes)} classes for {name}.")
    loaders = {name: DataLoader(part, given.batch_size, shuffle=name == "train", seed=given.seed)
               for name, part in parts.items()}  # fmt: skip

    model = build_model(given.weights, len(classes))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    total = sum(parameter.numel() for parameter in model.parameters())
    print(f"Total params: {total:,}. Trainable: {sum(parameter.numel() for parameter in trained):,}.")
    trainer = Trainer(
        model, mr.optim.Adam(trained, lr=given.lr), nn.CrossEntropyLoss(), metrics=["accuracy"], seed=given.seed,
        callbacks=[EarlyStopping("val_loss", given.patience), KerasLog()], progress=False,
    )  # fmt: skip
    trainer.fit(loaders["train"], loaders["val"], epochs=given.epochs)

    name = "test" if "test" in loaders else "val"
    figures = trainer.evaluate(loaders[name])
    print(f"{name}: accuracy: {figures['accuracy']:.4f} - loss: {figures['loss']:.4f}")
    if given.output:
        model_directory.save(model, given.output, preprocessing.to_config(), classes,
                             {f"{name}_{key}": value for key, value in figures.items()})  # fmt: skip
        print(f"saved: minires predict {given.output} PICTURE...")


if __name__ == "__main__":
    main()
