"""Sums on a GPU: CuPy's reductions; float16 is added up in float32."""

from minires import backend
from minires.backend import array_module
from minires.kernels.cuda.types import Array

__all__ = ["add_to", "sum_over"]


def sum_over(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    """As the reference, but float32, float16 and bfloat16 are added up in float32."""
    wide = backend.float32 if backend.is_floating(x.dtype) and x.dtype.itemsize < 4 else x.dtype
    return array_module(x).asarray(x.sum(axis=axes, keepdims=keepdims, dtype=wide)).astype(x.dtype, copy=False)


def add_to(total: Array, x: Array) -> None:
    """As the reference."""
    total += x
