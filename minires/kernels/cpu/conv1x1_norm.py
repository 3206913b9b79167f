"""A 1x1 convolution and the batch norm behind it, in training; what it rests on stands in reference/conv1x1_norm.py.

Each pass runs over blocks of places: the products of a block, and all that is done to them, happen in the cache.
"""

from collections.abc import Sequence

import numpy as np

from minires.kernels.cpu import parallel, pointwise
from minires.kernels.cpu.activation import keep_where_positive
from minires.kernels.cpu.buffers import scratch
from minires.kernels.cpu.conv import images_last
from minires.kernels.cpu.conv_act import Finish
from minires.kernels.cpu.layout import channels_second, rows_of
from minires.kernels.cpu.moments import sum_rows
from minires.kernels.cpu.norm import or_constant, statistics_type
from minires.kernels.cpu.windows import Geometry
from minires.kernels.shapes import Pair, convolution_sizes

__all__ = ["conv1x1_moments", "conv1x1_norm_backward", "conv1x1_norm_forward"]

BUDGET = 1 << 18  # values of a block on its wider side
ROWS = 1 << 8  # but at least so many places: BLAS packs the filters again for every block
PART = 1 << 16  # values of a part of a block that is masked and added up at a time


def geometry_of(x: np.ndarray, stride: Pair) -> Geometry:
    output = convolution_sizes((x.shape[2], x.shape[3]), (1, 1), stride, (0, 0), (1, 1))
    return Geometry((1, 1), stride, (0, 0), (1, 1), output)


def matrix_of(weight: np.ndarray) -> np.ndarray:
    """Filters (O, C, 1, 1) as (O, C)."""
    return pointwise.matrix(images_last(weight))


def blocks_of(rows: int, width: int) -> list[slice]:
    return parallel.ranges(rows, max(ROWS, BUDGET // max(1, width)))


def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left right, its rows shared among the threads."""
    out = np.empty((len(left), right.shape[1]), left.dtype)

    def work(blocks: Sequence[slice]) -> None:
        for rows in blocks:
            np.matmul(left[rows], right, out=out[rows])

    parallel.over(parallel.ranges(len(left), max(1, len(left) // 2)), work)
    return out


def conv1x1_moments(
    x: np.ndarray, weight: np.ndarray, stride: Pair
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """As the reference."""
    places, filters = pointwise.picked(images_last(x), geometry_of(x, stride)), matrix_of(weight)

    def work(blocks: Sequence[slice]) -> tuple[np.ndarray, np.ndarray]:
        total, products = np.zeros(x.shape[1]), np.zeros((x.shape[1], x.shape[1]))
        for rows in blocks:
            part = places[rows]
            total += sum_rows(part)
            products += np.matmul(part.T, part, out=scratch("product", products.shape, part.dtype))
        return total, products

    totals, sums = zip(*parallel.over(blocks_of(len(places), x.shape[1]), work), strict=True)
    count = max(len(places), 1)
    x_mean, products = parallel.added(totals) / count, parallel.added(sums)
    squares = np.square(filters, dtype=np.float64) @ np.diagonal(products) / count
    products -= np.outer(x_mean * count, x_mean)
    spread = product(filters, products.astype(x.dtype))
    variance = np.maximum(np.einsum("oc,oc->o", spread, filters, dtype=np.float64) / count, 0)
    return filters @ x_mean, variance, x_mean, spread, squares


def conv1x1_norm_forward(
    x: np.ndarray,
    conv_weight: np.ndarray,
    stride: Pair,
    mean: np.ndarray,
    inverse_std: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    residual: np.ndarray | None,
    relu: bool,
) -> np.ndarray:
    """As the reference; y is stored channels last."""
    geometry, filters = geometry_of(x, stride), matrix_of(conv_weight)
    scale = inverse_std * or_constant(weight, len(filters), 1.0)
    shift = or_constant(bias, len(filters), 0.0) - mean * scale
    left, right = pointwise.picked(images_last(x), geometry), (filters * scale[:, None]).astype(x.dtype).T
    y = np.empty((len(x), *geometry.output, len(filters)), x.dtype)
    matrix = pointwise.matrix(y)
    finish = Finish(matrix, shift, residual, relu)

    def work(blocks: Sequence[slice]) -> None:
        for rows in blocks:
            np.matmul(left[rows], right, out=matrix[rows])
            finish(rows)

    parallel.over(blocks_of(len(left), len(filters)), work)
    return channels_second(y)


def conv1x1_norm_backward(
    grad: np.ndarray,
    x: np.ndarray,
    conv_weight: np.ndarray,
    stride: Pair,
    inverse_std: np.ndarray,
    x_mean: np.ndarray,
    spread: np.ndarray,
    weight: np.ndarray | None,
    y: np.ndarray | None,
    keep_masked: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """As the reference; dx and masked_grad are stored channels last (masked_grad is grad itself where y is None)."""
    geometry, filters = geometry_of(x, stride), matrix_of(conv_weight)
    places, upstream = pointwise.picked(images_last(x), geometry), rows_of(grad)
    passed = upstream if y is None else np.empty_like(upstream)
    dbias, product_sums = masked_sums(upstream, None if y is None else rows_of(y), places, passed)
    product_sums -= np.outer(dbias, x_mean)
    dweight = np.einsum("oc,oc->o", product_sums, filters) * inverse_std
    scale, count = inverse_std * or_constant(weight, len(filters), 1.0), max(len(places), 1)
    slope = scale * inverse_std * dweight / count
    dconv_weight = scale[:, None] * product_sums - slope[:, None] * spread
    back = (filters * scale[:, None]).astype(x.dtype)
    through_variance = product((filters * slope[:, None]).astype(x.dtype).T, filters)
    constant = x_mean @ through_variance - (scale * dbias / count) @ filters
    met = combined(passed, back, places, through_variance, constant.astype(x.dtype))
    shape = (len(x), *geometry.output)
    dx = pointwise.placed(met.reshape(*shape, -1), geometry, images_last(x).shape)
    kind = statistics_type(x)
    gradients = dconv_weight.astype(x.dtype).reshape(conv_weight.shape), dweight.astype(kind), dbias.astype(kind)
    kept = grad if y is None else channels_second(passed.reshape(*shape, -1)) if keep_masked else None
    return channels_second(dx), *gradients, kept


def masked_sums(
    grad: np.ndarray, y: np.ndarray | None, places: np.ndarray, passed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fills passed, g, (places, O) unless y is None; (O,) and (O, C) float64: the sums of g and of g x^T."""

    def work(blocks: Sequence[slice]) -> tuple[np.ndarray, np.ndarray]:
        total, products = np.zeros(grad.shape[1]), np.zeros((grad.shape[1], places.shape[1]), grad.dtype)
        step = max(1, PART // max(1, grad.shape[1]))
        for rows in blocks:
            for start in range(rows.start, rows.stop, step):
                part = slice(start, min(start + step, rows.stop))
                if y is not None:
                    keep_where_positive(grad[part].reshape(-1), y[part].reshape(-1), passed[part].reshape(-1))
                total += sum_rows(passed[part])
            products += np.matmul(passed[rows].T, places[rows], out=scratch("product", products.shape, grad.dtype))
        return total, products

    totals, sums = zip(*parallel.over(blocks_of(len(grad), grad.shape[1]), work), strict=True)
    return parallel.added(totals), parallel.added(sums).astype(np.float64)


def combined(
    g: np.ndarray, back: np.ndarray, places: np.ndarray, through_variance: np.ndarray, constant: np.ndarray
) -> np.ndarray:
    """g back - places through_variance + constant: (places, C)."""
    met = np.empty_like(places)

    def work(blocks: Sequence[slice]) -> None:
        for rows in blocks:
            part = np.matmul(g[rows], back, out=met[rows])
            part -= np.matmul(places[rows], through_variance, out=scratch("product", part.shape, part.dtype))
            part += constant

    parallel.over(blocks_of(len(g), g.shape[1]), work)
    return met
