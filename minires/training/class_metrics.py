"""Figures in which every class counts the same, however few pictures it has.

They are made of the confusion matrix C of all samples (C[t, p]: pictures of class t called p), which is a sum over
samples like any other figure; only the last step, from the mean matrix to a number, is their own:

    balanced accuracy   mean over the classes that occur of C[t, t] / sum_p C[t, p]             (recall)
    macro F1            mean over the classes that occur or are predicted of 2 tp / (2 tp + fp + fn)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.backend import Array
from minires.training.metrics import Metric, class_numbers


@dataclass(frozen=True)
class ClassMetric(Metric):
    """A figure of the confusion matrix; `per_sample` tells the predicted class."""

    def total(self, outputs: Array, targets: Array) -> Any:
        """The confusion matrix (K, K) of a batch."""
        targets = class_numbers(outputs, targets)
        classes = outputs.shape[1]
        pairs = np.asarray(move_to_cpu(targets)) * classes + np.asarray(move_to_cpu(self.per_sample(outputs, targets)))
        return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes).astype(np.float64)


def move_to_cpu(array: Array) -> Any:
    """A NumPy array of these numbers."""
    return array.get() if hasattr(array, "get") else array


def predicted_class(outputs: Array, targets: Array) -> Array:
    """The class with the largest score, of equal ones the first."""
    return outputs.argmax(axis=1)


def balanced_accuracy(confusion: Any) -> float:
    """Mean recall of the classes that occur."""
    occurring = confusion.sum(axis=1)
    seen = occurring > 0
    return float((np.diag(confusion)[seen] / occurring[seen]).mean())


def macro_f1(confusion: Any) -> float:
    """Mean F1 of the classes that occur or are predicted."""
    both = confusion.sum(axis=0) + confusion.sum(axis=1)
    seen = both > 0
    return float((2 * np.diag(confusion)[seen] / both[seen]).mean())


BALANCED_ACCURACY = ClassMetric("balanced_acc", predicted_class, balanced_accuracy)
MACRO_F1 = ClassMetric("macro_f1", predicted_class, macro_f1)
