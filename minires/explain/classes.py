"""Which classes a model takes for which: the confusion matrix, and what follows from it for each class.

precision   tp / (tp + fp): of the pictures called so, the share that is
recall      tp / (tp + fn): of the pictures that are, the share called so
F1          2 tp / (2 tp + fp + fn)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minires.explain.intervals import wilson


def confusion_matrix(truth: Any, predicted: Any, classes: int) -> np.ndarray:
    """(K, K) counts: row t, column p holds the pictures of class t that were called p."""
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (truth, predicted), 1)
    return matrix


def class_report(confusion: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """A row a class: class, samples, precision, recall, recall_interval (Wilson, 95 %), f1, mostly_taken_for.

    None where there is nothing to divide by; mostly_taken_for: the wrong class it is most often called, or None.
    """
    rows = []
    for index, name in enumerate(names):
        right, occurring, called = (int(n) for n in (confusion[index, index], confusion[index].sum(),
                                                     confusion[:, index].sum()))  # fmt: skip
        wrong = confusion[index].copy()
        wrong[index] = 0
        rows.append({
            "class": name, "samples": occurring,
            "precision": right / called if called else None,
            "recall": right / occurring if occurring else None,
            "recall_interval": wilson(right, occurring) if occurring else None,
            "f1": 2 * right / (occurring + called) if occurring + called else None,
            "mostly_taken_for": names[int(wrong.argmax())] if wrong.any() else None,
        })  # fmt: skip
    return rows


def most_confused(confusion: np.ndarray, names: Sequence[str], count: int = 10) -> list[tuple[str, str, int]]:
    """(true class, predicted class, pictures) of the most frequent mistakes, the most frequent first."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    pairs = [(int(place) // len(names), int(place) % len(names)) for place in order]
    return [(names[t], names[p], int(wrong[t, p])) for t, p in pairs if wrong[t, p]]
