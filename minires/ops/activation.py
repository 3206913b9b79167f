"""Nonlinearities, and softmax."""

import warnings
from typing import Any

from minires import backend, kernels
from minires.autograd import Function, Node
from minires.backend import Array, array_module, device_of, is_capturing, is_floating
from minires.kernels.cuda.adapters import dropout as on_gpu
from minires.ops.dims import axis_of
from minires.random import generator
from minires.tensor import Tensor, register


class Relu(Function):
    """y = max(x, 0);  dx = dy where y > 0, else 0."""

    @staticmethod
    def forward(ctx: Node, x: Array) -> Array:
        y = kernels.relu_forward(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> Array:
        (y,) = ctx.saved_arrays
        return kernels.relu_backward(grad, y)


class Sigmoid(Function):
    """y = 1 / (1 + e^-x);  dx = dy y (1 - y).

    Where x < 0 it is computed as e^x / (1 + e^x), so that e never gets a large exponent.
    """

    @staticmethod
    def forward(ctx: Node, x: Array) -> Array:
        xp = array_module(x)
        small = xp.exp(-xp.absolute(x))
        y = xp.where(x < 0, small, xp.ones((), x.dtype)) / (1 + small)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> Array:
        (y,) = ctx.saved_arrays
        return grad * y * (1 - y)


class Tanh(Function):
    """y = tanh x;  dx = dy (1 - y^2)."""

    @staticmethod
    def forward(ctx: Node, x: Array) -> Array:
        y = array_module(x).tanh(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> Array:
        (y,) = ctx.saved_arrays
        return grad * (1 - y * y)


class Softmax(Function):
    """y_k = e^x_k / sum_j e^x_j along an axis;  dx_k = y_k (dy_k - sum_j dy_j y_j)."""

    @staticmethod
    def forward(ctx: Node, x: Array, axis: int) -> Array:
        y = kernels.softmax(x, axis)
        ctx.axis = axis
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        (y,) = ctx.saved_arrays
        return kernels.softmax_backward(grad, y, ctx.axis), None


class LogSoftmax(Function):
    """y_k = x_k - log sum_j e^x_j along an axis;  dx_k = dy_k - e^y_k sum_j dy_j."""

    @staticmethod
    def forward(ctx: Node, x: Array, axis: int) -> Array:
        y = kernels.log_softmax(x, axis)
        ctx.axis = axis
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        (y,) = ctx.saved_arrays
        return kernels.log_softmax_backward(grad, y, ctx.axis), None


class Dropout(Function):
    """y = x m / (1 - p) with a random mask m of ones (probability 1 - p) and zeros;  dx = dy m / (1 - p)."""

    @staticmethod
    def forward(ctx: Node, x: Array, p: float) -> Array:
        xp = array_module(x)
        if is_capturing():
            raise RuntimeError("dropout would draw the same at each replay of a CUDA graph: it cannot be captured")
        ctx.address, ctx.p = None, p
        if device_of(x).type == "cuda" and on_gpu.fits(x, p):
            ctx.address = on_gpu.address_of(generator())
            return on_gpu.dropout(x, ctx.address, p)
        kept = xp.asarray(generator().random(x.shape, dtype="float32") >= p)
        scale = kept * x.dtype.type(1 / (1 - p)) if p < 1 else xp.zeros(x.shape, x.dtype)
        ctx.save_for_backward(scale)
        return x * scale

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        if ctx.address is not None:
            return on_gpu.dropout(grad, ctx.address, ctx.p), None
        (scale,) = ctx.saved_arrays
        return grad * scale, None


@register
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(input, 0). `inplace` is accepted; the input is never overwritten."""
    return Relu.apply(input)


@register
def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + e^-input), without overflow."""
    return Sigmoid.apply(_real(input))


@register
def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return Tanh.apply(_real(input))


@register
def softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """Probabilities from scores, along the axis `dim`; without it PyTorch's old guess is taken, with a warning."""
    return _along(Softmax, input, dim, dtype)


@register
def log_softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """Logarithm of `softmax`, without overflow or loss of digits."""
    return _along(LogSoftmax, input, dim, dtype)


@register
def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training each element is 0 with probability p, else divided by 1 - p; otherwise the input itself.

    Draws come from `minires.random.generator()`. `inplace` is accepted; the input is never overwritten.
    Source: Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting".
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0:
        return input
    return Dropout.apply(_real(input), p)


def _along(function: type[Function], input: Tensor, dim: int | None, dtype: Any) -> Tensor:
    if dim is None:
        dim = 0 if input.ndim in (0, 1, 3) else 1
        warnings.warn(f"no dim was given for softmax, and {dim} is taken: give it", stacklevel=4)
    axis = axis_of(dim, input.ndim)
    if dtype is not None:
        input = input.to(dtype)
    if not is_floating(input.dtype):
        raise RuntimeError(f"softmax is for real numbers, got {input.dtype}")
    if input.ndim == 0:
        return function.apply(input.reshape(1), 0).reshape(())
    return function.apply(input, axis)


def _real(input: Tensor) -> Tensor:
    return input if is_floating(input.dtype) else input.to(backend.default_dtype)
