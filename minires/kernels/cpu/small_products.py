"""Products of long matrices that have few columns, a few images at a time.

OpenBLAS first copies the operands of a product into an order that its inner loops like (it packs them), except where
the product takes few multiplications. For a matrix of many rows and up to `NARROW` columns the unpacked products of its
parts take less time than that of the whole: measured with AVX-512, 178 against 160 GFLOP/s for (places, 48) (48, 16),
253 against 197 for (places, 96) (96, 32), 256 against 215 for (places, 192) (192, 64).
"""

import numpy as np

from minires.kernels.cpu.buffers import scratch

UNPACKED = 10**6  # multiplications
NARROW = 64  # columns
FEW_ROWS = 100  # of a part whose places are summed over: with fewer there is too little to add up at a time


def parts_of(images: int, multiplications: int) -> int:
    """The smallest number of equal parts of whole images whose products are not packed; 1 where there is none."""
    return next(
        (parts for parts in range(1, images + 1) if images % parts == 0 and multiplications <= parts * UNPACKED), 1
    )


def multiplied(left: np.ndarray, right: np.ndarray, images: int) -> np.ndarray:
    """left (P, rows, K) right (P, K, N) in scratch memory; the rows are those of so many images."""
    count, rows, inner = left.shape
    out = scratch("products", (count, rows, right.shape[2]), left.dtype)
    parts = parts_of(images, rows * inner * right.shape[2]) if right.shape[2] <= NARROW else 1
    split = left.reshape(count, parts, rows // parts, inner)
    np.matmul(split, right[:, None], out=out.reshape(count, parts, rows // parts, right.shape[2]))
    return out


def summed_over_places(left: np.ndarray, right: np.ndarray, images: int) -> np.ndarray:
    """left^T right (P, K, N) of matrices (P, rows, K) and (P, rows, N); the rows are those of so many images."""
    count, rows, inner = left.shape
    parts = parts_of(images, rows * inner * right.shape[2])
    parts = parts if rows >= FEW_ROWS * parts else 1
    split = left.reshape(count, parts, rows // parts, inner).transpose(0, 1, 3, 2)
    products = np.matmul(split, right.reshape(count, parts, rows // parts, right.shape[2]))
    return products[:, 0] if parts == 1 else products.sum(axis=1)
