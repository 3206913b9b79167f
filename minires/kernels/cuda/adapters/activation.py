"""ReLU on a GPU: one elementwise expression of CuPy."""

from minires.backend import array_module
from minires.kernels.cuda.types import Array

__all__ = ["relu_backward", "relu_forward"]


def relu_forward(x: Array) -> Array:
    """As the reference."""
    return array_module(x).maximum(x, x.dtype.type(0))


def relu_backward(grad: Array, y: Array) -> Array:
    """As the reference."""
    return array_module(grad).where(y <= 0, grad.dtype.type(0), grad)
