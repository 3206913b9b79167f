"""Normalisation within one sample: layer norm, instance norm, root mean square norm, local response norm."""

import math
from typing import Any

from minires.autograd import Function, Node, is_casting
from minires.backend import Array, array_module, is_floating
from minires.ops.batch_normalisation import batch_norm
from minires.ops.broadcast import sum_to_shape
from minires.ops.group_normalisation import GroupNorm
from minires.ops.memory import at_least_float32
from minires.ops.padding import pad
from minires.tensor import Tensor, register


@register
def layer_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """(input - mean) / sqrt(variance + eps) * weight + bias over the last axes, which have lengths normalized_shape.

    weight and bias have that shape, too. It is group norm with one group: the leading axes count as pictures, the
    elements of the last ones as channels. Ba et al. 2016. RuntimeError for shapes that do not fit.
    """
    shape, count = _last_axes(input, normalized_shape, "layer_norm")
    for name, vector in (("weight", weight), ("bias", bias)):
        if vector is not None and vector.shape != shape:
            raise RuntimeError(f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape "
                               f"{vector.shape} and normalized_shape = {shape}")  # fmt: skip
        if vector is not None and vector.dtype != input.dtype and not is_casting():
            raise RuntimeError(f"layer norm: the input is {input.dtype}, {name} is {vector.dtype}")
    if not input.numel():
        return input.clone()
    flat = [None if vector is None else vector.reshape(count) for vector in (weight, bias)]
    return GroupNorm.apply(input.reshape(input.numel() // count, count), *flat, 1, eps).reshape(input.shape)


def _last_axes(input: Tensor, normalized_shape: Any, name: str) -> tuple[tuple[int, ...], int]:
    """The lengths of the last axes, checked, and their product."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or input.shape[input.ndim - len(shape) :] != shape or len(shape) > input.ndim:
        raise RuntimeError(f"{name}: given normalized_shape={list(shape)}, expected input to end "
                           f"in these, but got input of size {list(input.shape)}")  # fmt: skip
    if not is_floating(input.dtype):
        raise RuntimeError(f"{name} is for real numbers, got {input.dtype}")
    return shape, math.prod(shape)


class RMSNorm(Function):
    """y = w n, n = x r, r = 1 / sqrt(mean(x^2) + eps), the mean over the last axes.

    With g = w dy: dx = r (g - n mean(g n)), dw = dy n summed over the leading axes. Zhang and Sennrich 2019.
    """

    @staticmethod
    def forward(ctx: Node, x: Array, weight: Array | None, axes: tuple[int, ...], eps: float) -> Array:
        wide = at_least_float32(x)
        ratio = 1 / array_module(x).sqrt((wide * wide).mean(axes, keepdims=True) + wide.dtype.type(eps))
        normal, ratio = ((wide * ratio).astype(x.dtype, copy=False), ratio.astype(x.dtype, copy=False))
        ctx.axes = axes
        ctx.save_for_backward(normal, ratio, weight)
        return normal if weight is None else normal * weight

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        normal, ratio, weight = ctx.saved_arrays
        weighed = grad if weight is None else grad * weight
        dx = ratio * (weighed - normal * (weighed * normal).mean(ctx.axes, keepdims=True))
        dweight = sum_to_shape(grad * normal, weight.shape) if ctx.needs_input_grad[1] else None
        return dx, dweight, None, None


@register
def rms_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:  # fmt: skip
    """input / sqrt(mean(input^2) + eps) * weight over the last axes; eps: the type's smallest step from 1 if None."""
    shape, _ = _last_axes(input, normalized_shape, "rms_norm")
    if weight is not None and weight.shape != shape:
        raise RuntimeError(f"Expected weight to be of same shape as normalized_shape, but got weight of shape "
                           f"{weight.shape} and normalized_shape = {shape}")  # fmt: skip
    eps = float(array_module(input.array).finfo(input.dtype).eps) if eps is None else eps
    return RMSNorm.apply(input, weight, tuple(range(input.ndim - len(shape), input.ndim)), eps)


@register
def instance_norm(
    input: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None, weight: Tensor | None = None,
    bias: Tensor | None = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Each channel of each picture (N, C, ...) normalised by itself, then scaled and shifted. Ulyanov et al. 2016.

    It is group norm with as many groups as channels. The running statistics, if given, move towards the batch's mean
    of the pictures' own ones (variance with the correction); use_input_stats=False normalises by them instead.
    ValueError for pictures of one place.
    """
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise RuntimeError("instance_norm: expected running_mean and running_var when use_input_stats=False")
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    if input.ndim < 3:
        raise RuntimeError(f"instance_norm: expected at least 3 axes (N, C, ...), got shape {input.shape}")
    channels, count = input.shape[1], math.prod(input.shape[2:])
    if count == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {list(input.shape)}")
    for name, vector in (("weight", weight), ("bias", bias), ("running_mean", running_mean),
                         ("running_var", running_var)):  # fmt: skip
        if vector is not None and vector.shape != (channels,):
            raise RuntimeError(f"{name} should contain {channels} elements not {vector.numel()}")
    if running_mean is not None and running_var is not None and input.numel():
        axes = tuple(range(2, input.ndim))
        statistics = input.array.mean(axes).mean(0), input.array.var(axes, ddof=1).mean(0)
        for running, new in zip((running_mean, running_var), statistics, strict=True):
            running.array[...] = (1 - momentum) * running.array + momentum * new
            running.bump_version()
    return GroupNorm.apply(input, weight, bias, channels, eps)


@register
def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:  # fmt: skip
    """input / (k + alpha mean(input^2 over `size` neighbouring channels))^beta. Krizhevsky et al. 2012, section 3.3.

    Channels beyond the first and last count as 0. ValueError for fewer than 3 axes.
    """
    if input.ndim < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {input.ndim} dimensions)")
    if not input.numel():
        return input
    around = (*(0 for _ in range(2 * (input.ndim - 2))), size // 2, (size - 1) // 2)
    squares, channels = pad(input * input, around), input.shape[1]
    total = squares[:, :channels]
    for offset in range(1, size):
        total = total + squares[:, offset : offset + channels]
    return input / (total * (alpha / size) + k) ** beta
