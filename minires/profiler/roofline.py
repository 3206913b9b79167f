"""What the machine can do: the roofs under which every kernel lies (Williams, Waterman and Patterson 2009, "Roofline").

A kernel with f operations and b bytes takes at least max(f / product rate, b / copy rate) seconds. Both rates are
measured, by NumPy's matrix product and by copying, with as many threads as the kernels use; on a GPU by cuBLAS and by
CuPy's copy.
"""

import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from minires import cuda
from minires.backend import as_dtype, float32, gpu_module
from minires.kernels.cpu import parallel
from minires.kernels.cuda.convs import product
from minires.profiler.clocks import Clock, clock_of


@dataclass(frozen=True)
class Roofline:
    """flops: float32 operations a second of a large matrix product; bytes: bytes a second of a large copy, read and
    written; threads: with how many of them; gpu: or on which GPU, and in which type the product was."""

    flops: float
    bytes: float
    threads: int
    gpu: str = ""

    @property
    def where(self) -> str:
        """What was measured: "4 threads", or the GPU."""
        return self.gpu or f"{self.threads} threads"

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


GPU_SIDE, GPU_NUMBERS = 8192, 1 << 26  # the side of the matrices; how many float32 are copied, 256 MB


def measure_gpu_roofline(kind: str = "float32", repeats: int = 5) -> Roofline:
    """Measure the present GPU now, for products in float32, tf32, float16 or bfloat16. RuntimeError without a GPU."""
    library, name = gpu_module(), cuda.get_device_name()
    dtype = as_dtype("float32" if kind == "tf32" else kind)
    a = library.full((GPU_SIDE, GPU_SIDE), 0.5, float32).astype(dtype)
    source, target = (library.zeros(GPU_NUMBERS, float32) for _ in range(2))
    product_seconds = _median(lambda: product(a, a, exact=kind != "tf32"), repeats, "cuda")
    copy_seconds = _median(lambda: library.copyto(target, source), repeats, "cuda")
    return Roofline(2 * GPU_SIDE**3 / product_seconds, 2 * source.nbytes / copy_seconds, parallel.blas_threads(),
                    f"{name}, {kind}")  # fmt: skip


def _median(call: Callable[[], object], repeats: int, device: str = "cpu") -> float:
    """The median time of `repeats` calls, after one to warm up."""
    call()
    return statistics.median(times(call, repeats, clock_of(device)))


def times(call: Callable[[], object], repeats: int, clock: Clock) -> list[float]:
    """Seconds of each of `repeats` calls in a row; a GPU is waited for after the last."""
    marks = [clock.mark()]
    for _ in range(repeats):
        call()
        marks.append(clock.mark())
    clock.settle()
    return [clock.seconds(first, last) for first, last in itertools.pairwise(marks)]
