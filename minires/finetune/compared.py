"""The ways that a comparison compares, and what they have come to: tables and curves for people and machines."""

import csv
import dataclasses
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from minires.plots import Chart, Panel, Series, draw


@dataclass(frozen=True)
class Variant:
    """One way: the command that it is, what makes it this way, and what it is trained with unless told otherwise.

    That is AdamW at the rate `lr` (None: the strategy's usual one) for as many epochs as make `steps` steps, but for
    `least_epochs` at the least.
    """

    title: str
    command: str
    fixed: Mapping[str, Any]
    lr: float | None
    steps: int
    least_epochs: int

    def epochs(self, steps_per_epoch: int) -> int:
        """How often the pictures are gone through."""
        return max(self.least_epochs, math.ceil(self.steps / steps_per_epoch))


VARIANTS = {
    "scratch": Variant("trained from scratch", "train", {"weights": "none", "freeze": "none"}, 3e-3, 200, 20),
    "head": Variant("head only", "finetune", {"freeze": "all-but-head"}, 1e-2, 100, 10),
    "full": Variant("fully fine-tuned", "finetune", {"freeze": "none"}, 1e-3, 100, 10),
}
BEFORE = "before training"
FIGURES = {"classification": "top1", "multi-label": "map", "ordinal": "mae", "regression": "mae"}  # of each task
SHARES = ("top1", "map")
STRATEGY = "strategy"  # the name of a fourth way: that of --strategy


def ways_with(strategy: str) -> dict[str, Variant]:
    """The ways of a comparison: the usual ones, and with another strategy than "full" that one, too."""
    if strategy == "full":
        return VARIANTS
    own = Variant(f"strategy {strategy}", "finetune", {"freeze": "none", "strategy": strategy}, None, 100, 10)
    return {**VARIANTS, STRATEGY: own}


@dataclass
class Run:
    """One training: its figures on the test pictures before and after, and its history."""

    variant: str
    seed: int
    path: str
    split: str
    before: dict[str, Any]
    after: dict[str, Any]
    best_epoch: int
    history: list[dict[str, Any]]
    seconds: float | None  # None: interrupted in between


@dataclass
class Comparison:
    """All runs. `table()` is what they come to, `model_path` the fully fine-tuned model of the first seed.

    strategy: "full", or that of the fourth way. figure: by which they are compared (FIGURES).
    """

    path: str
    data: str
    seeds: list[int]
    runs: list[Run] = field(default_factory=list)
    strategy: str = "full"
    figure: str = "top1"

    @property
    def ways(self) -> dict[str, Variant]:
        """The ways that are compared."""
        return ways_with(self.strategy)

    @property
    def complete(self) -> bool:
        """Whether every way was trained with every seed."""
        return len(self.runs) == len(self.seeds) * len(self.ways)

    @property
    def model_path(self) -> str:
        """The run whose model is the one to use: fully fine-tuned, first seed."""
        return next(run.path for run in self.runs if run.variant == "full" and run.seed == self.seeds[0])

    def of(self, variant: str) -> list[Run]:
        """The runs of one way, a seed each."""
        return [run for run in self.runs if run.variant == variant]

    def table(self) -> list[dict[str, Any]]:
        """A row for each way: title, mean and spread (standard deviation; None for one seed) of the figure, seconds."""
        full, figure = self.of("full"), self.figure
        rows = [_row(BEFORE, figure, [run.before for run in full], [])] if full else []
        for name, variant in self.ways.items():
            if own := self.of(name):
                rows.append(_row(variant.title, figure, [run.after for run in own], [run.seconds for run in own]))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"data": self.data, "seeds": self.seeds, "strategy": self.strategy, "figure": self.figure,
                "complete": self.complete,
                "path": self.path, "model_path": self.model_path if self.complete else None, "table": self.table(),
                "runs": [dataclasses.asdict(run) for run in self.runs]}  # fmt: skip

    def to_csv(self) -> str:
        """A line for each run."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["variant", "seed", f"before_{self.figure}", self.figure, "loss", "best_epoch", "epochs",
                         "seconds", "path"])  # fmt: skip
        for run in self.runs:
            writer.writerow([run.variant, run.seed, run.before[self.figure], run.after[self.figure], run.after["loss"],
                             run.best_epoch, len(run.history), run.seconds, run.path])  # fmt: skip
        return text.getvalue()

    def chart(self) -> Chart:
        """The figure and training loss over the epochs: the mean of the seeds, and from the lowest to the highest."""
        name = title_of(self.figure)
        columns = {f"val_{name}": f"{name}, validation pictures", name: f"{name}, training pictures"}
        rows = [row for run in self.runs for row in run.history]  # mAP of pictures without any label is never finite
        shown = [column for column in columns if any(math.isfinite(_number(row.get(column))) for row in rows)][:1]
        panels = [Panel(columns[column], "epoch", self._curves(column), percent=self.figure in SHARES)
                  for column in shown]  # fmt: skip
        return draw([*panels, Panel("loss, training pictures", "epoch", self._curves("loss"))], width=560)

    def _curves(self, column: str) -> list[Series]:
        return [_series(variant.title, [run.history for run in self.of(key)], column)
                for key, variant in self.ways.items()]  # fmt: skip


def title_of(figure: str) -> str:
    """What a figure is called in a history and for people."""
    return "accuracy" if figure == "top1" else figure


def _row(
    title: str, figure: str, figures: Sequence[Mapping[str, Any]], seconds: Sequence[float | None]
) -> dict[str, Any]:  # fmt: skip
    known = [value for value in seconds if value is not None]
    values = [own[figure] for own in figures if own[figure] is not None]  # mAP of pictures without any label
    return {
        "variant": title, figure: statistics.fmean(values) if values else None,
        "spread": statistics.stdev(values) if len(values) > 1 else None,
        "seconds": statistics.fmean(known) if known else None,
    }  # fmt: skip


def _number(value: float | None) -> float:
    """A figure of a history; JSON knows no NaN, and has null in its place."""
    return math.nan if value is None else value


def _series(title: str, histories: Sequence[Sequence[Mapping[str, Any]]], column: str) -> Series:
    """The mean of several runs at each epoch, as far as all of them go, and their range."""
    epochs = range(min(len(history) for history in histories))
    values = [[_number(history[epoch][column]) for history in histories] for epoch in epochs]
    return Series(title, [epoch + 1 for epoch in epochs], [statistics.fmean(row) for row in values],
                  [(min(row), max(row)) for row in values])  # fmt: skip
