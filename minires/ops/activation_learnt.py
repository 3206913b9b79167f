"""Nonlinearities with a second argument, a gate or chance: prelu, glu, rrelu, gumbel_softmax; and softmin."""

from typing import Any

from minires.autograd import Function, Node, is_casting
from minires.backend import Array, array_module, is_floating
from minires.ops.activation import softmax
from minires.ops.activation_formulas import leaky_relu
from minires.ops.broadcast import sum_to_shape
from minires.ops.dims import axis_of
from minires.random import generator
from minires.tensor import OPERATIONS, Tensor, register


class PReLU(Function):
    """y = x where x > 0, else w x;  dx = dy or w dy, dw = dy x summed where x <= 0. He et al. 2015. w broadcasts."""

    @staticmethod
    def forward(ctx: Node, x: Array, weight: Array) -> Array:
        ctx.save_for_backward(x, weight)
        return array_module(x).where(x > 0, x, weight * x)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        x, weight = ctx.saved_arrays
        xp = array_module(x)
        dx = xp.where(x > 0, grad, grad * weight) if ctx.needs_input_grad[0] else None
        dweight = sum_to_shape(xp.where(x > 0, 0, grad * x), weight.shape) if ctx.needs_input_grad[1] else None
        return dx, dweight


@register
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """input where it is positive, else weight * input; weight: one number, or one a channel (axis 1).

    RuntimeError for a weight of another size or type.
    """
    weight = weight.to(input.dtype) if is_casting() else weight
    if weight.dtype != input.dtype:
        raise RuntimeError(f"prelu: the input is {input.dtype}, the weight {weight.dtype}: they should be the same")
    if weight.ndim > 1:
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.ndim}")
    if weight.numel() != 1:
        channels = input.shape[1] if input.ndim > 1 else 1
        if input.ndim == 0 or channels != weight.numel():
            raise RuntimeError(f"Mismatch of parameter numbers and input channel size. Found parameter numbers = "
                               f"{weight.numel()} and channel size = {channels}.")  # fmt: skip
        weight = weight.reshape(-1, *(1 for _ in input.shape[2:]))
    return PReLU.apply(input, weight.reshape(()) if weight.numel() == 1 else weight)


@register
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a * sigmoid(b), the halves a and b of the axis `dim`. Dauphin et al. 2017. RuntimeError for an odd length."""
    if input.ndim == 0:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    axis = axis_of(dim, input.ndim)
    length = input.shape[axis]
    if length % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {axis} is size {length}")
    first, second = OPERATIONS["chunk"](input, 2, axis) if length else (input, input)
    return first * OPERATIONS["sigmoid"](second)


@register
def rrelu(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """leaky_relu with a slope drawn for each element, uniform on [lower, upper); their mean when not training.

    Xu et al. 2015, "Empirical evaluation of rectified activations". Draws come from `minires.random.generator()`.
    """
    if lower > upper:
        raise RuntimeError(f"Lower bound should be less than or equal to the upper bound, got {lower} and {upper}")
    if not training:
        return leaky_relu(input, (lower + upper) / 2)
    if not is_floating(input.dtype):
        raise RuntimeError(f"rrelu is for real numbers, got {input.dtype}")
    slopes = generator().uniform(lower, upper, input.shape)
    return PReLU.apply(input, Tensor(array_module(input.array).asarray(slopes, input.dtype)))


@register
def softmin(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """softmax(-input) along the axis `dim`."""
    return softmax(-input, dim, dtype)


@register
def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """softmax((logits + noise) / tau) with noise -ln(-ln u), u uniform: a soft sample of the softmax's law.

    hard: the result is one-hot, the gradient that of the soft one (straight through). eps has no effect, as in
    PyTorch. Jang et al. 2017; Maddison et al. 2017. Draws come from `minires.random.generator()`.
    """
    noise = generator().gumbel(size=logits.shape)
    soft = softmax((logits + Tensor(array_module(logits.array).asarray(noise, logits.dtype))) / tau, dim)
    if not hard:
        return soft
    xp, axis = array_module(soft.array), axis_of(dim, soft.ndim)
    winner = xp.expand_dims(soft.array.argmax(axis), axis)
    places = xp.arange(soft.shape[axis]).reshape(-1, *(1 for _ in range(soft.ndim - 1 - axis)))
    return Tensor((places == winner).astype(soft.dtype)) - soft.detach() + soft
