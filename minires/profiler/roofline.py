"""What the machine can do: the roofs under which every kernel lies (Williams, Waterman and Patterson 2009, "Roofline").

A kernel with f operations and b bytes takes at least max(f / product rate, b / copy rate) seconds. Both rates are
measured, by NumPy's matrix product and by copying, with as many threads as the kernels use.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from minires.kernels.cpu import parallel


@dataclass(frozen=True)
class Roofline:
    """flops: float32 operations a second of a large matrix product; bytes: bytes a second of a large copy, read and
    written; threads: with how many of them."""

    flops: float
    bytes: float
    threads: int

    def least_seconds(self, flops: float, moved: float) -> float:
        """The shortest time that the machine allows."""
        return max(flops / self.flops, moved / self.bytes)

    def bound(self, flops: float, moved: float) -> str:
        """Which roof is the lower one, "product" or "memory"; "" where nothing was counted."""
        if flops <= 0 and moved <= 0:
            return ""
        return "product" if flops / self.flops > moved / self.bytes else "memory"


def measure_roofline(size: int = 2048, repeats: int = 5) -> Roofline:
    """Measure this machine now: products of size x size matrices, and copies of 128 MB. Takes about a second."""
    left, right = (np.full((size, size), value, np.float32) for value in (0.5, 0.25))
    product = np.empty_like(left)
    source, target = np.ones((8192, 4096), np.float32), np.zeros((8192, 4096), np.float32)

    def copy(blocks: Sequence[slice]) -> None:
        for rows in blocks:
            np.copyto(target[rows], source[rows])

    def copy_all() -> None:
        parallel.over(parallel.ranges(len(source), 64), copy)

    product_seconds = _median(lambda: np.matmul(left, right, out=product), repeats)
    return Roofline(2 * size**3 / product_seconds, 2 * source.nbytes / _median(copy_all, repeats),
                    parallel.blas_threads())  # fmt: skip


def _median(call: Callable[[], object], repeats: int) -> float:
    """The median time of `repeats` calls, after one to warm up."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
