"""Sums along axes that keep their digits however many numbers are added up.

Along the axis that is fastest in memory NumPy adds by halves (pairwise), so that rounding errors stay small. Along any
other it adds row after row to a sum that grows: of a million float32 rows three of seven digits are lost, and from
2**24 on a sum of ones does not grow any more. So beyond some hundred rows the sums are kept in float64.
"""

import math
from collections.abc import Sequence

import numpy as np

from minires.kernels.cpu import parallel
from minires.kernels.cpu.stretches import in_blocks

__all__ = ["add_to", "sum_over"]

RUN = 256  # additions to one sum before it is handed over to float64


def sum_over(x: np.ndarray, axes: tuple[int, ...], keepdims: bool) -> np.ndarray:
    """As the reference."""
    if additions(x, axes) <= RUN or not x.size:
        return np.asarray(x.sum(axis=axes, keepdims=keepdims))
    kept = tuple(1 if axis in axes else length for axis, length in enumerate(x.shape))
    matrix = as_rows(x, axes)
    if matrix is None:
        total = x.sum(axis=axes, keepdims=True, dtype=np.float64)
    else:
        total = sum_rows(matrix).reshape(kept)
    y = total.astype(x.dtype, copy=False)
    return y if keepdims else y.squeeze(axes)


def additions(x: np.ndarray, axes: tuple[int, ...]) -> int:
    """How many rounded additions go one after the other into each sum; a run of neighbours in memory counts as one."""
    run, stride = 1, None
    for axis in sorted(range(x.ndim), key=lambda axis: abs(x.strides[axis])):
        if x.shape[axis] == 1:
            continue
        if axis not in axes or x.strides[axis] == 0 or stride not in (None, abs(x.strides[axis])):
            break
        run, stride = run * x.shape[axis], abs(x.strides[axis]) * x.shape[axis]
    return math.prod(x.shape[axis] for axis in axes) // max(run, 1)


def as_rows(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray | None:
    """A view of x as the matrix whose rows are to be added up (channels-last images are one), or None."""
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    slow = sorted(axes, key=lambda axis: -x.strides[axis])
    rows = x.transpose(*slow, *kept)
    if not rows.flags.c_contiguous:
        return None
    return rows.reshape(-1, math.prod(x.shape[axis] for axis in kept))


def sum_rows(matrix: np.ndarray) -> np.ndarray:
    """The sum of a matrix's rows, float64; of a block by a product with a row of ones, twice as fast as `sum`."""

    def work(blocks: Sequence[slice]) -> np.ndarray:
        total = np.zeros(matrix.shape[1])
        for block in blocks:
            total += np.ones(block.stop - block.start, matrix.dtype) @ matrix[block]
        return total

    return parallel.added(parallel.over(parallel.ranges(len(matrix), RUN), work))


def add_to(total: np.ndarray, x: np.ndarray) -> None:
    """As the reference."""
    in_blocks([total, x], add_part)


def add_part(total: np.ndarray, x: np.ndarray) -> None:
    total += x
