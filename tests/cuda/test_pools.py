"""Pooling, run on the CPU (or a GPU), against the reference."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from minires.kernels.cuda import pools
from minires.kernels.reference import pool
from tests.cuda.helpers import Draw, assert_close, channels_first, channels_last, each_kind, few, needs_kernels, running
from tests.cuda.numbers import decode

pytestmark = needs_kernels

PAIR = st.tuples(st.integers(1, 3), st.integers(1, 3))
IMAGES = {"images": st.integers(1, 2), "image": st.tuples(st.integers(1, 9), st.integers(1, 9)),
          "channels": st.sampled_from([3, 8]), "seed": st.integers(0, 1000)}  # fmt: skip


def sizes_or_reject(make):
    """What `make` gives; shapes that pooling refuses are drawn anew."""
    try:
        return make()
    except ValueError:
        assume(False)


@each_kind
@given(kernel=PAIR, stride=PAIR, padding=st.tuples(st.integers(0, 1), st.integers(0, 1)), dilation=PAIR,
       ceil_mode=st.booleans(), **IMAGES)  # fmt: skip
@few(40)
def test_max_pool(kind, images, image, channels, seed, kernel, stride, padding, dilation, ceil_mode):
    draw = Draw(seed, kind)
    x, wide = draw(images, *image, channels)
    wide[0, 0, 0, 0] = np.nan
    x[0, 0, 0, 0] = np.nan if kind != "__nv_bfloat16" else 0x7FFF
    settings = (kernel, stride, padding, dilation)
    expected, winner = sizes_or_reject(lambda: pool.max_pool2d_forward(channels_first(wide), *settings, ceil_mode))
    run = running(seed % 4)
    y, ours = pools.max_pool2d_forward(run, x, *settings, ceil_mode)
    assert np.array_equal(decode(y, kind), channels_last(expected), equal_nan=True)
    assert ours.dtype == np.uint8 and np.array_equal(ours, channels_last(winner))
    grad, wide_grad = draw(*ours.shape)
    dx = pools.max_pool2d_backward(run, grad, ours, image, *settings)
    shape = (images, channels, *image)
    back = pool.max_pool2d_backward(channels_first(wide_grad), winner, shape, *settings)
    assert_close(dx, channels_last(back), kind, "dx", scale=1)


def test_max_pool_with_a_large_window():
    """300 places need a winner of 16 bits."""
    _, x = Draw(1)(1, 20, 20, 2)
    settings = ((15, 20), (2, 2), (3, 0), (1, 1))
    y, winner = pools.max_pool2d_forward(running(), x, *settings, False)
    expected = pool.max_pool2d_forward(channels_first(x), *settings, False)
    assert winner.dtype == np.uint16
    assert np.array_equal(y, channels_last(expected[0])) and np.array_equal(winner, channels_last(expected[1]))
    dx = pools.max_pool2d_backward(running(), y, winner, (20, 20), *settings)
    back = pool.max_pool2d_backward(expected[0], expected[1], (1, 2, 20, 20), *settings)
    assert_close(dx, channels_last(back), "float", "dx")


@each_kind
@given(kernel=PAIR, stride=PAIR, padding=st.tuples(st.integers(0, 1), st.integers(0, 1)), ceil_mode=st.booleans(),
       include_pad=st.booleans(), divisor=st.sampled_from([None, None, 5]), **IMAGES)  # fmt: skip
@few(40)
def test_avg_pool(kind, images, image, channels, seed, kernel, stride, padding, ceil_mode, include_pad, divisor):
    draw = Draw(seed, kind)
    x, wide = draw(images, *image, channels)
    settings, run = (kernel, stride, padding, ceil_mode, include_pad, divisor), running(seed % 4)
    expected = sizes_or_reject(lambda: pool.avg_pool2d_forward(channels_first(wide), *settings))
    y = pools.avg_pool2d_forward(run, x, *settings)
    assert_close(y, channels_last(expected), kind, "y", scale=1)
    grad, wide_grad = draw(*y.shape)
    dx = pools.avg_pool2d_backward(run, grad, image, kernel, stride, padding, include_pad, divisor)
    back = pool.avg_pool2d_backward(channels_first(wide_grad), (images, channels, *image), *settings)
    assert_close(dx, channels_last(back), kind, "dx", scale=1)


@each_kind
@given(output=st.tuples(st.integers(1, 9), st.integers(1, 9)), **IMAGES)
@few(40)
def test_adaptive_avg_pool(kind, images, image, channels, seed, output):
    draw = Draw(seed, kind)
    (x, wide), (grad, wide_grad), run = draw(images, *image, channels), draw(images, *output, channels), running(seed)
    y = pools.adaptive_avg_pool2d_forward(run, x, output)
    assert_close(y, channels_last(pool.adaptive_avg_pool2d_forward(channels_first(wide), output)), kind, "y", scale=1)
    dx = pools.adaptive_avg_pool2d_backward(run, grad, image)
    expected = pool.adaptive_avg_pool2d_backward(channels_first(wide_grad), (images, channels, *image))
    assert_close(dx, channels_last(expected), kind, "dx", scale=1)


@pytest.mark.parametrize("channels", [3, 8])
def test_global_pool(channels):
    _, x = Draw(2)(2, 7, 7, channels)
    y = pools.adaptive_avg_pool2d_forward(running(), x, (1, 1))
    assert_close(y, x.mean(axis=(1, 2), keepdims=True), "float", "y", scale=0.1)
