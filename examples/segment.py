"""A class for every pixel: an FCN learns to find figures on made pictures.

    python examples/segment.py

The features are those of the built-in ResNet-20, which has seen single figures, but neither several on one picture nor
where they are. About a minute on two cores. Prints the IoU (intersection over union, of areas) of each class
before and after, and saves segment.png: pictures, their masks, and what the model says. With `--images FOLDER --masks
FOLDER --classes background cat dog` it learns from pictures of one's own.
"""

import argparse
import io

import numpy as np
from PIL import Image

import minires as mr
from minires.data import DataLoader, SegmentationFolder, ShapeScenes
from minires.data.transforms import v2
from minires.io import files
from minires.training import Trainer
from minires.training.pixel_metrics import class_iou, pixel_accuracy, pixel_confusion

MEAN, STD = (0.5,) * 3, (0.25,) * 3  # as the built-in weights were made
COLOURS = np.array([(0, 0, 0), (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0)], np.uint8)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", help="folder of pictures (default: made ones)")
    parser.add_argument("--masks", help="folder of their masks, PNG files of class numbers")
    parser.add_argument("--classes", nargs="+", help="names of the classes, number 0 first")
    parser.add_argument("--samples", type=int, default=800, help="made pictures to train on (default: 800)")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--size", type=int, default=64, help="side of the pictures (default: 64)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="segment.png", help="the figure")
    given = parser.parse_args()
    if (given.images is None) != (given.masks is None) or (given.images is not None and not given.classes):
        parser.error("--images, --masks and --classes go together")
    return given


def open_data(given: argparse.Namespace) -> tuple[DataLoader, DataLoader, list[str]]:
    """Batches for training and for testing, and the classes' names."""
    transforms = [v2.preset_segmentation(given.size, train, MEAN, STD, scale=(0.5, 1.0)) for train in (True, False)]
    if given.images is None:
        train = ShapeScenes(given.samples, given.seed, given.size, transforms=transforms[0])
        test = ShapeScenes(200, given.seed + 1, given.size, transforms=transforms[1])
        names = train.classes
    else:
        names = given.classes
        both = [SegmentationFolder(given.images, given.masks, names, transforms=one) for one in transforms]
        order = np.random.default_rng(given.seed).permutation(len(both[0]))
        few = max(1, len(order) // 5)
        train, test = mr.data.Subset(both[0], order[few:]), mr.data.Subset(both[1], order[:few])
    loader = DataLoader(train, batch_size=16, shuffle=True, drop_last=True, seed=given.seed)
    return loader, DataLoader(test, batch_size=16), names


def confusion(model: mr.nn.Module, loader: DataLoader) -> np.ndarray:
    """Pixels of class t called p, over all pictures of a loader."""
    model.eval()
    with mr.no_grad():
        return sum(pixel_confusion(model(images)["out"].numpy(), labels.numpy()) for images, labels in loader)


def draw(model: mr.nn.Module, loader: DataLoader, path: str, count: int = 8) -> None:
    """Pictures, masks and answers of the first pictures of a loader, one under the other."""
    images, labels = next(iter(loader))
    with mr.no_grad():
        answers = model(images)["out"].argmax(1).numpy()
    pixels = np.clip(images.numpy().transpose(0, 2, 3, 1) * STD + MEAN, 0, 1)
    rows = [np.rint(pixels * 255).astype(np.uint8)]
    rows += [COLOURS[numbers % len(COLOURS)] for numbers in (labels.numpy(), answers)]
    figure = Image.fromarray(np.concatenate([np.concatenate(list(row[:count]), axis=1) for row in rows]))
    content = io.BytesIO()
    figure.resize((2 * figure.width, 2 * figure.height), Image.Resampling.NEAREST).save(content, "PNG")
    files.write_atomic(path, content.getvalue())


def main() -> None:
    given = arguments()
    mr.manual_seed(given.seed)
    train, test, names = open_data(given)
    model = mr.models.fcn("resnet20", num_classes=len(names), weights_backbone="shapes")
    before = confusion(model, test)

    optimizer = mr.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-4)
    steps = given.epochs * len(train)
    schedule = mr.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    trainer = Trainer(model, optimizer, mr.models.segmentation_loss, scheduler=schedule, schedule_per="step",
                      metrics=["mean_iou", "pixel_acc"], seed=given.seed)  # fmt: skip
    trainer.fit(train, test, epochs=given.epochs)

    after = confusion(model, test)
    print(f"{'IoU':<12} {'before':>7} {'after':>7}")
    for name, low, high in zip(names, class_iou(before), class_iou(after), strict=True):
        print(f"{name:<12} {low:>7.3f} {high:>7.3f}")
    means = [float(np.nanmean(class_iou(table))) for table in (before, after)]
    print(f"{'mean':<12} {means[0]:>7.3f} {means[1]:>7.3f}")
    print(f"pixels right {pixel_accuracy(before):>7.3f} {pixel_accuracy(after):>7.3f}")
    draw(model, test, given.output)
    print(f"figure       {given.output}")


if __name__ == "__main__":
    main()
