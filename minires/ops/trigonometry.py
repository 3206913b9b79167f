"""Trigonometric and hyperbolic functions and their inverses, of each element. Angles are in radians.

The derivatives stand in every table (Abramowitz and Stegun 1964, sections 4.3 to 4.6). Integers become float32.
"""

import math
from typing import Any

from minires.autograd import Function, Node
from minires.backend import Array, array_module
from minires.ops.broadcast import sum_to_shape
from minires.ops.elementwise import mul
from minires.ops.memory import at_least_float32
from minires.ops.pointwise import Pointwise, function_of, need_tensors, real, real_operands
from minires.tensor import Tensor, register


class Sin(Pointwise):
    """y = sin x;  dx = dy cos x."""

    value = staticmethod(lambda xp, x: xp.sin(x))
    slope = staticmethod(lambda xp, x: xp.cos(x))


class Cos(Pointwise):
    """y = cos x;  dx = -dy sin x."""

    value = staticmethod(lambda xp, x: xp.cos(x))
    slope = staticmethod(lambda xp, x: -xp.sin(x))


class Tan(Pointwise):
    """y = tan x;  dx = dy (1 + y^2)."""

    keeps = "y"
    value = staticmethod(lambda xp, x: xp.tan(x))
    slope = staticmethod(lambda xp, y: 1 + y * y)


class Asin(Pointwise):
    """y = arcsin x;  dx = dy / sqrt(1 - x^2)."""

    value = staticmethod(lambda xp, x: xp.arcsin(x))
    slope = staticmethod(lambda xp, x: 1 / xp.sqrt(1 - x * x))


class Acos(Pointwise):
    """y = arccos x;  dx = -dy / sqrt(1 - x^2)."""

    value = staticmethod(lambda xp, x: xp.arccos(x))
    slope = staticmethod(lambda xp, x: -1 / xp.sqrt(1 - x * x))


class Atan(Pointwise):
    """y = arctan x;  dx = dy / (1 + x^2)."""

    value = staticmethod(lambda xp, x: xp.arctan(x))
    slope = staticmethod(lambda xp, x: 1 / (1 + x * x))


class Sinh(Pointwise):
    """y = sinh x = (e^x - e^-x) / 2;  dx = dy cosh x."""

    value = staticmethod(lambda xp, x: xp.sinh(x))
    slope = staticmethod(lambda xp, x: xp.cosh(x))


class Cosh(Pointwise):
    """y = cosh x = (e^x + e^-x) / 2;  dx = dy sinh x."""

    value = staticmethod(lambda xp, x: xp.cosh(x))
    slope = staticmethod(lambda xp, x: xp.sinh(x))


class Asinh(Pointwise):
    """y = arsinh x, the inverse of sinh;  dx = dy / sqrt(x^2 + 1)."""

    value = staticmethod(lambda xp, x: xp.arcsinh(x))
    slope = staticmethod(lambda xp, x: 1 / xp.sqrt(x * x + 1))


class Acosh(Pointwise):
    """y = arcosh x for x >= 1, the inverse of cosh;  dx = dy / sqrt(x^2 - 1)."""

    value = staticmethod(lambda xp, x: xp.arccosh(x))
    slope = staticmethod(lambda xp, x: 1 / xp.sqrt(x * x - 1))


class Atanh(Pointwise):
    """y = artanh x for |x| < 1, the inverse of tanh;  dx = dy / (1 - x^2)."""

    value = staticmethod(lambda xp, x: xp.arctanh(x))
    slope = staticmethod(lambda xp, x: 1 / (1 - x * x))


def _sinc_slope(xp: Any, x: Array) -> Array:
    angle = math.pi * x
    safe = xp.where(x == 0, xp.ones((), x.dtype), x)
    return xp.where(x == 0, xp.zeros((), x.dtype), (xp.cos(angle) - xp.sin(angle) / (math.pi * safe)) / safe)


class Sinc(Pointwise):
    """y = sin(pi x) / (pi x), 1 at 0;  dx = dy (cos(pi x) - y) / x, 0 at 0."""

    value = staticmethod(lambda xp, x: xp.sinc(at_least_float32(x)).astype(x.dtype, copy=False))
    slope = staticmethod(_sinc_slope)


sin, cos, tan = function_of(Sin), function_of(Cos), function_of(Tan)
asin, acos, atan = function_of(Asin), function_of(Acos), function_of(Atan)
sinh, cosh = function_of(Sinh), function_of(Cosh)
asinh, acosh, atanh = function_of(Asinh), function_of(Acosh), function_of(Atanh)
sinc = function_of(Sinc)


class Atan2(Function):
    """y = the angle of the point (x, z) = (other, input);  dz = dy x / (x^2 + z^2), dx = -dy z / (x^2 + z^2)."""

    @staticmethod
    def forward(ctx: Node, z: Array, x: Array) -> Array:
        ctx.shapes = z.shape, x.shape
        ctx.save_for_backward(z, x)
        return array_module(z).arctan2(z, x)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        z, x = ctx.saved_arrays
        square = x * x + z * z
        share = kept_finite(grad / square, square)
        need_z, need_x = ctx.needs_input_grad
        return (
            sum_to_shape(share * x, ctx.shapes[0]) if need_z else None,
            sum_to_shape(-share * z, ctx.shapes[1]) if need_x else None,
        )


class Hypot(Function):
    """y = sqrt(a^2 + b^2) without overflow;  da = dy a / y, db = dy b / y."""

    @staticmethod
    def forward(ctx: Node, a: Array, b: Array) -> Array:
        ctx.shapes = a.shape, b.shape
        y = array_module(a).hypot(a, b)
        ctx.save_for_backward(a, b, y)
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        a, b, y = ctx.saved_arrays
        need_a, need_b = ctx.needs_input_grad
        return (
            sum_to_shape(grad * (a / y), ctx.shapes[0]) if need_a else None,
            sum_to_shape(grad * (b / y), ctx.shapes[1]) if need_b else None,
        )


def kept_finite(quotient: Array, divisor: Array) -> Array:
    """The quotient, but 0 where the divisor is 0."""
    xp = array_module(quotient)
    return xp.where(divisor == 0, xp.zeros((), quotient.dtype), quotient)


@register
def atan2(input: Any, other: Any) -> Tensor:
    """The angle between the first axis and the point (other, input), from -pi to pi."""
    need_tensors("atan2", input, other)
    return Atan2.apply(*real_operands(input, other))


@register
def hypot(input: Any, other: Any) -> Tensor:
    """sqrt(input^2 + other^2), the length of a triangle's longest side."""
    need_tensors("hypot", input, other)
    return Hypot.apply(*real_operands(input, other))


@register
def deg2rad(input: Tensor) -> Tensor:
    """Degrees as radians: input * pi / 180."""
    return mul(real(input), math.pi / 180)


@register
def rad2deg(input: Tensor) -> Tensor:
    """Radians as degrees: input * 180 / pi."""
    return mul(real(input), 180 / math.pi)
