"""The fast kernels against the reference over shapes, settings, types and memory orders drawn by hypothesis.

And tests that must fail: with a fault planted in a helper, the same comparison raises.
"""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires import kernels
from minires.kernels import shapes
from minires.kernels.cpu import (
    activation,
    columns,
    moments,
    norm,
    parallel,
    pool,
    small_products,
    strip_transforms,
    strips,
    windows,
    winograd,
)
from tests.kernels.helpers import DTYPES, ORDERS, compare, normal

quick = settings(max_examples=60, deadline=None, derandomize=True)

dtypes, orders = st.sampled_from(DTYPES), st.sampled_from(ORDERS)
seeds = st.integers(0, 2**32 - 1)


def pairs(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


@contextlib.contextmanager
def threads_and_blocks(count, budget, way, points):
    """Kernels on `count` threads, in blocks so small that even tiny arrays take several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "blas_threads", lambda: count)
        for module in (columns, pool, moments, activation, strips, winograd):
            patch.setattr(module, "BUDGET", budget)
        patch.setattr(columns, "PLACES", 1)
        patch.setattr(strips, "PLACES", 1)
        patch.setattr(strips, "LEAST_PLACES", 0)
        patch.setattr(small_products, "UNPACKED", budget)
        patch.setattr(small_products, "FEW_ROWS", 1)
        patch.setattr(small_products, "FEW_PLACES", 1)
        patch.setattr(small_products, "small_products_pay", lambda: points)
        patch.setattr(winograd, "COLUMNS", 2)
        patch.setattr(winograd, "TILES", 1)
        patch.setattr(winograd, "CHANNELS_PER_TILE", 1000)
        for module in (strips, winograd):
            patch.setattr(module, "CHANNELS", 0 if module is way else 1000)
        patch.setattr(strips, "LARGE_FILTERS", 0 if points else 1000)
        yield


machines = st.builds(threads_and_blocks, st.integers(1, 3), st.sampled_from([16, 200, 1 << 16]),
                     st.sampled_from([winograd, strips, columns]), st.booleans())  # fmt: skip


@st.composite
def convolutions(draw):
    """(x shape, weight shape, stride, padding, dilation, groups) whose window fits."""
    kernel, dilation, padding = draw(pairs(1, 4)), draw(pairs(1, 3)), draw(pairs(0, 4))
    least = [max(1, shapes.span(k, d) - 2 * p) for k, d, p in zip(kernel, dilation, padding, strict=True)]
    size = tuple(draw(st.integers(low, low + 8)) for low in least)
    groups = draw(st.integers(1, 3))
    inputs, outputs = groups * draw(st.integers(1, 4)), groups * draw(st.integers(1, 4))
    x_shape, w_shape = (draw(st.integers(0, 4)), inputs, *size), (outputs, inputs // groups, *kernel)
    return x_shape, w_shape, draw(pairs(1, 4)), padding, dilation, groups


def check_convolution(layer, dtype, order, seed):
    x_shape, w_shape, *geometry = layer
    x, weight = normal(seed, x_shape, dtype, order), normal(seed + 1, w_shape, dtype, order)
    bias = normal(seed + 2, w_shape[:1], dtype) if seed % 2 else None
    y = compare("conv2d_forward", x, weight, bias, *geometry)
    grad = normal(seed + 3, y.shape, dtype, order)
    compare("conv2d_input_gradient", grad, weight, x_shape, *geometry)
    compare("conv2d_weight_gradient", grad, x, w_shape, *geometry)
    compare("conv2d_gradients", grad, x, weight, *geometry)


@settings(quick, max_examples=150)
@given(convolutions(), dtypes, orders, seeds, machines)
def test_convolution(layer, dtype, order, seed, machine):
    with machine:
        check_convolution(layer, dtype, order, seed)


@settings(quick, max_examples=80)
@given(st.integers(0, 5), pairs(1, 12), pairs(0, 2), pairs(3, 14), dtypes, orders, seeds, machines)
def test_winograd(batch, channels, padding, size, dtype, order, seed, machine):
    """3x3 windows with stride 1, which the settings above rarely draw; by each of the algorithms."""
    layer = ((batch, channels[0], *size), (channels[1], channels[0], 3, 3), (1, 1), padding, (1, 1), 1)
    with machine:
        check_convolution(layer, dtype, order, seed)


@st.composite
def poolings(draw, dilated):
    """(x shape, kernel size, stride, padding, dilation, ceil_mode) whose window fits."""
    kernel, dilation = draw(pairs(1, 4)), draw(pairs(1, 3)) if dilated else (1, 1)
    spans = [shapes.span(k, d) for k, d in zip(kernel, dilation, strict=True)]
    padding = tuple(draw(st.integers(0, span // 2)) for span in spans)
    least = [max(1, span - 2 * p) for span, p in zip(spans, padding, strict=True)]
    size = tuple(draw(st.integers(low, low + 8)) for low in least)
    x_shape = (draw(st.integers(0, 3)), draw(st.integers(1, 5)), *size)
    return x_shape, kernel, draw(pairs(1, 5)), padding, dilation, draw(st.booleans())


def values_for_pooling(seed, shape, dtype, order):
    """Normal values, or many ties, or some NaN and infinities."""
    x = normal(seed, shape, dtype, order)
    if seed % 3 == 1:
        np.round(x, out=x)
    elif seed % 3 == 2:
        random = np.random.default_rng(seed)
        for value, part in ((np.nan, 0.1), (np.inf, 0.1), (-np.inf, 0.5)):
            x[random.random(shape) < part] = value
    return x


def check_max_pool(layer, dtype, order, seed):
    x_shape, *geometry, ceil_mode = layer
    y, winner = compare(
        "max_pool2d_forward", values_for_pooling(seed, x_shape, dtype, order), *geometry, ceil_mode, exact=True
    )
    compare("max_pool2d_backward", normal(seed + 1, y.shape, dtype, order), winner, x_shape, *geometry)


@settings(quick, max_examples=120)
@given(poolings(dilated=True), dtypes, orders, seeds, machines)
def test_max_pool(layer, dtype, order, seed, machine):
    with machine:
        check_max_pool(layer, dtype, order, seed)


@quick
@given(poolings(dilated=False), st.booleans(), st.none() | st.integers(1, 9), dtypes, orders, seeds, machines)
def test_avg_pool(layer, count_include_pad, divisor, dtype, order, seed, machine):
    x_shape, kernel, stride, padding, _, ceil_mode = layer
    arguments = (kernel, stride, padding, ceil_mode, count_include_pad, divisor)
    with machine:
        y = compare("avg_pool2d_forward", normal(seed, x_shape, dtype, order), *arguments)
        compare("avg_pool2d_backward", normal(seed + 1, y.shape, dtype, order), x_shape, *arguments)


@quick
@given(st.integers(0, 3), st.integers(1, 4), pairs(1, 9), pairs(1, 9), dtypes, orders, seeds)
def test_adaptive_avg_pool(batch, channels, size, output, dtype, order, seed):
    x = normal(seed, (batch, channels, *size), dtype, order)
    y = compare("adaptive_avg_pool2d_forward", x, output)
    compare("adaptive_avg_pool2d_backward", normal(seed + 1, y.shape, dtype, order), x.shape)


def check_batch_norm(shape, dtype, order, seed, mean=0.0):
    affine, fused, relu = (bool(seed >> bit & 1) for bit in range(3))
    x, residual, grad = (normal(seed + n, shape, dtype, order) for n in range(3))
    x += np.asarray(mean, dtype)
    channels = shape[1:2]
    weight, bias = (normal(seed + n, channels, dtype) if affine else None for n in (3, 4))
    addend = residual if fused else None
    y, *statistics = compare("batch_norm_training_forward", x, weight, bias, 1e-3, addend, relu)
    given = (statistics[0], statistics[2], y if relu else None)
    compare("batch_norm_training_backward", grad, x, weight, *given, may_alias=not relu)
    check_without_masked("batch_norm_training_backward", grad, x, weight, *given)
    fixed = normal(seed + 5, channels, dtype), np.abs(normal(seed + 6, channels, dtype))
    y = compare("batch_norm_inference_forward", x, weight, bias, *fixed, 1e-3, addend, relu)
    given = (*fixed, 1e-3, y if relu else None)
    compare("batch_norm_inference_backward", grad, x, weight, *given, may_alias=not relu)
    check_without_masked("batch_norm_inference_backward", grad, x, weight, *given)


def check_without_masked(name, *arguments):
    """Where the masked gradient is not wanted, the other results are the same, bit for bit."""
    kernel = kernels.implementation(name, "cpu")
    for ours, expected in zip(kernel(*arguments, False)[:3], kernel(*arguments)[:3], strict=True):
        assert np.array_equal(ours, expected, equal_nan=True)
    if arguments[-1] is not None:
        assert kernel(*arguments, False)[3] is kernels.implementation(name, "reference")(*arguments, False)[3] is None


@quick
@given(st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 7), st.integers(1, 7)), dtypes, orders, seeds,
       machines)  # fmt: skip
def test_batch_norm(shape, dtype, order, seed, machine):
    if shape[0] * shape[2] * shape[3] < 3:
        shape = (3, *shape[1:])  # of one or two values a channel the gradient is a difference of rounding alone
    with machine:
        check_batch_norm(shape, dtype, order, seed)


@quick
@given(st.lists(st.integers(0, 6), max_size=5).map(tuple), dtypes, orders, seeds, machines)
def test_relu(shape, dtype, order, seed, machine):
    order = order if len(shape) > 1 else "nchw"
    with machine:
        y = compare("relu_forward", normal(seed, shape, dtype, order), exact=True)
        compare("relu_backward", normal(seed + 1, shape, dtype, order), y, exact=True)


@quick
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple), st.integers(-4, 3), dtypes, orders, seeds)
def test_softmax(shape, axis, dtype, order, seed):
    axis = axis % len(shape)
    order = order if len(shape) > 1 else "nchw"
    x, grad = normal(seed, shape, dtype, order) * np.asarray(9, dtype), normal(seed + 1, shape, dtype, order)
    for name in ("softmax", "log_softmax"):
        compare(f"{name}_backward", grad, compare(name, np.asarray(x), axis), axis, scale=1)


@quick
@given(st.integers(0, 7), st.integers(1, 6), st.booleans(), st.floats(0, 1), dtypes, orders, seeds)
def test_cross_entropy(rows, classes, weighted, smoothing, dtype, order, seed):
    random = np.random.default_rng(seed)
    logits = normal(seed, (rows, classes), dtype, order)
    target = random.integers(0, classes, rows)
    target[random.random(rows) < 0.2] = -100
    weight = random.random(classes).astype(dtype) if weighted else None
    _, log_probabilities = compare("cross_entropy_forward", logits, target, weight, -100, smoothing)
    grad = normal(seed + 1, (rows,), dtype)
    compare("cross_entropy_backward", grad, log_probabilities, target, weight, -100, smoothing, scale=1)


# Tests that must fail: each plants one fault into one helper.

OVERLAPPING = ((2, 3, 9, 8), (4, 3, 3, 3), (2, 2), (1, 1), (2, 2), 1)
ROOMY = ((2, 3, 9, 8), (4, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1)


def caught(check, *arguments):
    with pytest.raises(AssertionError, match="off by"):
        check(*arguments, "float64", "nhwc", 7)


def test_assignment_for_addition_in_col2im_is_caught(monkeypatch):
    def assign(part, rows, geometry, shares):
        for number, view in enumerate(windows.tap_views(part, rows, geometry)):
            view[...] = shares[:, :, :, number]

    check_convolution(OVERLAPPING, "float64", "nhwc", 7)
    monkeypatch.setattr(columns, "add_to_taps", assign)
    caught(check_convolution, OVERLAPPING)


def test_filters_that_are_not_flipped_are_caught(monkeypatch):
    correlate = columns.correlate

    def unflipped(x, right, *others):
        correlate(x, right.reshape(9, -1, right.shape[1])[::-1].reshape(right.shape), *others)

    check_convolution(ROOMY, "float64", "nhwc", 7)
    monkeypatch.setattr(columns, "correlate", unflipped)
    caught(check_convolution, ROOMY)


@pytest.mark.parametrize(("way", "source"), [(winograd, winograd), (strips, strip_transforms)])
def test_a_wrong_transform_is_caught(way, source, monkeypatch):
    for module, name in ((way, "CHANNELS"), (strips, "LEAST_PLACES")):
        monkeypatch.setattr(module, name, 0)
    check_convolution(ROOMY, "float64", "nhwc", 7)
    monkeypatch.setattr(source, "FILTER", source.FILTER * (1 + 1e-6 * np.eye(*source.FILTER.shape)))
    caught(check_convolution, ROOMY)


def test_borders_that_are_not_cleared_are_caught(monkeypatch):
    make = windows.Cuts._make
    monkeypatch.setattr(windows.Cuts, "_make", lambda self, block: make(self, block)._replace(borders=[]))
    monkeypatch.setattr(windows, "scratch", lambda name, shape, dtype: np.ones(shape, dtype))
    caught(check_convolution, ROOMY)


def test_a_lost_thread_is_caught(monkeypatch, pretend_threads):
    pretend_threads(2)
    monkeypatch.setattr(columns, "BUDGET", 100)
    monkeypatch.setattr(columns, "PLACES", 1)
    check_convolution(ROOMY, "float64", "nhwc", 7)
    monkeypatch.setattr(parallel, "added", lambda results: results[0])
    caught(check_convolution, ROOMY)


def test_a_variance_by_difference_of_squares_is_caught(monkeypatch):
    check_batch_norm((64, 3, 8, 8), "float32", "nhwc", 1, mean=1000)
    monkeypatch.setattr(moments, "sample_centre", lambda rows, x: None)
    check_batch_norm((64, 3, 8, 8), "float32", "nhwc", 1, mean=1000)  # there is a second pass
    monkeypatch.setattr(moments, "lies_within", lambda centre, mean, variance, deviations: True)
    with pytest.raises(AssertionError, match="off by"):
        check_batch_norm((64, 3, 8, 8), "float32", "nhwc", 1, mean=1000)


def test_a_zeroed_gradient_through_the_mean_is_caught(monkeypatch):
    combine = norm.combine

    def forgetful(sums, scale, through_mean, through_variance):
        combine(sums, scale, np.zeros_like(through_mean), through_variance)

    monkeypatch.setattr(norm, "combine", forgetful)
    caught(check_batch_norm, (4, 3, 5, 5))


def test_the_last_of_equal_winners_is_caught(monkeypatch):
    tied = ((2, 2, 6, 6), (2, 2), (1, 1), (0, 0), (1, 1), False)
    monkeypatch.setattr(pool.np, "greater", np.greater_equal)
    caught(check_max_pool, tied)
