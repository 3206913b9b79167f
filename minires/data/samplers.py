"""The order of samples, under torch.utils.data's names: iterables of indices, for DataLoader(sampler=...).

What is random draws from `minires.random.generator()`, once an iteration: under a DataLoader that is the address (seed,
"shuffle", epoch), so that workers and resumes change nothing. `generator`: a `minires.random.Generator` to draw from
instead.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any

import numpy as np

from minires.random import Generator
from minires.random import generator as drawn_from


class SequentialSampler:
    """0, 1, 2, ... len(data_source) - 1."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __len__(self) -> int:
        return len(self.data_source)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))


class RandomSampler:
    """All indices of `data_source` in a random order, or `num_samples` of them.

    `replacement`: every draw is from all of them. Without it, more samples than there are come as one whole random
    order after the other. ValueError for a `num_samples` below 1.
    """

    def __init__(
        self, data_source: Sized, replacement: bool = False, num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:  # fmt: skip
        self.data_source, self.replacement, self.generator = (
            data_source,
            _boolean("replacement", replacement),
            generator,
        )
        self._num_samples = num_samples
        _positive("num_samples", self.num_samples)

    @property
    def num_samples(self) -> int:
        """Samples an iteration; by default as many as there are."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[int]:
        count, rng = len(self.data_source), drawn_from(self.generator)
        if self.replacement:
            return iter(rng.integers(0, count, self.num_samples).tolist())
        orders = (rng.permutation(count) for _ in range(-(-self.num_samples // count)))
        return iter(np.concatenate(list(orders))[: self.num_samples].tolist())


class SubsetRandomSampler:
    """The given `indices` in a random order."""

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices, self.generator = indices, generator

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return (self.indices[place] for place in drawn_from(self.generator).permutation(len(self.indices)))


class WeightedRandomSampler:
    """`num_samples` indices, each drawn in proportion to its weight (which need not sum to one).

    Without `replacement` an index comes at most once, and each draw is in proportion to the weights of those that are
    left. ValueError for negative, infinite or only zero weights, and where fewer than `num_samples` are above zero.
    """

    def __init__(
        self, weights: Sequence[float] | Any, num_samples: int, replacement: bool = True,
        generator: Generator | None = None,
    ) -> None:  # fmt: skip
        self.num_samples, self.replacement = _positive("num_samples", num_samples), _boolean("replacement", replacement)
        self.weights, self.generator = np.asarray(weights, np.float64), generator
        if self.weights.ndim != 1:
            raise ValueError(f"weights should be a 1d sequence, got the shape {self.weights.shape}")
        total = self.weights.sum()
        if not (self.weights >= 0).all() or not 0 < total < float("inf"):
            raise ValueError("weights must be finite, none negative, and not all zero")
        above = int(np.count_nonzero(self.weights))
        if not replacement and num_samples > above:
            raise ValueError(f"{num_samples} samples without replacement, but only {above} weights are above zero")

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[int]:
        share, rng = self.weights / self.weights.sum(), drawn_from(self.generator)
        return iter(rng.choice(len(share), self.num_samples, self.replacement, share).tolist())


class BatchSampler:
    """Lists of `batch_size` indices from another sampler, for DataLoader(batch_sampler=...).

    `drop_last`: leave out a last list that is shorter.
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        self.sampler, self.batch_size = sampler, _positive("batch_size", batch_size)
        self.drop_last = _boolean("drop_last", drop_last)

    def __len__(self) -> int:
        count = len(self.sampler)  # type: ignore[arg-type]
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Tell the sampler below, if it asks for the epoch."""
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)
        while batch := list(itertools.islice(indices, self.batch_size)):
            if len(batch) < self.batch_size and self.drop_last:
                return
            yield batch


def _positive(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} should be a positive integer value, but got {name}={value}")
    return value


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} should be a boolean value, but got {name}={value}")
    return value
