"""Metrics: figures of merit of a batch, averaged over samples and not over batches.

The last batch of an epoch is often shorter than the others. A mean of the batches' means would give its samples more
weight than theirs, so every figure is summed over samples and divided by their number in the end.
"""

import importlib
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from minires.backend import Array, array_module


@dataclass(frozen=True)
class Metric:
    """A figure by its name. `per_sample(outputs, targets)`: arrays of the batch in, one number a sample (N,) out.

    `finish`: applied to the mean over all samples (a square root makes rmse of mse).
    """

    name: str
    per_sample: Callable[[Array, Array], Array]
    finish: Callable[[float], float] = float

    in_training: ClassVar[bool] = True  # False: made in validation only

    def total(self, outputs: Array, targets: Array) -> float:
        """Sum over the samples of a batch. Raises ValueError if `per_sample` gives anything but one number a sample."""
        values = self.per_sample(outputs, targets)
        if values.shape != (len(outputs),):
            shape = f"{values.shape} for a batch of {len(outputs)}"
            raise ValueError(f"the metric {self.name!r} must give one number a sample, got the shape {shape}")
        return float(values.sum(dtype="float64"))

    def merge(self, before: Any, now: Any) -> Any:
        """The totals of the batches so far (0.0 at first) and that of another one together."""
        return before + now

    def value(self, total: Any, samples: int) -> float:
        """The figure of `samples` samples."""
        return self.finish(total / samples)


def accuracy(outputs: Array, targets: Array) -> Array:
    """1 where the largest of the scores (N, K) is that of the class (N,), else 0. Of equal scores the first counts."""
    return outputs.argmax(axis=1) == class_numbers(outputs, targets)


def top_k(k: int) -> Callable[[Array, Array], Array]:
    """1 where the class is among the k largest scores. Of equal scores the one with the smaller index is larger."""

    def per_sample(outputs: Array, targets: Array) -> Array:
        xp, targets = array_module(outputs), class_numbers(outputs, targets)
        own = outputs[xp.arange(len(outputs)), targets][:, None]
        earlier = xp.arange(outputs.shape[1]) < targets[:, None]
        ahead = (outputs > own) | ((outputs == own) & earlier)
        return (ahead.sum(axis=1) < k) & xp.isfinite(own[:, 0])

    return per_sample


def squared_error(outputs: Array, targets: Array) -> Array:
    """Mean of (f - y)^2 over the numbers of a sample."""
    return (_difference(outputs, targets) ** 2).mean(axis=1)


def absolute_error(outputs: Array, targets: Array) -> Array:
    """Mean of |f - y| over the numbers of a sample."""
    return abs(_difference(outputs, targets)).mean(axis=1)


def class_numbers(outputs: Array, targets: Array) -> Array:
    """The class indices (N,): the targets, or of probabilities (N, K), as mixup makes them, the likeliest class."""
    are_floats = targets.ndim == 2 and targets.shape == outputs.shape and targets.dtype.kind == "f"
    if are_floats and (abs(targets.sum(axis=1) - 1) < 1e-3).all():
        return targets.argmax(axis=1)
    check_classes(outputs, targets)
    return targets


def check_classes(outputs: Array, targets: Array) -> None:
    """Raise ValueError unless these are scores (N, K) and class indices (N,)."""
    if outputs.ndim != 2 or targets.shape != outputs.shape[:1] or targets.dtype.kind not in "iu":
        raise ValueError("scores of the shape (N, K) and class indices of the shape (N,) are needed, got "
                         f"{outputs.shape} and {targets.dtype} of the shape {targets.shape}")  # fmt: skip


def _difference(outputs: Array, targets: Array) -> Array:
    if outputs.shape != targets.shape:
        raise ValueError(f"outputs and targets differ in shape: {outputs.shape} and {targets.shape}")
    return (outputs.astype("float64") - targets).reshape(len(outputs), -1)


NAMED = {
    "accuracy": Metric("accuracy", accuracy),
    "mse": Metric("mse", squared_error),
    "rmse": Metric("rmse", squared_error, math.sqrt),
    "mae": Metric("mae", absolute_error),
}

_OF_CONFUSION = {  # in modules that are made of what stands here
    "balanced_acc": ("class_metrics", "BALANCED_ACCURACY"), "macro_f1": ("class_metrics", "MACRO_F1"),
    "mean_iou": ("pixel_metrics", "MEAN_IOU"), "pixel_acc": ("pixel_metrics", "PIXEL_ACCURACY"),
}  # fmt: skip


def make_metric(wish: Any) -> Metric:
    """The metric that a name ("accuracy", "top5", "macro_f1", "mean_iou", ...), a Metric or a function means.

    A function gives one number a sample, and its name is the figure's. Raises ValueError for an unknown name.
    """
    if isinstance(wish, Metric):
        return wish
    if callable(wish):
        return Metric(wish.__name__, wish)
    if wish in NAMED:
        return NAMED[wish]
    if wish in _OF_CONFUSION:
        module, name = _OF_CONFUSION[wish]
        return getattr(importlib.import_module(f"minires.training.{module}"), name)
    if isinstance(wish, str) and (match := re.fullmatch(r"top([1-9]\d*)", wish)):
        return Metric(wish, top_k(int(match[1])))
    known = ", ".join([*NAMED, *_OF_CONFUSION])
    raise ValueError(f"no metric {wish!r}: known are {known}, top5 (or any other number) and functions")


class Averages:
    """The running means of the loss and the metrics over the samples seen since `reset`."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self.metrics = list(metrics)
        self.reset()

    def reset(self) -> None:
        """Forget all samples."""
        self.samples = 0
        self.totals = dict.fromkeys(self.names(), 0.0)

    def names(self) -> list[str]:
        """Names of the figures, the loss first."""
        return ["loss", *(metric.name for metric in self.metrics)]

    def add(self, loss: float, outputs: Array, targets: Array) -> None:
        """Take in a batch; `loss` is the sum of its samples' losses. Changes nothing if a metric raises."""
        totals = {metric.name: metric.total(outputs, targets) for metric in self.metrics}
        self.totals["loss"] = self.totals["loss"] + loss
        for metric in self.metrics:
            self.totals[metric.name] = metric.merge(self.totals[metric.name], totals[metric.name])
        self.samples += len(outputs)

    def means(self) -> dict[str, float]:
        """The figures by name. Raises ZeroDivisionError if no sample was seen."""
        if not self.samples:
            raise ZeroDivisionError("no sample was seen")
        own = {metric.name: metric.value(self.totals[metric.name], self.samples) for metric in self.metrics}
        return {"loss": float(self.totals["loss"] / self.samples), **own}

    def state_dict(self) -> dict[str, Any]:
        """The sums so far."""
        return {"samples": self.samples, "totals": dict(self.totals)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned. Raises ValueError for the sums of other figures."""
        if list(state["totals"]) != self.names():
            raise ValueError(f"the state has the figures {', '.join(state['totals'])}, not {', '.join(self.names())}")
        self.samples, self.totals = state["samples"], dict(state["totals"])
