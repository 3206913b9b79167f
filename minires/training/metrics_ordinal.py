"""Figures for ranks 0 ... K - 1: how many ranks an answer is off, and how much better than chance that is.

mae       mean of |said - true|, in ranks
qwk       quadratic weighted kappa (Cohen 1968): 1 - mean (t - p)^2 / E (t - p)^2, E being the mean over all pairs
          of a true rank and a said one, as if answers knew nothing: 1 is perfect, 0 is chance. In moments
          E = var t + var p + (mean t - mean p)^2. None where all true and all said ranks are one and the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.backend import Array
from minires.training.class_metrics import move_to_cpu
from minires.training.metrics import Metric


def ranks_of(outputs: Array, targets: Array | None = None) -> Array:
    """The rank (N,) that scores (N, K - 1) of "higher than k" say: how many of them are more likely than not."""
    return (outputs > 0).sum(axis=1)


def rank_error(outputs: Array, targets: Array) -> Array:
    """|said - true| (N,) for scores (N, K - 1) and ranks (N,)."""
    return abs(ranks_of(outputs) - targets)


def rank_accuracy(outputs: Array, targets: Array) -> Array:
    """1 where the rank is right."""
    return ranks_of(outputs) == targets


def quadratic_kappa(truth: Any, said: Any) -> float | None:
    """qwk of ranks (N,) and (N,); of rows of them (R, N) see `kappas`."""
    value = float(kappas(np.asarray(truth)[None], np.asarray(said)[None])[0])
    return None if np.isnan(value) else value


def kappas(truth: np.ndarray, said: np.ndarray) -> np.ndarray:
    """qwk of each row of (R, N); NaN where it is not defined."""
    return _kappa(_moments(truth, said))


def _moments(truth: np.ndarray, said: np.ndarray) -> np.ndarray:
    """Means of t, p, t^2, p^2, t p along the last axis: (5, ...)."""
    t, p = truth.astype(np.float64), said.astype(np.float64)
    return np.stack([each.mean(axis=-1) for each in (t, p, t * t, p * p, t * p)])


def _kappa(moments: Any) -> Any:
    t, p, tt, pp, tp = moments
    by_chance = tt + pp - 2 * t * p
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(by_chance > 1e-12, 1 - (tt + pp - 2 * tp) / by_chance, np.nan)


@dataclass(frozen=True)
class KappaMetric(Metric):
    """qwk for a Trainer: sums of t, p, t^2, p^2 and t p come to it."""

    def total(self, outputs: Array, targets: Array) -> Any:
        """The five sums of a batch."""
        said = self.per_sample(outputs, targets)
        return _moments(move_to_cpu(targets), move_to_cpu(said)) * len(outputs)


def _finish_kappa(moments: Any) -> float:
    return float(_kappa(moments))


def ordinal_metrics() -> list[Metric]:
    """mae in ranks, accuracy and qwk, for a Trainer; the outputs are scores (N, K - 1) of "higher than k"."""
    said: Callable[[Array, Array], Array] = ranks_of
    return [Metric("mae", rank_error), Metric("accuracy", rank_accuracy), KappaMetric("qwk", said, _finish_kappa)]
