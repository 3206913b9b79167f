"""A 1x1 convolution and the batch norm behind it as one operation, for training on a CPU."""

from typing import Any

import numpy as np

from minires import kernels
from minires.autograd import Function, Node, is_casting
from minires.backend import Array, device_of, float32, float64
from minires.kernels.shapes import Pair
from minires.ops.batch_normalisation import batch_norm_act, check, move_statistics, values_a_channel
from minires.ops.window import conv2d, prepare_convolution
from minires.tensor import Tensor, register

LEAST_KEPT = 0.01  # so that the variance loses no more than two of the digits that its sums have


class Conv1x1Norm(Function):
    """y = weight (z - mean) / sqrt(var + eps) + bias, + residual, ReLU, with z = conv2d(x, conv_weight).

    mean and var, those of z, are known beforehand; z and its gradient are never computed. The derivatives are those of
    the two operations after each other, in the form that kernels/reference/conv1x1_norm.py gives.
    """

    @staticmethod
    def forward(
        ctx: Node, x: Array, conv_weight: Array, weight: Array | None, bias: Array | None, residual: Array | None,
        stride: Pair, eps: float, relu: bool, moments: tuple[Array, ...],
    ) -> Array:  # fmt: skip
        mean, variance, x_mean, spread = moments
        inverse_std = 1 / np.sqrt(variance + eps)
        y = kernels.conv1x1_norm_forward(x, conv_weight, stride, mean, inverse_std, weight, bias, residual, relu)
        ctx.stride = stride
        ctx.save_for_backward(x, conv_weight, inverse_std, x_mean, spread, weight, y if relu else None)
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        x, conv_weight, inverse_std, x_mean, spread, weight, y = ctx.saved_arrays
        gradients = kernels.conv1x1_norm_backward(
            grad, x, conv_weight, ctx.stride, inverse_std, x_mean, spread, weight, y, ctx.needs_input_grad[4]
        )
        wanted = zip(gradients, ctx.needs_input_grad[:5], strict=True)
        return *(array if needed else None for array, needed in wanted), None, None, None, None


@register
def conv1x1_norm_act(
    input: Tensor, conv_weight: Tensor, stride: Any = 1, running_mean: Tensor | None = None,
    running_var: Tensor | None = None, weight: Tensor | None = None, bias: Tensor | None = None, momentum: float = 0.1,
    eps: float = 1e-5, residual: Tensor | None = None, relu: bool = True,
) -> Tensor:  # fmt: skip
    """relu(batch_norm(conv2d(input, conv_weight, stride=stride), training=True) + residual) in one; not in PyTorch.

    input (N, C, H, W), conv_weight (O, C, 1, 1); the others are batch_norm_act's. The batch's statistics are found from
    those of the input, and the convolution's own result is never written to memory. It saves time where O is several
    times C. Where rounding would cost the variance more than two digits, and on a GPU, in float16 and under autocast,
    the two operations are run one after the other.
    """
    if input.ndim != 4 or conv_weight.shape[2:] != (1, 1):
        shapes = f"{input.shape} and {conv_weight.shape}"
        raise RuntimeError(f"conv1x1_norm_act expects shapes (N, C, H, W) and (O, C, 1, 1), got {shapes}")
    input, (steps, *_), size = prepare_convolution(input, conv_weight, None, stride, 0, 1, 1)
    shape = (len(input), len(conv_weight), *size)
    vectors = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    check(shape, input.dtype, vectors, residual)
    moments = _moments(input, conv_weight, steps, eps) if values_a_channel(shape) else None
    if moments is None:
        z = conv2d(input, conv_weight, None, stride)
        return batch_norm_act(z, **vectors, training=True, momentum=momentum, eps=eps, residual=residual, relu=relu)
    y = Conv1x1Norm.apply(input, conv_weight, weight, bias, residual, steps, eps, relu, moments)
    mean, variance = (moment.astype(input.dtype) for moment in moments[:2])
    move_statistics(running_mean, running_var, mean, variance, values_a_channel(shape), momentum)
    return y


def _moments(x: Tensor, conv_weight: Tensor, stride: Pair, eps: float) -> tuple[Array, ...] | None:
    """What kernels.conv1x1_moments finds; None where this is no work for it, or the digits of the result too few."""
    if device_of(x.array).type != "cpu" or x.dtype not in (float32, float64) or is_casting():
        return None
    *moments, squares = kernels.conv1x1_moments(x.array, conv_weight.array, stride)
    is_exact = bool((moments[1] + eps >= LEAST_KEPT * squares).all())  # not where they are NaN
    return tuple(moments) if is_exact else None
