"""What a task is: what the labels are, and all that follows from it for outputs, figures and answers."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np


@dataclass(frozen=True)
class Task:
    """One kind of labels. classes: their names in index order, none for numbers. known: what else a model must keep.

    target: what a table's column holds (data.open_table). headline: figures that a run is judged by, the first ones
    first. keeps: the names of what `known` may hold.
    """

    classes: list[str] = field(default_factory=list)
    known: dict[str, Any] = field(default_factory=dict)

    name: ClassVar[str] = ""
    target: ClassVar[str] = "class"
    headline: ClassVar[tuple[str, ...]] = ()
    views: ClassVar[str] = "softmax"  # how test-time augmentation averages: softmax, sigmoid, or numbers as they are

    def __post_init__(self) -> None:
        """Raise ValueError for what makes no sense in `known`; tasks define it."""

    @property
    def outputs(self) -> int:
        """Outputs that the model needs."""
        return len(self.classes)

    def to_record(self) -> dict[str, Any]:
        """Plain values, as a model's file holds them."""
        return {"name": self.name, **self.known}

    def values(self, scores: np.ndarray) -> np.ndarray:
        """What the outputs (N, K) mean, in float64: probabilities, or numbers."""
        raise NotImplementedError

    def said(self, values: Any) -> str:
        """The answer of one picture in words, from its row of `values`."""
        raise NotImplementedError

    def label(self, target: Any) -> str:
        """The label of one picture in words, from the data set's target."""
        return self.classes[int(target)]

    def losses(self, scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """The loss of each picture (N,) without weights."""
        raise NotImplementedError

    def figures(self, scores: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
        """All figures of outputs (N, K) and targets, with "intervals" and, where the usual is known, "baseline"."""
        raise NotImplementedError


def softplus(values: np.ndarray) -> np.ndarray:
    """log(1 + exp(x)) without overflow."""
    return np.logaddexp(0.0, values)


def sigmoid(scores: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) in float64 without overflow."""
    return np.exp(-softplus(-scores.astype(np.float64)))
