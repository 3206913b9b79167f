"""Exponentials and logarithms beyond exp, log and pow. Integers become float32; what has no answer is NaN or infinite.

expm1 and log1p keep their digits near 0, where e^x - 1 and ln(1 + x) lose them (Kahan; Higham 2002, "Accuracy and
stability of numerical algorithms", section 1.14.1).
"""

import math
from typing import Any

from minires.autograd import Function, Node
from minires.backend import Array, array_module
from minires.ops.broadcast import sum_to_shape
from minires.ops.elementwise import pow
from minires.ops.pointwise import Pointwise, function_of, kept_where, need_tensors, real, real_operands
from minires.tensor import Tensor, register


class Exp2(Pointwise):
    """y = 2^x;  dx = dy y ln 2."""

    keeps = "y"
    value = staticmethod(lambda xp, x: xp.exp2(x))
    slope = staticmethod(lambda xp, y: y * math.log(2))


class Expm1(Pointwise):
    """y = e^x - 1;  dx = dy (y + 1)."""

    keeps = "y"
    value = staticmethod(lambda xp, x: xp.expm1(x))
    slope = staticmethod(lambda xp, y: y + 1)


class Log1p(Pointwise):
    """y = ln(1 + x);  dx = dy / (1 + x)."""

    value = staticmethod(lambda xp, x: xp.log1p(x))
    slope = staticmethod(lambda xp, x: 1 / (1 + x))


class Log2(Pointwise):
    """y = log_2 x = ln x / ln 2;  dx = dy / (x ln 2)."""

    value = staticmethod(lambda xp, x: xp.log2(x))
    slope = staticmethod(lambda xp, x: 1 / (x * math.log(2)))


class Log10(Pointwise):
    """y = log_10 x = ln x / ln 10;  dx = dy / (x ln 10)."""

    value = staticmethod(lambda xp, x: xp.log10(x))
    slope = staticmethod(lambda xp, x: 1 / (x * math.log(10)))


class Rsqrt(Pointwise):
    """y = 1 / sqrt(x);  dx = -dy y^3 / 2."""

    keeps = "y"
    value = staticmethod(lambda xp, x: 1 / xp.sqrt(x))
    slope = staticmethod(lambda xp, y: -(y * y * y) / 2)


exp2, expm1, log1p = function_of(Exp2), function_of(Expm1), function_of(Log1p)
log2, log10, rsqrt = function_of(Log2), function_of(Log10), function_of(Rsqrt)


class LogAddExp(Function):
    """y = ln(e^a + e^b), as max + ln(1 + e^-|a - b|);  da = dy / (1 + e^(b - a)), db = dy / (1 + e^(a - b))."""

    @staticmethod
    def forward(ctx: Node, a: Array, b: Array) -> Array:
        ctx.shapes = a.shape, b.shape
        ctx.save_for_backward(a, b)
        return array_module(a).logaddexp(a, b)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        a, b = ctx.saved_arrays
        xp, (need_a, need_b) = array_module(grad), ctx.needs_input_grad
        return (
            sum_to_shape(grad / (1 + xp.exp(b - a)), ctx.shapes[0]) if need_a else None,
            sum_to_shape(grad / (1 + xp.exp(a - b)), ctx.shapes[1]) if need_b else None,
        )


class XLogY(Function):
    """y = a ln b, and 0 where a = 0 (unless b is NaN);  da = dy ln b, db = dy a / b."""

    @staticmethod
    def forward(ctx: Node, a: Array, b: Array) -> Array:
        ctx.shapes, xp = (a.shape, b.shape), array_module(a)
        ctx.save_for_backward(a, b)
        return kept_where((a != 0) | xp.isnan(b), a * xp.log(b))

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        a, b = ctx.saved_arrays
        xp, (need_a, need_b) = array_module(grad), ctx.needs_input_grad
        nothing = (a == 0) & (b <= 0)
        return (
            sum_to_shape(kept_where(~nothing, grad * xp.log(b)), ctx.shapes[0]) if need_a else None,
            sum_to_shape(grad * a / b, ctx.shapes[1]) if need_b else None,
        )


class Logit(Function):
    """y = ln(z / (1 - z)) of z = x moved into [eps, 1 - eps];  dx = dy / (z (1 - z)), 0 where x was moved.

    Without eps there is no answer outside [0, 1]: y and dx are NaN there.
    """

    @staticmethod
    def forward(ctx: Node, x: Array, eps: float | None) -> Array:
        xp, ctx.eps = array_module(x), eps
        z = x if eps is None else xp.clip(x, eps, 1 - eps)
        ctx.save_for_backward(x)
        return xp.log(z / (1 - z))

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        (x,) = ctx.saved_arrays
        dx = grad / (x * (1 - x))
        low, outside = (0, float("nan")) if ctx.eps is None else (ctx.eps, 0)
        inside = (x >= low) & (x <= 1 - low)
        return array_module(x).where(inside, dx, grad.dtype.type(outside)), None


@register
def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """log(exp(input) + exp(other)) without overflow."""
    need_tensors("logaddexp", input, other)
    return LogAddExp.apply(*real_operands(input, other))


@register
def xlogy(input: Any, other: Any) -> Tensor:
    """input * log(other), 0 where input is 0: the terms of an entropy."""
    return XLogY.apply(*real_operands(input, other))


@register
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)), the inverse of sigmoid; x is first moved into [eps, 1 - eps], if eps is given."""
    return Logit.apply(real(input), eps)


@register
def logaddexp2(input: Tensor, other: Tensor) -> Tensor:
    """log2(2 ** input + 2 ** other) without overflow."""
    need_tensors("logaddexp2", input, other)
    first, second = real_operands(input, other)
    return logaddexp(first * math.log(2), second * math.log(2)) / math.log(2)


@register
def ldexp(input: Tensor, other: Tensor) -> Tensor:
    """input * 2 ** other."""
    return input * pow(2.0, other)
