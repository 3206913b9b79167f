"""Matrix products."""

from typing import Any

from minires import kernels
from minires.autograd import Function, Node, is_casting
from minires.backend import Array
from minires.ops.broadcast import sum_to_shape
from minires.tensor import Tensor, register


class MatMul(Function):
    """y = a b, the last two axes being matrices;  da = dy b^T, db = a^T dy, each summed over its broadcast axes.

    A vector counts as a row on the left and as a column on the right, and its axis is missing in y.
    """

    @staticmethod
    def forward(ctx: Node, a: Array, b: Array) -> Array:
        ctx.save_for_backward(a if ctx.needs_input_grad[1] else None, b if ctx.needs_input_grad[0] else None)
        ctx.shapes = a.shape, b.shape
        return kernels.matmul(a, b)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        a, b = ctx.saved_arrays
        a_shape, b_shape = ctx.shapes
        if len(a_shape) == 1 and len(b_shape) == 1:
            return None if b is None else grad * b, None if a is None else grad * a
        if len(a_shape) == 1:
            grad = grad[..., None, :]
        elif len(b_shape) == 1:
            grad = grad[..., :, None]
        da = db = None
        if b is not None:
            matrices = b[:, None] if len(b_shape) == 1 else b
            full = kernels.matmul(grad, matrices.swapaxes(-1, -2))
            da = sum_to_shape(full, (1, *a_shape) if len(a_shape) == 1 else a_shape).reshape(a_shape)
        if a is not None:
            matrices = a[None, :] if len(a_shape) == 1 else a
            full = kernels.matmul(matrices.swapaxes(-1, -2), grad)
            db = sum_to_shape(full, (*b_shape, 1) if len(b_shape) == 1 else b_shape).reshape(b_shape)
        return da, db


class Linear(Function):
    """y = x W^T + b;  dx = dy W, dW = dy^T x, db = sum of dy over all rows.

    x (..., in), W (out, in), b (out,) or None, y (..., out): all axes of x but the last one count as rows.
    """

    @staticmethod
    def forward(ctx: Node, x: Array, weight: Array, bias: Array | None) -> Array:
        rows = x.reshape(-1, x.shape[-1]) if x.size else x.reshape(_rows(x.shape), x.shape[-1])
        ctx.save_for_backward(rows if ctx.needs_input_grad[1] else None, weight if ctx.needs_input_grad[0] else None)
        ctx.shape = x.shape
        y = kernels.matmul(rows, weight.T)
        if bias is not None:
            y += bias
        return y.reshape(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        rows, weight = ctx.saved_arrays
        grad = grad.reshape(_rows(grad.shape), grad.shape[-1])
        return (
            kernels.matmul(grad, weight).reshape(ctx.shape) if ctx.needs_input_grad[0] else None,
            kernels.matmul(grad.T, rows) if ctx.needs_input_grad[1] else None,
            kernels.sum_over(grad, (0,), False) if ctx.needs_input_grad[2] else None,
        )


def _rows(shape: tuple[int, ...]) -> int:
    """Number of rows of (..., columns)."""
    count = 1
    for length in shape[:-1]:
        count *= length
    return count


@register
def matmul(input: Any, other: Any) -> Tensor:
    """Matrix product of the last two axes, leading axes broadcast; vectors as in NumPy. RuntimeError on a misfit."""
    if not isinstance(input, Tensor) or not isinstance(other, Tensor):
        raise TypeError(f"matmul takes two Tensors, got {type(input).__name__} and {type(other).__name__}")
    if not input.ndim or not other.ndim:
        raise RuntimeError("both arguments to matmul need to be at least 1D")
    if input.dtype != other.dtype and not is_casting():
        raise RuntimeError(f"expected both matrices to have the same dtype, got {input.dtype} and {other.dtype}")
    inner, outer = input.shape[-1], other.shape[0 if other.ndim == 1 else -2]
    if inner != outer:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({input.shape} and {other.shape})")
    try:
        return MatMul.apply(input, other)
    except ValueError as error:
        raise RuntimeError(f"matmul: the shapes {input.shape} and {other.shape} do not broadcast") from error


@register
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input weight^T + bias: input (..., in), weight (out, in), bias (out,)."""
    if weight.ndim == 1 and bias is None:
        return matmul(input, weight)
    if not input.ndim or weight.ndim != 2 or input.shape[-1] != weight.shape[1]:
        raise RuntimeError(f"linear: input of shape {input.shape} and weight of shape {weight.shape} do not fit")
    if bias is not None and not bias.ndim:
        return linear(input, weight) + bias
    if bias is not None and bias.shape != weight.shape[:1]:
        raise RuntimeError(f"linear: bias of shape {bias.shape} for {weight.shape[0]} outputs")
    mixed = input.dtype != weight.dtype or (bias is not None and bias.dtype != input.dtype)
    if mixed and not is_casting():
        raise RuntimeError(f"linear: input is {input.dtype}, weight {weight.dtype}: they must be of one type")
    return Linear.apply(input, weight, bias)
