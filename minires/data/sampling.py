"""A sampler for data in which some classes are rare."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minires.random import generator


class BalancedSampler:
    """Every class as often as every other: `len(targets)` samples an epoch, an equal share of each class.

    A class with more pictures than its share gives different ones every epoch, one with fewer gives each of them about
    equally often (with an augmentation of its own each time: see DataLoader). Where the number of classes does not
    divide the samples, chance decides who gives one more. targets: class numbers (N,). Draws from
    `minires.random.generator()`: under a DataLoader, from its seed and the epoch. Raises ValueError without targets.
    """

    def __init__(self, targets: Sequence[int] | Any) -> None:
        labels = np.asarray(targets)
        if labels.ndim != 1 or not len(labels) or labels.dtype.kind not in "iu":
            raise ValueError(f"targets are class numbers (N,), got {labels.dtype} of the shape {labels.shape}")
        self.samples = len(labels)
        self.members = [np.flatnonzero(labels == label) for label in np.unique(labels)]

    def __len__(self) -> int:
        return self.samples

    def __iter__(self) -> Iterator[int]:
        rng = generator()
        share, rest = divmod(self.samples, len(self.members))
        one_more = rng.permutation(len(self.members))[:rest]
        chosen = []
        for place, own in enumerate(self.members):
            count = share + (place in one_more)
            rounds = -(-count // len(own))
            chosen.append(np.concatenate([rng.permutation(own) for _ in range(rounds)])[:count] if count else own[:0])
        yield from rng.permutation(np.concatenate(chosen)).tolist()
