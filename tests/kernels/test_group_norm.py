"""Group normalisation: the reference against a loop over pictures and groups, the fast kernels against it."""

import numpy as np
import pytest

from minires import kernels
from minires.kernels.cpu import group_norm as fast
from minires.kernels.cpu import parallel
from minires.kernels.reference import group_norm as reference
from tests.kernels.helpers import DTYPES, ORDERS, TOLERANCE, assert_close, compare, normal

SHAPES = [((3, 4, 5, 2), 2), ((2, 6, 3, 3), 6), ((4, 6, 1, 7), 1), ((5, 4), 2), ((2, 12, 3), 3), ((1, 2, 1, 1), 1),
          ((0, 4, 3, 3), 2), ((2, 4, 0, 3), 2), ((3, 64, 9, 8), 32)]  # fmt: skip
settings = pytest.mark.parametrize(("shape", "groups"), SHAPES)
kinds = pytest.mark.parametrize(("dtype", "order"), [(d, o) for d in DTYPES for o in ORDERS])


def by_the_definition(x, weight, bias, groups, eps):
    """One picture, one group at a time."""
    y = np.empty_like(x)
    width = x.shape[1] // groups
    for picture in range(x.shape[0]):
        for group in range(groups):
            channels = slice(group * width, (group + 1) * width)
            values = x[picture, channels]
            centred = values - values.mean()
            factors = [v[channels].reshape(-1, *[1] * (x.ndim - 2)) for v in (weight, bias)]
            y[picture, channels] = centred / np.sqrt((centred**2).mean() + eps) * factors[0] + factors[1]
    return y


@settings
@pytest.mark.parametrize("order", ORDERS)
def test_reference_forward(shape, groups, order):
    if 0 in shape:
        pytest.skip("there is no mean of nothing")
    x, weight, bias = normal(1, shape, order=order), normal(2, shape[1:2]), normal(3, shape[1:2])
    y, mean, inverse_std = reference.group_norm_forward(x, weight, bias, groups, 1e-3)
    assert_close(y, by_the_definition(x, weight, bias, groups, 1e-3), 1e-13)
    per_group = x.reshape(shape[0], groups, -1)
    assert_close(mean, per_group.mean(axis=2), 1e-12)
    assert_close(inverse_std, 1 / np.sqrt(per_group.var(axis=2) + 1e-3), 1e-12)


@pytest.fixture(params=[1, 3], ids=["one thread", "three threads"])
def threads(request, monkeypatch):
    monkeypatch.setattr(parallel, "blas_threads", lambda: request.param)


@settings
@kinds
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("budget", [1, 1 << 16])
@pytest.mark.usefixtures("threads")
def test_fast_as_reference(shape, groups, affine, budget, dtype, order, monkeypatch):
    monkeypatch.setattr(fast, "BUDGET", budget)
    x = normal(1, shape, dtype, order)
    weight, bias = (normal(seed, shape[1:2], dtype) if affine else None for seed in (2, 3))
    y, mean, inverse_std = compare("group_norm_forward", x, weight, bias, groups, 1e-2)
    compare("group_norm_backward", normal(4, y.shape, dtype, order), x, weight, mean, inverse_std)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_large_mean_costs_no_more_digits_than_it_has_to(dtype):
    x = (normal(1, (2, 8, 12, 12)) * 0.5 + 1000).astype(dtype)
    y, mean, inverse_std = compare("group_norm_forward", x, None, None, 2, 1e-5, tolerance=10 * TOLERANCE[dtype])
    compare("group_norm_backward", normal(2, x.shape, dtype), x, None, mean, inverse_std, tolerance=1e-3)
    exact = by_the_definition(x.astype("float64"), np.ones(8), np.zeros(8), 2, 1e-5)
    assert_close(y, exact, 20 * TOLERANCE[dtype])


def test_one_group_of_one_value_a_picture_is_zero():
    y, *_ = kernels.group_norm_forward(np.array([[3.0], [5.0]]), None, None, 1, 1e-5)
    assert (y == 0).all()
