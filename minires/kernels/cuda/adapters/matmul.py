"""Matrix products on a GPU: cuBLAS through CuPy, float16 with sums in float32."""

from minires.backend import array_module
from minires.kernels.cuda.types import Array

__all__ = ["matmul"]


def matmul(a: Array, b: Array) -> Array:
    """As the reference, in the operands' own type."""
    return array_module(a).matmul(a, b)
