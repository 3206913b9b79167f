"""Random arrays of the kernels' types, the `run` that the host side asks for, and comparisons.

The kernels run in the emulator; with MINIRES_KERNELS_ON=gpu in the environment, the same tests run on a GPU.
"""

import functools
import os

import hypothesis
import numpy as np
import pytest

from minires.kernels.cuda import loader, table
from tests.cuda import harness
from tests.cuda.numbers import ROUNDING, decode, encode
from tests.kernels.helpers import error_of

KINDS = ("float", "__half", "__nv_bfloat16")
# every kind in the slow set; float32 and bfloat16 in the quick one, which compiles half as much
each_kind = pytest.mark.parametrize("kind", ["float", "__nv_bfloat16", pytest.param("__half", marks=pytest.mark.slow)])


def few(examples):
    """Hypothesis settings: the same few examples at each run, however long one takes."""
    return hypothesis.settings(max_examples=examples, deadline=None, derandomize=True, database=None)


ON_GPU = os.environ.get("MINIRES_KERNELS_ON") == "gpu"
needs_kernels = [] if ON_GPU else harness.needs_emulator


def running(seed=0):
    """`run` as minires.kernels.cuda.types describes it, NumPy arrays in and out.

    In the emulator a seed draws the order of threads and blocks.
    """
    return on_gpu if ON_GPU else functools.partial(harness.run, seed=seed)


def on_gpu(name, instance, given, outputs):
    """Launch one kernel through the loader; outputs are poisoned before, and come back as NumPy arrays."""
    cupy = loader.cupy_module()
    arrays = [a for a in table.KERNELS[name].arguments if a.direction and isinstance(given.get(a.name), np.ndarray)]
    moved = {a.name: device_copy(cupy, given[a.name]) for a in arrays}
    made = loader.run(name, instance, {**given, **moved}, outputs, make=poisoned)
    return {key: cupy.asnumpy(array) for key, array in made.items()}


def device_copy(cupy, values):
    array = cupy.empty(values.shape, values.dtype)
    array[...] = cupy.asarray(values)
    return array


def poisoned(shape, dtype):
    """Device memory full of 0xff bytes: NaN, so that what a kernel leaves out is seen."""
    array = loader.cupy_module().empty(shape, dtype)
    array.reshape(-1).view(np.uint8)[...] = 0xFF
    return array


class GpuMemory:
    """What harness.Array is in the emulator: values on the device, and their address."""

    def __init__(self, values):
        self.array = device_copy(loader.cupy_module(), values)
        self.address = self.array.data.ptr

    @property
    def values(self):
        return loader.cupy_module().asnumpy(self.array)

    def free(self):
        self.array = None


def device_memory(values, name, role):
    return GpuMemory(values) if ON_GPU else harness.Array.holding(values, name, role)


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
