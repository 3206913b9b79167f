"""Convolution by 1x1 windows: y = x W^T, one product of (places, C) with (C, O). A stride first picks its places."""

import math
from collections.abc import Sequence

import numpy as np

from minires.kernels.cpu import parallel
from minires.kernels.cpu.windows import Geometry

BUDGET = 1 << 18  # values of a block of rows on its wider side


def picked(x: np.ndarray, geometry: Geometry) -> np.ndarray:
    """The matrix (places, C) of what the windows of x (N, H, W, C) meet: every place, or every s-th."""
    (sh, sw), (oh, ow) = geometry.stride, geometry.output
    part = x[:, : sh * (oh - 1) + 1 : sh, : sw * (ow - 1) + 1 : sw]
    return matrix(part)


def matrix(x: np.ndarray) -> np.ndarray:
    """(N, H, W, C) as (N H W, C), contiguous."""
    return np.ascontiguousarray(x).reshape(math.prod(x.shape[:3]), x.shape[3])


def row_blocks(rows: int, *widths: int) -> list[slice]:
    return parallel.ranges(rows, BUDGET // max(1, *widths))


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


def input_gradient(grad: np.ndarray, filters: np.ndarray, geometry: Geometry, dx: np.ndarray) -> None:
    """grad (N, OH, OW, O); fills dx (N, H, W, C): zero at the places that a stride left out."""
    if geometry.stride == (1, 1):
        product(matrix(grad), matrix(filters), None, matrix(dx))
        return
    (sh, sw), (oh, ow) = geometry.stride, geometry.output
    met = np.empty((*grad.shape[:3], dx.shape[3]), dx.dtype)
    product(matrix(grad), matrix(filters), None, matrix(met))
    dx[...] = 0
    dx[:, : sh * (oh - 1) + 1 : sh, : sw * (ow - 1) + 1 : sw] = met


def weight_gradient(grad: np.ndarray, x: np.ndarray, geometry: Geometry) -> np.ndarray:
    """dweight (O, C) = grad^T x over all places, block by block."""
    rows, upstream = picked(x, geometry), matrix(grad)

    def work(blocks: Sequence[slice]) -> np.ndarray:
        total = np.zeros((upstream.shape[1], rows.shape[1]), grad.dtype)
        for block in blocks:
            total += upstream[block].T @ rows[block]
        return total

    return parallel.added(parallel.over(row_blocks(rows.shape[0], rows.shape[1], upstream.shape[1]), work))
