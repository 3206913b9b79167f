"""What the studies share: their arguments, the training of one model, and what becomes of the figures.

A study measures; `report` prints its table and writes NAME.txt, NAME.json and NAME.svg. docs/evidence.md quotes the
text, and a test compares.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

import minires as mr
from minires import nn, optim
from minires.data import ArrayDataset, DataLoader, Preprocessing, load_digits
from minires.finetune import replace_head, strategies
from minires.io import files, strict_json
from minires.plots import Panel, draw
from minires.training import Trainer

# Digits as the built-in weights want their pictures, but 16 x 16: a third of the time of 32 x 32.
PREPROCESSING = Preprocessing(resize=(16, 16), crop=None, mean=(0.5,) * 3, std=(0.25,) * 3)
HERE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

Row = Sequence[Any]


def arguments(description: str, seeds: int) -> argparse.Namespace:
    """--quick (one seed and little of everything: whether it runs, not what is true), --seeds, --output."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="some seconds; its figures mean nothing")
    parser.add_argument("--seeds", type=int, default=seeds, help=f"trainings of each kind (default: {seeds})")
    parser.add_argument("--output", default=os.path.join(HERE, "docs", "evidence"), help="folder for table and figure")
    given = parser.parse_args()
    if given.seeds < 1:
        parser.error("--seeds must be at least 1")
    if given.quick:
        given.seeds = 1
    given.began = time.process_time()
    return given


def few_digits(
    per_class: int, seed: int, transform: Callable[[Any], Any] = PREPROCESSING, test: int = 600
) -> tuple[ArrayDataset, ArrayDataset]:  # fmt: skip
    """So many training digits of each class, and `test` other ones; which they are, the seed decides."""
    digits = load_digits(transform)
    order = np.random.default_rng(seed).permutation(len(digits))
    rest = order[test:]
    chosen = [rest[digits.targets[rest] == label][:per_class] for label in range(10)]
    return digits.take(np.concatenate(chosen)), digits.take(order[:test], PREPROCESSING)


def pretrained(seed: int, classes: int = 10) -> Any:
    """The ResNet-20 of the built-in weights, with a new head that the seed draws."""
    mr.manual_seed(seed)
    model = mr.models.resnet20(weights="shapes")
    replace_head(model, classes)
    return model


def train(
    model: Any, data: ArrayDataset, strategy: Any, *, steps: int, lr: float, batch_size: int = 32, seed: int = 0,
    callbacks: Iterable[Any] = (),
) -> None:  # fmt: skip
    """About `steps` steps of AdamW, whose rate goes up and down once, on whatever the strategy trains."""
    loader = DataLoader(data, min(batch_size, len(data)), shuffle=True, drop_last=True, seed=seed)
    epochs = max(1, -(-steps // len(loader)))
    optimizer = optim.AdamW(strategies.parameter_groups(model, 0.05, 0.0, strategy=strategy), lr=lr)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=lr, total_steps=epochs * len(loader))
    Trainer(
        model, optimizer, nn.CrossEntropyLoss(), scheduler=schedule, schedule_per="step", seed=seed, progress=False,
        callbacks=[strategy.callback(), *callbacks],
    ).fit(loader, epochs=epochs)  # fmt: skip


def accuracy(model: Any, data: ArrayDataset) -> float:
    """The part of the pictures, in per cent, that the model names rightly."""
    model.eval()
    with mr.no_grad():
        right = sum(int((model(images).argmax(1) == labels).sum().item()) for images, labels in DataLoader(data, 200))
    return 100 * right / len(data)


def deviation(values: Sequence[float]) -> float:
    """Standard deviation of a sample; 0 for a single value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation over the seeds: "91.2 ± 0.7"."""
    return f"{statistics.mean(values):.1f} ± {deviation(values):.1f}"


def band(values: Sequence[float]) -> tuple[float, float]:
    """One standard deviation below and above the mean: what a figure shades."""
    mean, width = statistics.mean(values), deviation(values)
    return mean - width, mean + width


def table(title: str, rows: Sequence[Row]) -> str:
    """The first row is the heading; the first column stands left, the others right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))]
    padded = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in cells]
    lines = ["  ".join([row[0].ljust(widths[0]), *aligned[1:]]) for row, aligned in zip(cells, padded, strict=True)]
    return "\n".join([title, "", lines[0], "-" * len(lines[0]), *lines[1:]]) + "\n"


def report(
    given: argparse.Namespace, name: str, tables: Sequence[tuple[str, Sequence[Row]]], panels: Sequence[Panel], raw: Any
) -> None:  # fmt: skip
    """Print the tables; write them, the figure and every single figure measured to the output folder."""
    text = "\n".join(table(title, rows) for title, rows in tables)
    files.make_folder(given.output)
    files.write_atomic(os.path.join(given.output, f"{name}.txt"), text)
    chart = draw(panels, width=620 if len(panels) == 1 else 460)
    files.write_atomic(os.path.join(given.output, f"{name}.svg"), chart.svg())
    record = {"seeds": given.seeds, "quick": given.quick, "tables": tables, "measured": raw}
    files.write_atomic(os.path.join(given.output, f"{name}.json"), strict_json.report(record))
    print(text)
    print(f"{given.output}/{name}.svg; {(time.process_time() - given.began) / 60:.1f} minutes of processor time")
