"""The transforms of `strips`: pictures and filters to the six points, and products back from them.

Each is a product of a small matrix with rows of the picture, or of the filters, where they lie.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minires.kernels.cpu import parallel
from minires.kernels.cpu.buffers import scratch
from minires.kernels.cpu.layout import copy_runs
from minires.kernels.cpu.windows import Block
from minires.kernels.cpu.winograd import POINTS, SIDE, TILE, WINDOW, transforms
from minires.kernels.shapes import Pair

STRIP = TILE
OUTPUT, FILTER, INPUT = transforms(POINTS)  # (4, 6), (6, 3), (6, 6)
FILTERS = 1 << 20  # values of transformed filters that a thread finds at a time


def strips_of(rows: int) -> int:
    """How many strips cover so many rows; the last may overhang."""
    return -(-rows // STRIP)


def evaluated(
    matrix: np.ndarray, x: np.ndarray, block: Block, padding: Pair, name: str, out: np.ndarray | None = None
) -> np.ndarray:
    """matrix (6, Q) times Q rows of images x (N, H, W, C) for each strip of a block: (6, n, strips, columns C).

    In `out`, or scratch memory. `padding`: zeros above and below the image, which only shorten the products of the
    outer strips, and columns of zeros on its left and right, which stand in the result. x is contiguous.
    """
    height, row, (above, beside), rows = x.shape[1], x.shape[2] * x.shape[3], padding, matrix.shape[1]
    edge = beside * x.shape[3]
    if out is None:
        out = scratch(name, (SIDE, *block.shape, row + 2 * edge), x.dtype)
    out[..., :edge] = 0
    out[..., edge + row :] = 0
    inner = out[..., edge : edge + row].transpose(1, 2, 0, 3)
    left, images = matrix.astype(x.dtype), x[block.first : block.last].reshape(block.shape[0], height, row)
    low = max(block.top, -(-above // STRIP))  # strips from here see rows of the image only
    high = max(low, min(block.bottom, (height + above - rows) // STRIP + 1))  # and from here not any more
    if low < high:
        seen = strips_of_rows(images[:, STRIP * low - above :], high - low, rows)
        np.matmul(left, seen, out=inner[:, low - block.top : high - block.top])
    for strip in (*range(block.top, min(low, block.bottom)), *range(high, block.bottom)):
        top = STRIP * strip - above
        first, last = max(top, 0), max(top, 0, min(top + rows, height))
        np.matmul(left[:, first - top : last - top], images[:, first:last], out=inner[:, strip - block.top])
    return out


def strips_of_rows(images: np.ndarray, count: int, rows: int) -> np.ndarray:
    """Images (n, rows, values) as strips (n, count, rows, values), STRIP apart, which may overlap: a view."""
    image, row, value = images.strides
    return as_strided(images, (len(images), count, rows, images.shape[2]), (image, STRIP * row, row, value))


def im2col(rows: np.ndarray, width: int, channels: int, out: np.ndarray | None = None) -> np.ndarray:
    """rows (6, n, strips, columns C) as matrices (6, places, 3 C): `width` windows a row.

    In `out`, or scratch memory.
    """
    strides = (*rows.strides[:3], channels * rows.itemsize, rows.itemsize)
    windows = as_strided(rows, (*rows.shape[:3], width, WINDOW * channels), strides)
    if out is None:
        out = scratch("im2col", (SIDE, math.prod(windows.shape[1:4]), WINDOW * channels), rows.dtype)
    copy_runs(out.reshape(windows.shape), windows)
    return out


def interpolated(products: np.ndarray, block: Block, y: np.ndarray) -> None:
    """Write A^T products (6, places, O) of a block to its rows of y (N, OH, OW, O), but for what overhangs."""
    height, row = y.shape[1], y.shape[2] * y.shape[3]
    rows = products.reshape(SIDE, *block.shape, row).transpose(1, 2, 0, 3)
    part, left = y[block.first : block.last].reshape(block.shape[0], height, row), OUTPUT.astype(y.dtype)
    whole = min(block.bottom, height // STRIP)
    if block.top < whole:
        full = strips_of_rows(part[:, STRIP * block.top :], whole - block.top, STRIP)
        np.matmul(left, rows[:, : whole - block.top], out=full)
    if whole < block.bottom:
        np.matmul(left[: height - STRIP * whole], rows[:, whole - block.top], out=part[:, STRIP * whole :])


def filters_at_points(filters: np.ndarray) -> np.ndarray:
    """filters (O, 3, 3, C) at the six points of their rows: (6, O, 3, C)."""
    source = np.ascontiguousarray(filters)
    out = np.empty((SIDE, *filters.shape[:1], *filters.shape[2:]), filters.dtype)
    _by_output(FILTER.astype(filters.dtype), source.transpose(0, 2, 1, 3), out.transpose(1, 2, 0, 3))
    return out


def mirrored_at_points(filters: np.ndarray) -> np.ndarray:
    """The filters of the data gradient, g[o, 2 - k, 2 - l, c], at the six points of their rows: (6, 3, O, C)."""
    source = np.ascontiguousarray(filters)[:, :, ::-1]
    out = np.empty((SIDE, WINDOW, len(filters), filters.shape[3]), filters.dtype)
    _by_output(FILTER[:, ::-1].astype(filters.dtype), source.transpose(0, 2, 1, 3), out.transpose(2, 1, 0, 3))
    return out


def mirrored_from_points(gradient: np.ndarray) -> np.ndarray:
    """The way back, transposed: the gradient (6, 3, O, C) by the mirrored filters at the points as one by the filters.

    (O, 3, 3, C).
    """
    dweight = np.empty((gradient.shape[2], WINDOW, WINDOW, gradient.shape[3]), gradient.dtype)
    left = FILTER[:, ::-1].T.astype(gradient.dtype)
    _by_output(left, gradient.transpose(2, 1, 0, 3), dweight[:, :, ::-1].transpose(0, 2, 1, 3))
    return dweight


def _by_output(matrix: np.ndarray, values: np.ndarray, out: np.ndarray) -> None:
    """out (O, 3, P, C) = matrix (P, Q) times values (O, 3, Q, C), the output channels shared among the threads."""
    left = np.ascontiguousarray(matrix)

    def work(blocks: Sequence[slice]) -> None:
        for block in blocks:
            np.matmul(left, values[block], out=out[block])

    parallel.over(parallel.ranges(len(values), FILTERS // max(1, SIDE * WINDOW * values.shape[3])), work)
