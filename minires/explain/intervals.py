"""How sure a figure is: 95 % confidence intervals by the bootstrap (Efron 1979).

The measured pictures are one sample of all pictures there could be. Drawing as many of them with replacement, again and
again, shows how much a figure varies from sample to sample; the interval spans the middle 95 % of what it comes to.
Where all draws give the same (every picture right, say), they cannot tell how sure the figure is. A share of pictures
gets Wilson's interval (1927) then, which needs no draws, and any other figure none.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minires.random import philox

RESAMPLES = 1000
LEVEL = 0.95
SHARES = ("top1", "top5")  # figures that are shares of pictures
_AT_ONCE = 1 << 21  # drawn numbers in memory at a time

Interval = list[float]
Draws = Iterator[np.ndarray]


def classification_intervals(scores: Any, truth: Any, seed: int = 0) -> dict[str, Interval | None]:
    """[low, high] for loss, top1, top5 (from six classes on), balanced_acc and macro_f1.

    scores: (N, K). truth: (N,) class indices. The same arguments give the same numbers.
    """
    scores, truth = np.asarray(scores), np.asarray(truth)
    classes, predicted = scores.shape[1], scores.argmax(axis=1)
    columns: dict[str, np.ndarray] = {"loss": cross_entropies(scores, truth), "top1": (predicted == truth) * 1.0}
    if classes > 5:
        best_five = np.argsort(-scores, axis=1, kind="stable")[:, :5]
        columns["top5"] = (best_five == truth[:, None]).any(axis=1) * 1.0

    def figures(drawn: np.ndarray) -> dict[str, np.ndarray]:
        means = {name: column[drawn].mean(axis=1) for name, column in columns.items()}
        return {**means, **_class_figures(truth[drawn], predicted[drawn], classes)}

    found = bootstrap(figures, len(truth), seed)
    for name in SHARES:
        if name in found and found[name] is None:
            found[name] = wilson(float(columns[name].sum()), len(truth))
    return found


def regression_intervals(outputs: Any, truth: Any, seed: int = 0) -> dict[str, Interval | None]:
    """[low, high] for loss (mse), mse, rmse, mae and r2. outputs, truth: (N, K)."""
    truth = np.asarray(truth, np.float64)
    error = np.asarray(outputs) - truth
    squares, sizes = error**2, abs(error).mean(axis=1)

    def figures(drawn: np.ndarray) -> dict[str, np.ndarray]:
        each = squares[drawn].mean(axis=1)  # (draws, K)
        mse = each.mean(axis=1)
        labels = truth[drawn]
        spread = ((labels - labels.mean(axis=1, keepdims=True)) ** 2).mean(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):  # a draw of one picture only has no spread
            r2 = np.where(spread > 0, 1 - each / spread, np.nan).mean(axis=1)
        return {"loss": mse, "mse": mse, "rmse": mse**0.5, "mae": sizes[drawn].mean(axis=1), "r2": r2}

    return bootstrap(figures, len(truth), seed)


def wilson(right: float, total: int, level: float = LEVEL) -> Interval:
    """Wilson's score interval for a share of `right` in `total`: it is never empty, not even at 0 and 1.

    With p = right / total and z the normal quantile (1.96 at 95 %):
    (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
    """
    if total < 1:
        raise ValueError(f"a share needs at least one picture, got {total}")
    z = normal_quantile((1 + level) / 2)
    share, weight = right / total, z * z / total
    half = z * math.sqrt(share * (1 - share) / total + weight / (4 * total))
    return [max(0.0, (share + weight / 2 - half) / (1 + weight)), min(1.0, (share + weight / 2 + half) / (1 + weight))]


def normal_quantile(share: float) -> float:
    """The value below which so large a share of a standard normal lies."""
    from statistics import NormalDist

    return NormalDist().inv_cdf(share)


def cross_entropies(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """-log softmax(scores)[truth] of each picture (N,), float64."""
    shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(truth)), truth]


def _class_figures(truth: np.ndarray, predicted: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """balanced_acc and macro_f1 of each draw: truth, predicted (draws, N) -> (draws,)."""
    occurring, called = _counts(truth, classes), _counts(predicted, classes)
    right = _counts(np.where(truth == predicted, truth, classes), classes + 1)[:, :classes]
    with np.errstate(divide="ignore", invalid="ignore"):
        recalls, f1 = right / occurring, 2 * right / (occurring + called)
    return {"balanced_acc": np.nanmean(recalls, axis=1), "macro_f1": np.nanmean(f1, axis=1)}


def _counts(labels: np.ndarray, classes: int) -> np.ndarray:
    """How often each class occurs in each row: (rows, N) -> (rows, classes)."""
    rows = len(labels)
    places = labels + classes * np.arange(rows)[:, None]
    return np.bincount(places.ravel(), minlength=rows * classes).reshape(rows, classes)


def bootstrap(
    figures: Callable[[np.ndarray], dict[str, np.ndarray]], samples: int, seed: int
) -> dict[str, Interval | None]:
    """The middle 95 % of each figure over all draws."""
    parts = [figures(drawn) for drawn in draws(samples, seed)]
    return {name: middle(np.concatenate([part[name] for part in parts])) for name in parts[0]}


def draws(samples: int, seed: int, wanted: int = RESAMPLES) -> Draws:
    """Indices with replacement, `wanted` times (samples,), some rows (rows, samples) at a time."""
    rows = max(1, min(wanted, _AT_ONCE // samples))
    for start in range(0, wanted, rows):
        count = min(rows, wanted - start)
        yield philox(seed, "bootstrap", start).integers(0, samples, (count, samples))


def middle(values: np.ndarray) -> Interval | None:
    """The middle 95 % of the finite values; None where all are the same."""
    values = values[np.isfinite(values)]
    if not len(values) or np.ptp(values) <= 1e-12 * abs(values).max():
        return None
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(low), float(high)]
