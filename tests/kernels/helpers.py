"""Arrays for the tests of kernels: random values in any memory order, and comparisons relative to the largest value."""

import numpy as np

from minires import kernels

ORDERS = ("nchw", "nhwc", "strided", "reversed")
DTYPES = ("float32", "float64")
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def arranged(values, order):
    """The same values, shape (N, C, ...), in another order of memory.

    "nchw": contiguous as its shape says; "nhwc": channels last in memory; "strided": every second place of a larger
    array filled with NaN, so that a kernel that steps beside the view is found out; "reversed": negative strides.
    """
    values = np.asarray(values)
    if order == "nchw":
        return values.copy()
    if order == "nhwc":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(values, 1, -1)), -1, 1)
    if order == "strided":
        larger = np.full([2 * size for size in values.shape], np.nan if values.dtype.kind == "f" else 0, values.dtype)
        view = larger[tuple(slice(1, None, 2) for _ in values.shape)]
    else:
        view = np.empty_like(values)[tuple(slice(None, None, -1) for _ in values.shape)]
    view[...] = values
    return view


def normal(seed, shape, dtype="float64", order="nchw"):
    """Standard normal values, the same for every dtype and order."""
    return arranged(np.random.default_rng(seed).standard_normal(shape).astype(dtype), order)


def error_of(ours, expected, scale=1e-30):
    """The largest difference over the largest expected value, or over `scale` where that is larger.

    Infinite where shapes, NaN or infinities differ.
    """
    ours, expected = np.asarray(ours), np.asarray(expected)
    if ours.shape != expected.shape or not np.array_equal(np.isnan(ours), np.isnan(expected)):
        return np.inf
    finite = np.isfinite(expected)
    if not np.array_equal(ours[~finite], expected[~finite], equal_nan=True):
        return np.inf
    if not finite.any():
        return 0.0
    difference = np.abs(ours[finite].astype(np.float64) - expected[finite]).max()
    return float(difference / max(np.abs(expected[finite]).max(), scale))


def assert_close(ours, expected, tolerance, name="", scale=1e-30):
    error = error_of(ours, expected, scale)
    assert error <= tolerance, f"{name}: off by {error:.3g} of the largest value, shapes {ours.shape} {expected.shape}"


def copied(argument):
    return argument.copy(order="K") if isinstance(argument, np.ndarray) else argument


def compare(name, *arguments, tolerance=None, exact=False, scale=1e-30, writes=(), may_alias=False):
    """Run the fast kernel and the reference on the same arguments; return the fast one's result.

    Results must agree in shape, type and value: relative to the largest value of the reference, or to `scale` where
    they are tiny differences of numbers of that size; `exact`: all bits but the sign of zero. They must hold no memory
    of the arguments (unless `may_alias`), and leave the arguments as they were, but for those numbered in `writes`,
    which must agree as well.
    """
    given = [copied(argument) for argument in arguments]
    expected_given = [copied(argument) for argument in arguments]
    fast = kernels.implementation(name, "cpu")(*arguments)
    slow = kernels.implementation(name, "reference")(*expected_given)
    results = list(zip(as_tuple(fast), as_tuple(slow), strict=True))
    results += [(arguments[n], expected_given[n]) for n in writes if arguments[n] is not None]
    for number, (ours, expected) in enumerate(results):
        assert ours.dtype == expected.dtype, f"{name}: result {number} is of type {ours.dtype}, not {expected.dtype}"
        allowed = 0 if exact or ours.dtype.kind != "f" else tolerance or TOLERANCE[ours.dtype.name]
        assert_close(ours, expected, allowed, f"{name}, result {number}", scale)
    for number, (argument, before) in enumerate(zip(arguments, given, strict=True)):
        if isinstance(argument, np.ndarray) and number not in writes:
            assert np.array_equal(argument, before, equal_nan=argument.dtype.kind == "f"), f"{name} wrote into {number}"
            shared = [np.shares_memory(argument, result) for result in as_tuple(fast)]
            assert may_alias or not any(shared), f"{name}: a result is a view of argument {number}"
    return fast


def as_tuple(result):
    return () if result is None else result if isinstance(result, tuple) else (result,)
