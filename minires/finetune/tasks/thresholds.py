"""A threshold for each label: the one with which it has the largest F1 on the validation pictures.

A rare label is seldom more probable than 1/2, even where the model tells it apart well: with one threshold for all it
is never said. Its own may be any score between two neighbours,

    F1(cut) = 2 tp / (occurring + said)        tp, said: pictures with a score above the cut that have it, and all

and all of them are tried. Of equally good ones the nearest to the common threshold is taken, which stays where none is
better, or where no validation picture has the label (Lipton, Elkan and Naryanaswamy 2014, "Optimal thresholding of
classifiers to maximize F1 measure"). Figures of the validation pictures are too good then: believe those of the test.
"""

from typing import Any

import numpy as np

from minires.finetune.tasks.base import sigmoid
from minires.finetune.tasks.multi_label import MultiLabel
from minires.training.metrics_multi_label import cut_of

NEAREST = 1e-9  # to 0 and 1 that a threshold may be


def tuned(task: MultiLabel, scores: Any, truth: Any) -> MultiLabel:
    """The task with a threshold for each label, from scores and truth (N, K) of pictures that were not trained on."""
    scores, true = np.asarray(scores, np.float64), np.asarray(truth) > 0.5
    usual, found = cut_of(task.threshold), []
    for label in range(scores.shape[1]):
        cut = best_cut(scores[:, label], true[:, label], usual)
        found.append(task.threshold if cut == usual else float(sigmoid(np.array(cut)).clip(NEAREST, 1 - NEAREST)))
    return MultiLabel(task.classes, {**task.known, "thresholds": found})


def best_cut(scores: np.ndarray, truth: np.ndarray, usual: float) -> float:
    """The cut with the largest F1 for one label; scores, truth (yes or no): (N,)."""
    order = np.argsort(-scores, kind="stable")
    ranked, right = scores[order], np.cumsum(truth[order])
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # so many and one more are said
    cuts = np.append((ranked[ends[:-1]] + ranked[ends[:-1] + 1]) / 2, ranked[-1] - 1)
    f1 = 2 * right[ends] / (truth.sum() + ends + 1)
    said = scores > usual
    f1_of_usual = 2 * (said & truth).sum() / max(truth.sum() + said.sum(), 1)
    if f1.max() <= f1_of_usual:
        return usual
    best = cuts[f1 == f1.max()]
    return float(best[abs(best - usual).argmin()])
