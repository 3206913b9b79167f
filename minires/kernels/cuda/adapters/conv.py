"""Convolution on a GPU: the reference's signatures in front of `kernels/cuda/convs.py`.

float16 goes to the tensor cores where there are any and the channels allow it; float32 is computed exactly, unless
`minires.backends.cudnn.allow_tf32` is True (the default, as in PyTorch), which allows tf32: 10 bits of fraction.
"""

from collections.abc import Mapping
from typing import Any

from minires import backend
from minires.kernels.cuda import autotune, convs, switches
from minires.kernels.cuda.adapters.arrays import check, last, new, run, second, single
from minires.kernels.cuda.convs import Layer
from minires.kernels.cuda.loader import compute_capability
from minires.kernels.cuda.types import Array
from minires.kernels.shapes import Pair

__all__ = ["conv2d_act_forward", "conv2d_forward", "conv2d_gradients", "conv2d_input_gradient",
           "conv2d_weight_gradient"]  # fmt: skip


def is_exact(x: Array) -> bool:
    """Whether this layer is kept from the tensor cores."""
    return compute_capability() < 80 or (x.dtype == backend.float32 and not switches.convolutions)


def layer_of(x_shape: tuple[int, ...], weight_shape: tuple[int, ...], *settings: Any) -> Layer:
    """The layer of images (N, C, H, W) and weights (O, C / G, KH, KW). ValueError for a window that does not fit."""
    (n, c, h, w), (o, i, kh, kw) = x_shape, weight_shape
    return Layer((n, h, w, c), (o, kh, kw, i), *settings)


def is_empty(layer: Layer) -> bool:
    """Whether there is nothing to multiply."""
    return 0 in (*layer.x_shape, *layer.weight_shape, *layer.out)


def forward(
    x: Array, weight: Array, layer: Layer, epilogue: Mapping[str, Any], wants_sums: bool = False
) -> tuple[Array, Array | None, int]:  # fmt: skip
    """`convs.forward` for arrays with channels last, in the fastest way that is known."""
    exact = is_exact(x)
    fused = [name for name, value in epilogue.items() if value is not None and value is not False]

    def compute(way: str | None) -> tuple[Array, Array | None, int]:
        return convs.forward(run, x, weight, layer, epilogue, exact, wants_sums, way)

    also = "+".join([*fused, *(["sums"] if wants_sums else [])])
    return compute(autotune.fastest("forward", x, layer, exact, lambda way: compute(way)[0], also))


def conv2d_act_forward(
    x: Array,
    weight: Array,
    bias: Array | None,
    residual: Array | None,
    relu: bool,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Array:
    """As the reference, in one launch; y is stored channels last."""
    check("conv2d_forward", x)
    layer = layer_of(x.shape, weight.shape, stride, padding, dilation, groups)
    if is_empty(layer):
        y = second(new(layer.y_shape, x.dtype))
        y = y if bias is None else y + bias.astype(x.dtype).reshape(-1, 1, 1)
        y = y if residual is None else y + residual
        return y.clip(0, None) if relu else y
    epilogue = {"bias": single(bias), "residual": None if residual is None else last(residual.astype(x.dtype)),
                "relu": relu}  # fmt: skip
    return second(forward(last(x), last(weight.astype(x.dtype, copy=False)), layer, epilogue)[0])


def conv2d_forward(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Array:
    """As the reference; y is stored channels last."""
    return conv2d_act_forward(x, weight, bias, None, False, stride, padding, dilation, groups)


def conv2d_input_gradient(
    grad: Array,
    weight: Array,
    input_shape: tuple[int, int, int, int],
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Array:
    """As the reference; dx is stored channels last."""
    check("conv2d_input_gradient", grad)
    layer = layer_of(input_shape, weight.shape, stride, padding, dilation, groups)
    if is_empty(layer):
        return second(new(layer.x_shape, grad.dtype))
    rows, filters, exact = last(grad), last(weight.astype(grad.dtype, copy=False)), is_exact(grad)

    def compute(way: str | None) -> Array:
        return convs.input_gradient(run, rows, filters, layer, exact, way)

    return second(compute(autotune.fastest("input_gradient", grad, layer, exact, compute)))


def conv2d_weight_gradient(
    grad: Array,
    x: Array,
    weight_shape: tuple[int, int, int, int],
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Array:
    """As the reference; dweight is stored channels last."""
    check("conv2d_weight_gradient", grad)
    layer = layer_of(x.shape, weight_shape, stride, padding, dilation, groups)
    if is_empty(layer):
        return second(new(layer.weight_shape, grad.dtype))
    rows, images, exact = last(grad), last(x.astype(grad.dtype, copy=False)), is_exact(grad)

    def compute(way: str | None) -> Array:
        return convs.weight_gradient(run, rows, images, layer, exact, way)

    return second(compute(autotune.fastest("weight_gradient", grad, layer, exact, compute)))


def conv2d_gradients(
    grad: Array,
    x: Array,
    weight: Array,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> tuple[Array, Array]:
    """As the reference: one launch after the other."""
    settings = (stride, padding, dilation, groups)
    dx = conv2d_input_gradient(grad, weight, x.shape, *settings)
    return dx, conv2d_weight_gradient(grad, x, weight.shape, *settings)
