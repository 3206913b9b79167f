"""Whether a model means what it says: of the pictures that it is 80 % sure of, are 80 % right?

Expected calibration error (Naeini et al. 2015; Guo et al. 2017). Predictions are sorted into bins by their confidence
(the largest probability); in each bin the mean confidence is compared with the share that is right:

    ECE = sum_bins (n_bin / N) |right_bin - confidence_bin|

Temperature scaling (Guo et al. 2017, section 4.2) divides all scores by one number T, the one that makes the
cross entropy smallest on pictures that were not trained on. T > 1 says that the model was too sure of itself. No
prediction changes, only how sure it is.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.explain.intervals import cross_entropies

BINS = 15  # as in Guo et al.
LOWEST, HIGHEST = 1 / 64, 64.0  # temperatures that are looked at


@dataclass(frozen=True)
class Calibration:
    """Bins that hold a prediction, in the order of confidence, and the error over all of them."""

    confidence: list[float]
    right: list[float]
    pictures: list[int]
    error: float


def calibration(probabilities: Any, truth: Any, bins: int = BINS) -> Calibration:
    """Sort predictions (N, K) with their true classes (N,) into `bins` bins of equal width."""
    probabilities, truth = np.asarray(probabilities, np.float64), np.asarray(truth)
    if bins < 1 or not len(truth):
        raise ValueError(f"at least one bin and one picture are needed, got {bins} and {len(truth)}")
    sureness, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    places = np.searchsorted(np.arange(1, bins) / bins, sureness)  # bin i is (i / bins, (i + 1) / bins]
    counts = np.bincount(places, minlength=bins)
    used = counts > 0
    means = np.bincount(places, sureness, bins)[used] / counts[used]
    shares = np.bincount(places, right * 1.0, bins)[used] / counts[used]
    error = float((counts[used] * abs(shares - means)).sum() / len(truth))
    return Calibration(means.tolist(), shares.tolist(), counts[used].tolist(), error)


def temperature(scores: Any, truth: Any) -> float:
    """The T in [1/64, 64] that makes the mean cross entropy of scores / T smallest.

    In 1 / T the cross entropy is convex, so that the sign of its derivative tells on which side the minimum is; halving
    finds it. A border is given where the minimum is not inside: all pictures right (T = 1/64), or scores that tell
    nothing (T = 64).
    """
    scores, truth = np.asarray(scores, np.float64), np.asarray(truth)
    low, high = 1 / HIGHEST, 1 / LOWEST
    for _ in range(60):
        middle = math.sqrt(low * high)
        if _slope(scores, truth, middle) > 0:
            high = middle
        else:
            low = middle
    return 1 / math.sqrt(low * high)


def scaled_loss(scores: Any, truth: Any, by: float) -> float:
    """The mean cross entropy of scores / by."""
    return float(cross_entropies(np.asarray(scores, np.float64) / by, np.asarray(truth)).mean())


def _slope(scores: np.ndarray, truth: np.ndarray, factor: float) -> float:
    """d/df of the mean cross entropy of f * scores: mean_i (sum_k p_ik x_ik - x_i[t_i])."""
    shifted = factor * (scores - scores.max(axis=1, keepdims=True))
    p = np.exp(shifted)
    p /= p.sum(axis=1, keepdims=True)
    return float(((p * scores).sum(axis=1) - scores[np.arange(len(truth)), truth]).mean())
