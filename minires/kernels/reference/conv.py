"""Two-dimensional convolution (strictly: cross-correlation, as everywhere in deep learning) and its two gradients.

Letters: N images, C input channels, O output channels, G groups, (H, W) input, (KH, KW) window, (OH, OW) output size;
s, p, d are stride, padding and dilation. Group g joins input channels [g C/G, (g+1) C/G) to output channels
[g O/G, (g+1) O/G). Source: Dumoulin and Visin, A guide to convolution arithmetic for deep learning, 2016.

All three kernels walk over the KH x KW positions of the window. At one position the whole layer is a single matrix
product between the input's channels at the places this position meets (every s-th place) and the output's channels.
"""

from collections.abc import Iterator

import numpy as np

from minires.kernels.shapes import Pair, convolution_sizes, taps

__all__ = ["conv2d_forward", "conv2d_gradients", "conv2d_input_gradient", "conv2d_weight_gradient"]


def pad(x: np.ndarray, padding: Pair) -> np.ndarray:
    """A float64 copy of x (N, C, H, W) with zeros around each image."""
    vertical, horizontal = padding
    return np.pad(x.astype(np.float64), ((0, 0), (0, 0), (vertical, vertical), (horizontal, horizontal)))


def positions(kernel: Pair, output: Pair, stride: Pair, dilation: Pair) -> Iterator[tuple[int, int, slice, slice]]:
    """For each position (kh, kw) of the window, the rows and columns of the padded input that it meets."""
    for kh in range(kernel[0]):
        for kw in range(kernel[1]):
            rows = taps(kh * dilation[0], output[0], stride[0])
            columns = taps(kw * dilation[1], output[1], stride[1])
            yield kh, kw, rows, columns


def channel_groups(inputs: int, outputs: int, groups: int) -> list[tuple[slice, slice]]:
    """For each group its input channels and its output channels."""
    i, o = inputs // groups, outputs // groups
    return [(slice(g * i, (g + 1) * i), slice(g * o, (g + 1) * o)) for g in range(groups)]


def conv2d_forward(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> np.ndarray:
    """y[n, o, i, j] = bias[o] + sum over c, kh, kw of weight[o, c, kh, kw] x[n, c, s i + d kh - p, s j + d kw - p].

    x (N, C, H, W); weight (O, C/G, KH, KW); bias (O,) or None; y (N, O, OH, OW). Outside of the image x is 0.
    Raises ValueError if the window does not fit into the padded image.
    """
    outputs, _, *kernel = weight.shape
    size = convolution_sizes(x.shape[2:], (kernel[0], kernel[1]), stride, padding, dilation)
    padded, filters = pad(x, padding), weight.astype(np.float64)
    y = np.zeros((x.shape[0], outputs, *size))
    for ins, outs in channel_groups(x.shape[1], outputs, groups):
        for kh, kw, rows, columns in positions((kernel[0], kernel[1]), size, stride, dilation):
            y[:, outs] += np.einsum("nchw,oc->nohw", padded[:, ins, rows, columns], filters[outs, :, kh, kw])
    if bias is not None:
        y += bias[:, None, None]
    return y.astype(x.dtype)


def conv2d_input_gradient(
    grad: np.ndarray,
    weight: np.ndarray,
    input_shape: tuple[int, int, int, int],
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> np.ndarray:
    """dx: each place of x receives, from every window that met it, grad[n, o, i, j] weight[o, c, kh, kw].

    dx[n, c, s i + d kh - p, s j + d kw - p] += grad[n, o, i, j] weight[o, c, kh, kw] over all n, o, c, i, j, kh, kw;
    what falls on the padding is dropped. grad (N, O, OH, OW); weight (O, C/G, KH, KW); dx (N, C, H, W) = `input_shape`.
    """
    batch, inputs, height, width = input_shape
    outputs, _, *kernel = weight.shape
    upstream, filters = grad.astype(np.float64), weight.astype(np.float64)
    padded = np.zeros((batch, inputs, height + 2 * padding[0], width + 2 * padding[1]))
    for ins, outs in channel_groups(inputs, outputs, groups):
        for kh, kw, rows, columns in positions((kernel[0], kernel[1]), grad.shape[2:], stride, dilation):
            padded[:, ins, rows, columns] += np.einsum("nohw,oc->nchw", upstream[:, outs], filters[outs, :, kh, kw])
    inside = padded[:, :, padding[0] : padding[0] + height, padding[1] : padding[1] + width]
    return inside.astype(grad.dtype)


def conv2d_weight_gradient(
    grad: np.ndarray,
    x: np.ndarray,
    weight_shape: tuple[int, int, int, int],
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> np.ndarray:
    """dweight[o, c, kh, kw] = sum over n, i, j of grad[n, o, i, j] x[n, c, s i + d kh - p, s j + d kw - p].

    grad (N, O, OH, OW); x (N, C, H, W); dweight (O, C/G, KH, KW) = `weight_shape`. The gradient of the bias is the
    sum of grad over n, i, j.
    """
    outputs, _, *kernel = weight_shape
    upstream, padded = grad.astype(np.float64), pad(x, padding)
    dweight = np.zeros(weight_shape)
    for ins, outs in channel_groups(x.shape[1], outputs, groups):
        for kh, kw, rows, columns in positions((kernel[0], kernel[1]), grad.shape[2:], stride, dilation):
            dweight[outs, :, kh, kw] = np.einsum("nohw,nchw->oc", upstream[:, outs], padded[:, ins, rows, columns])
    return dweight.astype(grad.dtype)


def conv2d_gradients(
    grad: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Both gradients, dx and dweight; for kernels that find them together faster than one after the other."""
    settings = (stride, padding, dilation, groups)
    dx = conv2d_input_gradient(grad, weight, x.shape, *settings)
    return dx, conv2d_weight_gradient(grad, x, weight.shape, *settings)
