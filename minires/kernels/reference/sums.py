"""Sums along axes, and of two arrays."""

import numpy as np

__all__ = ["add_to", "sum_over"]


def sum_over(x: np.ndarray, axes: tuple[int, ...], keepdims: bool) -> np.ndarray:
    """y = the sum of x along `axes`, in x's type and of any shape; with `keepdims` these axes stay, with length 1.

    Real numbers are added up in float64 and rounded once; whole numbers wrap around where they overflow.
    """
    wide = np.dtype(np.float64) if x.dtype.kind == "f" else x.dtype
    return np.asarray(x.sum(axis=axes, keepdims=keepdims, dtype=wide)).astype(x.dtype)


def add_to(total: np.ndarray, x: np.ndarray) -> None:
    """total = total + x in place; both have one shape."""
    total += x
