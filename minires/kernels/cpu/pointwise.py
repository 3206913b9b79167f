"""Convolution by 1x1 windows: y = x W^T, one product of (places, C) with (C, O). A stride first picks its places."""

import math
from collections.abc import Sequence

import numpy as np

from minires.kernels.cpu import parallel
from minires.kernels.cpu.buffers import scratch
from minires.kernels.cpu.windows import Geometry

BUDGET = 1 << 18  # values of a block of rows on its wider side
ROWS = 1 << 10  # but at least so many rows: BLAS packs the filters again for every block


def picked(x: np.ndarray, geometry: Geometry) -> np.ndarray:
    """The matrix (places, C) of what the windows of x (N, H, W, C) meet: every place, or every s-th."""
    (sh, sw), (oh, ow) = geometry.stride, geometry.output
    part = x[:, : sh * (oh - 1) + 1 : sh, : sw * (ow - 1) + 1 : sw]
    return matrix(part)


def matrix(x: np.ndarray) -> np.ndarray:
    """(N, H, W, C) as (N H W, C), contiguous."""
    return np.ascontiguousarray(x).reshape(math.prod(x.shape[:3]), x.shape[3])


def row_blocks(rows: int, *widths: int) -> list[slice]:
    return parallel.ranges(rows, max(ROWS, BUDGET // max(1, *widths)))


def product(left: np.ndarray, right: np.ndarray, bias: np.ndarray | None, out: np.ndarray) -> None:
    """out = left right (+ bias to each row), a block of rows at a time."""

    def work(blocks: Sequence[slice]) -> None:
        for rows in blocks:
            np.matmul(left[rows], right, out=out[rows])
            if bias is not None:
                out[rows] += bias

    parallel.over(row_blocks(left.shape[0], left.shape[1], right.shape[1]), work)


def forward(x: np.ndarray, filters: np.ndarray, bias: np.ndarray | None, geometry: Geometry, y: np.ndarray) -> None:
    """x (N, H, W, C), filters (O, 1, 1, C); fills y (N, OH, OW, O)."""
    product(picked(x, geometry), matrix(filters).T, bias, matrix(y))


def gradients(
    grad: np.ndarray, x: np.ndarray | None, filters: np.ndarray | None, geometry: Geometry, shape: tuple[int, ...]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """dx (N, H, W, C), which has the given shape, unless filters (O, 1, 1, C) is None; dweight unless x is None.

    grad (N, OH, OW, O), x (N, H, W, C), dweight (O, 1, 1, C). Both in one pass over grad, a block of rows at a time:
    dx = grad W, and dweight is the sum of the blocks' grad^T x. dx is zero at the places that a stride left out.
    """
    upstream, outputs, channels = matrix(grad), grad.shape[3], shape[3]
    rows = None if x is None else picked(x, geometry)
    right = None if filters is None else matrix(filters)
    met = None if filters is None else np.empty((len(upstream), channels), grad.dtype)

    def work(blocks: Sequence[slice]) -> np.ndarray:
        total = np.zeros((outputs, channels), grad.dtype)
        for block in blocks:
            part = upstream[block]
            if met is not None and right is not None:
                np.matmul(part, right, out=met[block])
            if rows is not None:
                total += np.matmul(part.T, rows[block], out=scratch("product", total.shape, total.dtype))
        return total

    totals = parallel.over(row_blocks(len(upstream), channels, outputs), work)
    dx = None if met is None else placed(met.reshape(*grad.shape[:3], channels), geometry, shape)
    return dx, None if x is None else parallel.added(totals).reshape(outputs, 1, 1, channels)


def placed(met: np.ndarray, geometry: Geometry, shape: tuple[int, ...]) -> np.ndarray:
    """(N, H, W, C) of the given shape: met (N, OH, OW, C) at the places that the windows meet, zero elsewhere."""
    if met.shape == shape:
        return met
    (sh, sw), (oh, ow) = geometry.stride, geometry.output
    dx = np.zeros(shape, met.dtype)
    dx[:, : sh * (oh - 1) + 1 : sh, : sw * (ow - 1) + 1 : sw] = met
    return dx
