"""Dropout on a GPU: the mask is drawn there, with the bits of NumPy's generator, and drawn anew for backward."""

import math

import numpy as np

from minires.kernels.cuda import pictures
from minires.kernels.cuda.adapters.arrays import last, run, second, suits
from minires.kernels.cuda.loader import cupy_module
from minires.kernels.cuda.types import Array

address_of = pictures.philox_address


def fits(x: Array, p: float) -> bool:
    """Whether the kernel computes this; else an expression over a mask that is drawn on the CPU does."""
    return suits(x) and x.size > 0 and p < 1


def dropout(x: Array, address: np.ndarray, p: float) -> Array:
    """x / (1 - p) or 0, as `address` draws through x in the order of its shape; the gradient is the same of dy."""
    if x.ndim < 3:
        return pictures.dropout(run, cupy_module().ascontiguousarray(x), address, p)
    pixels = math.prod(x.shape[2:])
    return second(pictures.dropout(run, last(x), address, p, x.shape[1], pixels))
