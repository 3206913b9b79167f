"""What functions of each element by itself have in common: one class is a formula, its derivative and what to keep.

class Sin(Pointwise):
    \"\"\"y = sin x;  dx = dy cos x.\"\"\"

    value = staticmethod(lambda xp, x: xp.sin(x))
    slope = staticmethod(lambda xp, x: xp.cos(x))

sin = function_of(Sin)
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from minires import backend
from minires.autograd import Function, Node
from minires.backend import Array, array_module, is_floating
from minires.ops.broadcast import operands
from minires.tensor import Tensor, register


class Pointwise(Function):
    """y = value(x);  dx = dy slope(x), or dy slope(y) where `keeps` says that the derivative is simpler in terms of y.

    `value` and `slope` get the array library and one array.
    """

    keeps = "x"
    value: Callable[[ModuleType, Array], Array]
    slope: Callable[[ModuleType, Array], Array]

    @staticmethod
    def forward(ctx: Node, x: Array) -> Array:
        kind: Any = ctx.function
        y = kind.value(array_module(x), x)
        ctx.save_for_backward(x if kind.keeps == "x" else y)
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> Array:
        (kept,) = ctx.saved_arrays
        kind: Any = ctx.function
        return (grad * kind.slope(array_module(kept), kept)).astype(grad.dtype, copy=False)


def function_of(kind: type[Function], summary: str | None = None) -> Any:
    """The function that users call: the class's name in small letters, integers as float32. Registered by that name."""

    def apply(input: Tensor) -> Tensor:
        return kind.apply(real(input))

    apply.__name__ = apply.__qualname__ = kind.__name__.lower()
    apply.__doc__ = summary or kind.__doc__
    return register(apply)


def real(input: Tensor) -> Tensor:
    """The tensor itself, or as float32 if it holds integers or booleans. TypeError for what is no Tensor."""
    need_tensors("this operation", input)
    return input if is_floating(input.dtype) else input.to(backend.default_dtype)


def real_operands(first: Any, second: Any) -> tuple[Tensor, Tensor]:
    """As `operands`, both Tensors of one floating type: integers become float32."""
    first, second = (real(value) if isinstance(value, Tensor) else value for value in (first, second))
    pair = _tensors(*operands(first, second))
    dtype = next((value.dtype for value in pair if is_floating(value.dtype)), backend.default_dtype)
    return pair[0].to(dtype), pair[1].to(dtype)


def _tensors(first: Any, second: Any) -> list[Tensor]:
    """Both as Tensors, a number on the other one's device."""
    place = next((value.device for value in (first, second) if isinstance(value, Tensor)), backend.cpu)
    return [value if isinstance(value, Tensor) else Tensor(value).to(place) for value in (first, second)]


def need_tensors(name: str, *values: Any) -> None:
    """TypeError for a plain number where PyTorch takes tensors only."""
    for value in values:
        if not isinstance(value, Tensor):
            raise TypeError(f"{name}: expected Tensors, got {type(value).__name__}")


def same_operands(first: Any, second: Any) -> tuple[Tensor, Tensor]:
    """As `operands`, both Tensors of one type."""
    pair = _tensors(*operands(first, second))
    dtype = next((value.dtype for given, value in zip((first, second), pair, strict=True) if isinstance(given, Tensor)),
                 pair[0].dtype)  # fmt: skip
    return pair[0].to(dtype), pair[1].to(dtype)


def kept_where(mask: Array, grad: Array) -> Array:
    """grad where the mask holds, else 0. A product of both would make NaN of an infinite gradient that nobody wants."""
    xp = array_module(grad)
    return xp.where(mask, grad, xp.zeros((), grad.dtype))
