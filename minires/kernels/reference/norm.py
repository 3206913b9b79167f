"""Batch normalisation over every axis but the channels' (axis 1), with what may be fused behind: a residual and ReLU.

With m values a channel: z = weight (x - mean) inverse_std + bias, y = z, or z + residual, or the ReLU of either.
In training mean and variance are those of the batch itself, so that the gradient flows through them too; at inference
they are constants. Source: Ioffe and Szegedy, Batch Normalization, 2015. Group normalisation: reference/group_norm.py.
"""

import numpy as np

from minires.kernels.reference.activation import relu_backward

__all__ = [
    "batch_norm_inference_backward",
    "batch_norm_inference_forward",
    "batch_norm_training_backward",
    "batch_norm_training_forward",
]


def all_but_channels(x: np.ndarray) -> tuple[int, ...]:
    """The axes that are averaged over."""
    return (0, *range(2, x.ndim))


def along_channels(values: np.ndarray | None, x: np.ndarray, missing: float) -> np.ndarray:
    """(C,) values as float64, shaped so that they broadcast against x; `missing` where they are None."""
    if values is None:
        values = np.full(x.shape[1], missing)
    return values.astype(np.float64).reshape(1, -1, *[1] * (x.ndim - 2))


def statistics_type(x: np.ndarray) -> np.dtype:
    """The type of mean, variance and inverse_std: that of x, but float32 for float16."""
    return np.promote_types(x.dtype, np.float32)


def affine(
    x: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    mean: np.ndarray,
    inverse_std: np.ndarray,
    residual: np.ndarray | None,
    relu: bool,
) -> np.ndarray:
    """weight (x - mean) inverse_std + bias, then plus the residual, then ReLU."""
    y = (x - along_channels(mean, x, 0.0)) * along_channels(inverse_std, x, 1.0)
    y = y * along_channels(weight, x, 1.0) + along_channels(bias, x, 0.0)
    if residual is not None:
        y = y + residual
    return (np.maximum(y, 0) if relu else y).astype(x.dtype)


def batch_norm_training_forward(
    x: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    eps: float,
    residual: np.ndarray | None,
    relu: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(y, mean, variance, inverse_std) with the statistics of this batch.

    mean = sum x / m; variance = sum (x - mean)^2 / m (biased); inverse_std = 1 / sqrt(variance + eps). x, residual
    and y have one shape (N, C, ...); the others are (C,). An empty batch gives NaN: the mean of nothing.
    """
    axes = all_but_channels(x)
    wide = x.astype(np.float64)
    count = np.float64(x.size // max(x.shape[1], 1))
    with np.errstate(invalid="ignore"):
        mean = wide.sum(axis=axes) / count
        variance = ((wide - along_channels(mean, x, 0.0)) ** 2).sum(axis=axes) / count
    inverse_std = 1 / np.sqrt(variance + eps)
    y = affine(x, weight, bias, mean, inverse_std, residual, relu)
    dtype = statistics_type(x)
    return y, mean.astype(dtype), variance.astype(dtype), inverse_std.astype(dtype)


def masked(grad: np.ndarray, y: np.ndarray | None) -> np.ndarray:
    """grad, zeroed where the fused ReLU (whose output y is given exactly if there was one) cut off."""
    return grad if y is None else relu_backward(grad, y)


def batch_norm_training_backward(
    grad: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray | None,
    mean: np.ndarray,
    inverse_std: np.ndarray,
    y: np.ndarray | None,
    keep_masked: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """(dx, dweight, dbias, masked_grad) of the training forward pass.

    With g = masked_grad = relu_backward(grad, y) (all of grad without ReLU) and n = (x - mean) inverse_std:
    dbias = sum g; dweight = sum g n; dx = weight inverse_std (g - dbias / m - n dweight / m): the two last terms
    are what flows through mean and variance. masked_grad is the residual's gradient as well; without `keep_masked` the
    result may be None in its place. Shapes as before.
    """
    axes = all_but_channels(x)
    count = max(x.size // max(x.shape[1], 1), 1)
    passed = masked(grad, y)
    g = passed.astype(np.float64)
    n = (x - along_channels(mean, x, 0.0)) * along_channels(inverse_std, x, 1.0)
    dbias, dweight = g.sum(axis=axes), (g * n).sum(axis=axes)
    dx = g - along_channels(dbias, x, 0.0) / count - n * along_channels(dweight, x, 0.0) / count
    dx *= along_channels(weight, x, 1.0) * along_channels(inverse_std, x, 1.0)
    dtype = mean.dtype if weight is None else weight.dtype
    return dx.astype(x.dtype), dweight.astype(dtype), dbias.astype(dtype), passed if keep_masked else None


def batch_norm_inference_forward(
    x: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    running_mean: np.ndarray,
    running_var: np.ndarray,
    eps: float,
    residual: np.ndarray | None,
    relu: bool,
) -> np.ndarray:
    """y with fixed statistics: mean = running_mean, inverse_std = 1 / sqrt(running_var + eps), both (C,)."""
    inverse_std = 1 / np.sqrt(running_var.astype(np.float64) + eps)
    return affine(x, weight, bias, running_mean, inverse_std, residual, relu)


def batch_norm_inference_backward(
    grad: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray | None,
    running_mean: np.ndarray,
    running_var: np.ndarray,
    eps: float,
    y: np.ndarray | None,
    keep_masked: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """(dx, dweight, dbias, masked_grad) of the inference forward pass: dx = weight inverse_std masked_grad.

    The statistics are constants, so that nothing flows through them; dweight and dbias are as in training.
    """
    axes = all_but_channels(x)
    inverse_std = 1 / np.sqrt(running_var.astype(np.float64) + eps)
    passed = masked(grad, y)
    g = passed.astype(np.float64)
    n = (x - along_channels(running_mean, x, 0.0)) * along_channels(inverse_std, x, 1.0)
    dx = g * along_channels(weight, x, 1.0) * along_channels(inverse_std, x, 1.0)
    dtype = running_mean.dtype if weight is None else weight.dtype
    dweight, dbias = (g * n).sum(axis=axes), g.sum(axis=axes)
    return dx.astype(x.dtype), dweight.astype(dtype), dbias.astype(dtype), passed if keep_masked else None
