"""How large the elements along some axes are, and how far they lie apart: norms, variance, standard deviation.

Notation and arguments as in reduce.py.
"""

import builtins
from typing import Any

from minires import kernels
from minires.autograd import Function, Node
from minires.backend import Array, array_module
from minires.ops import elementwise
from minires.ops.dims import axes_of
from minires.ops.memory import at_least_float32
from minires.ops.reduce import amax, amin, count_along, need_real, spread, sum
from minires.tensor import OPERATIONS, Tensor, register


class Var(Function):
    """y = sum (x - mean)^2 / (m - correction);  dx = dy 2 (x - mean) / (m - correction).

    The mean depends on x as well, but its share vanishes: the deviations sum to zero.
    """

    @staticmethod
    def forward(ctx: Node, x: Array, axes: tuple[int, ...], keepdim: bool, correction: float) -> Array:
        y, deviation = _variance(ctx, x, axes, keepdim, correction)
        ctx.save_for_backward(deviation)
        return y.astype(x.dtype, copy=False)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        (deviation,) = ctx.saved_arrays
        factor = 2 / ctx.divisor if ctx.divisor > 0 else float("nan")
        return spread(grad, ctx.shape, ctx.axes) * deviation * grad.dtype.type(factor), None, None, None


class Std(Function):
    """y = sqrt(sum (x - mean)^2 / (m - correction));  dx = dy (x - mean) / ((m - correction) y), and 0 where y = 0."""

    @staticmethod
    def forward(ctx: Node, x: Array, axes: tuple[int, ...], keepdim: bool, correction: float) -> Array:
        variance, deviation = _variance(ctx, x, axes, keepdim, correction)
        y = array_module(x).sqrt(variance).astype(x.dtype, copy=False)
        ctx.save_for_backward(deviation, array_module(x).asarray(y))
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        deviation, y = ctx.saved_arrays
        factor = 1 / ctx.divisor if ctx.divisor > 0 else float("nan")
        slope = grad / (y + (y == 0)) * grad.dtype.type(factor)  # where y = 0 the deviations are: 0 / 1, not 0 / 0
        return spread(slope, ctx.shape, ctx.axes) * deviation, None, None, None


def _variance(ctx: Node, x: Array, axes: tuple[int, ...], keepdim: bool, correction: float) -> tuple[Array, Array]:
    """(variance, x - mean), at least float32; notes the shape, the axes and the divisor m - correction in ctx.

    All is measured from the first element, so that equal elements deviate by exactly 0, whatever rounding does to
    their mean.
    """
    ctx.shape, ctx.axes = x.shape, axes
    x, count = at_least_float32(x), count_along(x.shape, axes)
    from_first = x - x[tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(x.ndim))]
    deviation = from_first - kernels.sum_over(from_first, axes, True) / builtins.max(count, 1)
    ctx.divisor = builtins.max(count - correction, 0.0)
    total = kernels.sum_over(deviation * deviation, axes, keepdim)
    if ctx.divisor > 0:
        return total / ctx.divisor, deviation
    return total * float("nan" if count <= 1 else "inf"), deviation


class Norm2(Function):
    """y = sqrt(sum x^2);  dx = dy x / y, and 0 where y = 0."""

    @staticmethod
    def forward(ctx: Node, x: Array, axes: tuple[int, ...], keepdim: bool) -> Array:
        wide = at_least_float32(x)
        y = array_module(x).sqrt(kernels.sum_over(wide * wide, axes, True)).astype(x.dtype, copy=False)
        ctx.axes = axes
        ctx.save_for_backward(x, y)
        return y if keepdim else y.squeeze(axes)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        x, y = ctx.saved_arrays
        safe = y + (y == 0)  # 0 / 1 instead of 0 / 0
        return spread(grad, x.shape, ctx.axes) * x / safe, None, None


class NormP(Function):
    """y = (sum |x|^p)^(1/p);  dx = dy sign(x) (|x| / y)^(p - 1), and 0 where x = 0."""

    @staticmethod
    def forward(ctx: Node, x: Array, p: float, axes: tuple[int, ...], keepdim: bool) -> Array:
        y = (kernels.sum_over(abs(at_least_float32(x)) ** p, axes, True) ** (1 / p)).astype(x.dtype, copy=False)
        ctx.p, ctx.axes = p, axes
        ctx.save_for_backward(x, y)
        return y if keepdim else y.squeeze(axes)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        x, y = ctx.saved_arrays
        xp = array_module(x)
        slope = xp.where(x == 0, xp.zeros((), x.dtype), xp.sign(x) * (abs(x) / y) ** (ctx.p - 1))
        return spread(grad, x.shape, ctx.axes) * slope, None, None, None


# ------------------------------------------------------------------------------------------- the functions users call


@register
def var(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float | None = 1
) -> Tensor:
    """Variance along `dim`, divided by m - correction (1: unbiased). `unbiased` is the older way to say 1 or 0."""
    return _deviation_of(Var, input, dim, unbiased, keepdim, correction)


@register
def std(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float | None = 1
) -> Tensor:
    """Standard deviation: the square root of `var`. Its gradient is 0 where all elements are equal, as in PyTorch."""
    return _deviation_of(Std, input, dim, unbiased, keepdim, correction)


def _deviation_of(
    function: type[Function], input: Tensor, dim: Any, unbiased: bool | None, keepdim: bool, correction: float | None
) -> Tensor:
    if isinstance(dim, bool):  # var(unbiased)
        dim, unbiased = None, dim
    need_real(input, function.__name__.lower())
    if unbiased is not None:
        correction = int(unbiased)
    return function.apply(input, axes_of(dim, input.ndim), keepdim, 1 if correction is None else correction)


@register
def norm(input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """(sum |input|^p)^(1/p) along `dim`: p any number, also 0 (how many are not 0), infinity (the largest) and minus
    infinity (the smallest); "fro" is 2, "nuc" the sum of a matrix's singular values.
    """
    input = input if dtype is None else input.to(dtype)
    need_real(input, "norm")
    if p == "nuc":
        if dim is None and input.ndim != 2:
            raise RuntimeError(f"norm: 'nuc' is for a matrix, or two axes in dim, got shape {input.shape}")
        return OPERATIONS["matrix_norm"](input, "nuc", (0, 1) if dim is None else dim, keepdim)
    axes = axes_of(dim, input.ndim)
    if p in (2, "fro"):
        return Norm2.apply(input, axes, keepdim)
    if not isinstance(p, int | float):
        raise RuntimeError(f"norm: p must be a number, 'fro' or 'nuc', got {p!r}")
    if p == 0:
        return sum(Tensor((input.array != 0).astype(input.dtype)), axes, keepdim)
    size = elementwise.abs(input)
    if abs(p) == float("inf"):
        if not count_along(input.shape, axes):
            raise RuntimeError(f"norm: there is no largest or smallest of no elements, in shape {input.shape}")
        return (amax if p > 0 else amin)(size, axes, keepdim)
    return sum(size, axes, keepdim) if p == 1 else NormP.apply(input, p, axes, keepdim)
