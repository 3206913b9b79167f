"""Batch and group normalisation, run on the CPU (or a GPU), against the reference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires.kernels.cuda import norms
from minires.kernels.reference import group_norm, norm
from tests.cuda.helpers import Draw, assert_close, channels_first, channels_last, each_kind, few, needs_kernels, running

pytestmark = needs_kernels

ROWS = st.integers(1, 90)
CHANNELS = st.sampled_from([1, 3, 8, 24, 40, 72])
SEEDS = st.integers(0, 1000)


@pytest.fixture(autouse=True)
def few_processors(monkeypatch):
    """Several splits of the rows already with small arrays."""
    monkeypatch.setattr(norms, "PROCESSORS", 1)


def optional(draw, wanted, channels):
    return (draw.numbers(channels), draw.numbers(channels)) if wanted else (None, None)


@each_kind
@given(rows=st.integers(1, 400), channels=CHANNELS, seed=SEEDS, has_residual=st.booleans(), relu=st.booleans(),
       affine=st.booleans())  # fmt: skip
@few(40)
def test_batch_norm_training(kind, rows, channels, seed, has_residual, relu, affine):
    draw = Draw(seed, kind)
    (x, wide), (res, wide_res) = draw(rows, channels, offset=2), draw(rows, channels)
    weight, bias = optional(draw, affine, channels)
    residual, wide_res = (res, wide_res) if has_residual else (None, None)
    results = norms.batch_norm_training_forward(running(seed % 4), x, weight, bias, 1e-3, residual, relu)
    expected = norm.batch_norm_training_forward(wide, weight, bias, 1e-3, wide_res, relu)
    assert_close(results[0], expected[0], kind, "y")
    for ours, reference, name in zip(results[1:], expected[1:], ("mean", "variance", "inverse_std"), strict=True):
        assert_close(ours, reference, "float", name)


def test_batch_norm_keeps_digits_far_from_zero():
    """Mean 1000, deviation 1: sums of squares would lose the variance."""
    _, x = Draw(1)(500, 8, offset=1000)
    _, variance, _ = norms.batch_norm_statistics(running(), x, 1e-5)
    assert np.abs(variance / x.astype(float).var(axis=0) - 1).max() < 1e-4


@each_kind
@given(rows=ROWS, channels=CHANNELS, seed=SEEDS, fixed=st.booleans(), relu=st.booleans(), wants_masked=st.booleans())
@few(40)
def test_batch_norm_backward(kind, rows, channels, seed, fixed, relu, wants_masked):
    draw = Draw(seed, kind)
    (grad, wide_grad), (x, wide) = draw(rows, channels), draw(rows, channels)
    y, wide_y = draw(rows, channels) if relu else (None, None)
    weight, mean, variance = draw.numbers(channels), draw.numbers(channels), draw.numbers(channels) ** 2 + 0.5
    inverse_std = 1 / np.sqrt(variance)
    if fixed:
        expected = norm.batch_norm_inference_backward(wide_grad, wide, weight, mean, variance, 0.0, wide_y)
    else:
        expected = norm.batch_norm_training_backward(wide_grad, wide, weight, mean, inverse_std, wide_y)
    dx, dweight, dbias, masked = norms.batch_norm_backward(
        running(seed % 4), grad, x, weight, mean, inverse_std, y, fixed, wants_masked
    )
    size = 3 * np.sqrt(rows)  # of the terms, where a sum of them is about 0
    assert_close(dx, expected[0], kind, "dx", scale=1)
    assert_close(dweight, expected[1], "float", "dweight", scale=size)
    assert_close(dbias, expected[2], "float", "dbias", scale=size)
    if wants_masked:
        assert_close(masked, expected[3], kind, "masked")
    else:
        assert masked is None


@given(rows=ROWS, channels=CHANNELS, seed=SEEDS)
@few(40)
def test_batch_norm_inference(rows, channels, seed):
    draw = Draw(seed)
    (x, _), (residual, _) = draw(rows, channels), draw(rows, channels)
    weight, bias, mean, variance = (draw.numbers(channels) for _ in range(4))
    arguments = (x, weight, bias, mean, variance**2, 1e-5, residual, True)
    y = norms.batch_norm_inference_forward(running(), *arguments)
    assert_close(y, norm.batch_norm_inference_forward(*arguments), "float", "y")


GROUPED = st.sampled_from([(1, 1), (8, 1), (8, 2), (48, 3), (24, 24), (64, 4)])


@each_kind
@given(images=st.integers(1, 3), pixels=st.integers(1, 40), grouped=GROUPED, seed=SEEDS, affine=st.booleans())
@few(40)
def test_group_norm(kind, images, pixels, grouped, seed, affine):
    channels, groups = grouped
    draw = Draw(seed, kind)
    (x, wide), (grad, wide_grad) = draw(images, pixels, channels, offset=1), draw(images, pixels, channels)
    weight, bias = optional(draw, affine, channels)
    run = running(seed % 4)
    y, mean, inverse_std = norms.group_norm_forward(run, x, weight, bias, groups, 1e-3)
    expected = group_norm.group_norm_forward(channels_first(wide), weight, bias, groups, 1e-3)
    assert_close(y, channels_last(expected[0]), kind, "y", scale=1)
    assert_close(mean, expected[1], "float", "mean", scale=1)
    assert_close(inverse_std, expected[2], "float", "inverse_std")
    dx, dweight, dbias = norms.group_norm_backward(run, grad, x, weight, mean, inverse_std)
    first = channels_first(wide_grad), channels_first(wide)
    backward = group_norm.group_norm_backward(*first, weight, mean, inverse_std)
    assert_close(dx, channels_last(backward[0]), kind, "dx", scale=float(inverse_std.max()))
    assert_close(dweight, backward[1], "float", "dweight", factor=3, scale=images * pixels)
    assert_close(dbias, backward[2], "float", "dbias", scale=images * pixels)


def test_layer_norm_is_group_norm_of_one_pixel():
    _, x = Draw(3)(7, 1, 72)
    y, _, _ = norms.group_norm_forward(running(), x, None, None, 1, 1e-5)
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    assert_close(y, expected, "float", "y")
