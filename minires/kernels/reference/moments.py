"""A convolution that also gives each channel's mean and variance, and the batch norm behind it, which takes them.

Together they are a convolution and batch_norm_training_forward. Taken while the convolution's results are still at
hand, the statistics cost no reading of them: that is what the GPU's version is for.
"""

import numpy as np

from minires.kernels.reference.conv import conv2d_forward
from minires.kernels.reference.norm import affine, all_but_channels, along_channels, statistics_type
from minires.kernels.shapes import Pair

__all__ = ["batch_norm_moments_forward", "conv2d_moments_forward"]


def conv2d_moments_forward(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(y, mean, variance): conv2d_forward, and over all of y but its channels, before it is rounded to its type,

    mean = sum y / m and variance = sum (y - mean)^2 / m (biased), both (O,). An empty y gives NaN.
    """
    y = conv2d_forward(x.astype(np.float64), weight, bias, stride, padding, dilation, groups)
    axes, count = all_but_channels(y), np.float64(y.size // max(y.shape[1], 1))
    with np.errstate(invalid="ignore"):
        mean = y.sum(axis=axes) / count
        variance = ((y - along_channels(mean, y, 0.0)) ** 2).sum(axis=axes) / count
    dtype = statistics_type(x)
    return y.astype(x.dtype), mean.astype(dtype), variance.astype(dtype)


def batch_norm_moments_forward(
    x: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    eps: float,
    residual: np.ndarray | None,
    relu: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """(y, inverse_std) of batch_norm_training_forward, where mean and variance (C,) of x are known already."""
    inverse_std = 1 / np.sqrt(variance.astype(np.float64) + eps)
    return affine(x, weight, bias, mean, inverse_std, residual, relu), inverse_std.astype(variance.dtype)
