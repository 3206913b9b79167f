"""Random arrays of the kernels' types, the emulator as the `run` that the host side asks for, and comparisons."""

import functools

import hypothesis
import numpy as np
import pytest

from tests.cuda import harness
from tests.cuda.numbers import ROUNDING, decode, encode
from tests.kernels.helpers import error_of

KINDS = ("float", "__half", "__nv_bfloat16")
# every kind in the slow set; float32 and bfloat16 in the quick one, which compiles half as much
each_kind = pytest.mark.parametrize("kind", ["float", "__nv_bfloat16", pytest.param("__half", marks=pytest.mark.slow)])


def few(examples):
    """Hypothesis settings: the same few examples at each run, however long one takes."""
    return hypothesis.settings(max_examples=examples, deadline=None, derandomize=True, database=None)


def emulated(seed=0):
    """`run` as minires.kernels.cuda.types describes it; a seed draws the order of threads and blocks."""
    return functools.partial(harness.run, seed=seed)


class Draw:
    """Random arrays: pairs of what a kernel gets (of the C++ type `kind`) and the same numbers as float32."""

    def __init__(self, seed, kind="float"):
        self.random, self.kind = np.random.default_rng(seed), kind

    def __call__(self, *shape, scale=1.0, offset=0.0):
        held = encode(self.random.standard_normal(shape) * scale + offset, self.kind)
        return held, decode(held, self.kind)

    def numbers(self, *shape):
        return self.random.standard_normal(shape).astype(np.float32)


def assert_close(ours, expected, kind="float", name="", factor=1.0, scale=1e-30):
    """`ours` holds the C++ type `kind`; equal but for its rounding, relative to the largest value expected."""
    ours = decode(ours, kind) if kind != "float" else ours
    error = error_of(ours, np.asarray(expected), scale)
    allowed = ROUNDING[kind] * factor
    assert error <= allowed, f"{name}: off by {error:.3g} of the largest value, allowed {allowed:.3g}"


def channels_first(rows):
    """[N][...][C] as (N, C, ...)."""
    return np.moveaxis(rows, -1, 1)


def channels_last(array):
    """(N, C, ...) as a contiguous [N][...][C]."""
    return np.ascontiguousarray(np.moveaxis(array, 1, -1))
