"""What operations on two operands share: PyTorch's type promotion, and the gradient of broadcasting."""

from typing import Any

import numpy as np

from minires import kernels
from minires.backend import Array, array_module, device_of, is_floating, result_type
from minires.tensor import OPERATIONS, Tensor


def sum_to_shape(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Sum a gradient over the axes along which an operand of `shape` was broadcast.

    Broadcasting repeats the operand, y[i, j] = x[j], so that dx[j] = sum over i of dy[i, j].
    """
    if gradient.shape == shape:
        return gradient
    added = gradient.ndim - len(shape)
    repeated = [added + axis for axis, length in enumerate(shape) if length == 1 and gradient.shape[added + axis] != 1]
    axes = (*range(added), *repeated)
    return (kernels.sum_over(gradient, axes, True) if axes else gradient).reshape(shape)


def common_shape(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape to which these broadcast. RuntimeError, as in PyTorch, if they do not."""
    if all(shape == shapes[0] for shape in shapes):
        return shapes[0]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise RuntimeError(f"the shapes {', '.join(map(str, shapes))} do not broadcast: counted from the last axis, "
                           "lengths must be equal or 1") from None  # fmt: skip


def operands(first: Any, second: Any, two_numbers: bool = False) -> tuple[Any, Any]:
    """Two operands ready for a NumPy function: of one type, at least one of them a Tensor (unless two_numbers).

    Python numbers stay as they are where NumPy treats them as PyTorch does. Anything that is neither a Tensor, an array
    nor a number raises TypeError, shapes that do not broadcast RuntimeError.
    """
    first, second = _as_operand(first), _as_operand(second)
    one, two = (value.array if isinstance(value, Tensor) else value for value in (first, second))
    if not two_numbers and not isinstance(first, Tensor) and not isinstance(second, Tensor):
        raise TypeError(f"expected at least one Tensor, got {type(one).__name__} and {type(two).__name__}")
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        common_shape(one.shape, two.shape)
        first, second = _on_one_device(first, second)
        if one.dtype == two.dtype:
            return first, second
    dtype = result_type(one, two)
    return _cast(first, dtype), _cast(second, dtype)


def _on_one_device(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both, where they lie on one device; a number without axes on the CPU is taken along to the other's device."""
    here, there = device_of(first.array), device_of(second.array)
    if here == there:
        return first, second
    if second.ndim == 0 and there.type == "cpu":
        return first, OPERATIONS["convert"](second, device=here)
    if first.ndim == 0 and here.type == "cpu":
        return OPERATIONS["convert"](first, device=there), second
    raise RuntimeError(f"expected all tensors to be on the same device, but found {here} and {there}")


def _as_operand(value: Any) -> Any:
    if isinstance(value, Tensor | bool | int | float):
        return value
    if isinstance(value, np.generic | np.ndarray):
        return Tensor(value)
    try:
        array_module(value)
    except TypeError:
        raise TypeError(f"expected a Tensor, an array or a number, got {type(value).__name__}") from None
    return Tensor(value)


def _cast(value: Any, dtype: np.dtype) -> Any:
    if isinstance(value, Tensor):
        return value if value.dtype == dtype else OPERATIONS["convert"](value, dtype=dtype)
    if is_floating(dtype):
        return dtype.type(value)
    return np.asarray(value).astype(dtype)[()]  # 300 among bytes is 44, as in PyTorch
