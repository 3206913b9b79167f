"""Batch normalisation on a GPU: the reference's signatures in front of `kernels/cuda/norms.py`."""

from minires import backend
from minires.kernels.cuda import norms
from minires.kernels.cuda.adapters.arrays import check, last, new, run, second, single
from minires.kernels.cuda.types import Array

__all__ = [
    "batch_norm_inference_backward",
    "batch_norm_inference_forward",
    "batch_norm_training_backward",
    "batch_norm_training_forward",
]


def rows(x: Array | None) -> Array | None:
    """(N, C, ...) as the contiguous matrix [values a channel][C]."""
    return None if x is None else last(x).reshape(-1, x.shape[1])


def shaped(matrix: Array, x: Array) -> Array:
    """The matrix as an array of the shape of x."""
    return second(matrix.reshape(x.shape[0], *x.shape[2:], x.shape[1]))


def batch_norm_training_forward(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    residual: Array | None,
    relu: bool,
) -> tuple[Array, Array, Array, Array]:
    """As the reference; mean, variance and inverse_std are float32."""
    check("batch_norm_training_forward", x)
    if x.size == 0:
        nothing = [new(x.shape[1:2], backend.float32, float("nan")) for _ in range(3)]
        return x.copy(), nothing[0], nothing[1], nothing[2]
    residual = None if residual is None else residual.astype(x.dtype, copy=False)
    y, mean, variance, inverse_std = norms.batch_norm_training_forward(
        run, rows(x), single(weight), single(bias), eps, rows(residual), relu
    )
    return shaped(y, x), mean, variance, inverse_std


def batch_norm_inference_forward(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array,
    running_var: Array,
    eps: float,
    residual: Array | None,
    relu: bool,
) -> Array:
    """As the reference."""
    check("batch_norm_inference_forward", x)
    if x.size == 0:
        return x.copy()
    statistics = single(running_mean), single(running_var)
    residual = None if residual is None else residual.astype(x.dtype, copy=False)
    y = norms.batch_norm_inference_forward(
        run, rows(x), single(weight), single(bias), *statistics, eps, rows(residual), relu
    )
    return shaped(y, x)


def backward(
    grad: Array, x: Array, weight: Array | None, mean: Array, inverse_std: Array, y: Array | None, fixed: bool,
    keep_masked: bool,
) -> tuple[Array, Array, Array, Array | None]:  # fmt: skip
    """(dx, dweight, dbias, masked gradient)."""
    dtype = backend.float32 if weight is None else weight.dtype
    if x.size == 0:
        return grad, new(x.shape[1:2], dtype), new(x.shape[1:2], dtype), grad if keep_masked else None
    grad = grad.astype(x.dtype, copy=False)
    is_masked = keep_masked and y is not None
    dx, dweight, dbias, masked = norms.batch_norm_backward(
        run, rows(grad), rows(x), single(weight), mean, inverse_std, rows(y), fixed, is_masked
    )
    passed = shaped(masked, x) if masked is not None else grad if keep_masked else None
    return shaped(dx, x), dweight.astype(dtype, copy=False), dbias.astype(dtype, copy=False), passed


def batch_norm_training_backward(
    grad: Array,
    x: Array,
    weight: Array | None,
    mean: Array,
    inverse_std: Array,
    y: Array | None,
    keep_masked: bool = True,
) -> tuple[Array, Array, Array, Array | None]:
    """As the reference."""
    check("batch_norm_training_backward", x)
    return backward(grad, x, weight, mean, inverse_std, y, False, keep_masked)


def batch_norm_inference_backward(
    grad: Array,
    x: Array,
    weight: Array | None,
    running_mean: Array,
    running_var: Array,
    eps: float,
    y: Array | None,
    keep_masked: bool = True,
) -> tuple[Array, Array, Array, Array | None]:
    """As the reference."""
    check("batch_norm_inference_backward", x)
    inverse_std = norms.fixed_inverse_std(run, single(running_var), eps) if x.size else None
    return backward(grad, x, weight, single(running_mean), inverse_std, y, True, keep_masked)
