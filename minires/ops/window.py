"""Operations that move a window over pictures: convolution and pooling. x is (N, C, H, W), or (C, H, W) for one.

The arithmetic is in minires/kernels/ (conv.py, pool.py of each set), where the formulas stand again with all indices.
"""

from collections.abc import Callable
from typing import Any

from minires import kernels
from minires.autograd import Function, Node, is_casting
from minires.backend import Array
from minires.kernels.shapes import Pair, convolution_sizes, pooling_sizes
from minires.ops import channel_moments
from minires.ops.padding import pad
from minires.ops.shape import squeeze, unsqueeze
from minires.tensor import OPERATIONS, Tensor, register


class Conv2d(Function):
    """y[n, o] = bias[o] + sum over c of x[n, c] correlated with weight[o, c];  see kernels/reference/conv.py.

    dx: dy correlated with the mirrored weight; dweight: x correlated with dy; dbias: sum of dy over n, i, j.
    """

    @staticmethod
    def forward(
        ctx: Node, x: Array, weight: Array, bias: Array | None, stride: Pair, padding: Pair, dilation: Pair,
        groups: int, moments: list[Array] | None = None,
    ) -> Array:  # fmt: skip
        need_x, need_weight = ctx.needs_input_grad[:2]
        ctx.save_for_backward(x if need_weight else None, weight if need_x else None)
        ctx.shapes, ctx.geometry = (x.shape, weight.shape), (stride, padding, dilation, groups)
        if moments is None:
            return kernels.conv2d_forward(x, weight, bias, *ctx.geometry)
        y, *moments[:] = kernels.conv2d_moments_forward(x, weight, bias, *ctx.geometry)
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        x, weight = ctx.saved_arrays
        need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
        x_shape, weight_shape = ctx.shapes
        dx = dweight = None
        if need_x and need_weight:
            dx, dweight = kernels.conv2d_gradients(grad, x, weight, *ctx.geometry)
        elif need_x:
            dx = kernels.conv2d_input_gradient(grad, weight, x_shape, *ctx.geometry)
        elif need_weight:
            dweight = kernels.conv2d_weight_gradient(grad, x, weight_shape, *ctx.geometry)
        dbias = kernels.sum_over(grad, (0, 2, 3), False) if need_bias else None
        return dx, dweight, dbias, None, None, None, None, None


class MaxPool2d(Function):
    """y = the largest x of each window;  dx: each window's dy goes to the place that won."""

    @staticmethod
    def forward(
        ctx: Node, x: Array, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
    ) -> Array:
        y, winner = kernels.max_pool2d_forward(x, kernel_size, stride, padding, dilation, ceil_mode)
        ctx.shape, ctx.geometry = x.shape, (kernel_size, stride, padding, dilation)
        ctx.save_for_backward(winner)
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        (winner,) = ctx.saved_arrays
        return kernels.max_pool2d_backward(grad, winner, ctx.shape, *ctx.geometry), None, None, None, None, None


class AvgPool2d(Function):
    """y = the sum of each window over its number of places;  dx: each place gets dy / number from all its windows."""

    @staticmethod
    def forward(ctx: Node, x: Array, *geometry: Any) -> Array:
        ctx.shape, ctx.geometry = x.shape, geometry
        return kernels.avg_pool2d_forward(x, *geometry)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        return kernels.avg_pool2d_backward(grad, ctx.shape, *ctx.geometry), *((None,) * len(ctx.geometry))


class AdaptiveAvgPool2d(Function):
    """y = averages over as many windows as y has places;  dx: each place gets dy / number from all its windows."""

    @staticmethod
    def forward(ctx: Node, x: Array, output_size: Pair) -> Array:
        ctx.shape = x.shape
        return kernels.adaptive_avg_pool2d_forward(x, output_size)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        return kernels.adaptive_avg_pool2d_backward(grad, ctx.shape), None


def pair(value: Any, name: str) -> Pair:
    """(value, value) for a number, a tuple for two. TypeError naming the argument for anything else."""
    values = (value, value) if isinstance(value, int) else tuple(value)
    if len(values) == 1:
        values *= 2
    if len(values) != 2 or not all(isinstance(number, int) for number in values):
        raise TypeError(f"{name} must be a whole number or two, got {value!r}")
    return values


def _positive(value: Any, name: str) -> Pair:
    values = pair(value, name)
    if min(values) < 1:
        raise RuntimeError(f"{name} must be greater than zero, got {value!r}")
    return values


def _on_batch(input: Tensor, name: str, compute: Callable[[Tensor], Tensor]) -> Tensor:
    """`compute` on (N, C, H, W); a single picture (C, H, W) becomes a batch of one and back."""
    if input.ndim == 3:
        return squeeze(compute(unsqueeze(input, 0)), 0)
    if input.ndim != 4:
        raise RuntimeError(f"expected 3D (unbatched) or 4D (batched) input to {name}, got shape {input.shape}")
    return compute(input)


def _sizes(function: Callable[..., Pair], *arguments: Any) -> Pair:
    """The output's height and width. RuntimeError, as in PyTorch, where the window does not fit."""
    try:
        return function(*arguments)
    except ValueError as error:
        raise RuntimeError(str(error)) from error


# ------------------------------------------------------------------------------------------- the functions users call


@register
def conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Correlate pictures (N, C, H, W) with windows (O, C / groups, KH, KW) and add a bias (O,).

    The result is (N, O, OH, OW) with OH = floor((H + 2 padding - dilation (KH - 1) - 1) / stride) + 1, OW likewise.
    stride, padding, dilation: a number or a pair (height, width). padding: also "valid" (0) and "same" (as much as
    keeps H and W; stride 1 only; an odd row or column comes after the picture). RuntimeError for what does not fit.

    On the CPU most 3x3 windows of stride 1 between 32 and more channels are computed by Winograd's algorithm, on tiles
    of 4x4 results. So one infinity, NaN or huge number reaches up to 3 places further than its windows do (never
    another picture): results there are NaN, or as inexact as the huge number makes them.
    """
    input, geometry, _ = prepare_convolution(input, weight, bias, stride, padding, dilation, groups)

    def compute(x: Tensor) -> Tensor:
        if not channel_moments.are_wanted(x, bias):
            return Conv2d.apply(x, weight, bias, *geometry)
        found: list[Array] = []
        return channel_moments.noted(Conv2d.apply(x, weight, bias, *geometry, found), found)

    return _on_batch(input, "conv2d", compute)


def prepare_convolution(
    input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int
) -> tuple[Tensor, tuple[Pair, Pair, Pair, int], Pair]:
    """The input (padded, where padding="same" is odd), (stride, padding, dilation, groups) as pairs, and the output's
    height and width. RuntimeError for what does not fit."""
    _check_convolution(input, weight, bias, groups)
    stride, dilation = _positive(stride, "stride"), _positive(dilation, "dilation")
    if padding == "valid":
        padding = 0
    if padding == "same":
        if stride != (1, 1):
            raise RuntimeError("padding='same' is not supported for strided convolutions")
        input, padding = _pad_same(input, weight.shape[2:], dilation)
    if isinstance(padding, str):
        raise RuntimeError(f"padding must be a number, a pair, 'same' or 'valid', got {padding!r}")
    padding = pair(padding, "padding")
    if min(padding) < 0:
        raise RuntimeError(f"negative padding is not supported, got {padding}")
    size = _sizes(convolution_sizes, input.shape[-2:], weight.shape[2:], stride, padding, dilation)
    return input, (stride, padding, dilation, groups), size


def _check_convolution(input: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> None:
    if input.ndim not in (3, 4):
        raise RuntimeError(f"expected 3D (unbatched) or 4D (batched) input to conv2d, got shape {input.shape}")
    if weight.ndim != 4 or min(weight.shape[2:]) < 1:
        raise RuntimeError(f"expected a weight (out, in / groups, height, width), got shape {weight.shape}")
    if groups < 1 or weight.shape[0] % groups:
        raise RuntimeError(f"groups={groups} does not divide the weight's {weight.shape[0]} output channels")
    if input.shape[-3] != weight.shape[1] * groups:
        raise RuntimeError(
            f"given groups={groups} and weight of shape {weight.shape}, expected input to have "
            f"{weight.shape[1] * groups} channels, but got {input.shape[-3]} (shape {input.shape})"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise RuntimeError(f"expected a bias of shape ({weight.shape[0]},), got {bias.shape}")
    mixed = input.dtype != weight.dtype or (bias is not None and bias.dtype != weight.dtype)
    if mixed and not is_casting():
        raise RuntimeError(f"input is {input.dtype}, weight {weight.dtype}: they should be the same")


def _pad_same(input: Tensor, kernel: Pair, dilation: Pair) -> tuple[Tensor, Pair]:
    """Input and padding that keep height and width; where the total is odd, the odd one is added to the input."""
    total = [dilation[axis] * (kernel[axis] - 1) for axis in (0, 1)]
    if any(width % 2 for width in total):
        input = pad(input, (0, total[1] % 2, 0, total[0] % 2))
    return input, (total[0] // 2, total[1] // 2)


@register
def max_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest value of each window; stride: kernel_size by default. Of equal values the first gets the gradient.

    return_indices: also their places, h W + w, as int64.
    """
    if return_indices:
        return OPERATIONS["max_pool2d_with_indices"](input, kernel_size, stride, padding, dilation, ceil_mode)
    kernel, padding = _positive(kernel_size, "kernel_size"), pair(padding, "padding")
    stride = kernel if stride is None or stride == [] else _positive(stride, "stride")
    dilation = _positive(dilation, "dilation")

    def compute(x: Tensor) -> Tensor:
        _sizes(pooling_sizes, x.shape[2:], kernel, stride, padding, dilation, ceil_mode)
        return MaxPool2d.apply(x, kernel, stride, padding, dilation, ceil_mode)

    return _on_batch(input, "max_pool2d", compute)


@register
def avg_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The average of each window; stride: kernel_size by default.

    count_include_pad: whether zeros of the padding count as places. divisor_override: divide the sums by this instead.
    """
    kernel, padding = _positive(kernel_size, "kernel_size"), pair(padding, "padding")
    stride = kernel if stride is None or stride == [] else _positive(stride, "stride")
    if divisor_override == 0:
        raise RuntimeError("divisor must be not zero")

    def compute(x: Tensor) -> Tensor:
        _sizes(pooling_sizes, x.shape[2:], kernel, stride, padding, (1, 1), ceil_mode)
        return AvgPool2d.apply(x, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override)

    return _on_batch(input, "avg_pool2d", compute)


@register
def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Averages over output_size = (OH, OW) windows, a number for both; None keeps that length.

    Window i of OH covers the rows from floor(i H / OH) to ceil((i + 1) H / OH).
    """
    sizes = (output_size, output_size) if isinstance(output_size, int | None) else tuple(output_size)
    if len(sizes) != 2:
        raise RuntimeError(f"adaptive_avg_pool2d: output_size must be 2, got {output_size!r}")

    def compute(x: Tensor) -> Tensor:
        size = tuple(own if wanted is None else wanted for own, wanted in zip(x.shape[2:], sizes, strict=True))
        if min(size) < 0 or min(x.shape[1:]) < 1:
            raise RuntimeError(f"adaptive_avg_pool2d: cannot make {size} of an input of shape {x.shape}")
        return AdaptiveAvgPool2d.apply(x, size)

    return _on_batch(input, "adaptive_avg_pool2d", compute)
