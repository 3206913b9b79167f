"""Large products as many small ones, which OpenBLAS does without copying.

OpenBLAS first copies the operands of a product into an order that its inner loops like (it packs them). Its AVX-512
kernels skip that where a product is small (up to 10**6 multiplications; interface "small matrix" in its sources). For a
matrix of many rows and up to `NARROW` columns the unpacked products of its parts take less time than that of the whole:
measured with AVX-512, 178 against 160 GFLOP/s for (places, 48) (48, 16), 253 against 197 for (places, 96) (96, 32), 256
against 215 for (places, 192) (192, 64). More columns are cut into groups, and np.matmul multiplies the whole grid of
pairs in one call.
"""

import functools

import numpy as np

from minires.kernels.cpu import parallel
from minires.kernels.cpu.buffers import scratch

Product = tuple[np.ndarray, np.ndarray, np.ndarray]  # left, right and out: what np.matmul is called with
UNPACKED = 10**6  # multiplications of a product that is not packed
COLUMNS = 64  # of a group
NARROW = 64  # columns
FEW_ROWS = 8  # of a part
FEW_PLACES = 64  # of a part whose rows are summed over: with fewer there is too little to add up at a time


def parts_of(rows: int, multiplications: int, least: int) -> int:
    """The smallest number of equal parts of `least` rows or more whose products are not packed; 1 if there is none."""
    for parts in range(max(1, -(-multiplications // UNPACKED)), rows // least + 1):
        if rows % parts == 0:
            return parts
    return 1


def multiplied(left: np.ndarray, right: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """left (P, rows, K) right (P, K, N), in `out` or scratch memory."""
    count, rows, inner = left.shape
    if out is None:
        out = scratch("products", (count, rows, right.shape[2]), left.dtype)
    parts = parts_of(rows, rows * inner * right.shape[2], FEW_ROWS) if right.shape[2] <= NARROW else 1
    split = left.reshape(count, parts, rows // parts, inner)
    np.matmul(split, right[:, None], out=out.reshape(count, parts, rows // parts, right.shape[2]))
    return out


def summed_over_rows(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left^T right (P, K, N) of matrices (P, rows, K) and (P, rows, N)."""
    count, rows, inner = left.shape
    parts = parts_of(rows, rows * inner * right.shape[2], FEW_PLACES)
    split = left.reshape(count, parts, rows // parts, inner).transpose(0, 1, 3, 2)
    products = np.matmul(split, right.reshape(count, parts, rows // parts, right.shape[2]))
    return products[:, 0] if parts == 1 else products.sum(axis=1)


@functools.cache
def small_products_pay() -> bool:
    """Whether this OpenBLAS has such kernels in use: those for AVX-512 (see minires/processor.py)."""
    return any(getattr(library, "architecture", None) == "SkylakeX" for library in parallel._blas())


def split(array: np.ndarray, axis: int, size: int) -> np.ndarray:
    """The axis cut into pieces of `size`: (..., length / size, size, ...); always a view."""
    axis %= array.ndim
    shape = (*array.shape[:axis], array.shape[axis] // size, size, *array.shape[axis + 1 :])
    strides = (*array.strides[:axis], array.strides[axis] * size, array.strides[axis], *array.strides[axis + 1 :])
    return np.lib.stride_tricks.as_strided(array, shape, strides)


def grid(left: np.ndarray, groups: np.ndarray, out: np.ndarray) -> list[Product]:
    """Products for out (..., R, N) = left (..., R, K) times groups (..., N / columns, 1, K, columns), rows in bands."""
    rows, inner, columns = left.shape[-2], groups.shape[-2], groups.shape[-1]
    height = max(1, UNPACKED // max(1, inner * columns))
    height = -(-rows // -(-rows // height))
    whole = rows // height * height
    products = []
    for part, high in ((slice(0, whole), height), (slice(whole, rows), rows - whole)):
        if high:
            bands = np.expand_dims(split(left[..., part, :], -2, high), -4)
            cut = split(split(out[..., part, :], -2, high), -1, columns)  # (..., bands, height, groups, columns)
            products.append((bands, groups, np.moveaxis(cut, -2, -4)))
    return products


def stretches(matrix: np.ndarray, values: np.ndarray, out: np.ndarray) -> list[Product]:
    """Products for out (P, M) = matrix (P, Q) values (Q, M), where P and Q are few and M is many: parts of M."""
    length = values.shape[1]
    stretch = UNPACKED // matrix.size if small_products_pay() else 8192
    stretch = max(64, stretch // 64 * 64)
    whole = length // stretch * stretch
    products = []
    if whole:
        left, right = (split(a[:, :whole], 1, stretch).transpose(1, 0, 2) for a in (values, out))
        products.append((matrix, left, right))
    if whole < length:
        products.append((matrix, values[:, whole:], out[:, whole:]))
    return products
