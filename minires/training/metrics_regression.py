"""Figures for numbers in the units of the labels, where a model is trained in others.

    mae     mean of |f - y|             rmse    root of the mean of (f - y)^2
    r2      1 - sum (f - y)^2 / sum (y - mean y)^2 of each number of a label, and the mean of those: scikit-learn's

Where a label has several numbers, mae and rmse are means over all of them (`evaluate` tells those of each).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.backend import Array, array_module
from minires.training.class_metrics import move_to_cpu
from minires.training.metrics import Metric


@dataclass(frozen=True)
class R2(Metric):
    """r2 for a Trainer; it is the same in all units."""

    def total(self, outputs: Array, targets: Array) -> Any:
        """Sums of (f - y)^2, y and y^2 of a batch: (3, K)."""
        f, y = (move_to_cpu(each).astype(np.float64).reshape(len(each), -1) for each in (outputs, targets))
        return np.stack([((f - y) ** 2).sum(axis=0), y.sum(axis=0), (y * y).sum(axis=0)])


def finish_r2(means: Any) -> float:
    """From the means of (f - y)^2, y and y^2 (3, K); NaN where all labels are alike."""
    mse, mean, square = means
    spread = square - mean * mean
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.where(spread > 1e-12 * np.maximum(square, 1e-30), 1 - mse / spread, np.nan).mean())


def regression_metrics(deviation: Any) -> list[Metric]:
    """mae, rmse and r2; the outputs and targets are in units of `deviation` (K,)."""

    def absolute(outputs: Array, targets: Array) -> Array:
        return abs(_off(outputs, targets, deviation)).mean(axis=1)

    def squared(outputs: Array, targets: Array) -> Array:
        return (_off(outputs, targets, deviation) ** 2).mean(axis=1)

    return [Metric("mae", absolute), Metric("rmse", squared, math.sqrt), R2("r2", squared, finish_r2)]


def _off(outputs: Array, targets: Array, deviation: Any) -> Array:
    return (outputs.astype("float64") - targets) * array_module(outputs).asarray(deviation)
