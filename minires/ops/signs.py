"""Signs, steps and bits of numbers: copysign, heaviside, signbit, shifts; and the inverse of erf."""

import math
from typing import Any

from minires.autograd import Function, Node, quiet
from minires.backend import Array, array_module, float64, is_floating
from minires.ops.broadcast import operands, sum_to_shape
from minires.ops.error_function import erf_of
from minires.ops.pointwise import Pointwise, function_of, need_tensors, real_operands
from minires.tensor import Tensor, register


class CopySign(Function):
    """y = |a| with the sign of b;  da = dy y / a, 0 where a = 0; db = 0."""

    @staticmethod
    def forward(ctx: Node, a: Array, b: Array) -> Array:
        xp = array_module(a)
        ctx.shapes, y = (a.shape, b.shape), xp.asarray(xp.copysign(a, b))
        ctx.signs = xp.where(a == 0, 0, y / a).astype(a.dtype)  # NaN where a is infinite, as in PyTorch
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        zeros = array_module(grad).zeros(ctx.shapes[1], grad.dtype)
        return sum_to_shape(grad * ctx.signs, ctx.shapes[0]), zeros


class Erfinv(Pointwise):
    """y with erf y = x, for -1 < x < 1;  dx = dy sqrt(pi) / 2 e^(y^2).

    A start by Giles 2010, "Approximating the erfinv function" (single precision), made exact by two steps of Newton's
    method with the curvature taken in (Halley).
    """

    keeps = "y"
    slope = staticmethod(lambda xp, y: math.sqrt(math.pi) / 2 * xp.exp(y * y))

    @staticmethod
    def value(xp: Any, x: Array) -> Array:
        with quiet():
            wide = x.astype(float64)
            y = _start(xp, wide)
            for _ in range(2):
                error = (erf_of(y) - wide) / (2 / math.sqrt(math.pi) * xp.exp(-y * y))
                y = xp.where(xp.isfinite(y), y - error / (1 + y * error), y)
        return xp.asarray(y).astype(x.dtype)


CENTRAL = (1.50140941, 0.246640727, -0.00417768164, -0.00125372503, 0.00021858087, -4.39150654e-06, -3.5233877e-06,
           3.43273939e-07, 2.81022636e-08)  # fmt: skip
TAIL = (2.83297682, 1.00167406, 0.00943887047, -0.0076224613, 0.00573950773, -0.00367342844, 0.00134934322,
        0.000100950558, -0.000200214257)  # fmt: skip


def _start(xp: Any, x: Array) -> Array:
    """erfinv to seven digits; infinite at the ends, NaN beyond."""
    w = -xp.log((1 - x) * (1 + x))
    results = []
    for coefficients, z in ((CENTRAL, w - 2.5), (TAIL, xp.sqrt(w) - 3)):
        total = 0 * z + coefficients[-1]
        for coefficient in reversed(coefficients[:-1]):
            total = total * z + coefficient
        results.append(total * x)
    return xp.where(xp.abs(x) == 1, xp.copysign(xp.inf, x), xp.where(w < 5, *results))


erfinv = function_of(Erfinv)


@register
def copysign(input: Tensor, other: Any) -> Tensor:
    """|input| with the sign of `other`, a tensor or a number (-0.0 counts as negative)."""
    return CopySign.apply(*real_operands(input, other))


@register
def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 where input is negative, 1 where it is positive, `values` where it is 0. Without a gradient."""
    need_tensors("heaviside", input, values)
    if input.dtype != values.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes")
    one, two = (x.array for x in operands(input, values))
    return Tensor(array_module(one).heaviside(one, two).astype(input.dtype))


@register
def signbit(input: Tensor) -> Tensor:
    """Whether the sign is minus, of -0.0 too."""
    xp = array_module(input.array)
    return Tensor(xp.asarray(xp.signbit(input.array) if is_floating(input.dtype) else input.array < 0))


@register
def isposinf(input: Tensor) -> Tensor:
    """Is it plus infinity?"""
    return Tensor(array_module(input.array).asarray(input.array == math.inf))


@register
def isneginf(input: Tensor) -> Tensor:
    """Is it minus infinity?"""
    return Tensor(array_module(input.array).asarray(input.array == -math.inf))


@register
def isreal(input: Tensor) -> Tensor:
    """Is it a real number? All are."""
    return Tensor(array_module(input.array).ones(input.shape, bool))


@register
def positive(input: Tensor) -> Tensor:
    """The tensor itself, `+input`. RuntimeError for booleans."""
    if input.dtype.kind == "b":
        raise RuntimeError("the `+` operator on a boolean tensor is not supported")
    return input


def _shift(input: Any, other: Any, name: str, function: str) -> Tensor:
    first, second = operands(input, other)
    one, two = (value.array if isinstance(value, Tensor) else value for value in (first, second))
    if any(getattr(value, "dtype", None) is not None and value.dtype.kind not in "iu" for value in (one, two)):
        raise RuntimeError(f"{name} is for whole numbers")
    like = one if hasattr(one, "dtype") else two
    return Tensor(array_module(like).asarray(getattr(array_module(like), function)(one, two)))


@register
def bitwise_left_shift(input: Any, other: Any) -> Tensor:
    """input * 2 ** other, of whole numbers."""
    return _shift(input, other, "bitwise_left_shift", "left_shift")


@register
def bitwise_right_shift(input: Any, other: Any) -> Tensor:
    """input / 2 ** other rounded down, of whole numbers."""
    return _shift(input, other, "bitwise_right_shift", "right_shift")
