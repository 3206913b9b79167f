"""Figures where a picture may have several labels. scores: (N, K), above 0 means yes at the threshold 0.5; truth: 0, 1.

AP of a label     sum_n (R_n - R_(n-1)) P_n over the scores that occur, from the largest down: precision P_n and
                  recall R_n among the pictures with such a score or a larger one. The mean precision at the places
                  where the label is found; it needs no threshold. scikit-learn's average_precision_score.
mAP               mean AP of the labels that occur
macro F1          mean of 2 tp / (2 tp + fp + fn) over the labels that occur or are said
micro F1          the same fraction for the sums of tp, fp, fn over all labels; 0 where nothing occurs or is said
exact match       share of the pictures with no label too many and none missing
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from minires.backend import Array
from minires.training.class_metrics import move_to_cpu
from minires.training.metrics import Metric


def average_precision(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """AP of each label (K,), NaN for one that does not occur. weights: how often each picture counts (N,)."""
    found = np.full(scores.shape[1], np.nan)
    for label in range(scores.shape[1]):
        found[label] = Ranking(scores[:, label], truth[:, label]).precision(weights)
    return found


class Ranking:
    """The pictures by their score for one label, sorted once for many weightings (the bootstrap's draws)."""

    def __init__(self, scores: np.ndarray, truth: np.ndarray) -> None:
        self.order = np.argsort(-scores, kind="stable")
        ranked = scores[self.order]
        self.truth = truth[self.order].astype(np.float64)
        self.ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)  # of equal scores, the last

    def precision(self, weights: np.ndarray | None = None) -> float:
        """AP with each picture counted `weights` (N,) times; NaN if none has the label."""
        own = np.ones(len(self.order)) if weights is None else weights[self.order]
        right = np.cumsum(own * self.truth)[self.ends]
        said = np.cumsum(own)[self.ends]
        if not right[-1] > 0:
            return float("nan")
        gained = np.diff(right, prepend=0.0)
        return float((gained * right / np.maximum(said, 1e-12)).sum() / right[-1])


def mean_average_precision(scores: Any, truth: Any) -> float:
    """mAP; NaN if no label occurs."""
    each = average_precision(np.asarray(scores), np.asarray(truth))
    seen = ~np.isnan(each)
    return float(each[seen].mean()) if seen.any() else float("nan")


def macro_f1(counts: Any) -> float:
    """From tp, occurring and said of each label, (3, K): the mean over the labels that occur or are said; else 0."""
    right, occurring, said = counts
    both = occurring + said
    seen = both > 0
    return float((2 * right[seen] / both[seen]).mean()) if seen.any() else 0.0


def micro_f1(counts: Any) -> float:
    """From tp, occurring and said of each label, (3, K)."""
    right, both = counts[0].sum(), counts[1].sum() + counts[2].sum()
    return float(2 * right / both) if both else 0.0


def label_hits(said: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """tp, occurring and said of each label: (3, K) from yes and no, (N, K) each."""
    return np.stack([(said & truth).sum(axis=0), truth.sum(axis=0), said.sum(axis=0)]).astype(np.float64)


def cut_of(threshold: Any) -> Any:
    """The score whose logistic function is `threshold`, a number or an array: ln(t / (1 - t))."""
    cut = np.log(threshold) - np.log1p(-threshold)
    return cut if np.ndim(cut) else float(cut)


@dataclass(frozen=True)
class LabelMetric(Metric):
    """A figure of tp, occurring and said; `per_sample` tells which labels are said (N, K)."""

    def total(self, outputs: Array, targets: Array) -> Any:
        """(3, K) of a batch."""
        return label_hits(move_to_cpu(self.per_sample(outputs, targets)), move_to_cpu(targets) > 0.5)


@dataclass(frozen=True)
class GatheredMetric(Metric):
    """A figure of all samples together: they are kept until the end, (2, N, K), in validation only.

    per_sample: the figure itself, of the scores (N, K) and the truth (N, K).
    """

    in_training: ClassVar[bool] = False

    def total(self, outputs: Array, targets: Array) -> Any:
        """Scores and truth of a batch."""
        return np.stack([move_to_cpu(outputs).astype(np.float32), move_to_cpu(targets).astype(np.float32)])

    def merge(self, before: Any, now: Any) -> Any:
        """All batches one after the other."""
        return now if isinstance(before, float) else np.concatenate([before, now], axis=1)

    def value(self, total: Any, samples: int) -> float:
        """The figure."""
        return self.finish(self.per_sample(total[0], total[1]))


def multi_label_metrics(threshold: float = 0.5) -> list[Metric]:
    """mAP (in validation only), macro F1, micro F1 and exact match, for a Trainer."""
    cut = cut_of(threshold)

    def said(outputs: Array, targets: Array) -> Array:
        return outputs > cut

    def exact(outputs: Array, targets: Array) -> Array:
        return ((outputs > cut) == (targets > 0.5)).all(axis=1)

    return [GatheredMetric("map", mean_average_precision), LabelMetric("macro_f1", said, macro_f1),
            LabelMetric("micro_f1", said, micro_f1), Metric("exact_match", exact)]  # fmt: skip
