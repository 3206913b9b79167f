"""Group normalisation on a GPU: the reference's signatures in front of `kernels/cuda/norms.py`."""

from minires import backend
from minires.kernels.cuda import norms
from minires.kernels.cuda.adapters.arrays import check, last, new, run, second, single
from minires.kernels.cuda.types import Array

__all__ = ["group_norm_backward", "group_norm_forward"]


def pictures(x: Array) -> Array:
    """(N, C, ...) as [N][pixels][C]."""
    return last(x).reshape(x.shape[0], -1, x.shape[1])


def shaped(array: Array, x: Array) -> Array:
    return second(array.reshape(x.shape[0], *x.shape[2:], x.shape[1]))


def group_norm_forward(
    x: Array, weight: Array | None, bias: Array | None, groups: int, eps: float
) -> tuple[Array, Array, Array]:
    """As the reference; the statistics are float32."""
    check("group_norm_forward", x)
    if x.size == 0:
        shape = (x.shape[0], groups)
        return x.copy(), new(shape, backend.float32), new(shape, backend.float32, eps**-0.5)
    y, mean, inverse_std = norms.group_norm_forward(run, pictures(x), single(weight), single(bias), groups, eps)
    return shaped(y, x), mean, inverse_std


def group_norm_backward(
    grad: Array, x: Array, weight: Array | None, mean: Array, inverse_std: Array
) -> tuple[Array, Array, Array]:
    """As the reference."""
    check("group_norm_backward", x)
    dtype = backend.float32 if weight is None else weight.dtype
    if x.size == 0:
        return grad, new(x.shape[1:2], dtype), new(x.shape[1:2], dtype)
    grad = grad.astype(x.dtype, copy=False)
    dx, dweight, dbias = norms.group_norm_backward(run, pictures(grad), pictures(x), single(weight), mean, inverse_std)
    return shaped(dx, x), dweight.astype(dtype, copy=False), dbias.astype(dtype, copy=False)
