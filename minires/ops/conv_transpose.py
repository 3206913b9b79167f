"""Transposed convolution: the convolution's own derivative, run forwards. And convolution along one axis.

A row (N, C, L) is a picture (N, C, 1, L) of height 1, so that one axis needs no arithmetic of its own.
"""

from collections.abc import Callable
from typing import Any

from minires import kernels
from minires.autograd import Function, Node, is_casting
from minires.backend import Array
from minires.kernels.shapes import Pair, convolution_size
from minires.ops.padding import pad
from minires.ops.shape import squeeze, unsqueeze
from minires.ops.window import conv2d
from minires.tensor import Tensor, register


class ConvTranspose2d(Function):
    """y[n, o, s i + d kh - p, s j + d kw - p] += x[n, c, i, j] weight[c, o, kh, kw], plus bias[o].

    It spreads each x over a window, as the gradient of conv2d with respect to its input does; so
    dx: conv2d of dy with the same weight; dweight: as conv2d's, dy in the input's place and x in the result's.
    Source: Zeiler et al. 2010, "Deconvolutional networks"; Dumoulin and Visin 2016, chapter 4.
    """

    @staticmethod
    def forward(
        ctx: Node, x: Array, weight: Array, bias: Array | None, size: Pair, stride: Pair, padding: Pair,
        dilation: Pair, groups: int,
    ) -> Array:  # fmt: skip
        need_x, need_weight = ctx.needs_input_grad[:2]
        ctx.save_for_backward(x if need_weight else None, weight if need_x else None)
        ctx.weight_shape, ctx.geometry = weight.shape, (stride, padding, dilation, groups)
        y_shape = (x.shape[0], weight.shape[1] * groups, *size)
        y = kernels.conv2d_input_gradient(x, weight, y_shape, *ctx.geometry)
        return y if bias is None else y + bias[:, None, None]

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        x, weight = ctx.saved_arrays
        need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
        dx = kernels.conv2d_forward(grad, weight, None, *ctx.geometry) if need_x else None
        dweight = kernels.conv2d_weight_gradient(x, grad, ctx.weight_shape, *ctx.geometry) if need_weight else None
        dbias = kernels.sum_over(grad, (0, 2, 3), False) if need_bias else None
        return dx, dweight, dbias, None, None, None, None, None


# ------------------------------------------------------------------------------------------- the functions users call


def numbers(value: Any, axes: int, name: str) -> tuple[int, ...]:
    """`axes` whole numbers from one, or from as many; (n,) is n for all. TypeError naming the argument."""
    values = (value,) * axes if isinstance(value, int) else tuple(value)
    values = values * axes if len(values) == 1 else values
    if len(values) != axes or not all(isinstance(number, int) for number in values):
        raise TypeError(f"{name} must be a whole number or {axes}, got {value!r}")
    return values


def as_picture(input: Tensor, name: str, compute: Callable[[Tensor], Tensor]) -> Tensor:
    """`compute` on rows (N, C, L) or (C, L) seen as pictures of height 1. RuntimeError for other shapes."""
    if input.ndim not in (2, 3):
        raise RuntimeError(f"expected 2D (unbatched) or 3D (batched) input to {name}, got shape {input.shape}")
    return squeeze(compute(unsqueeze(input, -2)), -2)


@register
def conv1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Correlate rows (N, C, L) with windows (O, C / groups, K) and add a bias (O,); the rest as `conv2d`."""
    if weight.ndim != 3:
        raise RuntimeError(f"expected a weight (out, in / groups, length), got shape {weight.shape}")
    (step,), (gap,) = numbers(stride, 1, "stride"), numbers(dilation, 1, "dilation")
    if padding == "same" and step != 1:
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    around = padding if isinstance(padding, str) else (0, *numbers(padding, 1, "padding"))

    def compute(x: Tensor) -> Tensor:
        return conv2d(x, unsqueeze(weight, -2), bias, (1, step), around, (1, gap), groups)

    return as_picture(input, "conv1d", compute)


@register
def conv_transpose1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """Rows (N, C, L) spread by windows (C, O / groups, K); the rest as `conv_transpose2d`."""
    if weight.ndim != 3:
        raise RuntimeError(f"expected a weight (in, out / groups, length), got shape {weight.shape}")
    given = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
    one = {name: numbers(value, 1, name)[0] for name, value in given.items()}

    def compute(x: Tensor) -> Tensor:
        return conv_transpose2d(x, unsqueeze(weight, -2), bias, (1, one["stride"]), (0, one["padding"]),
                                (0, one["output_padding"]), groups, (1, one["dilation"]))  # fmt: skip

    return as_picture(input, "conv_transpose1d", compute)


@register
def conv_transpose2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """Spread pictures (N, C, H, W) by windows (C, O / groups, KH, KW) and add a bias (O,): `conv2d` turned round.

    The result is (N, O, OH, OW), OH = (H - 1) stride - 2 padding + dilation (KH - 1) + output_padding + 1. padding:
    rows and columns cut off all around; output_padding: of those, how many stay at the bottom and right, less than
    stride or dilation, which tells apart the sizes that `conv2d` brings to the same. RuntimeError for what does not
    fit.
    """
    stride, padding = numbers(stride, 2, "stride"), numbers(padding, 2, "padding")
    extra, dilation = numbers(output_padding, 2, "output_padding"), numbers(dilation, 2, "dilation")
    _check(input, weight, bias, groups)
    if min(stride) < 1 or min(dilation) < 1 or min(padding) < 0 or min(extra) < 0:
        raise RuntimeError(f"stride {stride} and dilation {dilation} must be greater than zero, padding {padding} and "
                           f"output_padding {extra} not negative")  # fmt: skip
    if any(extra[axis] >= max(stride[axis], dilation[axis]) for axis in (0, 1)):
        raise RuntimeError("output padding must be smaller than either stride or dilation, but got output_padding: "
                           f"{extra}, stride: {stride}, dilation: {dilation}")  # fmt: skip
    if input.ndim == 3:
        batch = unsqueeze(input, 0)
        return squeeze(conv_transpose2d(batch, weight, bias, stride, padding, extra, groups, dilation), 0)
    size, more = [], []
    for axis in (0, 1):
        length, kernel = input.shape[2 + axis], weight.shape[2 + axis]
        size.append((length - 1) * stride[axis] - 2 * padding[axis] + dilation[axis] * (kernel - 1) + extra[axis] + 1)
        if size[axis] < 1:
            raise RuntimeError(f"conv_transpose2d: the result's size would be {size[axis]}; is the input "
                               f"{input.shape} too small for padding {padding}?")  # fmt: skip
        # where output_padding reaches a stride further, the windows have more places; no x stands there: zeros
        more.append(convolution_size(size[axis], kernel, stride[axis], padding[axis], dilation[axis]) - length)
    input = pad(input, (0, more[1], 0, more[0])) if any(more) else input
    return ConvTranspose2d.apply(input, weight, bias, tuple(size), stride, padding, dilation, groups)


def _check(input: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> None:
    if input.ndim not in (3, 4):
        raise RuntimeError(f"expected 3D (unbatched) or 4D (batched) input to conv_transpose2d, got {input.shape}")
    if weight.ndim != 4 or min(weight.shape[2:]) < 1:
        raise RuntimeError(f"expected a weight (in, out / groups, height, width), got shape {weight.shape}")
    if groups < 1 or weight.shape[0] % groups:
        raise RuntimeError(f"groups={groups} does not divide the weight's {weight.shape[0]} input channels")
    if input.shape[-3] != weight.shape[0]:
        raise RuntimeError(f"given transposed=1 and a weight of shape {weight.shape}, expected input to have "
                           f"{weight.shape[0]} channels, but got {input.shape[-3]} (shape {input.shape})")  # fmt: skip
    if bias is not None and bias.shape != (weight.shape[1] * groups,):
        raise RuntimeError(f"expected a bias of shape ({weight.shape[1] * groups},), got {bias.shape}")
    mixed = input.dtype != weight.dtype or (bias is not None and bias.dtype != weight.dtype)
    if mixed and not is_casting():
        raise RuntimeError(f"input is {input.dtype}, weight {weight.dtype}: they should be the same")
