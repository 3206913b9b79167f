"""How the built-in weights "shapes" were made: a ResNet-20 learns forty classes of made pictures.

    python examples/pretrain_shapes.py

writes minires/models/weights/resnet20_shapes.safetensors and beside it resnet20_shapes.json, which says what the model
is and how it came to be. About a quarter of an hour on two cores. `--samples 2000 --epochs 2 --output FOLDER` is a
quick look.
"""

import argparse
import os
import shlex
import sys
import time

import minires as mr
from minires.data import DataLoader, Preprocessing, ShapesDataset
from minires.io import environment, files, strict_json
from minires.training import Trainer

NAME = "resnet20_shapes"
# Half of the pictures are light on dark, half dark on light, in any colour: one mean and deviation for all channels.
PREPROCESSING = Preprocessing(resize=(32, 32), crop=None, mean=(0.5,) * 3, std=(0.25,) * 3)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=50_000, help="pictures to train on (default: 50000)")
    parser.add_argument("--test-samples", type=int, default=4_000, help="pictures to test on (default: 4000)")
    parser.add_argument("--epochs", type=int, default=8, help="passes over them (default: 8)")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.2, help="the highest learning rate of the one cycle")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="minires/models/weights", help="folder of the two files")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    began = time.monotonic()
    mr.manual_seed(given.seed)
    train = ShapesDataset(given.samples, seed=given.seed, transform=PREPROCESSING).rendered()
    test = ShapesDataset(given.test_samples, seed=given.seed + 1, transform=PREPROCESSING).rendered()
    train_loader = DataLoader(train, given.batch_size, shuffle=True, drop_last=True, seed=given.seed)
    print(f"{given.samples + given.test_samples} pictures made in {time.monotonic() - began:.0f} s", flush=True)

    model = mr.models.resnet20(num_classes=len(train.classes))
    optimizer = mr.optim.SGD(model.parameters(), lr=given.lr, momentum=0.9, weight_decay=5e-4, nesterov=True)
    steps = given.epochs * len(train_loader)
    schedule = mr.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=given.lr, total_steps=steps)
    trainer = Trainer(model, optimizer, mr.nn.functional.cross_entropy, scheduler=schedule, schedule_per="step",
                      metrics=["accuracy"], seed=given.seed)  # fmt: skip
    history = trainer.fit(train_loader, DataLoader(test, given.batch_size), epochs=given.epochs)

    path = os.path.join(given.output, NAME)
    files.make_folder(given.output)
    mr.save(model, path + ".safetensors")
    last = history.rows[-1]
    record = {
        "config": model.config,
        "preprocessing": PREPROCESSING.to_config(),
        "classes": train.classes,
        "command": shlex.join(["python", *sys.argv]),
        "seed": given.seed,
        "figures": {
            "test_accuracy": last["val_accuracy"], "test_loss": last["val_loss"], "train_loss": last["loss"],
            "test_samples": given.test_samples, "minutes": round((time.monotonic() - began) / 60, 1),
        },
        "made_with": {key: environment.describe()[key] for key in ("minires", "python", "packages", "cpu", "cpus")},
        "history": history.rows,
    }  # fmt: skip
    files.write_atomic(path + ".json", strict_json.report(record))
    print(f"{path}.safetensors: test accuracy {last['val_accuracy']:.4f}")


if __name__ == "__main__":
    main()
