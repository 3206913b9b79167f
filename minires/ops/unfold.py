"""Windows as columns: unfold cuts pictures into (overlapping) blocks, fold adds blocks up to pictures.

Each is the other's derivative: unfold copies a pixel into every block that covers it, so that its gradient is the sum
of theirs; and the other way round. x is (N, C, H, W) or (C, H, W); blocks are (N, C kh kw, L) or (C kh kw, L), with L
places of the window, row by row.
"""

from collections.abc import Iterator
from typing import Any

from minires.autograd import Function, Node
from minires.backend import Array, array_module, is_writeable
from minires.kernels.shapes import Pair
from minires.ops.dims import axis_of
from minires.ops.memory import axis_order, new_array
from minires.ops.shape import squeeze, unsqueeze
from minires.tensor import Tensor, register

Geometry = tuple[Pair, Pair, Pair, Pair]  # kernel_size, dilation, padding, stride


def _places(sizes: Pair, geometry: Geometry) -> Pair:
    """How many places the window has, down and across."""
    down, across = (
        (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for size, kernel, dilation, padding, stride in zip(sizes, *geometry, strict=True)
    )
    return down, across


def _windows(padded: Array, places: Pair, geometry: Geometry) -> Iterator[tuple[int, int, Array]]:
    """(i, j, view) for each place of the kernel: the pixels (N, C, rows, columns) that it meets, as a view."""
    (height, width), dilation, _, stride = geometry
    for i in range(height):
        for j in range(width):
            top, left = i * dilation[0], j * dilation[1]
            yield i, j, padded[:, :, top : top + places[0] * stride[0] : stride[0],
                               left : left + places[1] * stride[1] : stride[1]]  # fmt: skip


def to_columns(x: Array, geometry: Geometry) -> Array:
    """(N, C, H, W) as (N, C kh kw, L)."""
    kernel, _, padding, _ = geometry
    places = _places(x.shape[2:], geometry)
    padded = array_module(x).pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    y = array_module(x).empty((*x.shape[:2], *kernel, *places), x.dtype)
    for i, j, view in _windows(padded, places, geometry):
        y[:, :, i, j] = view
    return y.reshape(x.shape[0], x.shape[1] * kernel[0] * kernel[1], places[0] * places[1])


def to_pictures(columns: Array, sizes: Pair, geometry: Geometry) -> Array:
    """(N, C kh kw, L) added up to (N, C, H, W)."""
    kernel, _, padding, _ = geometry
    places = _places(sizes, geometry)
    channels = columns.shape[1] // (kernel[0] * kernel[1])
    blocks = columns.reshape(columns.shape[0], channels, *kernel, *places)
    padded = array_module(columns).zeros(
        (columns.shape[0], channels, sizes[0] + 2 * padding[0], sizes[1] + 2 * padding[1]), columns.dtype
    )
    for i, j, view in _windows(padded, places, geometry):
        view += blocks[:, :, i, j]
    return padded[:, :, padding[0] : padding[0] + sizes[0], padding[1] : padding[1] + sizes[1]]


class Unfold(Function):
    """y[n, (c, i, j), l] = x[n, c, row(l) + i, column(l) + j], 0 outside;  dx = fold(dy)."""

    @staticmethod
    def forward(ctx: Node, x: Array, geometry: Geometry) -> Array:
        ctx.sizes, ctx.geometry = x.shape[2:], geometry
        return to_columns(x, geometry)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        return to_pictures(grad, ctx.sizes, ctx.geometry), None


class Fold(Function):
    """y[n, c, row(l) + i, column(l) + j] += x[n, (c, i, j), l];  dx = unfold(dy)."""

    @staticmethod
    def forward(ctx: Node, x: Array, sizes: Pair, geometry: Geometry) -> Array:
        ctx.geometry = geometry
        return to_pictures(x, sizes, geometry)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        return to_columns(grad, ctx.geometry), None, None


class Windows(Function):
    """y[..., i, ..., k] = x[..., i step + k, ...], windows along an axis, as a view;  dx: the windows' dy added up."""

    @staticmethod
    def forward(ctx: Node, x: Array, axis: int, size: int, step: int) -> Array:
        ctx.shape, ctx.order, ctx.axis, ctx.step = x.shape, axis_order(x), axis, step
        windows = array_module(x).lib.stride_tricks.sliding_window_view(
            x, size, axis, writeable=is_writeable(x) and step >= size
        )
        return windows[(slice(None),) * axis + (slice(None, None, step),)]

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        dx = new_array(grad, ctx.shape, ctx.order)
        reach = (grad.shape[ctx.axis] - 1) * ctx.step + 1
        for place in range(grad.shape[-1]):
            dx[(slice(None),) * ctx.axis + (slice(place, place + reach, ctx.step),)] += grad[..., place]
        return dx, None, None, None


# ------------------------------------------------------------------------------------------- the functions users call


def _pair(value: Any, name: str, least: int) -> Pair:
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or min(pair) < least:
        raise RuntimeError(f"{name} must be one or two numbers from {least} up, got {value}")
    return int(pair[0]), int(pair[1])


def _geometry(kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Geometry:
    return (_pair(kernel_size, "kernel_size", 1), _pair(dilation, "dilation", 1), _pair(padding, "padding", 0),
            _pair(stride, "stride", 1))  # fmt: skip


@register
def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """(N, C, H, W) as columns (N, C kh kw, L): the block under the window at each of its L places."""
    geometry = _geometry(kernel_size, dilation, padding, stride)
    if input.ndim not in (3, 4):
        raise RuntimeError(f"unfold: expected (N, C, H, W) or (C, H, W), got shape {input.shape}")
    x = input if input.ndim == 4 else unsqueeze(input, 0)
    _must_fit(x.shape[2:], geometry, "unfold")
    y = Unfold.apply(x, geometry)
    return y if input.ndim == 4 else squeeze(y, 0)


@register
def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Columns (N, C kh kw, L) added up to pictures (N, C, *output_size): where blocks overlap, their sum."""
    geometry, sizes = _geometry(kernel_size, dilation, padding, stride), _pair(output_size, "output_size", 1)
    if input.ndim not in (2, 3):
        raise RuntimeError(f"fold: expected (N, C * kernel, L) or (C * kernel, L), got shape {input.shape}")
    _must_fit(sizes, geometry, "fold")
    places, (height, width) = _places(sizes, geometry), geometry[0]
    if input.shape[-2] % (height * width) or input.shape[-1] != places[0] * places[1]:
        raise RuntimeError(f"fold: expected a multiple of {height * width} rows and {places[0]} x {places[1]} columns, "
                           f"got shape {input.shape}")  # fmt: skip
    y = Fold.apply(input if input.ndim == 3 else unsqueeze(input, 0), sizes, geometry)
    return y if input.ndim == 3 else squeeze(y, 0)


def _must_fit(sizes: Pair, geometry: Geometry, name: str) -> None:
    if min(_places(sizes, geometry)) < 1:
        raise RuntimeError(f"{name}: a window of {geometry[0]}, dilation {geometry[1]}, does not fit into {sizes} with "
                           f"padding {geometry[2]}")  # fmt: skip


@register
def windows(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows of `size` elements along an axis, `step` apart, as a view with a new last axis. torch: Tensor.unfold."""
    axis = axis_of(dimension, input.ndim)
    length = input.shape[axis] if input.ndim else 1
    if not 0 < size <= length or step <= 0:
        raise RuntimeError(f"unfold: size must be from 1 to {length} and step above 0, got {size} and {step}")
    if not input.ndim:
        return Windows.apply(input.reshape(1), 0, size, step).reshape(size)
    return Windows.apply(input, axis, size, step)
