"""Matrix products on a GPU: cuBLAS through CuPy, float16 and bfloat16 with sums in float32."""

from minires.backend import array_module, float32
from minires.kernels.cuda import switches
from minires.kernels.cuda.types import Array

__all__ = ["matmul"]


def matmul(a: Array, b: Array) -> Array:
    """As the reference, in the operands' own type; float32 as tf32 where `backends.cuda.matmul.allow_tf32` says so."""
    cupy = array_module(a)
    if a.dtype == float32:
        switches.tell_cupy(cupy, switches.products)
    return cupy.matmul(a, b)
