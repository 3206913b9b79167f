"""Matrix product."""

import numpy as np

__all__ = ["matmul"]


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """c[..., i, j] = sum over k of a[..., i, k] b[..., k, j]; leading axes broadcast, 1-d operands as in NumPy.

    Its gradients are matrix products again: da = dc bT, db = aT dc.
    """
    dtype = np.result_type(a, b)
    if dtype.kind != "f":
        return np.matmul(a, b)
    return np.asarray(np.matmul(a.astype(np.float64), b.astype(np.float64))).astype(dtype)
