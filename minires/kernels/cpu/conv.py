"""Two-dimensional convolution and its gradients by matrix products over channels-last memory.

Which way is taken depends on the layer: `pointwise` (1x1 windows: the image itself is the matrix), `depthwise` (one
channel a group: no product at all), `winograd` and `strips` (3x3 windows with many and with fewer channels), or
`columns` (im2col; groups one after the other). For the 3x3 windows `autotune` may try which of the three is the
fastest here.
The formulas stand in reference/conv.py.
"""

from functools import partial
from types import ModuleType

import numpy as np

from minires.kernels.cpu import autotune, columns, depthwise, pointwise, strips, winograd
from minires.kernels.cpu.layout import channels_second
from minires.kernels.cpu.windows import Geometry
from minires.kernels.shapes import Pair, convolution_sizes

__all__ = ["conv2d_forward", "conv2d_gradients", "conv2d_input_gradient", "conv2d_weight_gradient"]


def images_last(x: np.ndarray) -> np.ndarray:
    """(N, C, H, W) seen as (N, H, W, C); weights (O, C, KH, KW) as (O, KH, KW, C)."""
    return x.transpose(0, 2, 3, 1)


WAYS: dict[str, ModuleType | None] = {"winograd": winograd, "strips": strips, "columns": None}


def special_way(
    work: str, geometry: Geometry, groups: int, images: int, inputs: int, outputs: int, dtype: np.dtype
) -> ModuleType | None:
    """`pointwise` for 1x1 windows; `winograd` or `strips`, whichever is the first to suit the layer; else None.

    While the autotuner is on, what is the fastest at the `work`, "forward" or "backward", of 3x3 windows; None for
    im2col.
    """
    if is_pointwise(geometry, groups):
        return pointwise
    if autotune.is_on() and winograd.applies(geometry, groups) and images and min(inputs, outputs):
        layer = autotune.Layer(work, geometry, images, inputs, outputs, dtype)
        return WAYS[autotune.fastest(layer, {name: partial(_try, name, layer) for name in WAYS})]
    for module in (winograd, strips):
        if module.suits(geometry, groups, images, inputs, outputs):
            return module
    return None


def _try(name: str, layer: autotune.Layer) -> None:
    """Do the layer's work once in that way."""
    x, filters, y = layer.arrays()
    way, geometry = WAYS[name], layer.geometry
    if layer.work == "forward":
        if way is None:
            columns.forward(x, filters, None, geometry, 1, y)
        else:
            way.forward(x, filters, None, geometry, y)
    elif way is None:
        columns.input_gradient(y, filters, geometry, 1, np.empty_like(x))
        columns.weight_gradient(y, x, geometry, 1)
    else:
        way.gradients(y, x, filters, geometry, x.shape)


def is_pointwise(geometry: Geometry, groups: int) -> bool:
    return geometry.kernel == (1, 1) and geometry.padding == (0, 0) and groups == 1


def is_depthwise(weight_shape: tuple[int, ...], groups: int) -> bool:
    return groups > 1 and weight_shape[:2] == (groups, 1)


def conv2d_forward(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> np.ndarray:
    """As the reference; y is stored channels last."""
    kernel = (weight.shape[2], weight.shape[3])
    output = convolution_sizes((x.shape[2], x.shape[3]), kernel, stride, padding, dilation)
    geometry = Geometry(kernel, stride, padding, dilation, output)
    filters = images_last(weight.astype(x.dtype, copy=False))
    y = np.empty((x.shape[0], *output, weight.shape[0]), x.dtype)
    way = special_way("forward", geometry, groups, len(x), x.shape[1], len(weight), x.dtype)
    if way is not None:
        way.forward(images_last(x), filters, bias, geometry, y)
    elif is_depthwise(weight.shape, groups):
        depthwise.forward(images_last(x), filters, bias, geometry, y)
    else:
        columns.forward(images_last(x), filters, bias, geometry, groups, y)
    return channels_second(y)


def conv2d_input_gradient(
    grad: np.ndarray,
    weight: np.ndarray,
    input_shape: tuple[int, int, int, int],
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> np.ndarray:
    """As the reference; dx is stored channels last."""
    batch, inputs, height, width = input_shape
    kernel = (weight.shape[2], weight.shape[3])
    geometry = Geometry(kernel, stride, padding, dilation, (grad.shape[2], grad.shape[3]))
    filters = images_last(weight.astype(grad.dtype, copy=False))
    way = special_way("backward", geometry, groups, batch, inputs, len(weight), grad.dtype)
    if way is not None:
        dx, _ = way.gradients(images_last(grad), None, filters, geometry, (batch, height, width, inputs))
        return channels_second(dx)
    dx = np.empty((batch, height, width, inputs), grad.dtype)
    if is_depthwise(weight.shape, groups):
        depthwise.input_gradient(images_last(grad), filters, geometry, dx)
    else:
        columns.input_gradient(images_last(grad), filters, geometry, groups, dx)
    return channels_second(dx)


def conv2d_weight_gradient(
    grad: np.ndarray,
    x: np.ndarray,
    weight_shape: tuple[int, int, int, int],
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> np.ndarray:
    """As the reference; dweight (O, C/G, KH, KW) is stored as (O, KH, KW, C/G)."""
    outputs, inputs, *kernel = weight_shape
    geometry = Geometry((kernel[0], kernel[1]), stride, padding, dilation, (grad.shape[2], grad.shape[3]))
    way = special_way("backward", geometry, groups, len(x), inputs, outputs, grad.dtype)
    if way is not None:
        picture = images_last(x)
        _, dweight = way.gradients(images_last(grad), picture, None, geometry, picture.shape)
    elif is_depthwise(weight_shape, groups):
        dweight = depthwise.weight_gradient(images_last(grad), images_last(x), geometry)
    else:
        dweight = columns.weight_gradient(images_last(grad), images_last(x), geometry, groups)
    return channels_second(dweight.reshape(outputs, *kernel, inputs))


def conv2d_gradients(
    grad: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> tuple[np.ndarray, np.ndarray]:
    """As the reference: dx and dweight. The special ways find them together, others one after the other."""
    kernel = (weight.shape[2], weight.shape[3])
    geometry = Geometry(kernel, stride, padding, dilation, (grad.shape[2], grad.shape[3]))
    way = special_way("backward", geometry, groups, len(x), x.shape[1], len(weight), grad.dtype)
    if way is not None:
        picture, filters = images_last(x), images_last(weight.astype(grad.dtype, copy=False))
        dx, dweight = way.gradients(images_last(grad), picture, filters, geometry, picture.shape)
        return channels_second(dx), channels_second(dweight)
    settings = (stride, padding, dilation, groups)
    dx = conv2d_input_gradient(grad, weight, x.shape, *settings)
    return dx, conv2d_weight_gradient(grad, x, weight.shape, *settings)
