"""A 1x1 convolution and the batch norm behind it, in training, without the convolution's result between them.

A 1x1 convolution multiplies the channels of every place by one matrix: z = W x. So what batch norm wants to know of z
follows from the few numbers that say how the channels of x vary together, before any z is computed:

    mean z = W mean x        variance of z_o = (W S W^T)_oo / m        S = sum (x - mean x)(x - mean x)^T

with sums over all m places. And then both are one convolution: y = (a W) x + bias - a mean z, with a = weight / std.
The same holds on the way back. With g the upstream gradient of y where the ReLU let it pass,

    dbias = sum g        G = sum g (x - mean x)^T        dweight_o = (G W^T)_oo / std_o        b = a dweight / (std m)
    dW = a G - b W S        dx = (a W)^T g - (W^T b W) (x - mean x) - W^T a dbias / m

where a and b stand for the diagonal matrices of their values. z and its gradient, the widest arrays of a bottleneck
block, are neither written nor read. It costs products with S and W^T b W instead, which are small where the convolution
makes many channels of few. Derived here from the formulas of norm.py, by putting z = W x into them.
"""

import numpy as np

from minires.kernels.reference.conv import conv2d_forward, conv2d_gradients
from minires.kernels.reference.norm import (
    affine,
    batch_norm_training_backward,
    statistics_type,
)
from minires.kernels.shapes import Pair

__all__ = ["conv1x1_moments", "conv1x1_norm_backward", "conv1x1_norm_forward"]


def picked(x: np.ndarray, stride: Pair) -> np.ndarray:
    """The places of x (N, C, H, W) that 1x1 windows meet."""
    return x[:, :, :: stride[0], :: stride[1]]


def conv1x1_moments(
    x: np.ndarray, weight: np.ndarray, stride: Pair
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(mean, variance, x_mean, spread, squares) for z, the convolution of x (N, C, H, W) with weight (O, C, 1, 1).

    mean and variance (biased) of z: (O,) float64. x_mean (C,) float64: of x. spread (O, C): W S.
    squares (O,) float64: sum_c W_oc^2 mean(x_c^2), what the variance is the sum or difference of. Where it is a
    hundredth of them, rounding costs it two digits more than the sums.
    """
    values = np.moveaxis(picked(x, stride).astype(np.float64), 1, -1).reshape(-1, x.shape[1])
    filters = weight.reshape(weight.shape[:2]).astype(np.float64)
    x_mean = values.mean(axis=0)
    centred = values - x_mean
    spread = filters @ (centred.T @ centred)
    variance = np.sum(spread * filters, axis=1) / len(values)
    squares = filters**2 @ np.mean(values**2, axis=0)
    return filters @ x_mean, variance, x_mean, spread.astype(x.dtype), squares


def conv1x1_norm_forward(
    x: np.ndarray,
    conv_weight: np.ndarray,
    stride: Pair,
    mean: np.ndarray,
    inverse_std: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    residual: np.ndarray | None,
    relu: bool,
) -> np.ndarray:
    """y = weight (z - mean) inverse_std + bias, + residual (or None), ReLU; z = conv2d(x, conv_weight, stride=stride).

    mean and inverse_std (O,) float64, as from `conv1x1_moments`.
    """
    z = conv2d_forward(x.astype(np.float64), conv_weight, None, stride, (0, 0), (1, 1), 1)
    return affine(z, weight, bias, mean, inverse_std, residual, relu).astype(x.dtype)


def conv1x1_norm_backward(
    grad: np.ndarray,
    x: np.ndarray,
    conv_weight: np.ndarray,
    stride: Pair,
    inverse_std: np.ndarray,
    x_mean: np.ndarray,
    spread: np.ndarray,
    weight: np.ndarray | None,
    y: np.ndarray | None,
    keep_masked: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """(dx, dconv_weight, dweight, dbias, masked_grad); x_mean and spread as from `conv1x1_moments`.

    y: the result if there was a ReLU, else None. masked_grad: the residual's gradient; without `keep_masked` the fast
    version may return None.
    """
    z = conv2d_forward(x.astype(np.float64), conv_weight, None, stride, (0, 0), (1, 1), 1)
    mean = conv_weight.reshape(conv_weight.shape[:2]).astype(np.float64) @ x_mean
    dz, dweight, dbias, masked = batch_norm_training_backward(
        grad.astype(np.float64), z, weight, mean, inverse_std, y, keep_masked
    )
    dx, dconv_weight = conv2d_gradients(dz, x.astype(np.float64), conv_weight, stride, (0, 0), (1, 1), 1)
    kind = statistics_type(x)
    results = dx.astype(x.dtype), dconv_weight.astype(conv_weight.dtype), dweight.astype(kind), dbias.astype(kind)
    return *results, None if masked is None else masked.astype(x.dtype)
