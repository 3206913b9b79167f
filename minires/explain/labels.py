"""Pictures whose label is probably wrong, and pictures that are there twice: what to look at before training again.

Label errors, by confident learning (Northcutt, Jiang and Chuang 2021). A class's threshold is the mean probability that
the model gives it on pictures labelled so. A picture labelled i is counted as a j when its probability of j reaches
j's threshold; of several such j, the most probable one. Those with j other than i are suspects; they are sorted by
p(j) - p(i). The probabilities must be of pictures that the model was not trained on: it may know the others by heart.

Near duplicates, by the direction of the features that the head is given: two pictures whose features point the same way
(cosine at least 0.99, say) are one motif, scaled, compressed or slightly cropped. Across splits such a pair means that
the test figures are too good.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

ALIKE = 0.995  # smallest cosine of a near duplicate
_ROWS = 512  # rows of the matrix of cosines in memory at a time


@dataclass(frozen=True)
class Suspect:
    """A picture (its place) whose label is probably wrong, the class that it rather shows, and p(j) - p(i)."""

    index: int
    label: int
    suggestion: int
    margin: float


def label_errors(probabilities: Any, labels: Any) -> list[Suspect]:
    """Suspects among pictures with probabilities (N, K) and labels (N,), the most suspicious first."""
    probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels)
    classes = probabilities.shape[1]
    thresholds = np.full(classes, np.inf)  # nothing can be counted as a class that has no picture here
    for label in np.unique(labels):
        thresholds[label] = probabilities[labels == label, label].mean()
    reached = np.where(probabilities >= thresholds, probabilities, -1.0)
    counted, rows = reached.argmax(axis=1), np.arange(len(labels))
    margins = probabilities[rows, counted] - probabilities[rows, labels]
    found = (reached.max(axis=1) >= 0) & (counted != labels) & (margins > 0)
    suspects = [Suspect(int(i), int(labels[i]), int(counted[i]), float(margins[i])) for i in np.flatnonzero(found)]
    return sorted(suspects, key=lambda one: (-one.margin, one.index))


def near_duplicates(features: Any, alike: float = ALIKE) -> list[tuple[int, int, float]]:
    """Pairs (i, j, cosine) with i < j whose features (N, F) point the same way, the most alike first.

    The mean of all features is taken away first: what every picture shares makes none of them alike.
    """
    features = np.asarray(features, np.float64)
    if len(features) < 2:
        return []
    centred = features - features.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    directions = np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 0)
    pairs = []
    for start in range(0, len(directions), _ROWS):
        cosines = directions[start : start + _ROWS] @ directions.T
        for row, column in np.argwhere(cosines >= alike):
            if start + row < column:
                pairs.append((int(start + row), int(column), float(min(cosines[row, column], 1.0))))
    return sorted(pairs, key=lambda pair: (-pair[2], pair[:2]))
