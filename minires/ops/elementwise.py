"""Operations that act on every element by itself: arithmetic, powers, rounding, comparison.

The arithmetic is NumPy's (or CuPy's) own, which is the textbook version and the fast one at once, so that these
operations call no kernel. Shapes: operands broadcast against each other; the result has the broadcast shape.
In the formulas, y is the result, dy its gradient, dx the gradient of x.
"""

from typing import Any

from minires.autograd import Function, Node, quiet
from minires.backend import Array, array_module, boolean, default_dtype, device_of, is_floating, move
from minires.ops.broadcast import common_shape, operands, sum_to_shape
from minires.tensor import Tensor, register


def _shape(operand: Any) -> tuple[int, ...]:
    return getattr(operand, "shape", ())


class Add(Function):
    """y = a + b;  da = dy, db = dy, each summed over its broadcast axes."""

    @staticmethod
    def forward(ctx: Node, a: Array, b: Array) -> Array:
        ctx.shapes = _shape(a), _shape(b)
        return a + b

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        needs = zip(ctx.needs_input_grad, ctx.shapes, strict=True)
        return tuple(sum_to_shape(grad, shape) if needed else None for needed, shape in needs)


class Sub(Function):
    """y = a - b;  da = dy, db = -dy."""

    @staticmethod
    def forward(ctx: Node, a: Array, b: Array) -> Array:
        ctx.shapes = _shape(a), _shape(b)
        return a - b

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        need_a, need_b = ctx.needs_input_grad
        return (
            sum_to_shape(grad, ctx.shapes[0]) if need_a else None,
            sum_to_shape(-grad, ctx.shapes[1]) if need_b else None,
        )


class Mul(Function):
    """y = a b;  da = dy b, db = dy a."""

    @staticmethod
    def forward(ctx: Node, a: Array, b: Array) -> Array:
        need_a, need_b = ctx.needs_input_grad
        ctx.shapes = _shape(a), _shape(b)
        ctx.save_for_backward(a if need_b else None, b if need_a else None)
        return a * b

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        a, b = ctx.saved_arrays
        need_a, need_b = ctx.needs_input_grad
        return (
            sum_to_shape(grad * b, ctx.shapes[0]) if need_a else None,
            sum_to_shape(grad * a, ctx.shapes[1]) if need_b else None,
        )


class Div(Function):
    """y = a / b;  da = dy / b, db = -dy a / b^2 = -dy y / b."""

    @staticmethod
    def forward(ctx: Node, a: Array, b: Array) -> Array:
        ctx.shapes = _shape(a), _shape(b)
        y = a / b
        ctx.save_for_backward(b, y if ctx.needs_input_grad[1] else None)
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        b, y = ctx.saved_arrays
        need_a, need_b = ctx.needs_input_grad
        quotient = grad / b
        return (
            sum_to_shape(quotient, ctx.shapes[0]) if need_a else None,
            sum_to_shape(-quotient * y, ctx.shapes[1]) if need_b else None,
        )


class Pow(Function):
    """y = a^b;  da = dy b a^(b-1), db = dy y ln a  (taken as 0 where a = 0 and b >= 0, as PyTorch does)."""

    @staticmethod
    def forward(ctx: Node, a: Array, b: Array) -> Array:
        ctx.shapes = _shape(a), _shape(b)
        y = a**b
        ctx.save_for_backward(a, b, y if ctx.needs_input_grad[1] else None)
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        a, b, y = ctx.saved_arrays
        xp = array_module(grad)
        grad_a = grad_b = None
        if ctx.needs_input_grad[0]:
            # where b is 0 the derivative is 0, also at a = 0, where a^(b-1) is infinite
            slope = xp.where(xp.equal(b, 0), 0, b * xp.power(a, xp.where(xp.equal(b, 0), 1, b - 1)))
            grad_a = sum_to_shape((grad * slope).astype(grad.dtype, copy=False), ctx.shapes[0])
        if ctx.needs_input_grad[1]:
            safe = xp.where(xp.equal(a, 0) & xp.greater_equal(b, 0), 1, a)
            grad_b = sum_to_shape((grad * y * xp.log(safe)).astype(grad.dtype, copy=False), ctx.shapes[1])
        return grad_a, grad_b


class Neg(Function):
    """y = -x;  dx = -dy."""

    @staticmethod
    def forward(ctx: Node, x: Array) -> Array:
        return -x

    @staticmethod
    def backward(ctx: Node, grad: Array) -> Array:
        return -grad


class Exp(Function):
    """y = e^x;  dx = dy y."""

    @staticmethod
    def forward(ctx: Node, x: Array) -> Array:
        y = array_module(x).exp(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> Array:
        (y,) = ctx.saved_arrays
        return grad * y


class Log(Function):
    """y = ln x;  dx = dy / x."""

    @staticmethod
    def forward(ctx: Node, x: Array) -> Array:
        ctx.save_for_backward(x)
        return array_module(x).log(x)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> Array:
        (x,) = ctx.saved_arrays
        return grad / x


class Sqrt(Function):
    """y = sqrt(x);  dx = dy / (2 y)."""

    @staticmethod
    def forward(ctx: Node, x: Array) -> Array:
        y = array_module(x).sqrt(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> Array:
        (y,) = ctx.saved_arrays
        return grad / (2 * y)


class Abs(Function):
    """y = |x|;  dx = dy sign(x), with sign(0) = 0."""

    @staticmethod
    def forward(ctx: Node, x: Array) -> Array:
        ctx.save_for_backward(x)
        return array_module(x).absolute(x)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> Array:
        (x,) = ctx.saved_arrays
        return grad * _sign(x)


def _sign(x: Array) -> Array:
    """-1, 0 or 1; 0 for NaN, as in PyTorch."""
    return x if x.dtype.kind == "b" else (x > 0).astype(x.dtype) - (x < 0).astype(x.dtype)


class Remainder(Function):
    """y = a - b floor(a / b);  da = dy, db = -dy floor(a / b)."""

    @staticmethod
    def forward(ctx: Node, a: Array, b: Array) -> Array:
        ctx.shapes = _shape(a), _shape(b)
        xp = array_module(a if hasattr(a, "dtype") else b)
        ctx.save_for_backward(xp.floor_divide(a, b) if ctx.needs_input_grad[1] else None)
        return xp.remainder(a, b)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        (quotient,) = ctx.saved_arrays
        need_a, need_b = ctx.needs_input_grad
        return (
            sum_to_shape(grad, ctx.shapes[0]) if need_a else None,
            sum_to_shape(-grad * quotient, ctx.shapes[1]) if need_b else None,
        )


def _kept_where(mask: Array, grad: Array) -> Array:
    """grad where the mask holds, else 0. A product of both would make NaN of an infinite gradient that nobody wants."""
    xp = array_module(grad)
    return xp.where(mask, grad, xp.zeros((), grad.dtype))


class Clamp(Function):
    """y = min(max(x, low), high);  dx = dy where low <= x <= high, else 0."""

    @staticmethod
    def forward(ctx: Node, x: Array, low: float | None, high: float | None) -> Array:
        ctx.save_for_backward(x)
        ctx.low, ctx.high = low, high
        return array_module(x).clip(x, low, high)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        (x,) = ctx.saved_arrays
        inside = array_module(x).ones(x.shape, bool)
        if ctx.low is not None:
            inside &= x >= ctx.low
        if ctx.high is not None:
            inside &= x <= ctx.high
        return _kept_where(inside, grad), None, None


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
            sum_to_shape(_kept_where(~a_lost, grad), ctx.shapes[0]) if need_a else None,
            sum_to_shape(_kept_where(~b_lost, grad), ctx.shapes[1]) if need_b else None,
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
            sum_to_shape(_kept_where(condition, grad), ctx.shapes[0]) if need_a else None,
            sum_to_shape(_kept_where(~condition, grad), ctx.shapes[1]) if need_b else None,
        )


class Convert(Function):
    """y = x in another type or on another device (or a copy);  dx = dy converted back (by the walk)."""

    @staticmethod
    def forward(ctx: Node, x: Array, dtype: Any, copy: bool) -> Array:
        return x.astype(dtype, copy=copy)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        return grad, None


# ------------------------------------------------------------------------------------------- the functions users call


@register
def add(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """input + alpha * other."""
    return Add.apply(*operands(input, other if alpha == 1 else mul(other, alpha)))


@register
def sub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """input - alpha * other."""
    first, second = operands(input, other if alpha == 1 else mul(other, alpha))
    if _is_boolean(input) or _is_boolean(other):
        raise RuntimeError("subtraction with a boolean tensor is not supported: use logical_not or logical_and")
    return Sub.apply(first, second)


def _is_boolean(operand: Any) -> bool:
    return isinstance(operand, bool) or getattr(operand, "dtype", None) == boolean


@register
def mul(input: Any, other: Any) -> Tensor:
    """input * other."""
    return Mul.apply(*operands(input, other))


@register
def div(input: Any, other: Any) -> Tensor:
    """input / other, real division: integers become float32."""
    first, second = operands(input, other)
    for value in (first, second):
        if isinstance(value, Tensor) and is_floating(value.dtype):
            return Div.apply(first, second)
    first, second = (value.to(default_dtype) if isinstance(value, Tensor) else value for value in (first, second))
    return Div.apply(first, second)


@register
def pow(input: Any, exponent: Any) -> Tensor:
    """input ** exponent."""
    if isinstance(exponent, int | float) and exponent == 2:
        return square(input)
    return Pow.apply(*operands(input, exponent))


@register
def square(input: Tensor) -> Tensor:
    """input * input; booleans become int64."""
    input = input.long() if input.dtype.kind == "b" else input
    return Mul.apply(input, input)


@register
def neg(input: Tensor) -> Tensor:
    """-input. RuntimeError for booleans."""
    if input.dtype.kind == "b":
        raise RuntimeError("negation of a boolean tensor is not supported: use logical_not")
    return Neg.apply(input)


@register
def exp(input: Tensor) -> Tensor:
    """e ** input; integers become float32."""
    return Exp.apply(_real(input))


@register
def log(input: Tensor) -> Tensor:
    """Natural logarithm; -inf at 0, NaN below, as in PyTorch."""
    return Log.apply(_real(input))


@register
def sqrt(input: Tensor) -> Tensor:
    """Square root; NaN below 0."""
    return Sqrt.apply(_real(input))


@register
def abs(input: Tensor) -> Tensor:
    """|input|."""
    return Abs.apply(input)


@register
def reciprocal(input: Tensor) -> Tensor:
    """1 / input."""
    return div(1.0, input)


@register
def clamp(input: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """Each element moved into [min, max]; at least one bound must be given."""
    if min is None and max is None:
        raise RuntimeError("clamp: at least one of min and max must be given")
    return Clamp.apply(input, min, max)


@register
def remainder(input: Any, other: Any) -> Tensor:
    """Remainder with the sign of the divisor. RuntimeError for a whole number divided by 0."""
    first, second = operands(input, other)
    _refuse_zero(second, "remainder")
    return Remainder.apply(first, second)


@register
def maximum(input: Any, other: Any) -> Tensor:
    """The larger of each pair of elements."""
    first, second = (value if isinstance(value, Tensor) else Tensor(value) for value in operands(input, other))
    return Extremum.apply(first, second, largest=True)


@register
def minimum(input: Any, other: Any) -> Tensor:
    """The smaller of each pair of elements."""
    first, second = (value if isinstance(value, Tensor) else Tensor(value) for value in operands(input, other))
    return Extremum.apply(first, second, largest=False)


@register
def where(condition: Tensor, input: Any, other: Any) -> Tensor:
    """`input` where the condition (a boolean tensor) holds, `other` elsewhere."""
    if condition.dtype.kind != "b":
        raise TypeError(f"where: the condition must be boolean, not {condition.dtype}")
    first, second = operands(input, other)
    common_shape(*(value.shape for value in (condition, first, second) if isinstance(value, Tensor)))
    return Where.apply(condition, first, second)


@register
def where_method(input: Tensor, condition: Tensor, other: Any) -> Tensor:
    """`input` where the condition holds, else `other` (the order of arguments of Tensor.where)."""
    return where(condition, input, other)


@register
def convert(input: Tensor, dtype: Any = None, device: Any = None, copy: bool = False) -> Tensor:
    """`input` with another type or on another device; itself where nothing changes and no copy is asked for."""
    if device is not None and device_of(input.array) != device:
        return Tensor(move(input.array, device))
    dtype = input.dtype if dtype is None else dtype
    if dtype == input.dtype and not copy:
        return input
    return Convert.apply(input, dtype, copy=True)


def _real(input: Tensor) -> Tensor:
    return input if is_floating(input.dtype) else input.to(default_dtype)


# ----------------------------------------------------------------------------------------- without a gradient


def _of_one(name: str, function: str, summary: str) -> Any:
    """A function of one operand whose derivative is zero almost everywhere: never recorded."""

    def apply(input: Tensor) -> Tensor:
        with quiet():
            return Tensor(getattr(array_module(input.array), function)(input.array))

    apply.__name__, apply.__doc__ = name, summary
    return register(apply)


def _of_two(name: str, function: str, summary: str) -> Any:
    """The same of two operands."""

    def apply(input: Any, other: Any) -> Tensor:
        one, two = (value.array if isinstance(value, Tensor) else value for value in operands(input, other))
        with quiet():
            return Tensor(getattr(array_module(one if hasattr(one, "dtype") else two), function)(one, two))

    apply.__name__, apply.__doc__ = name, summary
    return register(apply)


eq, ne = _of_two("eq", "equal", "input == other."), _of_two("ne", "not_equal", "input != other.")
lt, le = _of_two("lt", "less", "input < other."), _of_two("le", "less_equal", "input <= other.")
gt, ge = _of_two("gt", "greater", "input > other."), _of_two("ge", "greater_equal", "input >= other.")
logical_and = _of_two("logical_and", "logical_and", "Both are true.")
logical_or = _of_two("logical_or", "logical_or", "At least one is true.")
logical_not = _of_one("logical_not", "logical_not", "Not true.")
isnan, isfinite = _of_one("isnan", "isnan", "Is it NaN?"), _of_one("isfinite", "isfinite", "Neither NaN nor infinite?")
isinf = _of_one("isinf", "isinf", "Is it infinite?")
floor = _of_one("floor", "floor", "Rounded down.")
ceil, round = _of_one("ceil", "ceil", "Rounded up."), _of_one("round", "round", "Rounded, halves to even.")


@register
def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1; 0 for NaN."""
    return Tensor(_sign(input.array))


@register
def floor_divide(input: Any, other: Any) -> Tensor:
    """Quotient rounded down. RuntimeError for a whole number divided by 0."""
    first, second = operands(input, other)
    _refuse_zero(second, "floor_divide")
    one, two = (value.array if isinstance(value, Tensor) else value for value in (first, second))
    with quiet():
        return Tensor(array_module(one if hasattr(one, "dtype") else two).floor_divide(one, two))


def _refuse_zero(divisor: Any, name: str) -> None:
    """Real numbers divided by 0 are inf or NaN; whole numbers know neither."""
    array = divisor.array if isinstance(divisor, Tensor) else divisor
    whole = not is_floating(array.dtype) if hasattr(array, "dtype") else isinstance(array, int)
    if whole and not (array.all() if hasattr(array, "dtype") else array):
        raise RuntimeError(f"ZeroDivisionError: {name} of whole numbers by 0")
