"""Running extremes and sums of exponentials along an axis; extremes of two numbers that pass over NaN."""

from typing import Any

import numpy as np

from minires.autograd import Function, Node
from minires.backend import Array, array_module, int64
from minires.ops.broadcast import sum_to_shape
from minires.ops.dims import axis_of
from minires.ops.index import ValuesAndIndices, gather
from minires.ops.memory import own_places
from minires.ops.pointwise import need_tensors, real, same_operands
from minires.tensor import Tensor, register


def running(function: Any, x: Array, axis: int) -> Array:
    """y_k = function(x_0, ..., x_k) along an axis, for a ufunc of two arguments that may be taken in any order.

    NumPy's ufuncs do so themselves. CuPy's do not: there each of log2(n) rounds joins stretches of twice the length
    (Hillis and Steele 1986).
    """
    if array_module(x) is np:
        return function.accumulate(x, axis=axis)
    y = array_module(x).moveaxis(x.copy(), axis, 0)
    step = 1
    while step < len(y):
        y[step:] = function(y[step:], y[:-step].copy())
        step *= 2
    return array_module(x).moveaxis(y, 0, axis)


class FiniteExtremum(Function):
    """y = the larger (or smaller) of a and b, the other one where one is NaN;  dy goes to a where a was taken.

    Of two equal ones a is taken.
    """

    @staticmethod
    def forward(ctx: Node, a: Array, b: Array, largest: bool) -> Array:
        xp = array_module(a)
        ctx.mask, ctx.shapes = (a >= b if largest else a <= b), (a.shape, b.shape)
        if a.dtype.kind == "f":
            ctx.mask = ctx.mask | xp.isnan(b)
        return xp.asarray((xp.fmax if largest else xp.fmin)(a, b))

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        xp, zero = array_module(grad), grad.dtype.type(0)
        need_a, need_b = ctx.needs_input_grad[:2]
        return (
            sum_to_shape(xp.where(ctx.mask, grad, zero), ctx.shapes[0]) if need_a else None,
            sum_to_shape(xp.where(ctx.mask, zero, grad), ctx.shapes[1]) if need_b else None,
            None,
        )


class LogCumulativeSumExp(Function):
    """y_k = ln(e^x_0 + ... + e^x_k) along an axis;  dx_i = e^(x_i - y_i) r_i, r_i = dy_i + r_(i+1) e^(y_i - y_(i+1)).

    For dx_i is the sum of dy_k e^(x_i - y_k) over k >= i, and no exponent in r is above 0.
    """

    @staticmethod
    def forward(ctx: Node, x: Array, axis: int) -> Array:
        y = running(array_module(x).logaddexp, x, axis)
        ctx.axis = axis
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        x, y = ctx.saved_arrays
        xp = array_module(x)
        rest = grad.copy()
        sums, levels = (xp.moveaxis(array, ctx.axis, 0) for array in (rest, y))
        for place in range(len(levels) - 2, -1, -1):
            sums[place] += sums[place + 1] * xp.exp(levels[place] - levels[place + 1])
        return rest * xp.exp(x - y), None


# ------------------------------------------------------------------------------------------- the functions users call


@register
def fmax(input: Tensor, other: Tensor) -> Tensor:
    """The larger of each pair of elements; where one is NaN, the other."""
    need_tensors("fmax", input, other)
    return FiniteExtremum.apply(*same_operands(input, other), True)


@register
def fmin(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of each pair of elements; where one is NaN, the other."""
    need_tensors("fmin", input, other)
    return FiniteExtremum.apply(*same_operands(input, other), False)


@register
def cummax(input: Tensor, dim: int) -> ValuesAndIndices:
    """(the largest element so far along `dim`, where it last stood); NaN from the first NaN on."""
    return _running_extreme(input, dim, True)


@register
def cummin(input: Tensor, dim: int) -> ValuesAndIndices:
    """(the smallest element so far along `dim`, where it last stood); NaN from the first NaN on."""
    return _running_extreme(input, dim, False)


def _running_extreme(input: Tensor, dim: int, largest: bool) -> ValuesAndIndices:
    axis, x = axis_of(dim, input.ndim), input.array
    xp = array_module(x)
    if not input.ndim:
        return ValuesAndIndices(input.clone(), Tensor(xp.zeros((), int64)))
    if not input.numel():
        return ValuesAndIndices(input.clone(), Tensor(xp.zeros(x.shape, int64)))
    reached = running(xp.maximum if largest else xp.minimum, x, axis)
    newest = (x == reached) | (xp.isnan(x) if x.dtype.kind == "f" else False)
    places = xp.where(newest, own_places(x, x.shape)[axis], 0)
    indices = Tensor(running(xp.maximum, places, axis).astype(int64))
    return ValuesAndIndices(gather(input, axis, indices), indices)


@register
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """ln of the running sums of e^input along `dim`, without overflow."""
    input = real(input)
    axis = axis_of(dim, input.ndim)
    return LogCumulativeSumExp.apply(input, axis) if input.ndim and input.numel() else input.clone()


@register
def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float | None = None, dim: int = -1) -> Any:
    """The integral along `dim` of points y joined by straight lines, `dx` (1) apart, or at the places x."""
    return _areas(y, x, dx, dim, "trapezoid").sum(axis_of(dim, y.ndim))


def _areas(y: Tensor, x: Tensor | None, dx: float | None, dim: int, name: str) -> Any:
    """The area between each point along `dim` and the next."""
    axis = axis_of(dim, y.ndim)
    if x is not None and dx is not None:
        raise RuntimeError(f"{name}: give x or dx, not both")
    if not y.ndim or y.dtype.kind == "b":
        raise RuntimeError(f"{name}: y needs at least one axis, of numbers")
    front = (slice(None),) * axis
    middles = (y[(*front, slice(1, None))] + y[(*front, slice(None, -1))]) / 2
    if x is None:
        return middles if dx in (None, 1) else middles * dx
    steps = x[..., 1:] - x[..., :-1]
    return middles * (steps.reshape(-1, *[1] * (y.ndim - 1 - axis)) if x.ndim == 1 else steps)


@register
def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float | None = None, dim: int = -1) -> Tensor:
    """The running integrals along `dim`: as `trapezoid` of the first two points, the first three, and so on."""
    return _areas(y, x, dx, dim, "cumulative_trapezoid").cumsum(axis_of(dim, y.ndim))
