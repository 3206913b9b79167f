"""Mean and variance of each channel, of the matrix (values a channel, C) that channels-last memory is.

Vectors of C channels are repeated to about a thousand values, and as many rows are laid side by side, so that each
operation runs over long rows however few channels there are.

One pass over x finds both, from differences to a centre that a sample of the rows gives: about 0 itself,
E[x^2] - E[x]^2 would lose all digits where the mean is large. Where every mean of the sample is small beside its
standard deviation, 0 is a good centre, and nothing is subtracted. Should the sample have been misleading, so that the
mean found lies several standard deviations from the centre, there is a second pass around that mean (Chan, Golub and
LeVeque, Algorithms for Computing the Sample Variance, 1983).
"""

from collections.abc import Sequence

import numpy as np

from minires.kernels.cpu import parallel
from minires.kernels.cpu.buffers import scratch
from minires.kernels.cpu.layout import rows_of, widened, widening

BUDGET = 1 << 17  # values a block
ROWS = 1 << 11  # at most, since the rows of a block are added up in the values' own type
SAMPLE = 16  # rows of which the centre is made


class Rows:
    """The widened matrix of an array (N, C, ...), and the blocks of its rows."""

    def __init__(self, like: np.ndarray) -> None:
        self.channels = like.shape[1]
        self.count = like.size // max(1, self.channels)
        self.factor = widening(self.count, self.channels)
        self.dtype = like.dtype
        size = min(ROWS, BUDGET // max(1, self.channels * self.factor))
        self.blocks = parallel.ranges(self.count // self.factor, size)

    def of(self, x: np.ndarray) -> np.ndarray:
        """x (N, C, ...) as the widened matrix."""
        return widened(rows_of(x), self.factor)

    def vector(self, values: np.ndarray) -> np.ndarray:
        """(C,) values repeated to the widened matrix's row, in its type."""
        row = np.empty((self.factor, self.channels), self.dtype)
        row[...] = values
        return row.reshape(-1)

    def totals(self, results: list[np.ndarray]) -> np.ndarray:
        """The threads' sums (..., factor C) as float64 sums (..., C) over all rows."""
        total = parallel.added(results)
        return total.reshape(*total.shape[:-1], self.factor, self.channels).sum(axis=-2)


def sum_rows(block: np.ndarray) -> np.ndarray:
    """The sum over a block's rows, by a product with a row of ones: twice as fast as `sum`."""
    return np.ones(len(block), block.dtype) @ block


def moments(rows: Rows, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(C,) float64: mean and variance of each channel."""
    if not rows.count:
        return np.full(rows.channels, np.nan), np.full(rows.channels, np.nan)
    with np.errstate(invalid="ignore"):
        centre = sample_centre(rows, x)
        mean, variance = moments_about(rows, x, centre)
        if not lies_within(0 if centre is None else centre, mean, variance, 2):
            mean, variance = moments_about(rows, x, mean.astype(x.dtype))
        return mean, variance


def sample_centre(rows: Rows, x: np.ndarray) -> np.ndarray | None:
    """(C,) in x's type: the mean of some rows from all over x; None where 0 will do."""
    sample = x[:: max(1, len(x) // SAMPLE)].reshape(-1, rows.channels)
    mean = sample.mean(axis=0, dtype=np.float64)
    if lies_within(0, mean, sample.var(axis=0, dtype=np.float64), 1):
        return None
    return mean.astype(x.dtype)


def lies_within(centre: np.ndarray | float, mean: np.ndarray, variance: np.ndarray, deviations: float) -> bool:
    """Whether every mean is so near to the centre that the difference of squares keeps its digits."""
    return not np.any((mean - centre) ** 2 > deviations**2 * variance)


def moments_about(rows: Rows, x: np.ndarray, centre: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """(C,) float64: mean and variance of each channel by sums of x - centre and of its square; None: about 0."""
    middle = None if centre is None else rows.vector(centre)

    def work(blocks: Sequence[slice]) -> np.ndarray:
        total = np.zeros((2, x.shape[1]))
        for block in reversed(blocks):  # what the layer before wrote last is still in the cache
            difference = centred(x[block], middle)
            total[1] += np.einsum("ij,ij->j", difference, difference)  # slower than memory, the sum is not: so it waits
            total[0] += sum_rows(difference)
        return total

    offset, square = rows.totals(parallel.over(rows.blocks, work)) / rows.count
    return offset if centre is None else centre + offset, np.maximum(square - offset**2, 0)


def centred(block: np.ndarray, middle: np.ndarray | None) -> np.ndarray:
    """block - middle in scratch memory; the block itself where middle is None."""
    return block if middle is None else np.subtract(block, middle, out=scratch("centred", block.shape, block.dtype))
