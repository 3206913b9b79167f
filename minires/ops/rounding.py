"""Rounding, and division with a whole quotient. A step function is flat: its derivative is 0 wherever it has one.

As in PyTorch the flat ones take part in the graph and pass on a gradient of zeros, where `argmax` and comparisons pass
on none at all.
"""

from typing import Any

from minires.autograd import Function, Node, quiet
from minires.backend import Array, array_module, is_floating
from minires.ops.broadcast import operands, sum_to_shape
from minires.ops.elementwise import sign_of
from minires.ops.pointwise import need_tensors, same_operands
from minires.tensor import Tensor, register


class Step(Function):
    """y = x rounded: floor, ceil, trunc, rint or sign;  dx = 0."""

    @staticmethod
    def forward(ctx: Node, x: Array, name: str) -> Array:
        return sign_of(x) if name == "sign" else getattr(array_module(x), name)(x)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        return array_module(grad).zeros_like(grad), None


class RoundTo(Function):
    """y = x rounded to some decimals (tens, hundreds, for negative ones), halves to even;  dx = 0."""

    @staticmethod
    def forward(ctx: Node, x: Array, decimals: int) -> Array:
        return array_module(x).round(x, decimals)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        return array_module(grad).zeros_like(grad), None


class FloorDivide(Function):
    """y = floor(a / b) (or trunc(a / b));  da = 0, db = 0."""

    @staticmethod
    def forward(ctx: Node, a: Array, b: Array, towards_zero: bool) -> Array:
        xp = array_module(a)
        ctx.shapes = a.shape, b.shape
        if not towards_zero:
            return xp.floor_divide(a, b)
        return xp.trunc(a / b) if is_floating(a.dtype) else (a - xp.fmod(a, b)) // b

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        xp = array_module(grad)
        first, second = (
            xp.zeros(shape, grad.dtype) if needed else None
            for needed, shape in zip(ctx.needs_input_grad, ctx.shapes, strict=False)
        )
        return first, second, None


class Remainder(Function):
    """y = a - b q with the quotient q = floor(a / b), or trunc(a / b) for fmod;  da = dy, db = -dy q."""

    @staticmethod
    def forward(ctx: Node, a: Array, b: Array, towards_zero: bool) -> Array:
        ctx.shapes, xp = (a.shape, b.shape), array_module(a)
        quotient = None
        if ctx.needs_input_grad[1]:
            quotient = xp.trunc(a / b) if towards_zero else xp.floor_divide(a, b)
        ctx.save_for_backward(quotient)
        return xp.fmod(a, b) if towards_zero else xp.remainder(a, b)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        (quotient,) = ctx.saved_arrays
        need_a, need_b, _ = ctx.needs_input_grad
        return (
            sum_to_shape(grad, ctx.shapes[0]) if need_a else None,
            sum_to_shape(-grad * quotient, ctx.shapes[1]) if need_b else None,
            None,
        )


# ------------------------------------------------------------------------------------------- the functions users call


def _rounded(name: str, function: str, summary: str) -> Any:
    def apply(input: Tensor) -> Tensor:
        return Step.apply(input, function) if is_floating(input.dtype) else input.clone()

    apply.__name__, apply.__doc__ = name, summary
    return register(apply)


floor, ceil = _rounded("floor", "floor", "Rounded down."), _rounded("ceil", "ceil", "Rounded up.")
trunc = _rounded("trunc", "trunc", "Rounded towards 0.")


@register
def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """Rounded to the nearest whole number, halves to even; or to `decimals` places after the point."""
    if not is_floating(input.dtype):
        return input.clone()
    return Step.apply(input, "rint") if decimals == 0 else RoundTo.apply(input, decimals)


@register
def frac(input: Tensor) -> Tensor:
    """What stands behind the point, with the sign of the number: input - trunc(input). RuntimeError for integers."""
    if not is_floating(input.dtype):
        raise RuntimeError(f"frac: the input must hold real numbers, got {input.dtype}")
    return input - trunc(input)


@register
def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1; 0 for NaN."""
    return Step.apply(input, "sign")


@register
def floor_divide(input: Any, other: Any) -> Tensor:
    """Quotient rounded down, not recorded (`div` with a rounding_mode is). RuntimeError for a whole number by 0."""
    first, second = _divided(input, other, "floor_divide")
    with quiet():
        return Tensor(array_module(first.array).floor_divide(first.array, second.array))


@register
def divide_whole(input: Any, other: Any, towards_zero: bool) -> Tensor:
    """Quotient rounded down, or towards 0: what `div` does with a `rounding_mode`."""
    return FloorDivide.apply(*_divided(input, other, "div"), towards_zero)


@register
def remainder(input: Any, other: Any) -> Tensor:
    """Remainder with the sign of the divisor. RuntimeError for a whole number divided by 0."""
    return Remainder.apply(*_divided(input, other, "remainder"), False)


@register
def fmod(input: Any, other: Any) -> Tensor:
    """Remainder with the sign of the number that is divided, as C has it. RuntimeError for a whole number by 0."""
    return Remainder.apply(*_divided(input, other, "fmod"), True)


def _divided(input: Any, other: Any, name: str) -> tuple[Tensor, Tensor]:
    """Both as Tensors of one type. Real numbers divided by 0 are inf or NaN; whole numbers know neither."""
    first, second = operands(input, other)
    dtype = next(value.dtype for value in (first, second) if isinstance(value, Tensor))
    like = next(value.array for value in (first, second) if isinstance(value, Tensor))
    one, two = (
        value if isinstance(value, Tensor) else Tensor(array_module(like).asarray(value, dtype))
        for value in (first, second)
    )
    if not is_floating(dtype) and not two.array.all():
        raise RuntimeError(f"ZeroDivisionError: {name} of whole numbers by 0")
    return one, two


@register
def gcd(input: Tensor, other: Tensor) -> Tensor:
    """The greatest common divisor of each pair of whole numbers. RuntimeError for real ones."""
    return _of_whole_numbers("gcd", input, other)


@register
def lcm(input: Tensor, other: Tensor) -> Tensor:
    """The least common multiple of each pair of whole numbers. RuntimeError for real ones."""
    return _of_whole_numbers("lcm", input, other)


def _of_whole_numbers(name: str, input: Tensor, other: Tensor) -> Tensor:
    need_tensors(name, input, other)
    first, second = same_operands(input, other)
    if first.dtype.kind not in "iu":
        raise RuntimeError(f"{name} is for whole numbers, got {first.dtype}")
    return Tensor(getattr(array_module(first.array), name)(first.array, second.array))
