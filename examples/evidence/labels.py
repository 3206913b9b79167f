"""Fine-tuning against training from scratch, as labels grow from 1 to 100 a class.

    python examples/evidence/labels.py

The same ResNet-20 learns the scanned digits from random numbers, with everything fine-tuned, and as a frozen
pretrained network with a new head. Training from scratch gets twice as many steps, at a rate of its own; all three see
the same few pictures, with small random crops. About six minutes of processor time.
"""

import math
import statistics
from typing import Any

from common import PREPROCESSING, accuracy, arguments, band, few_digits, pretrained, report, spread, train
from PIL import Image

import minires as mr
from minires.data import preset_train
from minires.finetune import strategies
from minires.plots import Panel, Series

CROPS = preset_train(16, PREPROCESSING.mean, PREPROCESSING.std, hflip=0.0, scale=(0.8, 1.0))


def cropped(image: Image.Image) -> Any:
    """A random crop of a digit, in three equal colours."""
    return CROPS(image.convert("RGB"))


def from_scratch(data: Any, steps: int, seed: int) -> Any:
    """The same network from random numbers."""
    mr.manual_seed(seed)
    model = mr.models.resnet20(num_classes=10)
    train(model, data, strategies.full(model), steps=2 * steps, lr=3e-3, seed=seed)
    return model


def head_only(data: Any, steps: int, seed: int) -> Any:
    """Pretrained, and only the new head learns."""
    model = pretrained(seed)
    train(model, data, strategies.head(model), steps=steps, lr=1e-2, seed=seed)
    return model


def fine_tuned(data: Any, steps: int, seed: int) -> Any:
    """Pretrained, and everything learns."""
    model = pretrained(seed)
    train(model, data, strategies.full(model), steps=steps, lr=1e-3, seed=seed)
    return model


WAYS = {"from scratch": from_scratch, "head only": head_only, "fine-tuned": fine_tuned}


def main() -> None:
    given = arguments(__doc__, seeds=5)
    counts, steps, test = ((1, 2), 2, 20) if given.quick else ((1, 5, 10, 50, 100), 120, 600)
    measured: dict[str, dict[int, list[float]]] = {way: {count: [] for count in counts} for way in WAYS}
    for seed in range(given.seeds):
        for count in counts:
            for way, how in WAYS.items():
                data, pictures = few_digits(count, seed, cropped, test)
                measured[way][count].append(accuracy(how(data, steps, seed), pictures))

    rows = [("labels a class", *WAYS)]
    rows += [(str(count), *(spread(measured[way][count]) for way in WAYS)) for count in counts]
    series = [Series(way, [math.log10(count) for count in counts], [statistics.mean(row[count]) for count in counts],
                     [band(row[count]) for count in counts]) for way, row in measured.items()]  # fmt: skip
    panel = Panel("accuracy on test digits, %", "labels a class: 0 is 1, 1 is 10, 2 is 100", series)
    title = f"Accuracy in per cent on {test} test digits, mean ± deviation over {given.seeds} seeds"
    report(given, "labels", [(title, rows)], [panel], measured)


if __name__ == "__main__":
    main()
