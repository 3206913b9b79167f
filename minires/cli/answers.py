"""How the answers of `minires predict` are written for each task: on a line, in a table, in JSON.

A class: its name and probability, and those of the next ones. Several labels: those above the threshold. A rank: its
class, and the probability of each. Numbers: as they are, in the units of the labels.
"""

import math
from collections.abc import Sequence
from typing import Any

from minires.finetune.inference import Prediction
from minires.finetune.tasks import Classification, MultiLabel, Ordinal, Regression, Task


class Words:
    """Answers of one class a picture; the other tasks differ in what they override."""

    def __init__(self, task: Any, topk: int) -> None:
        self.task, self.classes, self.topk = task, task.classes, topk

    def line(self, prediction: Prediction) -> str:
        """For people."""
        best = prediction.top(self.topk)
        return "  ".join(f"{self.classes[index]} {100 * prediction.values[index]:.1f}%" for index in best)

    def columns(self) -> list[str]:
        """Of a table, after the path."""
        pairs = [("label", "prob")] + [(f"label_{rank}", f"prob_{rank}") for rank in range(2, self.topk + 1)]
        return [name for pair in pairs for name in pair]

    def cells(self, prediction: Prediction) -> list[str]:
        """A row of it."""
        best = prediction.top(self.topk)
        return [cell for index in best for cell in (self.classes[index], f"{prediction.values[index]:.6f}")]

    def record(self, prediction: Prediction) -> dict[str, Any]:
        """For JSON."""
        return {"predictions": self.ranked(prediction)}

    def ranked(self, prediction: Prediction) -> list[dict[str, Any]]:
        """The topk most probable classes."""
        values = finite(prediction.values)
        return [{"label": self.classes[index], "prob": values[index]} for index in prediction.top(self.topk)]


class SeveralLabels(Words):
    """Labels with "|" between them, and the probability of every one."""

    task: MultiLabel

    def line(self, prediction: Prediction) -> str:
        chance = dict(zip(self.classes, prediction.values, strict=True))
        said = [f"{name} {100 * chance[name]:.1f}%" for name in self.task.labels(prediction.values)]
        above = "its threshold" if self.task.tuned else f"{self.task.threshold:g}"
        return "  ".join(said) or f"- (no label above {above})"

    def columns(self) -> list[str]:
        return ["labels", *self.classes]

    def cells(self, prediction: Prediction) -> list[str]:
        return [self.task.said(prediction.values), *(f"{value:.6f}" for value in prediction.values)]

    def record(self, prediction: Prediction) -> dict[str, Any]:
        cuts = dict(zip(self.classes, self.task.thresholds.tolist(), strict=True))
        return {"labels": self.task.labels(prediction.values), "threshold": self.task.threshold,
                **({"thresholds": cuts} if self.task.tuned else {}),
                "predictions": self.ranked(prediction)}  # fmt: skip


class Ranks(Words):
    """The class, its rank from 0 on, and the probability of every class."""

    task: Ordinal

    def line(self, prediction: Prediction) -> str:
        return f"{self.task.said(prediction.values)}  ({super().line(prediction)})"

    def columns(self) -> list[str]:
        return ["label", "rank", *self.classes]

    def cells(self, prediction: Prediction) -> list[str]:
        rank = self.task.rank(prediction.values)
        return [self.classes[rank], str(rank), *(f"{value:.6f}" for value in prediction.values)]

    def record(self, prediction: Prediction) -> dict[str, Any]:
        rank = self.task.rank(prediction.values)
        return {"label": self.classes[rank], "rank": rank, "predictions": self.ranked(prediction)}


class Numbers(Words):
    """Numbers with their names, where they have any."""

    task: Regression

    def line(self, prediction: Prediction) -> str:
        names = self.task.names or [""] * len(prediction.values)
        return "  ".join(f"{name} {value:.6g}".strip() for name, value in zip(names, prediction.values, strict=True))

    def columns(self) -> list[str]:
        count = self.task.outputs
        return self.task.names or (["value"] if count == 1 else [f"value_{place}" for place in range(1, count + 1)])

    def cells(self, prediction: Prediction) -> list[str]:
        return [repr(value) for value in prediction.values]

    def record(self, prediction: Prediction) -> dict[str, Any]:
        values = finite(prediction.values)
        named = {"outputs": dict(zip(self.task.names, values, strict=True))} if self.task.names else {}
        return {"values": values, **named}


WORDS: dict[str, type[Words]] = {
    Classification.name: Words, MultiLabel.name: SeveralLabels, Ordinal.name: Ranks, Regression.name: Numbers,
}  # fmt: skip


def words_of(task: Task, topk: int) -> Words:
    """How the answers of a task are written."""
    return WORDS[task.name](task, topk)


def finite(values: Sequence[float]) -> list[float | None]:
    """The values, None for those that JSON does not know."""
    return [value if math.isfinite(value) else None for value in values]
