"""One class a picture, from one score for each class."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from minires.explain.intervals import classification_intervals, cross_entropies
from minires.finetune.tasks.base import Task


class Classification(Task):
    """Nothing more is known than the classes."""

    name: ClassVar[str] = "classification"
    headline: ClassVar[tuple[str, ...]] = ("top1", "top5", "balanced_acc", "macro_f1", "loss")

    def values(self, scores: np.ndarray) -> np.ndarray:
        return softmax(scores)

    def said(self, values: Any) -> str:
        return self.classes[int(np.argmax(values))]

    def losses(self, scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
        return cross_entropies(scores, truth)

    def figures(self, scores: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
        figures = classification_figures(scores, truth, self.classes)
        return {**figures, "intervals": classification_intervals(scores, truth)}


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities from scores, in float64: exp(s_k - max) / sum_j exp(s_j - max)."""
    shifted = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def classification_figures(scores: np.ndarray, truth: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """samples, loss (mean cross entropy), top1, top5 (from six classes on), balanced_acc, macro_f1 and per_class.

    balanced_acc is the mean recall of the classes that occur; macro_f1 the mean F1 = 2 tp / (2 tp + fp + fn) of those
    that occur or are predicted.
    """
    shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(len(truth))
    predicted = scores.argmax(axis=1)
    figures: dict[str, Any] = {
        "samples": len(truth),
        "loss": float(-log_probabilities[rows, truth].mean()),
        "top1": float((predicted == truth).mean()),
    }
    if len(classes) > 5:
        best_five = np.argsort(-scores, axis=1, kind="stable")[:, :5]
        figures["top5"] = float((best_five == truth[:, None]).any(axis=1).mean())
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (truth, predicted), 1)
    right, occurring, called = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    figures["balanced_acc"] = float((right[occurring > 0] / occurring[occurring > 0]).mean())
    seen = occurring + called > 0
    figures["macro_f1"] = float((2 * right[seen] / (occurring + called)[seen]).mean())
    figures["per_class"] = {
        name: {"samples": int(occurring[index]), "right": int(right[index]),
               "recall": float(right[index] / occurring[index]) if occurring[index] else None}
        for index, name in enumerate(classes)
    }  # fmt: skip
    return figures
