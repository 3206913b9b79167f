"""Batch normalisation, and the same with what follows it in a residual block. Ioffe and Szegedy 2015.

Training and inference are two operations with two derivatives: in training mean and variance are made of x, so that
the gradient flows through them; at inference they are constants.
"""

import math
from typing import Any

from minires import kernels
from minires.autograd import Function, Node, is_casting
from minires.backend import Array, array_module
from minires.ops.channel_moments import moments_of
from minires.tensor import Tensor, register


class BatchNormTraining(Function):
    """y = weight (x - mean) / sqrt(var + eps) + bias with the batch's own statistics, then + residual, then ReLU.

    With n = (x - mean) / sqrt(var + eps), g = dy where the ReLU let it pass, sums over all axes but the channels' and
    m values a channel:  dbias = sum g, dweight = sum g n,
    dx = weight / sqrt(var + eps) (g - dbias / m - n dweight / m), dresidual = g.
    Results: y, mean, var (biased); the two last for the running statistics, without a gradient.
    """

    @staticmethod
    def forward(
        ctx: Node, x: Array, weight: Array | None, bias: Array | None, residual: Array | None, eps: float, relu: bool,
        statistics: list[Array], moments: list[Array] | None,
    ) -> Array:  # fmt: skip
        if moments is None:
            y, mean, variance, inverse_std = kernels.batch_norm_training_forward(x, weight, bias, eps, residual, relu)
        else:
            mean, variance = moments
            y, inverse_std = kernels.batch_norm_moments_forward(x, *moments, weight, bias, eps, residual, relu)
        statistics += [mean, variance]
        ctx.save_for_backward(x, weight, mean, inverse_std, y if relu else None)
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        x, weight, mean, inverse_std, y = ctx.saved_arrays
        gradients = kernels.batch_norm_training_backward(grad, x, weight, mean, inverse_std, y, ctx.needs_input_grad[3])
        return *_wanted(ctx, *gradients), None


class BatchNormInference(Function):
    """y = weight (x - running_mean) / sqrt(running_var + eps) + bias, then + residual, then ReLU.

    The statistics are constants:  dx = weight / sqrt(running_var + eps) g, the others as in training.
    """

    @staticmethod
    def forward(
        ctx: Node, x: Array, weight: Array | None, bias: Array | None, residual: Array | None, eps: float, relu: bool,
        running_mean: Array, running_var: Array,
    ) -> Array:  # fmt: skip
        y = kernels.batch_norm_inference_forward(x, weight, bias, running_mean, running_var, eps, residual, relu)
        ctx.eps = eps
        ctx.save_for_backward(x, weight, running_mean, running_var, y if relu else None)
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        x, weight, running_mean, running_var, y = ctx.saved_arrays
        keep_masked = ctx.needs_input_grad[3]
        gradients = kernels.batch_norm_inference_backward(
            grad, x, weight, running_mean, running_var, ctx.eps, y, keep_masked
        )
        return *_wanted(ctx, *gradients), None


def _wanted(ctx: Node, dx: Array, dweight: Array, dbias: Array, dresidual: Array | None) -> tuple[Array | None, ...]:
    """The gradients in the order of forward's arguments, None where nobody wants one."""
    gradients = (dx, dweight, dbias, dresidual)
    needs = ctx.needs_input_grad[:4]
    return *(array if needed else None for array, needed in zip(gradients, needs, strict=True)), None, None, None


@register
def batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Normalise every channel (axis 1) of input (N, C, ...) to mean 0 and variance 1, then scale and shift it.

    training: use the batch's statistics, and move the running ones, if given, towards them:
    running = (1 - momentum) running + momentum batch (the variance unbiased). Otherwise the running ones are used.
    ValueError for one value a channel in training; RuntimeError for missing statistics, wrong shapes and types.
    """
    return batch_norm_act(input, running_mean, running_var, weight, bias, training, momentum, eps, relu=False)


@register
def batch_norm_act(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
    residual: Tensor | None = None, relu: bool = True,
) -> Tensor:  # fmt: skip
    """relu(batch_norm(input) + residual) as one operation; ours, not in PyTorch."""
    vectors = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    check(input.shape, input.dtype, vectors, residual)
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError("expected running_mean and running_var to be defined when training=False")
        return BatchNormInference.apply(input, weight, bias, residual, eps, relu, running_mean, running_var)
    count = values_a_channel(input.shape)
    statistics: list[Array] = []
    y = BatchNormTraining.apply(input, weight, bias, residual, eps, relu, statistics, moments_of(input))
    if count:  # an empty batch has no statistics
        mean, variance = statistics
        move_statistics(running_mean, running_var, mean, variance, count, momentum)
    return y


def move_statistics(
    running_mean: Tensor | None, running_var: Tensor | None, mean: Array, variance: Array, count: int, momentum: float
) -> None:
    """Move the running statistics towards mean and variance (biased) of a batch with `count` values a channel."""
    _move_towards(running_mean, mean, momentum)
    _move_towards(running_var, variance * (count / max(count - 1, 1)), momentum)


def values_a_channel(shape: tuple[int, ...]) -> int:
    """How many values a batch (N, C, ...) has for each channel; ValueError for one, which has no variance."""
    count = shape[0] * math.prod(shape[2:])
    if count == 1 and shape[1]:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {shape}")
    return count


def check(shape: tuple[int, ...], dtype: Any, vectors: dict[str, Tensor | None], residual: Tensor | None) -> None:
    """RuntimeError for what does not suit a batch norm of values of that shape and type."""
    if len(shape) < 2:
        raise RuntimeError(f"batch norm expects (N, C, ...), got shape {shape}")
    for name, vector in vectors.items():
        if vector is not None and vector.shape != shape[1:2]:
            raise RuntimeError(f"{name} should contain {shape[1]} elements not {vector.numel()}")
        if vector is not None and vector.dtype != dtype and not is_casting():
            raise RuntimeError(f"batch norm: the input is {dtype}, {name} is {vector.dtype}")
    if residual is not None and (residual.shape != shape or (residual.dtype != dtype and not is_casting())):
        raise RuntimeError(f"the residual is {residual.dtype} {residual.shape}, the input {dtype} {shape}")


def _move_towards(running: Tensor | None, batch: Array, momentum: float) -> None:
    """running = (1 - momentum) running + momentum batch, in place."""
    if running is None:
        return
    moved = (1 - momentum) * running.array + momentum * batch
    array_module(moved).copyto(running.array, moved, casting="same_kind")
    running.bump_version()
