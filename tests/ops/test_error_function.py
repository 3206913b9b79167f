"""erf and erfc against the C library, which knows them to the last digit but one."""

import math

import numpy as np
import pytest

from minires.ops.error_function import erf_of, error_functions

POINTS = np.concatenate([
    np.linspace(-6, 6, 4001), np.linspace(0.84, 0.85, 101), np.linspace(1.24, 1.26, 101), np.linspace(2.85, 2.86, 101),
    np.linspace(6, 26, 401), [1e-300, 1e-10, -1e-10, 5e-324],
])  # fmt: skip


def units_off(found, exact):
    """Distance in units of the last place of the exact value."""
    exact = exact.astype(found.dtype)
    return float((np.abs(found - exact) / np.spacing(np.abs(exact))).max())


def test_float64_to_the_last_digits():
    erf, erfc = error_functions(POINTS)
    assert units_off(erf, np.array([math.erf(x) for x in POINTS])) <= 1
    assert units_off(erfc, np.array([math.erfc(x) for x in POINTS])) <= 4


def test_float32():
    points = POINTS[np.abs(POINTS) < 9].astype(np.float32)
    erf, erfc = error_functions(points)
    assert erf.dtype == erfc.dtype == np.float32
    assert units_off(erf, np.array([math.erf(x) for x in points])) <= 2
    assert units_off(erfc, np.array([math.erfc(x) for x in points])) <= 8


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_special_values_and_shapes(dtype):
    x = np.array([[np.nan, np.inf], [-np.inf, -0.0]], dtype)
    assert np.array_equal(erf_of(x), np.array([[np.nan, 1], [-1, 0]], dtype), equal_nan=True)
    assert np.signbit(erf_of(x)[1, 1]) and erf_of(x).dtype == dtype
    assert erf_of(np.zeros((0, 3), dtype)).shape == (0, 3) and erf_of(np.asarray(0.5, dtype)).shape == ()
