"""Products of long matrices that have few columns, some rows at a time.

OpenBLAS first copies the operands of a product into an order that its inner loops like (it packs them), except where
the product takes few multiplications. For a matrix of many rows and up to `NARROW` columns the unpacked products of its
parts take less time than that of the whole: measured with AVX-512, 178 against 160 GFLOP/s for (places, 48) (48, 16),
253 against 197 for (places, 96) (96, 32), 256 against 215 for (places, 192) (192, 64).
"""

import numpy as np

from minires.kernels.cpu.buffers import scratch

UNPACKED = 10**6  # multiplications
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
