"""Convolution and its gradients, exact, on tensor cores and depthwise, on the CPU (or a GPU), against the reference."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from minires.kernels.cuda import convs, norms
from minires.kernels.cuda.convs import Layer
from minires.kernels.reference import conv
from tests.cuda.helpers import Draw, assert_close, channels_first, channels_last, each_kind, few, needs_kernels, running
from tests.cuda.numbers import decode

pytestmark = needs_kernels

PAIR = st.tuples(st.integers(1, 3), st.integers(1, 3))
SMALL = st.tuples(st.integers(0, 2), st.integers(0, 2))
LAYERS = {
    "images": st.integers(1, 2), "image": st.tuples(st.integers(1, 9), st.integers(1, 9)), "window": PAIR,
    "stride": PAIR, "padding": SMALL, "dilation": st.tuples(st.integers(1, 2), st.integers(1, 2)),
    "seed": st.integers(0, 1000),
}  # fmt: skip
# one product of TF32 loses 2**-11; sums of many lose less
TF32 = 100


@pytest.fixture(autouse=True)
def few_processors(monkeypatch):
    """Several splits of the pixels already with small layers."""
    monkeypatch.setattr(norms, "PROCESSORS", 2)


def layer_or_reject(images, image, channels, outputs, window, stride, padding, dilation, groups):
    layer = Layer((images, *image, channels), (outputs, *window, channels // groups), stride, padding, dilation, groups)
    try:
        assert min(layer.out) > 0
    except ValueError:
        assume(False)
    return layer


def check(kind, layer, seed, exact, factor=1.0):
    """Forward and both gradients of one layer against the reference."""
    draw, run = Draw(seed, kind), running(seed % 4)
    (x, wide_x), (weight, wide_w), (grad, wide_g) = (
        draw(*shape) for shape in (layer.x_shape, layer.weight_shape, layer.y_shape)
    )
    settings = (layer.stride, layer.padding, layer.dilation, layer.groups)
    x_first, w_first, g_first = (channels_first(a) for a in (wide_x, wide_w, wide_g))
    factor *= TF32 if kind == "float" and not exact else 1
    y, _, _ = convs.forward(run, x, weight, layer, {}, exact)
    expected = channels_last(conv.conv2d_forward(x_first, w_first, None, *settings))
    assert_close(y, expected, kind, "y", factor, scale=1)
    dx = convs.input_gradient(run, grad, weight, layer, exact)
    expected = channels_last(conv.conv2d_input_gradient(g_first, w_first, x_first.shape, *settings))
    assert_close(dx, expected, kind, "dx", factor, scale=1)
    dweight = convs.weight_gradient(run, grad, x, layer, exact)
    expected = channels_last(conv.conv2d_weight_gradient(g_first, x_first, w_first.shape, *settings))
    assert_close(dweight, expected, kind, "dweight", factor, scale=1)


@each_kind
@given(grouped=st.sampled_from([(3, 5, 1), (4, 8, 1), (6, 4, 2), (8, 8, 2), (16, 68, 1), (4, 8, 4)]), **LAYERS)
@few(40)
def test_exact(kind, grouped, images, image, window, stride, padding, dilation, seed):
    channels, outputs, groups = grouped
    check(
        kind, layer_or_reject(images, image, channels, outputs, window, stride, padding, dilation, groups), seed, True
    )


@each_kind
@given(grouped=st.sampled_from([(8, 8, 1), (16, 72, 1), (16, 16, 2), (40, 24, 1)]), **LAYERS)
@few(40)
def test_tensor_cores(kind, grouped, images, image, window, stride, padding, dilation, seed):
    channels, outputs, groups = grouped
    layer = layer_or_reject(images, image, channels, outputs, window, stride, padding, dilation, groups)
    assert convs.suits_tensor_cores(Draw(0, kind)(1)[0], layer)
    check(kind, layer, seed, False)


@each_kind
@given(channels=st.sampled_from([2, 5, 8, 24]), **LAYERS)
@few(40)
def test_depthwise(kind, channels, images, image, window, stride, padding, dilation, seed):
    layer = layer_or_reject(images, image, channels, channels, window, stride, padding, dilation, channels)
    assert layer.is_depthwise
    check(kind, layer, seed, True)


@pytest.mark.parametrize("kind", ["float", pytest.param("__nv_bfloat16", marks=pytest.mark.slow),
                                  pytest.param("__half", marks=pytest.mark.slow)])  # fmt: skip
@pytest.mark.parametrize("tile", ["128, 128", "128, 64"])
def test_large_tiles(kind, tile, monkeypatch):
    """128 x 128 or 128 x 64 results a block, more than one tile each way, a 1 x 1 and a 3 x 3 window."""
    monkeypatch.setattr(convs, "matrix_tile", lambda rows, columns: tile)
    check(kind, Layer((1, 12, 12, 136), (144, 1, 1, 136)), 1, False)
    check(kind, Layer((1, 6, 5, 32), (136, 3, 3, 32), (2, 2), (1, 1)), 2, False)


@pytest.mark.parametrize("kind", ["__nv_bfloat16", pytest.param("float", marks=pytest.mark.slow)])
def test_many_steps(kind):
    """More steps than buffers, along the channels and along the taps."""
    check(kind, Layer((1, 4, 4, 144), (8, 3, 3, 144), (1, 1), (1, 1)), 3, False)


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "tensor cores"])
@pytest.mark.parametrize("window", [1, 3])
@each_kind
def test_epilogue(kind, window, exact):
    """Bias, scale, shift, residual and ReLU in one pass; the statistics are those of y + bias."""
    draw, run = Draw(window, kind), running(2)
    layer = Layer((2, 7, 6, 16), (24, window, window, 16), padding=(window // 2, window // 2))
    (x, wide_x), (weight, wide_w) = draw(*layer.x_shape), draw(*layer.weight_shape)
    residual, wide_r = draw(*layer.y_shape, scale=10)
    bias, scale, shift = (draw.numbers(24) for _ in range(3))
    epilogue = {"bias": bias, "scale": scale, "shift": shift, "residual": residual, "relu": 1}
    y, sums, per_tile = convs.forward(run, x, weight, layer, epilogue, exact, wants_sums=True)
    settings = (layer.stride, layer.padding, layer.dilation, 1)
    raw = channels_last(conv.conv2d_forward(channels_first(wide_x), channels_first(wide_w), bias, *settings))
    factor = TF32 if kind == "float" and not exact else 1
    assert_close(y, np.maximum(raw * scale + shift + wide_r, 0), kind, "y", factor)
    mean, variance, _ = norms.merged_statistics(run, sums, layer.pixels, per_tile, 1e-5)
    rows = raw.reshape(-1, 24)
    assert_close(mean, rows.mean(axis=0), "float", "mean", factor, scale=np.abs(rows).max())
    assert_close(variance, rows.var(axis=0), "float", "variance", 10 * factor)


def test_depthwise_epilogue():
    draw = Draw(1)
    layer = Layer((1, 5, 5, 8), (8, 3, 3, 1), padding=(1, 1), groups=8)
    (x, _), (weight, _), (residual, _) = draw(*layer.x_shape), draw(*layer.weight_shape), draw(*layer.y_shape)
    bias, scale, shift = (draw.numbers(8) for _ in range(3))
    epilogue = {"bias": bias, "scale": scale, "shift": shift, "residual": residual, "relu": 1}
    y, _, _ = convs.forward(running(1), x, weight, layer, epilogue)
    raw = conv.conv2d_forward(channels_first(x), channels_first(weight), bias, (1, 1), (1, 1), (1, 1), 8)
    assert_close(y, np.maximum(channels_last(raw) * scale + shift + residual, 0), "float", "y")


def test_stem_and_bottleneck_of_a_resnet():
    """The layers that a ResNet has: 7 x 7 with 3 channels and stride 2, 1 x 1 with stride 2, 3 x 3 with stride 2."""
    check("float", Layer((1, 14, 14, 3), (8, 7, 7, 3), (2, 2), (3, 3)), 1, True)
    check("__nv_bfloat16", Layer((1, 8, 8, 16), (32, 1, 1, 16), (2, 2)), 2, False)
    check("__nv_bfloat16", Layer((1, 8, 8, 16), (16, 3, 3, 16), (2, 2), (1, 1)), 3, False)


def test_nan_and_infinity_pass():
    x = np.zeros((1, 3, 3, 8), np.float32)
    x[0, 1, 1, 0] = np.nan
    weight = np.ones((8, 1, 1, 8), np.float32)
    for exact in (True, False):
        y, _, _ = convs.forward(running(), x, weight, Layer(x.shape, weight.shape), {"relu": 1}, exact)
        assert np.isnan(y[0, 1, 1]).all() and np.isfinite(y).sum() == 64


def test_kernels_are_chosen_by_the_layer():
    chosen = []

    def record(name, instance, given_, outputs):
        chosen.append(f"{name}<{instance}>")
        return {key: np.zeros(shape, dtype) for key, (shape, dtype) in outputs.items()}

    big = Layer((64, 56, 56, 64), (256, 1, 1, 64))
    x, weight = np.zeros((1,), np.uint16), np.zeros((1,), np.uint16)
    convs.forward(record, x, weight, big, {}, exact=False)
    convs.forward(record, x, weight, Layer((1, 14, 14, 3), (64, 7, 7, 3), (2, 2), (3, 3)), {}, exact=False)
    convs.forward(record, x, weight, Layer((1, 8, 8, 8), (8, 3, 3, 8)), {}, exact=True)
    convs.forward(record, x, weight, Layer((1, 8, 8, 8), (8, 3, 3, 1), groups=8), {}, exact=False)
    assert chosen == [
        "conv_mma_forward<__nv_bfloat16, 128, 128, true>",
        "conv_direct_forward<__nv_bfloat16, false>",
        "conv_direct_forward<__nv_bfloat16, true>",
        "conv_depthwise_forward<__nv_bfloat16, 8>",
    ]
    assert decode(weight, "__nv_bfloat16")[0] == 0
