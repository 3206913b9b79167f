"""Arithmetic on several arrays of one shape, element by element, along the memory in which they lie."""

from collections.abc import Callable, Sequence

import numpy as np

from minires.kernels.cpu import parallel

BUDGET = 1 << 16  # values a block


def is_dense(array: np.ndarray) -> bool:
    """Whether the values lie side by side in memory, in whatever order of the axes."""
    order = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    return array.transpose(order).flags.c_contiguous


def in_blocks(arrays: list[np.ndarray | None], update: Callable[..., None]) -> None:
    """update(*parts), where the parts are the arrays' views of one stretch of memory, for every stretch.

    Where the arrays are not all dense in one order of the axes, update(*arrays) once.
    """
    given = [array for array in arrays if array is not None]
    first = given[0]
    if any(array.strides != first.strides or array.dtype != first.dtype for array in given) or not is_dense(first):
        update(*arrays)
        return
    flat = [None if array is None else array.ravel(order="K") for array in arrays]

    def work(blocks: Sequence[slice]) -> None:
        for block in blocks:
            update(*(None if array is None else array[block] for array in flat))

    parallel.over(parallel.ranges(first.size, BUDGET), work)
