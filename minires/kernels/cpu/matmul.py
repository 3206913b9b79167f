"""Matrix product: BLAS in the operands' own type, the rows of a large product divided among the threads."""

from collections.abc import Sequence

import numpy as np

from minires.kernels.cpu import parallel

__all__ = ["matmul"]

WORTH_SHARING = 1 << 20  # multiplications


def for_blas(a: np.ndarray) -> np.ndarray:
    """`a`, or a contiguous copy where BLAS could read neither rows nor columns (NumPy would use plain loops)."""
    if a.ndim == 0 or a.itemsize in a.strides[-2:]:
        return a
    return np.ascontiguousarray(a)


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """As the reference."""
    a, b = for_blas(a), for_blas(b)
    if a.ndim != 2 or b.ndim != 2 or len(a) < 2 or a.size * b.shape[1] < WORTH_SHARING:
        return parallel.over([None], lambda _: np.asarray(np.matmul(a, b)))[0]
    product = np.empty((a.shape[0], b.shape[1]), np.result_type(a, b))

    def work(blocks: Sequence[slice]) -> None:
        for rows in blocks:
            np.matmul(a[rows], b, out=product[rows])

    parallel.over(parallel.ranges(len(a), -(-len(a) // parallel.current_threads())), work)
    return product
