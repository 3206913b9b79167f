"""Matrix products of a plan: the right operand (a layer's weights) is known beforehand and can be laid out for speed.

OpenBLAS copies both operands into an order of its own before it multiplies. Its AVX-512 kernels skip that where a
product is small (up to 10**6 multiplications; interface "small matrix" in its sources), and then reach 250 to 265
GFLOP/s instead of 160 to 240 here. So the weights are cut into groups of 64 columns, the left operand into as many rows
as make a small product with them, and np.matmul multiplies the whole grid of pairs in one call.
"""

import functools
from collections.abc import Callable

import numpy as np

from minires.kernels.cpu import parallel
from minires.kernels.cpu.inference_layout import Call

SMALL = 10**6  # multiplications of a product that OpenBLAS does without copying
COLUMNS = 64
FEWEST_ROWS = 14  # with fewer, the weights are read too often
MANY_ROWS = 1024  # from here on, copying costs little where the weights are many, too


@functools.cache
def small_products_pay() -> bool:
    """Whether this OpenBLAS has such kernels in use: those for AVX-512 (see minires/processor.py)."""
    return any(getattr(library, "architecture", None) == "SkylakeX" for library in parallel._blas())


class Weights:
    """The right operand (..., K, N): a matrix, or several for as many left operands. Kept in the orders in use only."""

    def __init__(self, shape: tuple[int, ...], make: Callable[[], np.ndarray]) -> None:
        self.shape, self.make = shape, make
        self.kept: dict[str, np.ndarray] = {}

    @property
    def columns(self) -> int:
        """Of a group: a number that divides N."""
        n = self.shape[-1]
        return n if n <= COLUMNS else next((c for c in (COLUMNS, 48, 32) if n % c == 0), n)

    def plain(self) -> np.ndarray:
        """(..., K, N), contiguous."""
        if "plain" not in self.kept:
            self.kept["plain"] = np.ascontiguousarray(self.make())
        return self.kept["plain"]

    def grouped(self) -> np.ndarray:
        """(..., N / columns, 1, K, columns), contiguous."""
        if "grouped" not in self.kept:
            *many, k, n = self.shape
            cut = self.make().reshape(*many, k, n // self.columns, 1, self.columns)
            self.kept["grouped"] = np.ascontiguousarray(np.moveaxis(cut, -4, -2))
        return self.kept["grouped"]

    @property
    def bytes(self) -> int:
        return sum(array.nbytes for array in self.kept.values())

    def product(self, left: np.ndarray, out: np.ndarray) -> list[Call]:
        """Calls that compute out (..., R, N) = left (..., R, K) right."""
        rows, k = left.shape[-2:]
        height = SMALL // max(1, k * self.columns)
        if not small_products_pay() or height < min(FEWEST_ROWS, rows) or not k or not out.size:
            return [functools.partial(np.matmul, left, self.plain(), out)]
        height = -(-rows // -(-rows // height))
        whole = rows // height * height
        parts = [(slice(0, whole), height)] + ([(slice(whole, rows), rows - whole)] if whole < rows else [])
        return [self._grid(left[..., part, :], out[..., part, :], high) for part, high in parts]

    def _grid(self, left: np.ndarray, out: np.ndarray, height: int) -> Call:
        """left as (..., 1, bands, height, K), the weights as (..., groups, 1, K, columns)."""
        *many, rows, k = left.shape
        bands = split(left, -2, height).reshape(*many, 1, rows // height, height, k)
        cut = split(split(out, -2, height), -1, self.columns)  # (..., bands, height, groups, columns)
        grid = np.moveaxis(cut, -2, -4)
        return functools.partial(np.matmul, bands, self.grouped(), grid)


def split(array: np.ndarray, axis: int, size: int) -> np.ndarray:
    """The axis cut into pieces of `size`: (..., length / size, size, ...); always a view."""
    axis %= array.ndim
    shape = (*array.shape[:axis], array.shape[axis] // size, size, *array.shape[axis + 1 :])
    strides = (*array.strides[:axis], array.strides[axis] * size, array.strides[axis], *array.strides[axis + 1 :])
    return np.lib.stride_tricks.as_strided(array, shape, strides)


def transform(matrix: np.ndarray, values: np.ndarray, out: np.ndarray) -> list[Call]:
    """Calls for out (P, M) = matrix (P, Q) values (Q, M), where P and Q are few and M is many: a stretch at a time."""
    length = values.shape[1]
    stretch = SMALL // matrix.size if small_products_pay() else 8192
    stretch = max(64, stretch // 64 * 64)
    whole = length // stretch * stretch
    calls: list[Call] = []
    if whole:
        left, right = (split(a[:, :whole], 1, stretch).transpose(1, 0, 2) for a in (values, out))
        calls.append(functools.partial(np.matmul, matrix, left, right))
    if whole < length:
        calls.append(functools.partial(np.matmul, matrix, values[:, whole:], out[:, whole:]))
    return calls
