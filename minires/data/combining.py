"""Data sets made of other data sets and of tensors, under torch.utils.data's names."""

import bisect
import itertools
import math
import warnings
from collections.abc import Sequence
from typing import Any

from minires.data.arrays import Subset, sample_name
from minires.random import Generator
from minires.random import generator as drawn_from


class TensorDataset:
    """Sample i is the tuple of the i-th rows of all `tensors`. ValueError if their lengths differ."""

    def __init__(self, *tensors: Any) -> None:
        if not tensors:
            raise ValueError("TensorDataset needs at least one tensor")
        lengths = [len(tensor) for tensor in tensors]
        if len(set(lengths)) > 1:
            raise ValueError(f"size mismatch between tensors: they have {lengths} rows")
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return tuple(tensor[index] for tensor in self.tensors)


class ConcatDataset:
    """The samples of several data sets, one data set after the other; also what `first + second` would mean.

    `cumulative_sizes`: where each one ends. An index may be negative, as in a list.
    """

    def __init__(self, datasets: Sequence[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("datasets should not be an empty sequence")
        self.cumulative_sizes = list(itertools.accumulate(len(dataset) for dataset in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def _place(self, index: int) -> tuple[Any, int]:
        """The data set that holds a sample, and its index there."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"the index {index} is out of range for a data set of {len(self)} samples")
        index %= len(self)
        number = bisect.bisect_right(self.cumulative_sizes, index)
        return self.datasets[number], index - (self.cumulative_sizes[number - 1] if number else 0)

    def __getitem__(self, index: int) -> Any:
        dataset, place = self._place(index)
        return dataset[place]

    @property
    def targets(self) -> list[Any]:
        """Target of each sample, where all the data sets know theirs."""
        return [target for dataset in self.datasets for target in dataset.targets]

    def sample_name(self, index: int) -> str:
        """Where the sample comes from, for messages."""
        return sample_name(*self._place(index))


def random_split(dataset: Any, lengths: Sequence[int | float], generator: Generator | None = None) -> list[Subset]:
    """Parts of `dataset` that share no sample and together have all of them, drawn at random.

    `lengths`: of the parts; or fractions that sum to 1, each rounded down, and the samples left over given to the first
    parts, one each. For a stratified split of classes see `split_dataset`. ValueError for lengths that do not add up.
    """
    counts = _counts(len(dataset), lengths)
    if sum(counts) != len(dataset):
        total = f"{sum(counts)} and not {len(dataset)}"
        raise ValueError(f"Sum of input lengths does not equal the length of the input dataset! They sum to {total}")
    order = drawn_from(generator).permutation(len(dataset)).tolist()
    ends = itertools.accumulate(counts)
    return [Subset(dataset, order[end - count : end]) for end, count in zip(ends, counts, strict=True)]


def _counts(samples: int, lengths: Sequence[int | float]) -> list[int]:
    """Samples in each part."""
    total = sum(lengths)
    if math.isclose(total, 1) and total <= 1:
        for place, fraction in enumerate(lengths):
            if not 0 <= fraction <= 1:
                raise ValueError(f"Fraction at index {place} is not between 0 and 1")
        counts = [math.floor(samples * fraction) for fraction in lengths]
        for place in range(samples - sum(counts)):
            counts[place % len(counts)] += 1
        for place, count in enumerate(counts):
            if count == 0:
                warnings.warn(f"Length of split at index {place} is 0: an empty data set", stacklevel=3)
        return counts
    for place, length in enumerate(lengths):
        if not isinstance(length, int) or length < 0:
            raise ValueError(f"the length at index {place} is neither a whole number nor one of fractions that sum to "
                             f"1: {length}")  # fmt: skip
    return [int(count) for count in lengths]
