"""Pictures that a tiny model can learn within seconds, and a tiny model to start from."""

import pathlib

import numpy as np
from PIL import Image

from minires import models, random
from minires.data import preset_eval
from minires.io import model_directory

COLOURS = {"blue": (40, 60, 200), "green": (50, 180, 60), "red": (210, 50, 40)}


def make_photos(
    root: pathlib.Path, per_class: int = 12, size: int = 12, colours: dict[str, tuple[int, int, int]] | None = None
) -> pathlib.Path:
    """root/blue, root/green, root/red (or those of `colours`): one colour and noise. Sizes differ."""
    rng = np.random.default_rng(5)
    for name, colour in (colours or COLOURS).items():
        (root / name).mkdir(parents=True)
        for index in range(per_class):
            width, height = (int(side) for side in rng.integers(size - 3, size + 4, 2))
            pixels = np.array(colour) + rng.normal(0, 30, (height, width, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name / f"{index}.png")
    return root


def make_weights(folder: pathlib.Path, classes: int = 5) -> pathlib.Path:
    """A model directory with a small untrained residual network for 8 x 8 pictures."""
    with random.address(1, "test-model"):
        model = models.create("cifar_resnet", depth=8, num_classes=classes)
    preprocessing = preset_eval((8, 8), None, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    names = [f"thing {index}" for index in range(classes)]
    model_directory.save(model, folder, preprocessing.to_config(), names, {})
    return folder


def contents(folder: pathlib.Path, *names: str) -> dict[str, bytes]:
    """The files that must not differ between two equal runs."""
    return {name: (folder / name).read_bytes() for name in names}


SAME_IN_EQUAL_RUNS = (
    "history.csv", "splits.csv", "predictions_val.csv", "predictions_test.csv", "plots/curves.svg",
    "model/model.safetensors",
    "model/metrics.json",
)  # fmt: skip
