"""Operations that join all elements along some axes into one: sums, means, extremes.

In the formulas the sum runs over the reduced axes, m is the number of elements along them, dy is spread back over them.
`dim`: an axis, several, or None for all. `keepdim`: leave the reduced axes in place, with length 1.
"""

import builtins
from typing import Any

from minires import backend, kernels
from minires.autograd import Function, Node
from minires.backend import Array, array_module, float64, int64, is_floating, uint8
from minires.ops import choice, elementwise
from minires.ops.dims import axes_of, axis_of
from minires.ops.index import ValuesAndIndices, gather
from minires.ops.memory import at_least_float32
from minires.ops.shape import squeeze, unsqueeze
from minires.tensor import Tensor, register


def spread(array: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """The reduced array repeated along the reduced axes, as a view."""
    kept = tuple(1 if axis in axes else length for axis, length in enumerate(shape))
    return array_module(array).broadcast_to(array.reshape(kept), shape)


class Sum(Function):
    """y = sum x;  dx = dy."""

    @staticmethod
    def forward(ctx: Node, x: Array, axes: tuple[int, ...], keepdim: bool) -> Array:
        ctx.shape, ctx.axes = x.shape, axes
        return kernels.sum_over(x, axes, keepdim)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        return spread(grad, ctx.shape, ctx.axes), None, None


class Mean(Function):
    """y = sum x / m;  dx = dy / m."""

    @staticmethod
    def forward(ctx: Node, x: Array, axes: tuple[int, ...], keepdim: bool) -> Array:
        ctx.shape, ctx.axes = x.shape, axes
        ctx.count = count_along(x.shape, axes)
        total = kernels.sum_over(at_least_float32(x), axes, keepdim)
        return (total / ctx.count if ctx.count else total * float("nan")).astype(x.dtype, copy=False)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        return spread(grad / builtins.max(ctx.count, 1), ctx.shape, ctx.axes), None, None


class Extreme(Function):
    """y = the largest (or smallest) x along the axes;  dx = dy, shared evenly among the places that equal it."""

    @staticmethod
    def forward(ctx: Node, x: Array, axes: tuple[int, ...], keepdim: bool, largest: bool) -> Array:
        xp = array_module(x)
        y = xp.asarray(x.max(axis=axes, keepdims=keepdim) if largest else x.min(axis=axes, keepdims=keepdim))
        ctx.axes = axes
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        x, y = ctx.saved_arrays
        winners = x == spread(y, x.shape, ctx.axes)
        share = winners / winners.sum(axis=ctx.axes, keepdims=True)
        return spread(grad, x.shape, ctx.axes) * share.astype(grad.dtype), None, None, None


class ExtremeOfAll(Extreme):
    """As Extreme, for `max` and `min` of all elements: if y is NaN, the places that are NaN share dy, as in PyTorch."""

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        x, y = ctx.saved_arrays
        xp = array_module(x)
        winners = xp.isnan(x) if xp.isnan(y) else x == y
        return (winners * (grad / winners.sum())).astype(grad.dtype, copy=False), None, None, None


class LogSumExp(Function):
    """y = log sum e^x, computed as max + log sum e^(x - max) so that nothing overflows;  dx = dy e^(x - y)."""

    @staticmethod
    def forward(ctx: Node, x: Array, axes: tuple[int, ...], keepdim: bool) -> Array:
        xp = array_module(x)
        largest = x.max(axis=axes, keepdims=True)
        largest = xp.where(xp.isfinite(largest), largest, xp.zeros((), x.dtype))
        y = xp.log(kernels.sum_over(xp.exp(x - largest), axes, True)) + largest  # -inf for nothing, as in PyTorch
        ctx.axes = axes
        ctx.save_for_backward(x, y)
        return y if keepdim else y.squeeze(axes)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        x, y = ctx.saved_arrays
        return spread(grad, x.shape, ctx.axes) * array_module(x).exp(x - y), None, None


class CumulativeSum(Function):
    """y_i = x_0 + ... + x_i along one axis;  dx_i = dy_i + dy_(i+1) + ... : the same sum, from the other end."""

    @staticmethod
    def forward(ctx: Node, x: Array, axis: int) -> Array:
        ctx.axis = axis
        return _running_sums(x, axis)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        xp = array_module(grad)
        return xp.flip(_running_sums(xp.flip(grad, ctx.axis), ctx.axis), ctx.axis), None


def _running_sums(x: Array, axis: int) -> Array:
    """Added up in float64, if x holds real numbers, and rounded once."""
    return x.cumsum(axis=axis, dtype=float64 if is_floating(x.dtype) else x.dtype).astype(x.dtype, copy=False)


def count_along(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    """Elements that meet in one result."""
    count = 1
    for axis in axes:
        count *= shape[axis]
    return count


def need_real(input: Tensor, name: str) -> None:
    if not is_floating(input.dtype):
        raise RuntimeError(f"{name}: the input must be of floating point type, got {input.dtype}")


def _need_elements(input: Tensor, axes: tuple[int, ...], name: str, dim: Any) -> None:
    """Where the extreme of no elements is asked for: IndexError, or RuntimeError if no `dim` was named."""
    if count_along(input.shape, axes) == 0:
        kind = RuntimeError if dim is None or dim == () else IndexError
        raise kind(f"{name}: expected reduction over axes that are not empty, got shape {input.shape}")


# ------------------------------------------------------------------------------------------- the functions users call


@register
def sum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Sum along `dim`; integers and booleans are summed as int64 unless `dtype` says otherwise."""
    if dtype is None and not is_floating(input.dtype):
        dtype = int64
    input = input if dtype is None else input.to(dtype)
    return Sum.apply(input, axes_of(dim, input.ndim), keepdim)


@register
def mean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Mean along `dim`; NaN of no elements. RuntimeError for integers without a `dtype`."""
    input = input if dtype is None else input.to(dtype)
    need_real(input, "mean")
    return Mean.apply(input, axes_of(dim, input.ndim), keepdim)


@register
def amax(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The largest value along `dim`; ties share the gradient evenly. An error over no elements."""
    axes = axes_of(dim, input.ndim)
    _need_elements(input, axes, "amax", dim)
    return Extreme.apply(input, axes, keepdim, True)


@register
def amin(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The smallest value along `dim`; ties share the gradient evenly. An error over no elements."""
    axes = axes_of(dim, input.ndim)
    _need_elements(input, axes, "amin", dim)
    return Extreme.apply(input, axes, keepdim, False)


@register
def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The largest value of all; or, along the axis `dim`, (values, indices); or elementwise, if `dim` is a Tensor.

    Of equal values along `dim` the first is taken, and it alone gets the gradient.
    """
    return _extreme(input, dim, keepdim, "max")


@register
def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest value; see `max`."""
    return _extreme(input, dim, keepdim, "min")


def _extreme(input: Tensor, dim: Any, keepdim: bool, name: str) -> Any:
    if not isinstance(input, Tensor):
        raise TypeError(f"{name}(): expected a Tensor, got {type(input).__name__}")
    if isinstance(dim, Tensor):
        return (choice.maximum if name == "max" else choice.minimum)(input, dim)
    if dim is None:
        if input.numel() == 0:
            raise RuntimeError(f"{name}(): expected reduction dim to be specified for a tensor without elements")
        return ExtremeOfAll.apply(input, axes_of(None, input.ndim), False, name == "max")
    axis = axis_of(dim, input.ndim)
    indices = (argmax if name == "max" else argmin)(input, axis, keepdim=True)
    values = gather(input, axis, indices) if input.ndim else input.clone()
    if keepdim or not input.ndim:
        return ValuesAndIndices(values, indices)
    return ValuesAndIndices(squeeze(values, axis), squeeze(indices, axis))


@register
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the largest value along `dim` (of the flattened tensor, for None): the first of equals, or of NaNs."""
    return _arg_extreme(input, dim, keepdim, "argmax")


@register
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the smallest value; see `argmax`."""
    return _arg_extreme(input, dim, keepdim, "argmin")


def _arg_extreme(input: Tensor, dim: int | None, keepdim: bool, name: str) -> Tensor:
    axis = None if dim is None or not input.ndim else axis_of(dim, input.ndim)
    _need_elements(input, axes_of(axis, input.ndim), name, 0)
    found = getattr(input.array, name)(axis=axis)
    xp = array_module(input.array)
    indices = Tensor(xp.asarray(found, dtype=int64))
    if not keepdim:
        return indices
    return Tensor(indices.array.reshape((1,) * input.ndim)) if axis is None else unsqueeze(indices, axis)


@register
def all(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether all elements along `dim` are true (other than 0)."""
    return _truth(input, input.array.all(axis=axes_of(dim, input.ndim), keepdims=keepdim))


@register
def any(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether an element along `dim` is true (other than 0)."""
    return _truth(input, input.array.any(axis=axes_of(dim, input.ndim), keepdims=keepdim))


def _truth(input: Tensor, found: Any) -> Tensor:
    """Booleans; for bytes 0 and 1 as bytes, as in PyTorch."""
    return Tensor(array_module(input.array).asarray(found, dtype=uint8 if input.dtype == uint8 else None))


@register
def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """log(sum(exp(input))) along `dim`, without overflow."""
    input = input if is_floating(input.dtype) else input.to(backend.default_dtype)
    axes = axes_of(dim, input.ndim)
    if count_along(input.shape, axes) == 0:
        return elementwise.log(sum(input, axes, keepdim))
    return LogSumExp.apply(input, axes, keepdim)


@register
def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Running sums along the axis `dim`; integers as int64."""
    if dtype is None and not is_floating(input.dtype):
        dtype = int64
    input = input if dtype is None else input.to(dtype)
    if not input.ndim:
        axis_of(dim, 0)
        return input.clone()
    return CumulativeSum.apply(input, axis_of(dim, input.ndim))
