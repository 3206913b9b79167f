"""Convolution by Hopper's warpgroups, run on the CPU (or a Hopper GPU), against the reference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires.kernels.cuda import convs, loader, norms
from minires.kernels.cuda.convs import Layer
from minires.kernels.reference import conv
from tests.cuda.helpers import ON_GPU, Draw, assert_close, channels_first, channels_last, few, needs_kernels, running
from tests.cuda.test_convs import LAYERS, layer_or_reject

pytestmark = needs_kernels
KINDS = pytest.mark.parametrize("kind", ["__nv_bfloat16", pytest.param("__half", marks=pytest.mark.slow)])
WAYS = pytest.mark.parametrize("way", ["wgmma 64", pytest.param("wgmma 128", marks=pytest.mark.slow)])


@pytest.fixture(autouse=True)
def few_processors(monkeypatch):
    """Several splits of the pixels already with small layers."""
    monkeypatch.setattr(norms, "PROCESSORS", 2)


@pytest.fixture(autouse=True)
def on_hopper():
    if ON_GPU and loader.compute_capability() != 90:
        pytest.skip("wgmma needs a GPU of compute capability 9.0")


def check(kind, layer, seed, way):
    """Forward and both gradients of one layer against the reference."""
    draw, run = Draw(seed, kind), running(seed % 4)
    (x, wide_x), (weight, wide_w), (grad, wide_g) = (
        draw(*shape) for shape in (layer.x_shape, layer.weight_shape, layer.y_shape)
    )
    settings = (layer.stride, layer.padding, layer.dilation, layer.groups)
    x_first, w_first, g_first = (channels_first(a) for a in (wide_x, wide_w, wide_g))
    y, _, _ = convs.forward(run, x, weight, layer, {}, False, way=way)
    expected = channels_last(conv.conv2d_forward(x_first, w_first, None, *settings))
    assert_close(y, expected, kind, "y", scale=1)
    dx = convs.input_gradient(run, grad, weight, layer, False, way=way)
    expected = channels_last(conv.conv2d_input_gradient(g_first, w_first, x_first.shape, *settings))
    assert_close(dx, expected, kind, "dx", scale=1)
    dweight = convs.weight_gradient(run, grad, x, layer, False, way=way)
    expected = channels_last(conv.conv2d_weight_gradient(g_first, x_first, w_first.shape, *settings))
    assert_close(dweight, expected, kind, "dweight", scale=1)


@KINDS
@WAYS
@given(grouped=st.sampled_from([(8, 8, 1), (16, 72, 1), (16, 16, 2), (72, 24, 1)]), **LAYERS)
@few(12)
def test_layers(kind, way, grouped, images, image, window, stride, padding, dilation, seed):
    channels, outputs, groups = grouped
    layer = layer_or_reject(images, image, channels, outputs, window, stride, padding, dilation, groups)
    check(kind, layer, seed, way)


@pytest.mark.parametrize(("layer", "way"), [
    (Layer((1, 12, 12, 136), (144, 1, 1, 136)), "wgmma 128"),
    (Layer((2, 9, 8, 40), (72, 3, 3, 40), (1, 1), (1, 1)), "wgmma 64"),
], ids=["1 x 1", "3 x 3"])  # fmt: skip
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_more_than_one_tile_and_many_steps(layer, way, seed):
    check("__nv_bfloat16", layer, seed, way)


def test_epilogue():
    """Bias, scale, shift, residual and ReLU in one pass; the statistics are those of y + bias."""
    draw, run, kind = Draw(1, "__nv_bfloat16"), running(2), "__nv_bfloat16"
    layer = Layer((2, 9, 8, 16), (24, 3, 3, 16), padding=(1, 1))
    (x, wide_x), (weight, wide_w) = draw(*layer.x_shape), draw(*layer.weight_shape)
    residual, wide_r = draw(*layer.y_shape, scale=10)
    bias, scale, shift = (draw.numbers(24) for _ in range(3))
    epilogue = {"bias": bias, "scale": scale, "shift": shift, "residual": residual, "relu": 1}
    y, sums, per_tile = convs.forward(run, x, weight, layer, epilogue, False, wants_sums=True, way="wgmma 64")
    raw = channels_last(conv.conv2d_forward(channels_first(wide_x), channels_first(wide_w), bias, (1, 1), (1, 1),
                                            (1, 1), 1))  # fmt: skip
    assert_close(y, np.maximum(raw * scale + shift + wide_r, 0), kind, "y")
    mean, variance, _ = norms.merged_statistics(run, sums, layer.pixels, per_tile, 1e-5)
    rows = raw.reshape(-1, 24)
    assert_close(mean, rows.mean(axis=0), "float", "mean", scale=np.abs(rows).max())
    assert_close(variance, rows.var(axis=0), "float", "variance", 10)


@pytest.mark.parametrize("work", ["forward", "input_gradient", "weight_gradient"])
def test_every_way_gives_the_same(work):
    """What an autotuner may choose from for a 1 x 1 layer, cuBLAS (here NumPy's product) among it."""
    layer, run = Layer((2, 5, 5, 16), (24, 1, 1, 16)), running(1)
    (x, _), (weight, _), (grad, _) = (Draw(1, "__half")(*s) for s in (layer.x_shape, layer.weight_shape, layer.y_shape))
    call = {"forward": lambda way: convs.forward(run, x, weight, layer, {}, False, way=way)[0],
            "input_gradient": lambda way: convs.input_gradient(run, grad, weight, layer, False, way),
            "weight_gradient": lambda way: convs.weight_gradient(run, grad, x, layer, False, way)}[work]  # fmt: skip
    ways = convs.ways(work, x, layer, False, 90)
    assert len(ways) == 6
    for way in ways:
        assert_close(call(way), call(None).astype(np.float32), "__half", way, scale=1)


def test_ways():
    x, layer = Draw(1, "__half")(1)[0], Layer((1, 8, 8, 16), (16, 3, 3, 16))
    mma, wgmma = ("mma 128", "mma 128x64", "mma 64"), ("wgmma 128", "wgmma 64")
    assert convs.ways("forward", x, layer, False, 90) == mma + wgmma
    assert convs.ways("weight_gradient", x, layer, False, 90) == mma + wgmma
    assert convs.ways("forward", x, layer, False, 80) == convs.ways("forward", x, layer, False, 100) == mma
    assert convs.ways("forward", x, layer, True, 90) == ()
    one = Layer((1, 8, 8, 16), (16, 1, 1, 16))
    assert convs.ways("forward", x, one, True, 90) == ("direct", "cublas")
    assert convs.ways("forward", x, one, True, 90, plain=False) == ()


def test_cublas_gives_the_sums_too():
    layer, run = Layer((2, 5, 5, 16), (24, 1, 1, 16)), running(1)
    (x, _), (weight, _) = (Draw(1)(*s) for s in (layer.x_shape, layer.weight_shape))
    y, sums, rows = convs.forward(run, x, weight, layer, {}, True, wants_sums=True, way="cublas")
    mean, _, _ = norms.merged_statistics(run, sums, layer.pixels, rows, 1e-5)
    assert_close(mean, y.reshape(-1, 24).mean(axis=0), "float", "mean", scale=1)
