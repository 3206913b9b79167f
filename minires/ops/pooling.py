"""More pooling: along one axis, with the places of the largest values, and back again; adaptive and power means.

Places are numbers within one channel's picture, row by row: h W + w.
"""

from typing import Any

from minires import kernels
from minires.autograd import Function, Node
from minires.backend import Array, array_module, int64
from minires.kernels.shapes import Pair, adaptive_windows, pooling_sizes
from minires.ops.conv_transpose import as_picture, numbers
from minires.ops.memory import axis_order, new_array, own_places
from minires.ops.shape import squeeze, unsqueeze
from minires.ops.window import adaptive_avg_pool2d, avg_pool2d, max_pool2d, pair
from minires.tensor import OPERATIONS, Tensor, register


class AdaptiveMaxPool2d(Function):
    """y = the largest x of each of as many windows as y has places;  dx: each dy goes to the place that won.

    Windows are those of adaptive_avg_pool2d, and may overlap. The second result is the winners' places.
    """

    @staticmethod
    def forward(ctx: Node, x: Array, size: Pair) -> tuple[Array, Array]:
        xp, (batch, channels, height, width) = array_module(x), x.shape
        places = xp.empty((batch, channels, *size), int64)
        for i, rows in enumerate(adaptive_windows(height, size[0])):
            for j, columns in enumerate(adaptive_windows(width, size[1])):
                window = x[:, :, rows, columns]
                best = _first_largest(window.reshape(batch, channels, window.shape[2] * window.shape[3]))
                places[:, :, i, j] = (
                    (rows.start + best // window.shape[3]) * width + columns.start + (best % window.shape[3])
                )
        ctx.shape, ctx.order = x.shape, axis_order(x)
        ctx.save_for_backward(places)
        return x[_at(places, width)], places

    @staticmethod
    def backward(ctx: Node, grad: Array, _: Array) -> tuple[Array | None, ...]:
        (places,) = ctx.saved_arrays
        dx = new_array(grad, ctx.shape, ctx.order)
        array_module(grad).add.at(dx, _at(places, ctx.shape[3]), grad)
        return dx, None


def _first_largest(rows: Array) -> Array:
    """Number of the largest along the last axis: of equal ones the first; NaN beats every number."""
    return rows.argmax(-1)


def _at(places: Array, width: int) -> tuple[Array, ...]:
    """The full index of places (N, C, OH, OW) in an array (N, C, H, width)."""
    pictures, channels, _, _ = own_places(places, places.shape)
    return pictures, channels, places // width, places % width


class MaxUnpool2d(Function):
    """y = 0 but for y[place] = x at each x's place;  dx = dy[place]. Zeiler and Fergus 2014, section 2.1."""

    @staticmethod
    def forward(ctx: Node, x: Array, places: Array, size: Pair) -> Array:
        ctx.save_for_backward(places)
        ctx.width = size[1]
        y = new_array(x, (*x.shape[:2], *size), axis_order(x))
        y[_at(places, size[1])] = x
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        (places,) = ctx.saved_arrays
        return grad[_at(places, ctx.width)], None, None


# ------------------------------------------------------------------------------------------- the functions users call


@register
def max_pool2d_with_indices(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """(`max_pool2d`, the places of the largest values as int64), whatever return_indices says, as in PyTorch."""
    result = max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode)
    kernel, around = pair(kernel_size, "kernel_size"), pair(padding, "padding")
    step = kernel if stride is None or stride == [] else pair(stride, "stride")
    gap = pair(dilation, "dilation")
    x = input.array if input.ndim == 4 else input.array[None]
    _, winner = kernels.max_pool2d_forward(x, kernel, step, around, gap, ceil_mode)
    xp, number = array_module(x), winner.astype(int64)
    height, width = pooling_sizes(x.shape[2:], kernel, step, around, gap, ceil_mode)
    rows = xp.arange(height)[:, None] * step[0] - around[0] + number // kernel[1] * gap[0]
    columns = xp.arange(width) * step[1] - around[1] + number % kernel[1] * gap[1]
    return result, Tensor((rows * x.shape[3] + columns).reshape(result.shape))


@register
def max_pool1d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest value of each window of rows (N, C, L); stride: kernel_size by default.

    return_indices: also their places along the row.
    """
    if return_indices:
        return max_pool1d_with_indices(input, kernel_size, stride, padding, dilation, ceil_mode)
    geometry = _one_axis(kernel_size, stride, padding, dilation)
    return as_picture(input, "max_pool1d", lambda x: max_pool2d(x, *geometry, ceil_mode))


@register
def max_pool1d_with_indices(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """(`max_pool1d`, the places of the largest values along the row, as int64); see `max_pool2d_with_indices`."""
    geometry, places = _one_axis(kernel_size, stride, padding, dilation), []

    def compute(x: Tensor) -> Tensor:
        y, where = max_pool2d_with_indices(x, *geometry, ceil_mode)
        places.append(squeeze(where, -2))
        return y

    return as_picture(input, "max_pool1d", compute), *places


def _one_axis(kernel_size: Any, stride: Any, padding: Any, dilation: Any) -> tuple[Pair, Pair, Pair, Pair]:
    """Window, stride, padding and dilation of rows, for pictures of height 1."""
    (kernel,), (around,) = numbers(kernel_size, 1, "kernel_size"), numbers(padding, 1, "padding")
    step = kernel if stride is None or stride == [] else numbers(stride, 1, "stride")[0]
    return (1, kernel), (1, step), (0, around), (1, numbers(dilation, 1, "dilation")[0])


@register
def avg_pool1d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """The average of each window of rows (N, C, L); the rest as `avg_pool2d`."""
    kernel, step, around, _ = _one_axis(kernel_size, stride, padding, 1)
    return as_picture(input, "avg_pool1d", lambda x: avg_pool2d(x, kernel, step, around, ceil_mode, count_include_pad))


@register
def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Averages over output_size windows of rows (N, C, L); see `adaptive_avg_pool2d`."""
    size = (1, _length(output_size, "adaptive_avg_pool1d"))
    return as_picture(input, "adaptive_avg_pool1d", lambda x: adaptive_avg_pool2d(x, size))


def _length(output_size: Any, name: str) -> int | None:
    sizes = (output_size,) if isinstance(output_size, int | None) else tuple(output_size)
    if len(sizes) != 1:
        raise RuntimeError(f"{name}: output_size must be one number, got {output_size!r}")
    return sizes[0]


@register
def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The largest values of output_size = (OH, OW) windows, a number for both; None keeps that length.

    return_indices: also their places, as int64.
    """
    if input.ndim not in (3, 4):
        raise RuntimeError(f"adaptive_max_pool2d: expected 3D or 4D input, got shape {input.shape}")
    wanted = (output_size, output_size) if isinstance(output_size, int | None) else tuple(output_size)
    if len(wanted) != 2:
        raise RuntimeError(f"adaptive_max_pool2d: output_size must be 2, got {output_size!r}")
    size = tuple(own if want is None else want for own, want in zip(input.shape[-2:], wanted, strict=True))
    if min(size) < 0 or min(input.shape[-3:]) < 1:
        raise RuntimeError(f"adaptive_max_pool2d: cannot make {size} of an input of shape {input.shape}")
    values, places = AdaptiveMaxPool2d.apply(input if input.ndim == 4 else unsqueeze(input, 0), size)
    if input.ndim == 3:
        values, places = squeeze(values, 0), squeeze(places, 0)
    return (values, places) if return_indices else values


@register
def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The largest values of output_size windows of rows (N, C, L). return_indices: also their places."""
    size, places = (1, _length(output_size, "adaptive_max_pool1d")), []

    def compute(x: Tensor) -> Tensor:
        y, where = adaptive_max_pool2d(x, size, return_indices=True)
        places.append(squeeze(where, -2))
        return y

    values = as_picture(input, "adaptive_max_pool1d", compute)
    return (values, *places) if return_indices else values


@register
def max_unpool2d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """Each value at the place that `indices` (of a max pooling) says, zeros elsewhere: (N, C, OH, OW).

    output_size: the size before the pooling, (OH, OW) or the whole shape; by default (H - 1) stride - 2 padding +
    kernel_size. RuntimeError for another shape of indices or a place beyond, ValueError for a size too far off.
    """
    kernel, around = pair(kernel_size, "kernel_size"), pair(padding, "padding")
    step = kernel if stride is None or stride == [] else pair(stride, "stride")
    if indices.dtype != int64:
        raise RuntimeError(f"max_unpool2d: elements in indices should be type int64 but got: {indices.dtype}")
    if input.shape != indices.shape or input.ndim not in (3, 4):
        raise RuntimeError(f"max_unpool2d: expected input (N, C, H, W) and indices of the same shape, got "
                           f"{input.shape} and {indices.shape}")  # fmt: skip
    usual = tuple((n - 1) * s + k - 2 * p
                  for n, s, k, p in zip(input.shape[-2:], step, kernel, around, strict=True))  # fmt: skip
    size = usual if output_size is None else tuple(output_size)[-2:]
    if any(not usual[axis] - step[axis] < size[axis] < usual[axis] + step[axis] for axis in (0, 1)):
        raise ValueError(f"invalid output_size {size}: it should be less than a stride {step} away from {usual}")
    if indices.numel() and not 0 <= indices.array.min() <= indices.array.max() < size[0] * size[1]:
        raise RuntimeError(f"max_unpool2d: found an invalid max index {int(indices.array.max())} for size {size}")
    if input.ndim == 3:
        return squeeze(MaxUnpool2d.apply(unsqueeze(input, 0), indices.array[None], size), 0)
    return MaxUnpool2d.apply(input, indices.array, size)


@register
def max_unpool1d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """`max_unpool2d` of rows (N, C, L)."""
    kernel, step, around, _ = _one_axis(kernel_size, stride, padding, 1)
    size = None if output_size is None else (1, tuple(output_size)[-1])
    return as_picture(
        input, "max_unpool1d", lambda x: max_unpool2d(x, unsqueeze(indices, -2), kernel, step, around, size)
    )


@register
def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:  # fmt: skip
    """(sum of x^p over each window)^(1/p), p = norm_type."""
    kernel = pair(kernel_size, "kernel_size")
    powers = avg_pool2d(input**norm_type, kernel, stride, 0, ceil_mode)
    sums = OPERATIONS["sign"](powers) * OPERATIONS["relu"](OPERATIONS["abs"](powers)) * (kernel[0] * kernel[1])
    return sums ** (1.0 / norm_type)


@register
def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:  # fmt: skip
    """`lp_pool2d` of rows (N, C, L)."""
    kernel, step, _, _ = _one_axis(kernel_size, stride, 0, 1)
    return as_picture(input, "lp_pool1d", lambda x: lp_pool2d(x, norm_type, kernel, step, ceil_mode))


@register
def adaptive_max_pool1d_with_indices(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """`adaptive_max_pool1d` with its indices, whatever return_indices says."""
    return adaptive_max_pool1d(input, output_size, True)


@register
def adaptive_max_pool2d_with_indices(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """`adaptive_max_pool2d` with its indices, whatever return_indices says."""
    return adaptive_max_pool2d(input, output_size, True)
