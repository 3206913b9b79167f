"""Pictures whose label is probably wrong, and pictures that are there twice: what to look at before training again.

Label errors, by confident learning (Northcutt, Jiang and Chuang 2021). A class's threshold is the mean probability that
the model gives it on pictures labelled so. A picture labelled i is counted as a j when its probability of j reaches
j's threshold; of several such j, the most probable one. Those with j other than i are suspects; they are sorted by
p(j) - p(i). The probabilities must be of pictures that the model was not trained on: it may know the others by heart.
Where a picture may have several labels, each is a question of its own with the two classes yes and no.

Near duplicates: two pictures that are alike as small as a stamp are one picture, scaled or compressed; of pictures that
are less alike so, those whose features (what the head is given) point the same way are one motif, moved or slightly
cropped. Features alone do not do: the longer a model is trained, the more all pictures of a class have the same ones.
Across splits such a pair means that the test figures are too good.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

ALIKE = 0.995  # smallest cosine of the features of a near duplicate
SAME, SIMILAR = 0.98, 0.8  # smallest cosine of thumbnails: enough by itself; enough where features are alike, too
SIDE = 16  # of a thumbnail
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


@dataclass(frozen=True)
class WrongLabels:
    """A picture (its place) of which these labels are probably wrong, missing or too many; the largest p(j) - p(i)."""

    index: int
    labels: list[int]
    margin: float


def wrong_labels(probabilities: Any, truth: Any) -> list[WrongLabels]:
    """Suspects among pictures with probabilities and truth (0 or 1) of each label (N, K), the most suspicious first."""
    probabilities, own = np.asarray(probabilities, np.float64), np.asarray(truth) > 0.5
    found: dict[int, dict[int, float]] = {}
    for label in range(probabilities.shape[1]):
        yes = probabilities[:, label]
        for one in label_errors(np.stack([1 - yes, yes], axis=1), own[:, label].astype(int)):
            found.setdefault(one.index, {})[label] = one.margin
    suspects = [WrongLabels(index, sorted(margins), max(margins.values())) for index, margins in found.items()]
    return sorted(suspects, key=lambda one: (-one.margin, one.index))


def near_duplicates(
    features: Any, alike: float = ALIKE, thumbnails: Any = None
) -> list[tuple[int, int, float]]:  # fmt: skip
    """Pairs (i, j, cosine) with i < j of pictures that are the same or nearly so, the most alike first.

    features (N, F): those that point the same way, by `alike` at least. The mean of all features is taken away first:
    what every picture shares makes none of them alike. With the pictures' `thumbnails` (N, M), a pair must be similar
    in these, too (0.8), or in these alone nearly the same (0.98); the cosine told is that of the thumbnails. Where
    both are of one colour all over, the features decide.
    """
    features = np.asarray(features, np.float64)
    if len(features) < 2:
        return []
    directions = _directions(features - features.mean(axis=0))
    stamps = _directions(np.zeros((len(features), 1)) if thumbnails is None else np.asarray(thumbnails, np.float64))
    flat: np.ndarray = ~np.any(stamps, axis=1)
    pairs = []
    for start in range(0, len(directions), _ROWS):
        rows = slice(start, start + _ROWS)
        told = cosines = directions[rows] @ directions.T
        near = cosines >= alike
        if thumbnails is not None:
            told = np.where(np.outer(flat[rows], flat), cosines, stamps[rows] @ stamps.T)
            near = (near & (told >= SIMILAR)) | (told >= SAME)
        for row, column in np.argwhere(near):
            if start + row < column:
                pairs.append((int(start + row), int(column), float(min(told[row, column], 1.0))))
    return sorted(pairs, key=lambda pair: (-pair[2], pair[:2]))


def thumbnails(images: Any, side: int = SIDE) -> np.ndarray:
    """Pictures (N, C, H, W) as small as stamps: (N, C * side * side) means of areas, without each channel's mean."""
    small = np.asarray(images, np.float64)
    for axis in (2, 3):
        edges = np.linspace(0, small.shape[axis], min(side, small.shape[axis]) + 1).astype(int)
        shape = [-1 if place == axis else 1 for place in range(4)]
        small = np.add.reduceat(small, edges[:-1], axis=axis) / np.diff(edges).reshape(shape)
    small -= small.mean(axis=(2, 3), keepdims=True)
    return np.round(small, 9).reshape(len(small), -1)  # rounded: one colour all over is nothing but zeros


def _directions(rows: np.ndarray) -> np.ndarray:
    """Rows (N, F) of length 1; those without a length stay zero."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
