"""Batch normalisation on the matrix (values a channel, C) that channels-last memory is, a block of rows at a time.

Within a block everything happens in the cache: sums over rows, subtraction, scaling, residual, ReLU. Vectors of C
channels are repeated to about a thousand values, and as many rows are laid side by side, so that each operation runs
over long rows however few channels there are. The formulas stand in reference/norm.py.

The variance is computed in two passes, from differences to the mean: E[x^2] - E[x]^2 would lose all digits where the
mean is large. The first pass's mean is rounded; the second pass therefore measures by how much it is off (Chan, Golub
and LeVeque, Algorithms for Computing the Sample Variance, 1983).
"""

from collections.abc import Sequence

import numpy as np

from minires.kernels.cpu import parallel
from minires.kernels.cpu.activation import keep_where_positive
from minires.kernels.cpu.buffers import scratch
from minires.kernels.cpu.layout import channels_second, rows_of, widened, widening

__all__ = [
    "batch_norm_inference_backward",
    "batch_norm_inference_forward",
    "batch_norm_training_backward",
    "batch_norm_training_forward",
]

BUDGET = 1 << 17  # values a block
ROWS = 1 << 11  # at most, since the rows of a block are added up in the values' own type


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
        return np.tile(values.astype(self.dtype), self.factor)

    def totals(self, results: list[np.ndarray]) -> np.ndarray:
        """The threads' sums (..., factor C) as float64 sums (..., C) over all rows."""
        total = parallel.added(results)
        return total.reshape(*total.shape[:-1], self.factor, self.channels).sum(axis=-2)


def sum_rows(block: np.ndarray) -> np.ndarray:
    """The sum over a block's rows, by a product with a row of ones: twice as fast as `sum`."""
    return np.ones(len(block), block.dtype) @ block


def means(rows: Rows, x: np.ndarray) -> np.ndarray:
    """(C,) float64: the mean of each channel, as exact as sums in x's own type are."""

    def work(blocks: Sequence[slice]) -> np.ndarray:
        total = np.zeros(x.shape[1])
        for block in blocks:
            total += sum_rows(x[block])
        return total

    with np.errstate(invalid="ignore"):
        return rows.totals(parallel.over(rows.blocks, work)) / np.float64(rows.count)


def deviations(rows: Rows, x: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """(2, C) float64: the mean of x - centre, and of its square."""
    middle = rows.vector(centre)

    def work(blocks: Sequence[slice]) -> np.ndarray:
        total = np.zeros((2, x.shape[1]))
        for block in blocks:
            difference = np.subtract(x[block], middle, out=scratch("difference", x[block].shape, x.dtype))
            total[0] += sum_rows(difference)
            total[1] += np.einsum("ij,ij->j", difference, difference)
        return total

    with np.errstate(invalid="ignore"):
        return rows.totals(parallel.over(rows.blocks, work)) / np.float64(rows.count)


def normalise(
    rows: Rows,
    x: np.ndarray,
    centre: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    residual: np.ndarray | None,
    relu: bool,
    y: np.ndarray,
) -> None:
    """y = (x - centre) scale + shift (+ residual), then ReLU; centre, scale, shift (C,), the others widened."""
    middle, factors, terms = rows.vector(centre), rows.vector(scale), rows.vector(shift)
    zeros = np.zeros(x.shape[1], x.dtype)

    def work(blocks: Sequence[slice]) -> None:
        for block in blocks:
            part = y[block]
            np.subtract(x[block], middle, out=part)
            part *= factors
            part += terms
            if residual is not None:
                part += residual[block]
            if relu:
                np.maximum(part, zeros, out=part)

    parallel.over(rows.blocks, work)


def result_like(x: np.ndarray) -> np.ndarray:
    """An empty array of x's shape and type, stored channels last."""
    return channels_second(np.empty((x.shape[0], *x.shape[2:], x.shape[1]), x.dtype))


def or_constant(values: np.ndarray | None, channels: int, constant: float) -> np.ndarray:
    return np.full(channels, constant) if values is None else values.astype(np.float64)


def statistics_type(x: np.ndarray) -> np.dtype:
    return np.promote_types(x.dtype, np.float32)


def batch_norm_training_forward(
    x: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    eps: float,
    residual: np.ndarray | None,
    relu: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """As the reference; y is stored channels last."""
    rows, y = Rows(x), result_like(x)
    matrix = rows.of(x)
    centre = means(rows, matrix).astype(x.dtype)
    offset, square = deviations(rows, matrix, centre)
    mean, variance = centre + offset, np.maximum(square - offset**2, 0)
    inverse_std = 1 / np.sqrt(variance + eps)
    scale = inverse_std * or_constant(weight, rows.channels, 1.0)
    shift = or_constant(bias, rows.channels, 0.0) - offset * scale
    addend = None if residual is None else rows.of(residual)
    normalise(rows, matrix, centre, scale, shift, addend, relu, rows.of(y))
    dtype = statistics_type(x)
    return y, mean.astype(dtype), variance.astype(dtype), inverse_std.astype(dtype)


def batch_norm_inference_forward(
    x: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    running_mean: np.ndarray,
    running_var: np.ndarray,
    eps: float,
    residual: np.ndarray | None,
    relu: bool,
) -> np.ndarray:
    """As the reference; y is stored channels last."""
    rows, y = Rows(x), result_like(x)
    scale = or_constant(weight, rows.channels, 1.0) / np.sqrt(running_var.astype(np.float64) + eps)
    shift = or_constant(bias, rows.channels, 0.0)
    addend = None if residual is None else rows.of(residual)
    normalise(rows, rows.of(x), running_mean, scale, shift, addend, relu, rows.of(y))
    return y


def masked_and_summed(
    rows: Rows, grad: np.ndarray, x: np.ndarray, mean: np.ndarray, y: np.ndarray | None, passed: np.ndarray
) -> np.ndarray:
    """(2, C) float64: sum of g and of g (x - mean), where g = relu_backward(grad, y), which is written to `passed`.

    Without ReLU y is None and `passed` is `grad`.
    """
    middle = rows.vector(mean)

    def work(blocks: Sequence[slice]) -> np.ndarray:
        total = np.zeros((2, x.shape[1]))
        for block in blocks:
            if y is not None:
                keep_where_positive(grad[block].reshape(-1), y[block].reshape(-1), passed[block].reshape(-1))
            difference = np.subtract(x[block], middle, out=scratch("difference", x[block].shape, x.dtype))
            total[0] += sum_rows(passed[block])
            total[1] += np.einsum("ij,ij->j", passed[block], difference)
        return total

    return rows.totals(parallel.over(rows.blocks, work))


def batch_norm_training_backward(
    grad: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray | None,
    mean: np.ndarray,
    inverse_std: np.ndarray,
    y: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """As the reference; dx and masked_grad are stored channels last (masked_grad is grad itself where y is None)."""
    rows, dx = Rows(x), result_like(x)
    passed = grad if y is None else result_like(grad)
    upstream, matrix, kept = rows.of(grad), rows.of(x), rows.of(passed)
    dbias, product = masked_and_summed(rows, upstream, matrix, mean, None if y is None else rows.of(y), kept)
    inverse = inverse_std.astype(np.float64)
    dweight = product * inverse if rows.count else product  # of nothing: 0, not 0 times NaN
    scale = inverse * or_constant(weight, rows.channels, 1.0)
    count = max(rows.count, 1)
    through_mean, through_variance = dbias / count, dweight * inverse / count
    combine(rows, kept, matrix, mean, (scale, through_mean, through_variance), rows.of(dx))
    dtype = mean.dtype if weight is None else weight.dtype
    return dx, dweight.astype(dtype), dbias.astype(dtype), passed


def combine(
    rows: Rows, g: np.ndarray, x: np.ndarray, mean: np.ndarray, vectors: tuple[np.ndarray, ...], dx: np.ndarray
) -> None:
    """dx = scale (g - through_mean - (x - mean) through_variance)."""
    middle = rows.vector(mean)
    scale, through_mean, through_variance = (rows.vector(values) for values in vectors)

    def work(blocks: Sequence[slice]) -> None:
        for block in blocks:
            part = dx[block]
            np.subtract(x[block], middle, out=part)
            part *= through_variance
            part += through_mean
            np.subtract(g[block], part, out=part)
            part *= scale

    parallel.over(rows.blocks, work)


def batch_norm_inference_backward(
    grad: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray | None,
    running_mean: np.ndarray,
    running_var: np.ndarray,
    eps: float,
    y: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """As the reference; dx and masked_grad are stored channels last (masked_grad is grad itself where y is None)."""
    rows, dx = Rows(x), result_like(x)
    passed = grad if y is None else result_like(grad)
    kept, result = rows.of(passed), rows.of(dx)
    output = None if y is None else rows.of(y)
    dbias, product = masked_and_summed(rows, rows.of(grad), rows.of(x), running_mean, output, kept)
    inverse = 1 / np.sqrt(running_var.astype(np.float64) + eps)
    scale = rows.vector(inverse * or_constant(weight, rows.channels, 1.0))

    def work(blocks: Sequence[slice]) -> None:
        for block in blocks:
            np.multiply(kept[block], scale, out=result[block])

    parallel.over(rows.blocks, work)
    dtype = running_mean.dtype if weight is None else weight.dtype
    return dx, (product * inverse).astype(dtype), dbias.astype(dtype), passed
