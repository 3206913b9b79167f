"""Operations that act on every element by itself: arithmetic, powers, exp, log, conversion to other types.

The arithmetic is NumPy's (or CuPy's) own, which is the textbook version and the fast one at once, so that these
operations call no kernel. Shapes: operands broadcast against each other; the result has the broadcast shape.
In the formulas, y is the result, dy its gradient, dx the gradient of x.
"""

from typing import Any

from minires import backend
from minires.autograd import Function, Node
from minires.backend import Array, array_module, boolean, device_of, is_floating, move, resolved
from minires.ops.broadcast import operands, sum_to_shape
from minires.ops.pointwise import real
from minires.tensor import OPERATIONS, Tensor, register


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
        y = _power(a, b)
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


def _power(a: Any, b: Any) -> Array:
    """a^b. Of whole numbers with b < 0: 0, or the power of a = 1 and -1, as in PyTorch; NumPy raises."""
    if not hasattr(b, "dtype") or b.dtype.kind != "i":
        return a**b
    xp = array_module(a if hasattr(a, "dtype") and a.ndim else b)
    of_one = xp.where(a == 1, 1, xp.where(a == -1, 1 - 2 * (b & 1), 0))
    return xp.where(b < 0, of_one, a ** xp.maximum(b, 0)).astype(b.dtype)


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
        return grad * sign_of(x)


def sign_of(x: Array) -> Array:
    """-1, 0 or 1; 0 for NaN, as in PyTorch."""
    return x if x.dtype.kind == "b" else (x > 0).astype(x.dtype) - (x < 0).astype(x.dtype)


class Convert(Function):
    """y = x in another type or on another device (or a copy);  dx = dy converted back (by the walk)."""

    @staticmethod
    def forward(ctx: Node, x: Array, dtype: Any, copy: bool) -> Array:
        return x.astype(dtype, copy=copy)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        return grad, None


class Move(Function):
    """y = x on another device;  dx = dy on the device of x."""

    @staticmethod
    def forward(ctx: Node, x: Array, target: Any, non_blocking: bool) -> Array:
        ctx.source = device_of(x)
        return move(x, target, non_blocking)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        return move(grad, ctx.source), None, None


# ------------------------------------------------------------------------------------------- the functions users call


@register
def add(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """input + alpha * other."""
    return Add.apply(*operands(input, _scaled(input, other, alpha)))


def _scaled(input: Any, other: Any, alpha: float) -> Any:
    """alpha * other. RuntimeError for a real alpha among integers."""
    if alpha == 1:
        return other
    kinds = {value.dtype.kind for value in (input, other) if isinstance(value, Tensor)}
    if isinstance(alpha, float) and "f" not in kinds and not isinstance(other, float):
        raise RuntimeError("for integral input tensors, argument alpha must not be a floating point number")
    if not isinstance(other, Tensor):
        return other * alpha
    whole = other.dtype.kind in "iu" or kinds == {"b"}  # a negative alpha goes round the end of bytes, as in PyTorch
    return mul(other, Tensor(array_module(other.array).asarray(alpha).astype(other.dtype)) if whole else alpha)


@register
def sub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """input - alpha * other."""
    first, second = operands(input, _scaled(input, other, alpha))
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
def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """input / other, real division: integers become float32.

    rounding_mode: "trunc" (towards 0) or "floor" for whole quotients, of integers too. RuntimeError for another word.
    """
    if rounding_mode is not None:
        if rounding_mode not in ("trunc", "floor"):
            raise RuntimeError(f"div: rounding_mode must be None, 'trunc' or 'floor', got {rounding_mode!r}")
        return OPERATIONS["divide_whole"](input, other, rounding_mode == "trunc")
    first, second = operands(input, other)
    for value in (first, second):
        if isinstance(value, Tensor) and is_floating(value.dtype):
            return Div.apply(first, second)
    dtype = backend.default_dtype
    first, second = (value.to(dtype) if isinstance(value, Tensor) else dtype.type(value) for value in (first, second))
    return Div.apply(first, second)


@register
def pow(input: Any, exponent: Any) -> Tensor:
    """input ** exponent. RuntimeError for whole numbers and a negative number, and for booleans among themselves."""
    if isinstance(exponent, int | float) and exponent == 2 and isinstance(input, Tensor):
        return square(input)
    first, second = operands(input, exponent)
    if isinstance(exponent, int) and exponent < 0 and not is_floating(first.dtype):
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    if _is_boolean(first) and _is_boolean(second):
        raise RuntimeError("pow is not for two booleans")
    return Pow.apply(first, second)


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
    return Exp.apply(real(input))


@register
def log(input: Tensor) -> Tensor:
    """Natural logarithm; -inf at 0, NaN below, as in PyTorch."""
    return Log.apply(real(input))


@register
def sqrt(input: Tensor) -> Tensor:
    """Square root; NaN below 0."""
    return Sqrt.apply(real(input))


@register
def abs(input: Tensor) -> Tensor:
    """|input|."""
    return Abs.apply(input)


@register
def reciprocal(input: Tensor) -> Tensor:
    """1 / input."""
    return div(1.0, input)


@register
def convert(
    input: Tensor, dtype: Any = None, device: Any = None, copy: bool = False, non_blocking: bool = False
) -> Tensor:
    """`input` with another type or on another device; itself where nothing changes and no copy is asked for.

    non_blocking: a copy from pinned memory to a GPU is not waited for.
    """
    if device is not None and device_of(input.array) != resolved(device):
        input, copy = Move.apply(input, device, non_blocking), False
    dtype = input.dtype if dtype is None else dtype
    if dtype == input.dtype and not copy:
        return input
    return Convert.apply(input, dtype, copy=True)
