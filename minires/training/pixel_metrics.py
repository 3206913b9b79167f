"""Figures of dense prediction: how many pixels are right, and how well each class's area is met.

Made of the confusion matrix C of all pixels that count (C[t, p]: pixels of class t called p):

    pixel accuracy    sum_k C[k, k] / sum C
    IoU of class k    C[k, k] / (sum_p C[k, p] + sum_t C[t, k] - C[k, k])      intersection over union
    mean IoU          their mean over the classes that occur or are predicted (Everingham et al. 2010)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.backend import Array, array_module
from minires.training.metrics import Metric

IGNORED = 255


def pixel_confusion(scores: Array, targets: Array, ignore_index: int = IGNORED) -> Any:
    """The confusion matrix (K, K) of scores (N, K, H, W) against class numbers (N, H, W); ignored pixels are left out.

    Of equal scores the first counts. ValueError for other shapes and for a class number that has no score.
    """
    if scores.ndim != 4 or targets.shape != (len(scores), *scores.shape[2:]) or targets.dtype.kind not in "iu":
        raise ValueError("scores of the shape (N, K, H, W) and class numbers of the shape (N, H, W) are needed, got "
                         f"{scores.shape} and {targets.dtype} of the shape {targets.shape}")  # fmt: skip
    classes, xp = scores.shape[1], array_module(scores)
    counted = targets != ignore_index
    truth, found = targets[counted].astype(np.int64), scores.argmax(axis=1)[counted]
    if len(truth) and not 0 <= int(truth.min()) <= int(truth.max()) < classes:
        raise ValueError(f"there are {classes} classes, and labels from {int(truth.min())} to {int(truth.max())}")
    return xp.bincount(truth * classes + found, minlength=classes**2).reshape(classes, classes)


def class_iou(confusion: Any) -> Any:
    """IoU of each class (K,); NaN for one that neither occurs nor is predicted."""
    both = np.diag(confusion).astype(np.float64)
    either = confusion.sum(axis=0) + confusion.sum(axis=1) - both
    return np.divide(both, either, out=np.full(len(both), np.nan), where=either > 0)


def mean_iou(confusion: Any) -> float:
    """Mean IoU of the classes that occur or are predicted; NaN if there are none."""
    each = class_iou(confusion)
    seen = ~np.isnan(each)
    return float(each[seen].mean()) if seen.any() else float("nan")


def pixel_accuracy(confusion: Any) -> float:
    """Share of the pixels that are right; NaN if no pixel counts."""
    total = confusion.sum()
    return float(np.diag(confusion).sum() / total) if total > 0 else float("nan")


@dataclass(frozen=True)
class PixelMetric(Metric):
    """A figure of the pixels' confusion matrix; pixels of the label `ignore_index` do not count."""

    ignore_index: int = IGNORED

    def total(self, outputs: Array, targets: Array) -> Any:
        """The confusion matrix (K, K) of a batch."""
        confusion = self.per_sample(outputs, targets, self.ignore_index)  # type: ignore[call-arg]
        return np.asarray(confusion.get() if hasattr(confusion, "get") else confusion, np.float64)


MEAN_IOU = PixelMetric("mean_iou", pixel_confusion, mean_iou)
PIXEL_ACCURACY = PixelMetric("pixel_acc", pixel_confusion, pixel_accuracy)
