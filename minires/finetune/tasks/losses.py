"""Losses of the tasks that are not one class a picture. Numbers have theirs in finetune/losses.py."""

from collections.abc import Sequence

import numpy as np

import minires.nn.functional as F
from minires.backend import move
from minires.finetune.tasks.ordinal import above_ranks
from minires.tensor import Tensor


class YesOrNo:
    """bce: mean over pictures and labels of -w y log s(x) - (1 - y) log s(-x). weights: w of each label (K,), or 1."""

    def __init__(self, weights: np.ndarray | None = None) -> None:
        self.weights = weights

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        wanted = Tensor(targets.array.astype(outputs.dtype, copy=False))
        weights = None if self.weights is None else _beside(self.weights, outputs)
        return F.binary_cross_entropy_with_logits(outputs, wanted, pos_weight=weights)


def positive_weights(counts: Sequence[int], samples: int, power: float) -> np.ndarray:
    """(pictures without the label / pictures with it)^power of each label (K,); 1 for one that none has, or all have.

    0 in the place of the last would teach nothing at all about a label that every picture has.
    """
    have = np.asarray(counts, np.float64)
    return np.where((have > 0) & (have < samples), ((samples - have) / np.maximum(have, 1)) ** power, 1.0)


class Coral:
    """coral: mean over pictures of w[t] sum_k BCE(x_k, t > k) for scores (N, K - 1) and ranks t (N,); w (K,), or 1."""

    def __init__(self, weights: np.ndarray | None = None) -> None:
        self.weights = weights

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        ranks = np.asarray(move(targets.array, "cpu"))
        wanted = _beside(above_ranks(ranks, outputs.shape[1]), outputs)
        each = F.binary_cross_entropy_with_logits(outputs, wanted, reduction="none").sum(dim=1)
        if self.weights is None:
            return each.mean()
        return (each * _beside(self.weights[ranks], outputs)).mean()


def _beside(values: np.ndarray, outputs: Tensor) -> Tensor:
    """The values in the type of the outputs, and where they are."""
    return Tensor(move(values.astype(outputs.dtype, copy=False), outputs.device))
