"""Picking and placing along one axis by an index of whole numbers: select, scatter, add, fill, take.

In the formulas the axis is the first one; `index` has the shape of what is picked or placed. What is placed twice at
one spot is added up by the *_add functions; `scatter` keeps one of the two, as in PyTorch nobody may rely on which.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minires.autograd import Function, Node
from minires.backend import Array, array_module
from minires.ops.broadcast import common_shape
from minires.ops.dims import axis_of
from minires.ops.index import _places, gather, getitem, set_items
from minires.ops.shape import expand, reshape
from minires.tensor import Tensor, register


class Scatter(Function):
    """y = x but y[index[i, j], j] = src[i, j];  dx = dy, 0 at these places, dsrc[i, j] = dy[index[i, j], j]."""

    @staticmethod
    def forward(ctx: Node, x: Array, src: Array, index: Array, axis: int) -> Array:
        ctx.axis, ctx.shape = axis, src.shape
        ctx.save_for_backward(index)
        y = x.copy(order="K")
        y[_places(index, axis)] = src[_corner(index)]
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        (index,) = ctx.saved_arrays
        places, dx = _places(index, ctx.axis), None
        if ctx.needs_input_grad[0]:
            dx = grad.copy(order="K")
            dx[places] = 0
        return dx, _source_gradient(ctx, grad, index) if ctx.needs_input_grad[1] else None, None, None


class ScatterAdd(Function):
    """y = x but y[index[i, j], j] += src[i, j];  dx = dy, dsrc[i, j] = dy[index[i, j], j]."""

    @staticmethod
    def forward(ctx: Node, x: Array, src: Array, index: Array, axis: int) -> Array:
        ctx.axis, ctx.shape = axis, src.shape
        ctx.save_for_backward(index)
        y = x.copy(order="K")
        array_module(x).add.at(y, _places(index, axis), src[_corner(index)])
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        (index,) = ctx.saved_arrays
        return grad, _source_gradient(ctx, grad, index) if ctx.needs_input_grad[1] else None, None, None


def _corner(index: Array) -> tuple[slice, ...]:
    """The part of `src` that an index, which may be smaller, stands for."""
    return tuple(slice(0, length) for length in index.shape)


def _source_gradient(ctx: Node, grad: Array, index: Array) -> Array:
    dsrc = array_module(grad).zeros(ctx.shape, grad.dtype)
    dsrc[_corner(index)] = grad[_places(index, ctx.axis)]
    return dsrc


class IndexAdd(Function):
    """y = x but y[index[i]] += alpha source[i];  dx = dy, dsource[i] = alpha dy[index[i]]."""

    @staticmethod
    def forward(ctx: Node, x: Array, source: Array, index: Array, axis: int, alpha: float) -> Array:
        ctx.where, ctx.alpha = (slice(None),) * axis + (index.copy(),), alpha
        y = x.copy(order="K")
        array_module(x).add.at(y, ctx.where, source if alpha == 1 else (source * alpha).astype(x.dtype, copy=False))
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        picked = grad[ctx.where]
        return grad, picked if ctx.alpha == 1 else picked * ctx.alpha, None, None, None


# ------------------------------------------------------------------------------------------- the functions users call


def also_for_numbers(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Decorator of `f(input, dim, index, ...)`: an input without axes is treated as a vector of one, as in PyTorch."""

    @functools.wraps(function)
    def call(input: Tensor, dim: int, index: Tensor, *rest: Any, **named: Any) -> Tensor:
        if input.ndim:
            return function(input, dim, index, *rest, **named)
        vectors = [reshape(value, -1) if isinstance(value, Tensor) else value for value in rest]
        by_name = {key: reshape(value, -1) if isinstance(value, Tensor) else value for key, value in named.items()}
        return reshape(function(reshape(input, 1), dim, reshape(index, -1), *vectors, **by_name), ())

    return call


@register
@also_for_numbers
def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: float | None = None, reduce: str | None = None
) -> Tensor:
    """A copy of `input` with src[i, j] at [index[i, j], j] (for dim=0); `src` is a tensor, or a number (also `value`).

    index: int64, no longer than `src`, nor than `input` along the other axes. reduce: "add" or "multiply" to join what
    is there and what comes; without a gradient (see `scatter_reduce`), as in PyTorch.
    """
    src = value if src is None else src
    if src is None:
        raise TypeError("scatter: src or value must be given")
    if not isinstance(src, Tensor):
        src = Tensor(array_module(input.array).full(index.shape, src, input.dtype))
    axis = _checked(input, dim, index, src, "scatter")
    if reduce is not None:
        if reduce not in ("add", "multiply"):
            raise RuntimeError(f"scatter: reduce must be either 'add' or 'multiply', got {reduce!r}")
        joined, xp = input.array.copy(order="K"), array_module(input.array)
        places = _places(index.array, axis)
        (xp.add if reduce == "add" else xp.multiply).at(joined, places, src.array[_corner(index.array)])
        return Tensor(joined)
    return Scatter.apply(input, src, index.array, axis)


@register
@also_for_numbers
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy of `input` with src[i, j] added at [index[i, j], j] (for dim=0): all of them, where an index repeats."""
    return ScatterAdd.apply(input, src, index.array, _checked(input, dim, index, src, "scatter_add"))


def _checked(input: Tensor, dim: int, index: Tensor, src: Tensor, name: str) -> int:
    """The axis. RuntimeError for an index that does not fit."""
    axis = axis_of(dim, input.ndim)
    if index.dtype.kind not in "iu":
        raise RuntimeError(f"{name}(): expected the index to hold integers, got {index.dtype}")
    if src.dtype != input.dtype:
        raise RuntimeError(f"{name}(): expected self.dtype to be equal to src.dtype, got {input.dtype} and {src.dtype}")
    if index.ndim != input.ndim or src.ndim != input.ndim:
        raise RuntimeError(f"{name}(): index, src and input must have the same number of axes, "
                           f"got {index.shape}, {src.shape} and {input.shape}")  # fmt: skip
    for place, (length, own, most) in enumerate(zip(index.shape, input.shape, src.shape, strict=True)):
        if length > most or (place != axis and length > own):
            raise RuntimeError(f"{name}(): the index of shape {index.shape} does not fit the input of shape "
                               f"{input.shape} and src of shape {src.shape}")  # fmt: skip
    _in_range(index, input.shape[axis] if input.ndim else 1, name)
    return axis


def _in_range(index: Tensor, length: int, name: str) -> None:
    if index.numel() and (index.array.min() < 0 or index.array.max() >= length):
        raise RuntimeError(f"{name}(): an index is out of range for an axis with length {length}")


@register
@also_for_numbers
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices numbered by `index`, a vector of integers, along `dim`."""
    places = index if index.ndim else reshape(index, 1)
    return getitem(input, (slice(None),) * _vector(input, dim, index, "index_select") + (places,))


@register
@also_for_numbers
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    """A copy of `input` with alpha * source[i] added to the slice number index[i] along `dim`."""
    axis = _vector(input, dim, index, "index_add")
    expected = input.shape[:axis] + index.shape + input.shape[axis + 1 :]
    if source.shape != expected or source.dtype != input.dtype:
        raise RuntimeError(f"index_add(): expected a source of shape {expected} and type {input.dtype}, got "
                           f"{source.shape} and {source.dtype}")  # fmt: skip
    return IndexAdd.apply(input, source, index.array, axis, alpha)


@register
@also_for_numbers
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy of `input` with source[i] in place of the slice number index[i] along `dim`."""
    axis = _vector(input, dim, index, "index_copy")
    if source.dtype != input.dtype:
        raise RuntimeError(f"index_copy(): input is {input.dtype}, source {source.dtype}: they must be of one type")
    return set_items(input, (slice(None),) * axis + (index,), source)


@register
@also_for_numbers
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A copy of `input` with `value`, a number or a tensor without axes, in the slices numbered by `index`."""
    return set_items(input, (slice(None),) * _vector(input, dim, index, "index_fill") + (index,), value)


def _vector(input: Tensor, dim: int, index: Tensor, name: str) -> int:
    """The axis. Errors for an index that is no vector of whole numbers from 0 to the axis' length."""
    axis = axis_of(dim, input.ndim)
    if index.dtype.kind not in "iu":
        raise RuntimeError(f"{name}(): expected the index to hold integers, got {index.dtype}")
    if index.ndim > 1:
        raise IndexError(f"{name}(): the index must be a vector, got shape {index.shape}")
    if index.numel() and (index.array.min() < 0 or index.array.max() >= input.shape[axis]):
        raise IndexError(f"{name}(): an index is out of range for axis {axis} with length {input.shape[axis]}")
    return axis


@register
def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements numbered by `index`, of any shape, as if `input` were flat; negative numbers count from its end."""
    if index.dtype.kind not in "iu":
        raise RuntimeError(f"take(): expected the index to hold integers, got {index.dtype}")
    return getitem(reshape(input, -1), index)


@register
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """As `gather`, but `input` and `indices` are broadcast against each other; flat without `dim` (see `argsort`)."""
    if dim is None:
        return gather(reshape(input, -1), 0, reshape(indices, -1))
    axis = axis_of(dim, input.ndim)
    if indices.ndim != input.ndim:
        raise RuntimeError(f"take_along_dim(): input has {input.ndim} axes, indices {indices.ndim}")
    one, two = list(input.shape), list(indices.shape)
    one[axis] = two[axis] = 1
    common = list(np.broadcast_shapes(tuple(one), tuple(two)))
    wide = [expand(tensor, [*common[:axis], tensor.shape[axis], *common[axis + 1 :]]) for tensor in (input, indices)]
    return gather(wide[0], axis, wide[1])


@register
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """A vector of the elements where the mask (a boolean tensor) holds; both are broadcast."""
    if mask.dtype.kind != "b":
        raise RuntimeError(f"masked_select: expected a boolean mask, got {mask.dtype}")
    shape = np.broadcast_shapes(input.shape, mask.shape)
    return getitem(expand(input, shape), expand(mask, shape))


@register
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """A copy of `input` with the first elements of `source`, one after the other, where the mask holds."""
    if mask.dtype.kind != "b" or source.dtype != input.dtype:
        raise RuntimeError(f"masked_scatter: expected a boolean mask and a source of {input.dtype}, got {mask.dtype} "
                           f"and {source.dtype}")  # fmt: skip
    shape = common_shape(input.shape, mask.shape)
    input, mask = expand(input, shape), expand(mask, shape)
    count = int(mask.array.sum())
    if count > math.prod(source.shape):
        raise RuntimeError(f"masked_scatter: {count} places for {source.numel()} elements of the source")
    return set_items(input, mask, getitem(reshape(source, -1), slice(0, count)))
