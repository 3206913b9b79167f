"""Convolution with residual and ReLU in one: the reference against its three steps, the fast kernel against it."""

import numpy as np
import pytest

from minires import kernels
from minires.kernels.cpu import conv_act, pointwise
from minires.kernels.reference import conv as reference
from tests.kernels.cases import CONVOLUTIONS
from tests.kernels.helpers import DTYPES, ORDERS, compare, normal

layers = pytest.mark.parametrize(("x_shape", "w_shape", "stride", "padding", "dilation", "groups"), CONVOLUTIONS)


@layers
def test_reference_is_convolution_sum_and_relu(x_shape, w_shape, stride, padding, dilation, groups):
    settings = (stride, padding, dilation, groups)
    x, weight, bias = normal(1, x_shape), normal(2, w_shape), normal(3, w_shape[:1])
    y = reference.conv2d_forward(x, weight, bias, *settings)
    residual = normal(4, y.shape)
    whole = kernels.implementation("conv2d_act_forward", "reference")
    assert np.array_equal(whole(x, weight, bias, None, False, *settings), y)
    assert np.array_equal(whole(x, weight, bias, residual, False, *settings), y + residual)
    assert np.array_equal(whole(x, weight, bias, residual, True, *settings), np.maximum(y + residual, 0))


@pytest.fixture(params=[1, 3], ids=["one thread", "three threads"])
def threads(request, pretend_threads):
    pretend_threads(request.param)


@layers
@pytest.mark.parametrize(("dtype", "order"), [(d, o) for d in DTYPES for o in ORDERS])
@pytest.mark.parametrize("budget", [1, 1 << 16])
@pytest.mark.usefixtures("threads")
def test_fast_as_reference(x_shape, w_shape, stride, padding, dilation, groups, dtype, order, budget, monkeypatch):
    monkeypatch.setattr(conv_act, "BUDGET", budget)
    monkeypatch.setattr(pointwise, "BUDGET", budget)
    settings = (stride, padding, dilation, groups)
    x, weight, bias = normal(1, x_shape, dtype, order), normal(2, w_shape, dtype, order), normal(3, w_shape[:1], dtype)
    y = compare("conv2d_act_forward", x, weight, bias, None, True, *settings)
    residual = normal(4, y.shape, dtype, order)
    compare("conv2d_act_forward", x, weight, None, residual, True, *settings)
    compare("conv2d_act_forward", x, weight, bias, residual, False, *settings)


@pytest.mark.parametrize("channels", [1, 16, 48, 64, 1500])
def test_rows_laid_side_by_side(channels):
    """1x1 convolutions of few and many channels, over numbers of rows that fit side by side and that do not."""
    for side in (1, 4, 7):
        x, weight = normal(1, (2, 3, side, side), "float32"), normal(2, (channels, 3, 1, 1), "float32")
        residual, bias = normal(3, (2, channels, side, side), "float32"), normal(4, (channels,), "float32")
        compare("conv2d_act_forward", x, weight, bias, residual, True, (1, 1), (0, 0), (1, 1), 1)


def test_nan_is_not_hidden():
    x = np.full((1, 2, 3, 3), np.nan, np.float32)
    y = kernels.conv2d_act_forward(x, np.ones((2, 2, 1, 1), np.float32), None, None, True, (1, 1), (0, 0), (1, 1), 1)
    assert np.isnan(y).all()
