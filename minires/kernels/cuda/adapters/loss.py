"""Softmax and cross entropy on a GPU: the reference's signatures in front of `kernels/cuda/losses.py`.

float64 is computed by the fast set's expressions, which are the same for NumPy and CuPy.
"""

from minires import backend
from minires.kernels.cpu import loss as expressions
from minires.kernels.cuda import losses
from minires.kernels.cuda.adapters.arrays import check, new, run, single, suits
from minires.kernels.cuda.loader import cupy_module
from minires.kernels.cuda.types import Array

__all__ = [
    "cross_entropy_backward",
    "cross_entropy_forward",
    "log_softmax",
    "log_softmax_backward",
    "softmax",
    "softmax_backward",
]


def rows(x: Array, axis: int) -> Array:
    """x with `axis` last, as a contiguous matrix."""
    cupy = cupy_module()
    moved = cupy.moveaxis(x, axis, -1)
    return cupy.ascontiguousarray(moved).reshape(-1, moved.shape[-1])


def shaped(matrix: Array, x: Array, axis: int) -> Array:
    """The matrix of `rows` as an array of the shape of x."""
    moved = [length for place, length in enumerate(x.shape) if place != axis % x.ndim]
    return cupy_module().moveaxis(matrix.reshape(*moved, x.shape[axis]), -1, axis)


def forward(x: Array, axis: int, logarithm: bool) -> Array:
    if not suits(x) or x.size == 0:
        return (expressions.log_softmax if logarithm else expressions.softmax)(x, axis)
    return shaped(losses.softmax(run, rows(x, axis), logarithm), x, axis)


def backward(grad: Array, y: Array, axis: int, logarithm: bool) -> Array:
    if not suits(y) or y.size == 0:
        return (expressions.log_softmax_backward if logarithm else expressions.softmax_backward)(grad, y, axis)
    return shaped(losses.softmax_backward(run, rows(grad, axis), rows(y, axis), logarithm), y, axis)


def softmax(x: Array, axis: int) -> Array:
    """As the reference."""
    return forward(x, axis, False)


def log_softmax(x: Array, axis: int) -> Array:
    """As the reference."""
    return forward(x, axis, True)


def softmax_backward(grad: Array, y: Array, axis: int) -> Array:
    """As the reference."""
    return backward(grad, y, axis, False)


def log_softmax_backward(grad: Array, y: Array, axis: int) -> Array:
    """As the reference."""
    return backward(grad, y, axis, True)


def cross_entropy_forward(
    logits: Array,
    target: Array,
    class_weight: Array | None,
    ignore_index: int,
    label_smoothing: float,
) -> tuple[Array, Array]:
    """As the reference; while a CUDA graph is captured, nobody can wait for the news of a target that is no class."""
    check("cross_entropy_forward", logits)
    if logits.size == 0:
        return new(logits.shape[:1], logits.dtype), logits.copy()
    wrong = new((1,), backend.int32)
    target = target.astype(backend.int64, copy=False)
    made = losses.cross_entropy(run, logits, target, single(class_weight), ignore_index, label_smoothing, wrong)
    if not backend.is_capturing() and (found := int(wrong[0])):
        classes = logits.shape[1]
        raise IndexError(f"target {int(target[found - 1])} of row {found - 1} is not one of the {classes} classes")
    return made["loss"].astype(logits.dtype, copy=False), made["log_probability"]


def cross_entropy_backward(
    grad: Array,
    log_probabilities: Array,
    target: Array,
    class_weight: Array | None,
    ignore_index: int,
    label_smoothing: float,
) -> Array:
    """As the reference."""
    check("cross_entropy_backward", log_probabilities)
    if log_probabilities.size == 0:
        return log_probabilities.copy()
    settings = (target.astype(backend.int64, copy=False), single(class_weight), ignore_index, label_smoothing)
    return losses.cross_entropy_backward(run, single(grad), log_probabilities, *settings)
