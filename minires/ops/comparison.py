"""Comparisons and logic: results are booleans (or bits), which have no derivative, so that nothing is recorded."""

from typing import Any

from minires.autograd import look, quiet
from minires.backend import Array, array_module, is_floating
from minires.ops.broadcast import operands
from minires.ops.pointwise import need_tensors
from minires.tensor import Tensor, register


def _of_one(name: str, function: str, summary: str) -> Any:
    def apply(input: Tensor) -> Tensor:
        with quiet():
            return Tensor(getattr(array_module(input.array), function)(input.array))

    apply.__name__, apply.__doc__ = name, summary
    return register(apply)


def _arrays(first: Any, second: Any) -> tuple[Any, Any]:
    """Two operands of one type as arrays (or numbers)."""
    one, two = (value.array if isinstance(value, Tensor) else value for value in operands(first, second))
    return one, two


def _of_two(name: str, function: str, summary: str) -> Any:
    def apply(input: Any, other: Any) -> Tensor:
        need_tensors(name, input, *([other] if name.startswith("logical") else []))
        one, two = _arrays(input, other)
        with quiet():
            return Tensor(getattr(array_module(one if hasattr(one, "dtype") else two), function)(one, two))

    apply.__name__, apply.__doc__ = name, summary
    return register(apply)


eq, ne = _of_two("eq", "equal", "input == other."), _of_two("ne", "not_equal", "input != other.")
lt, le = _of_two("lt", "less", "input < other."), _of_two("le", "less_equal", "input <= other.")
gt, ge = _of_two("gt", "greater", "input > other."), _of_two("ge", "greater_equal", "input >= other.")
logical_and = _of_two("logical_and", "logical_and", "Both are true.")
logical_or = _of_two("logical_or", "logical_or", "At least one is true.")
logical_xor = _of_two("logical_xor", "logical_xor", "Exactly one is true.")
logical_not = _of_one("logical_not", "logical_not", "Not true.")
isnan, isfinite = _of_one("isnan", "isnan", "Is it NaN?"), _of_one("isfinite", "isfinite", "Neither NaN nor infinite?")
isinf = _of_one("isinf", "isinf", "Is it infinite?")


def _of_bits(name: str, function: str, summary: str) -> Any:
    """A function of the bits of integers, or of booleans."""

    def apply(input: Any, other: Any) -> Tensor:
        one, two = _arrays(input, other)
        for value in (one, two):
            if is_floating(value.dtype) if hasattr(value, "dtype") else isinstance(value, float):
                raise RuntimeError(f"{name} is for integers and booleans, not for real numbers")
        return Tensor(getattr(array_module(one if hasattr(one, "dtype") else two), function)(one, two))

    apply.__name__, apply.__doc__ = name, summary
    return register(apply)


bitwise_and = _of_bits("bitwise_and", "bitwise_and", "The bits (or booleans) set in both.")
bitwise_or = _of_bits("bitwise_or", "bitwise_or", "The bits (or booleans) set in at least one.")
bitwise_xor = _of_bits("bitwise_xor", "bitwise_xor", "The bits (or booleans) set in exactly one.")


@register
def bitwise_not(input: Tensor) -> Tensor:
    """Every bit of integers (or every boolean) turned over. TypeError for real numbers."""
    if is_floating(input.dtype):
        raise TypeError("bitwise_not is for integers and booleans, not for real numbers")
    return Tensor(~input.array)


@register
def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Tensor:  # fmt: skip
    """Whether |input - other| <= atol + rtol |other|; NaN is close to NaN if `equal_nan`. RuntimeError across types."""
    need_tensors("isclose", input, other)
    if rtol < 0 or atol < 0:
        raise RuntimeError(f"isclose: rtol and atol must be greater than or equal to zero, but got {rtol} and {atol}")
    one, two = _same_type(input, other, "isclose")
    with quiet():
        return Tensor(array_module(one).isclose(one, two, rtol, atol, equal_nan))


@register
def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:  # fmt: skip
    """Whether all elements are close: see `isclose`."""
    look()
    return bool(isclose(input, other, rtol, atol, equal_nan).array.all())


@register
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape and elements."""
    look()
    return input.shape == other.shape and bool((input.array == other.array).all())


def _same_type(first: Tensor, second: Tensor, name: str) -> tuple[Array, Array]:
    if first.dtype != second.dtype:
        raise RuntimeError(f"{name}: {first.dtype} did not match {second.dtype}")
    one, two = _arrays(first, second)
    return one, two
