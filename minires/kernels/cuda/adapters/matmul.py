"""Matrix products on a GPU: cuBLAS through CuPy, float16 and bfloat16 with sums in float32."""

import math

from minires.backend import array_module, float16, float32, is_bfloat16
from minires.kernels.cuda import switches
from minires.kernels.cuda.loader import compute_capability
from minires.kernels.cuda.types import Array

__all__ = ["matmul"]


def matmul(a: Array, b: Array) -> Array:
    """As the reference, in the operands' own type; float32 as tf32 where `backends.cuda.matmul.allow_tf32` says so."""
    cupy = array_module(a)
    if a.ndim > 2 and b.ndim == 2:  # one product instead of many
        rows = a.reshape(math.prod(a.shape[:-1]), a.shape[-1])
        return matmul(rows, b).reshape(*a.shape[:-1], b.shape[-1])
    if max(a.ndim, b.ndim) > 2 and (a.dtype == float16 or is_bfloat16(a.dtype)):
        return stacked_narrow(a, b)
    if a.dtype == float32:
        switches.tell_cupy(cupy, switches.products)
    return cupy.matmul(a, b)


def stacked_narrow(a: Array, b: Array) -> Array:
    """Products of stacks of matrices in float16 or bfloat16, as float32: CuPy 14 knows none of bfloat16, and widens
    float16 itself. tf32 holds the numbers of either, so that tensor cores lose nothing."""
    cupy = array_module(a)
    switches.tell_cupy(cupy, compute_capability() >= 80)
    return cupy.matmul(a.astype(float32), b.astype(float32)).astype(a.dtype)
