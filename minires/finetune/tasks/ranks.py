"""Rank consistency: after every step the last layer is moved to the nearest one whose answers cannot contradict.

These layers, equal weights for all questions and biases that fall, are a convex set, and the nearest of them (in the
sum of squares) has the mean of the rows, and the biases' isotonic regression (pool adjacent violators, Ayer et al.
1955). Steps with such a projection are projected gradient descent.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minires.backend import array_module, move
from minires.finetune.heads import last_linear
from minires.training import Callback, Trainer


def falling(values: np.ndarray) -> np.ndarray:
    """The nearest sequence that never rises: neighbours that do are pooled to their mean."""
    pools: list[list[float]] = []  # sum, count
    for value in values.astype(np.float64).tolist():
        pools.append([value, 1])
        while len(pools) > 1 and pools[-2][0] * pools[-1][1] < pools[-1][0] * pools[-2][1]:
            total, count = pools.pop()
            pools[-1] = [pools[-1][0] + total, pools[-1][1] + count]
    return np.concatenate([np.full(int(count), total / count) for total, count in pools])


def set_thresholds(model: Any, counts: Sequence[int]) -> None:
    """Begin with the answers that are right on average: b_k = ln(share above k / share of the others).

    Biases that all begin at 0 would need many steps to part. counts: training pictures of each class.
    """
    share = np.cumsum(np.asarray(counts, np.float64)[::-1])[::-1][1:] / sum(counts)
    share = share.clip(0.5 / sum(counts), 1 - 0.5 / sum(counts))
    bias = last_linear(model).bias
    bias.array[...] = array_module(bias.array).asarray(np.log(share / (1 - share)))
    bias.bump_version()
    make_consistent(model)


def make_consistent(model: Any) -> None:
    """Move the last linear layer of the model into the set."""
    layer = last_linear(model)
    # in float64 the mean of equal float32 numbers is exact: what is consistent stays as it is, to the bit
    layer.weight.array[...] = layer.weight.array.mean(axis=0, keepdims=True, dtype="float64")
    layer.bias.array[...] = array_module(layer.bias.array).asarray(falling(move(layer.bias.array, "cpu")))
    for parameter in (layer.weight, layer.bias):
        parameter.bump_version()


class RankConsistent(Callback):
    """Projects after every step, before averages and checkpoints look at the weights."""

    order = -5

    def before_fit(self, trainer: Trainer) -> None:
        make_consistent(trainer.model)

    def after_step(self, trainer: Trainer) -> None:
        make_consistent(trainer.model)
