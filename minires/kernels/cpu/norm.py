"""Batch normalisation on the matrix (values a channel, C) that channels-last memory is, a block of rows at a time.

Within a block everything happens in the cache: sums over rows, scaling, residual, ReLU. The sums are those of
`moments`; the formulas stand in reference/norm.py.

Where every mean is small beside its standard deviation, x is not centred in the passes that follow: (x - mean) scale is
then as exact as x scale - mean scale, and one operation more.
"""

from collections.abc import Sequence

import numpy as np

from minires.kernels.cpu import parallel
from minires.kernels.cpu.activation import keep_where_positive
from minires.kernels.cpu.buffers import scratch
from minires.kernels.cpu.layout import channels_second
from minires.kernels.cpu.moments import Rows, centred, moments, sum_rows

__all__ = [
    "batch_norm_inference_backward",
    "batch_norm_inference_forward",
    "batch_norm_training_backward",
    "batch_norm_training_forward",
]

SMALL_MEAN = 2  # standard deviations


def worth_centring(mean: np.ndarray, inverse_std: np.ndarray) -> bool:
    """Whether some mean is so large that products with x lose digits unless it is subtracted first."""
    return not np.all(np.abs(mean * inverse_std) <= SMALL_MEAN)


def normalise(
    rows: Rows,
    x: np.ndarray,
    mean: np.ndarray,
    inverse_std: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    residual: np.ndarray | None,
    relu: bool,
    y: np.ndarray,
) -> None:
    """y = (x - mean) inverse_std weight + bias (+ residual), then ReLU; x, residual and y are widened, the others (C,).

    mean and inverse_std are float64.
    """
    scale, shift = inverse_std * or_constant(weight, rows.channels, 1.0), or_constant(bias, rows.channels, 0.0)
    middle = mean.astype(x.dtype) if worth_centring(mean, inverse_std) else None
    shift -= (mean if middle is None else mean - middle) * scale  # what `middle` rounded off belongs to the shift
    factors, terms = rows.vector(scale), rows.vector(shift)
    centre = None if middle is None else rows.vector(middle)
    zeros = np.zeros(x.shape[1], x.dtype)

    def work(blocks: Sequence[slice]) -> None:
        for block in blocks:
            part = y[block]
            np.multiply(centred(x[block], centre), factors, out=part)
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
    mean, variance = moments(rows, matrix)
    inverse_std = 1 / np.sqrt(variance + eps)
    addend = None if residual is None else rows.of(residual)
    normalise(rows, matrix, mean, inverse_std, weight, bias, addend, relu, rows.of(y))
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
    mean, inverse_std = fixed(running_mean, running_var, eps)
    addend = None if residual is None else rows.of(residual)
    normalise(rows, rows.of(x), mean, inverse_std, weight, bias, addend, relu, rows.of(y))
    return y


def fixed(running_mean: np.ndarray, running_var: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and 1 / standard deviation in float64."""
    return running_mean.astype(np.float64), 1 / np.sqrt(running_var.astype(np.float64) + eps)


class Backward:
    """What both backward passes share: g = relu_backward(grad, y), and its sums with x.

    g is written to memory of its own only if it is wanted for the residual (`keep_masked`), else to where dx will be.
    Without ReLU (y is None) it is grad itself.
    """

    def __init__(
        self,
        grad: np.ndarray,
        x: np.ndarray,
        mean: np.ndarray,
        inverse_std: np.ndarray,
        y: np.ndarray | None,
        keep_masked: bool,
    ) -> None:
        self.rows, self.dx = Rows(x), result_like(x)
        self.mean, self.inverse_std = mean.astype(np.float64), inverse_std.astype(np.float64)
        self.masked = grad if y is None else result_like(grad) if keep_masked else None
        self.x, self.out = self.rows.of(x), self.rows.of(self.dx)
        self.g = self.out if self.masked is None else self.rows.of(self.masked)
        middle = mean if worth_centring(self.mean, self.inverse_std) else None
        self.middle = None if middle is None else self.rows.vector(middle)
        self.offset = self.mean if middle is None else np.zeros(self.rows.channels)  # of the channels in self.x
        self.dbias, product = self._sums(self.rows.of(grad), None if y is None else self.rows.of(y))
        product -= self.offset * self.dbias
        # The derivative by a weight; of nothing it is 0, not 0 times NaN.
        self.dweight = product * self.inverse_std if self.rows.count else product

    def _sums(self, grad: np.ndarray, y: np.ndarray | None) -> np.ndarray:
        """(2, C) float64: the sums of g, which is found on the way, and of g (x - middle)."""

        def work(blocks: Sequence[slice]) -> np.ndarray:
            total = np.zeros((2, self.x.shape[1]))
            for block in reversed(blocks):
                g = self.g[block]
                if y is not None:
                    keep_where_positive(grad[block].reshape(-1), y[block].reshape(-1), g.reshape(-1))
                total[0] += sum_rows(g)
                total[1] += np.einsum("ij,ij->j", g, centred(self.x[block], self.middle))
            return total

        return self.rows.totals(parallel.over(self.rows.blocks, work))

    def scale(self, weight: np.ndarray | None) -> np.ndarray:
        return self.inverse_std * or_constant(weight, self.rows.channels, 1.0)

    def results(self, like: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        return self.dx, self.dweight.astype(like.dtype), self.dbias.astype(like.dtype), self.masked


def batch_norm_training_backward(
    grad: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray | None,
    mean: np.ndarray,
    inverse_std: np.ndarray,
    y: np.ndarray | None,
    keep_masked: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """As the reference; dx and masked_grad are stored channels last (masked_grad is grad itself where y is None)."""
    sums = Backward(grad, x, mean, inverse_std, y, keep_masked)
    count = max(sums.rows.count, 1)
    combine(sums, sums.scale(weight), sums.dbias / count, sums.dweight * sums.inverse_std / count)
    return sums.results(mean if weight is None else weight)


def combine(sums: Backward, scale: np.ndarray, through_mean: np.ndarray, through_variance: np.ndarray) -> None:
    """dx = scale (g - through_mean - (x - mean) through_variance); dx may lie where g does."""
    constant = sums.rows.vector(through_mean - sums.offset * through_variance)
    factors, slopes = sums.rows.vector(scale), sums.rows.vector(through_variance)

    def work(blocks: Sequence[slice]) -> None:
        for block in blocks:
            out = sums.out[block]
            part = scratch("part", out.shape, out.dtype)
            np.multiply(centred(sums.x[block], sums.middle), slopes, out=part)
            part += constant
            np.subtract(sums.g[block], part, out=out)
            out *= factors

    parallel.over(sums.rows.blocks, work)


def batch_norm_inference_backward(
    grad: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray | None,
    running_mean: np.ndarray,
    running_var: np.ndarray,
    eps: float,
    y: np.ndarray | None,
    keep_masked: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """As the reference; dx and masked_grad are stored channels last (masked_grad is grad itself where y is None)."""
    sums = Backward(grad, x, *fixed(running_mean, running_var, eps), y, keep_masked)
    factors = sums.rows.vector(sums.scale(weight))

    def work(blocks: Sequence[slice]) -> None:
        for block in blocks:
            np.multiply(sums.g[block], factors, out=sums.out[block])

    parallel.over(sums.rows.blocks, work)
    return sums.results(running_mean if weight is None else weight)
