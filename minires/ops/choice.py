"""Operations that choose: the larger one, the one where a condition holds, the one within bounds.

The gradient goes to what was chosen, and never as a product with 0, which an infinite gradient would turn into NaN.
"""

from typing import Any

from minires.autograd import Function, Node
from minires.backend import Array, array_module, is_floating, result_type
from minires.ops.broadcast import common_shape, operands, sum_to_shape
from minires.ops.pointwise import kept_where, need_tensors, same_operands
from minires.tensor import OPERATIONS, Tensor, register


def _shape(operand: Any) -> tuple[int, ...]:
    return getattr(operand, "shape", ())


class Clamp(Function):
    """y = min(max(x, low), high);  dx = dy where low <= x <= high, dlow = dy where x < low, dhigh = dy where x > high.

    Bounds are numbers, arrays or None. Where low > high the result is high.
    """

    @staticmethod
    def forward(ctx: Node, x: Array, low: Any, high: Any) -> Array:
        ctx.shapes = x.shape, _shape(low), _shape(high)
        ctx.save_for_backward(x, *(bound if hasattr(bound, "dtype") else None for bound in (low, high)))
        ctx.low, ctx.high = (None if hasattr(bound, "dtype") else bound for bound in (low, high))
        return array_module(x).clip(x, low, high)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        x, low, high = ctx.saved_arrays
        low, high = ctx.low if low is None else low, ctx.high if high is None else high
        xp, (need_x, need_low, need_high) = array_module(x), ctx.needs_input_grad
        below = xp.zeros(x.shape, bool) if low is None else x < low
        above = xp.zeros(x.shape, bool) if high is None else x > high
        inside = (True if low is None else x >= low) & (xp.ones(x.shape, bool) if high is None else x <= high)
        if low is not None and high is not None:
            crossed = xp.greater(low, high)  # then the result is high everywhere
            below, above = below & ~crossed, above | crossed
        return (
            sum_to_shape(kept_where(inside, grad), ctx.shapes[0]) if need_x else None,
            sum_to_shape(kept_where(below, grad), ctx.shapes[1]) if need_low else None,
            sum_to_shape(kept_where(above, grad), ctx.shapes[2]) if need_high else None,
        )


class Extremum(Function):
    """y = max(a, b) (or min);  the gradient goes to the operand that won, half to each where they tie (as PyTorch).

    Where one is NaN neither has lost: as in PyTorch, both get all of it.
    """

    @staticmethod
    def forward(ctx: Node, a: Array, b: Array, largest: bool) -> Array:
        xp = array_module(a)
        ctx.shapes = _shape(a), _shape(b)
        ctx.save_for_backward(a, b)
        ctx.largest = largest
        return xp.maximum(a, b) if largest else xp.minimum(a, b)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        a, b = ctx.saved_arrays
        a_is_less, b_is_less = a < b, b < a
        a_lost, b_lost = (a_is_less, b_is_less) if ctx.largest else (b_is_less, a_is_less)
        grad = array_module(grad).where(a == b, grad / 2, grad)
        need_a, need_b = ctx.needs_input_grad
        return (
            sum_to_shape(kept_where(~a_lost, grad), ctx.shapes[0]) if need_a else None,
            sum_to_shape(kept_where(~b_lost, grad), ctx.shapes[1]) if need_b else None,
        )


class Where(Function):
    """y = a where the condition holds, else b;  each gets dy where it was taken."""

    @staticmethod
    def forward(ctx: Node, condition: Array, a: Array, b: Array) -> Array:
        ctx.shapes = _shape(a), _shape(b)
        ctx.save_for_backward(condition)
        return array_module(condition).where(condition, a, b)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        (condition,) = ctx.saved_arrays
        _, need_a, need_b = ctx.needs_input_grad
        return (
            None,
            sum_to_shape(kept_where(condition, grad), ctx.shapes[0]) if need_a else None,
            sum_to_shape(kept_where(~condition, grad), ctx.shapes[1]) if need_b else None,
        )


class MaskedFill(Function):
    """y = value where the mask holds, else x;  dx = dy where it does not, dvalue = the sum of dy where it does."""

    @staticmethod
    def forward(ctx: Node, x: Array, mask: Array, value: Array) -> Array:
        ctx.shape = x.shape
        ctx.save_for_backward(mask)
        value = value if array_module(value) is array_module(x) else x.dtype.type(value.item())  # a number, on the CPU
        return array_module(x).where(mask, value, x).astype(x.dtype, copy=False)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        (mask,) = ctx.saved_arrays
        need_x, _, need_value = ctx.needs_input_grad
        return (
            sum_to_shape(kept_where(~mask, grad), ctx.shape) if need_x else None,
            None,
            sum_to_shape(kept_where(mask, grad), ()) if need_value else None,
        )


class Lerp(Function):
    """y = a + w (b - a), from the nearer end, so that w = 1 gives b;  da = dy (1 - w), db = dy w, dw = dy (b - a)."""

    @staticmethod
    def forward(ctx: Node, a: Array, b: Array, w: Any) -> Array:
        ctx.shapes = _shape(a), _shape(b), _shape(w)
        ctx.save_for_backward(a, b, array_module(a).asarray(w, a.dtype))
        difference = b - a
        return array_module(a).where(abs(w) < 0.5, a + w * difference, b - difference * (1 - w))

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        a, b, w = ctx.saved_arrays
        need_a, need_b, need_w = ctx.needs_input_grad
        return (
            sum_to_shape(grad * (1 - w), ctx.shapes[0]) if need_a else None,
            sum_to_shape(grad * w, ctx.shapes[1]) if need_b else None,
            sum_to_shape(grad * (b - a), ctx.shapes[2]) if need_w else None,
        )


class NanToNum(Function):
    """y = x with numbers in place of NaN and the infinities;  dx = dy where x is finite, else 0."""

    @staticmethod
    def forward(ctx: Node, x: Array, nan: float, posinf: float | None, neginf: float | None) -> Array:
        ctx.save_for_backward(x)
        return array_module(x).nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        (x,) = ctx.saved_arrays
        return kept_where(array_module(x).isfinite(x), grad), None, None, None


# ------------------------------------------------------------------------------------------- the functions users call


@register
def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Each element moved into [min, max], numbers or tensors that are broadcast; at least one bound must be given.

    Bounds of a wider kind of number widen the result: integers within real bounds become float32.
    """
    if min is None and max is None:
        raise RuntimeError("clamp: at least one of min and max must be given")
    bounds = [bound for bound in (min, max) if bound is not None]
    dtype = input.dtype
    for bound in bounds:
        dtype = _wider(dtype, input, bound)
    common_shape(*(value.shape for value in (input, *bounds) if isinstance(value, Tensor)))
    low, high = (bound.to(dtype) if isinstance(bound, Tensor) else bound for bound in (min, max))
    return Clamp.apply(input.to(dtype), low, high)


def _wider(dtype: Any, input: Tensor, bound: Any) -> Any:
    found = result_type(input.array, bound.array if isinstance(bound, Tensor) else bound)
    if is_floating(found) and not is_floating(dtype):
        return found
    return array_module(input.array).promote_types(dtype, found)


@register
def clamp_min(input: Tensor, min: Any) -> Tensor:
    """Each element, or `min` where that is larger."""
    return clamp(input, min, None)


@register
def clamp_max(input: Tensor, max: Any) -> Tensor:
    """Each element, or `max` where that is smaller."""
    return clamp(input, None, max)


@register
def maximum(input: Any, other: Any) -> Tensor:
    """The larger of each pair of elements."""
    need_tensors("maximum", input, other)
    first, second = same_operands(input, other)
    return Extremum.apply(first, second, largest=True)


@register
def minimum(input: Any, other: Any) -> Tensor:
    """The smaller of each pair of elements."""
    need_tensors("minimum", input, other)
    first, second = same_operands(input, other)
    return Extremum.apply(first, second, largest=False)


@register
def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """`input` where the condition (a boolean tensor) holds, `other` elsewhere.

    `where(condition)` alone is nonzero(condition, as_tuple=True).
    """
    if input is None and other is None:
        return OPERATIONS["nonzero"](condition, as_tuple=True)
    if condition.dtype.kind != "b":
        raise TypeError(f"where: the condition must be boolean, not {condition.dtype}")
    first, second = operands(input, other, two_numbers=True)
    common_shape(*(value.shape for value in (condition, first, second) if isinstance(value, Tensor)))
    return Where.apply(condition, first, second)


@register
def where_method(input: Tensor, condition: Tensor, other: Any) -> Tensor:
    """`input` where the condition holds, else `other` (the order of arguments of Tensor.where)."""
    return where(condition, input, other)


@register
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`input` with `value`, a number or a tensor without axes, where the mask (a boolean tensor, broadcast) holds."""
    if mask.dtype.kind != "b":
        raise RuntimeError(f"masked_fill only supports boolean masks, but got mask with dtype {mask.dtype}")
    given, value = value, value if isinstance(value, Tensor) else Tensor(value)
    if value.ndim:
        raise RuntimeError(f"masked_fill only supports a 0-dimensional value tensor, but got {value.ndim} axes")
    if isinstance(given, Tensor) and is_floating(value.dtype) and not is_floating(input.dtype):
        raise RuntimeError(f"masked_fill: a value of type {value.dtype} cannot be put among {input.dtype}")
    common_shape(input.shape, mask.shape)
    return MaskedFill.apply(input, mask, value.to(input.dtype))


@register
def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """input + weight * (end - input): the number at `weight` on the way from `input` to `end`. All of one real type."""
    if not is_floating(input.dtype):
        raise RuntimeError(f"lerp is for real numbers, got {input.dtype}")
    for value in (end, weight):
        if isinstance(value, Tensor) and value.dtype != input.dtype:
            raise RuntimeError(f"lerp: expected dtype {input.dtype}, got {value.dtype}")
    common_shape(*(value.shape for value in (input, end, weight) if isinstance(value, Tensor)))
    return Lerp.apply(input, end, weight)


@register
def nan_to_num(
    input: Tensor, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:  # fmt: skip
    """`nan` for NaN, `posinf` for infinity, `neginf` for minus infinity (the largest and smallest number, for None)."""
    return NanToNum.apply(input, nan, posinf, neginf) if is_floating(input.dtype) else input.clone()
