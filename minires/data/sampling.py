"""Samplers that know the classes: for data in which some are rare, and for batches that hold pairs of each."""

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


class MPerClassSampler:
    """Batches of P classes with m pictures each, one batch after the other: what triplets are made of.

    For DataLoader(sampler=..., batch_size=batch_size, drop_last=True); P = batch_size / m. Classes take turns in a
    random order, and so do the pictures of each, so that all come equally often; one with fewer than m pictures shows
    them several times in a batch. labels: class numbers (N,). length_before_new_iter: samples an epoch, by default N,
    rounded down to whole batches (at least one). Draws from `minires.random.generator()`. Name and arguments are those
    of pytorch-metric-learning, where chance alone chooses.
    Raises ValueError for a batch that is no multiple of m, or that asks for more classes than there are.
    """

    def __init__(
        self, labels: Sequence[int] | Any, m: int, batch_size: int, length_before_new_iter: int | None = None
    ) -> None:
        numbers = np.asarray(labels)
        if numbers.ndim != 1 or not len(numbers) or numbers.dtype.kind not in "iu":
            raise ValueError(f"labels are class numbers (N,), got {numbers.dtype} of the shape {numbers.shape}")
        self.members = [np.flatnonzero(numbers == label) for label in np.unique(numbers)]
        if m < 1 or batch_size < m or batch_size % m or batch_size // m > len(self.members):
            raise ValueError(f"a batch is P classes with m pictures each: {batch_size} pictures with m = {m} are no "
                             f"whole number of the {len(self.members)} classes")  # fmt: skip
        self.m, self.batch_size, self.classes_per_batch = m, batch_size, batch_size // m
        length = len(numbers) if length_before_new_iter is None else length_before_new_iter
        self.batches = max(1, length // batch_size)

    def __len__(self) -> int:
        return self.batches * self.batch_size

    def __iter__(self) -> Iterator[int]:
        rng = generator()
        turns = _Turns(np.arange(len(self.members)), rng)
        pictures = [_Turns(own, rng) for own in self.members]
        for _ in range(self.batches):
            for place in turns.take(self.classes_per_batch):
                yield from pictures[place].take(self.m)


class _Turns:
    """Members in a random order, and anew when all have had their turn."""

    def __init__(self, members: np.ndarray, rng: Any) -> None:
        self.members, self.rng = members, rng
        self.left: list[int] = []

    def take(self, count: int) -> list[int]:
        """The next ones; no member twice while there are others."""
        taken: list[int] = []
        while len(taken) < count:
            if not self.left:
                order = self.rng.permutation(self.members).tolist()
                fresh = [member for member in order if member not in taken]
                self.left = [*fresh, *(member for member in order if member in taken)]
            taken.append(self.left.pop(0))
        return taken
