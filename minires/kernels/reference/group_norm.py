"""Group normalisation: each picture by itself, over groups of neighbouring channels. Wu and He 2018.

With G groups of C / G channels, and m = C / G times the pixels values a group of one picture:
n = (x - mean) inverse_std, y = weight n + bias; mean and variance are a group's, weight and bias a channel's.
"""

import numpy as np

from minires.kernels.reference.norm import along_channels, statistics_type

__all__ = ["group_norm_backward", "group_norm_forward"]


def grouped(x: np.ndarray, groups: int) -> np.ndarray:
    """x (N, C, ...) as (N, groups, values a group), float64."""
    return x.astype(np.float64).reshape(x.shape[0], groups, -1 if x.size else 0)


def group_norm_forward(
    x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, groups: int, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(y, mean, inverse_std): y as x (N, C, ...), the statistics (N, groups).

    mean = sum x / m; variance = sum (x - mean)^2 / m; inverse_std = 1 / sqrt(variance + eps). weight, bias (C,) or
    None for 1 and 0. Groups without values have mean 0 and variance 0.
    """
    wide = grouped(x, groups)
    count = max(wide.shape[2], 1)
    mean = wide.sum(axis=2) / count
    centred = wide - mean[:, :, None]
    inverse_std = 1 / np.sqrt((centred**2).sum(axis=2) / count + eps)
    n = (centred * inverse_std[:, :, None]).reshape(x.shape)
    y = n * along_channels(weight, x, 1.0) + along_channels(bias, x, 0.0)
    dtype = statistics_type(x)
    return y.astype(x.dtype), mean.astype(dtype), inverse_std.astype(dtype)


def group_norm_backward(
    grad: np.ndarray, x: np.ndarray, weight: np.ndarray | None, mean: np.ndarray, inverse_std: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dx, dweight, dbias). With g = weight grad, sums over a group of one picture, and n as in the forward pass:

    dx = inverse_std (g - sum g / m - n sum(g n) / m): the two last terms are what flows through mean and variance.
    dweight = sum grad n and dbias = sum grad, over pictures and pixels.
    """
    groups, others = mean.shape[1], (0, *range(2, x.ndim))
    n = (grouped(x, groups) - mean[:, :, None]) * inverse_std[:, :, None]
    g = grouped(grad * along_channels(weight, x, 1.0), groups)
    count = max(n.shape[2], 1)
    through_mean = g.sum(axis=2, keepdims=True) / count
    through_variance = (g * n).sum(axis=2, keepdims=True) / count
    dx = inverse_std[:, :, None] * (g - through_mean - n * through_variance)
    wide = grad.astype(np.float64)
    dweight, dbias = (wide * n.reshape(x.shape)).sum(axis=others), wide.sum(axis=others)
    dtype = mean.dtype if weight is None else weight.dtype
    return dx.reshape(x.shape).astype(x.dtype), dweight.astype(dtype), dbias.astype(dtype)
