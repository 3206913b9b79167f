"""The loader, with the emulator in CuPy's place: what it compiles, what it launches and with which arguments."""

import ctypes
import types

import numpy as np
import pytest

from minires.kernels.cuda import convs, loader, losses, norms, source
from minires.kernels.cuda.convs import Layer
from minires.kernels.reference import conv, loss
from tests.cuda import harness, helpers
from tests.cuda.harness import needs_emulator
from tests.cuda.helpers import Draw, assert_close, channels_first, channels_last

pytestmark = needs_emulator


class DeviceArray(np.ndarray):
    """NumPy over emulated device memory, with the one attribute that the loader asks of a CuPy array."""

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.ctypes.data)


class FakeCupy:
    """As much of CuPy as the loader uses; modules are compiled for the CPU, kernels run in the emulator."""

    dtype = np.dtype

    def __init__(self):
        self.held, self.compiled = [], []
        device = types.SimpleNamespace(compute_capability="90", attributes={"MaxSharedMemoryPerBlockOptin": 232448})
        self.cuda = types.SimpleNamespace(
            Device=lambda number: device, runtime=types.SimpleNamespace(getDevice=lambda: 0)
        )

    def empty(self, shape, dtype):
        array = harness.Array(shape, dtype, "made", "inout")
        self.held.append(array)
        return array.values.view(DeviceArray)

    def asarray(self, values):
        if isinstance(values, DeviceArray):
            return values
        array = harness.Array.holding(np.asarray(values), "given", "in")
        self.held.append(array)
        return array.values.view(DeviceArray)

    @staticmethod
    def asnumpy(array):
        return np.array(array)

    @staticmethod
    def ascontiguousarray(array):
        return array if array.flags.c_contiguous else np.ascontiguousarray(array).view(DeviceArray)

    def RawModule(self, code, options, name_expressions):
        self.compiled.append((options, len(name_expressions)))
        text = code.replace(source.read("instructions.cuh").replace("#pragma once\n", "\n"),
                            harness.instructions()["instructions.cuh"].replace("#pragma once\n", "\n"))  # fmt: skip
        return types.SimpleNamespace(get_function=lambda name: FakeFunction(text, name, name_expressions))


class FakeFunction:
    shared_size_bytes = 0

    def __init__(self, text, name, expressions):
        assert name in expressions
        self.name, self.module = name, harness.Module(text, [name])

    def __call__(self, grid, block, arguments, shared_mem):
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        values = [self.as_ctypes(argument) for argument in arguments]
        self.module.launch(self.name, grid, block[0], values, shared_mem, seed=1)

    @staticmethod
    def as_ctypes(value):
        if value is None or isinstance(value, DeviceArray):
            return ctypes.c_uint64(0 if value is None else value.ctypes.data)
        return (ctypes.c_char * value.nbytes).from_buffer_copy(value.tobytes())  # a number or structure of NumPy


@pytest.fixture
def fake(monkeypatch):
    cupy = FakeCupy()
    monkeypatch.setattr(loader, "cupy_module", lambda: cupy)
    for cached in (loader.module, loader.function):
        cached.cache_clear()
    yield cupy
    for cached in (loader.module, loader.function):
        cached.cache_clear()
    for array in cupy.held:
        array.free()


def test_batch_norm_through_the_loader(fake):
    _, x = Draw(1)(30, 8)
    y, mean, variance, _ = norms.batch_norm_training_forward(loader.run, x, None, None, 1e-5, None, False)
    assert_close(np.array(mean), x.mean(0), "float", "mean", scale=1)
    assert_close(np.array(y), (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5), "float", "y")
    assert_close(np.array(variance), x.var(0), "float", "variance")
    assert len(fake.compiled) == 1, "a file is compiled once"
    assert "--std=c++17" in fake.compiled[0][0]


def test_the_suite_for_a_gpu(fake):
    """What MINIRES_KERNELS_ON=gpu puts in the emulator's place: NumPy in and out, outputs poisoned, changes seen."""
    _, logits = Draw(1)(2, 3)
    wrong = np.zeros(1, np.int32)
    made = losses.cross_entropy(helpers.on_gpu, logits, np.array([0, 5]), None, -100, 0.0, wrong)
    assert type(made["loss"]) is np.ndarray and made["wrong"][0] == 2 and wrong[0] == 0
    assert np.isnan(helpers.poisoned((3,), np.dtype(np.float32))).all()
    memory = helpers.GpuMemory(np.arange(5))
    assert memory.address % 16 == 0 and np.array_equal(memory.values, np.arange(5))


def test_convolution_through_the_loader(fake):
    """A structure as argument, missing arrays, and dynamic shared memory."""
    layer = Layer((1, 5, 5, 8), (8, 3, 3, 8), padding=(1, 1))
    (x, wide), (weight, wide_w) = Draw(1, "__half")(*layer.x_shape), Draw(2, "__half")(*layer.weight_shape)
    y, _, _ = convs.forward(loader.run, x, weight, layer, {}, exact=False)
    expected = conv.conv2d_forward(channels_first(wide), channels_first(wide_w), None, (1, 1), (1, 1), (1, 1), 1)
    assert_close(np.array(y), channels_last(expected), "__half", "y", scale=1)


def test_what_a_kernel_changes_must_lie_on_the_gpu(fake):
    _, logits = Draw(1)(2, 3)
    target, settings = np.array([0, 5]), (None, -100, 0.0)
    with pytest.raises(ValueError, match="cross_entropy changes wrong in place"):
        losses.cross_entropy(loader.run, logits, target, *settings, np.zeros(1, np.int32))
    wrong = fake.empty((1,), np.int32)
    wrong[...] = 0
    made = losses.cross_entropy(loader.run, logits, target, *settings, wrong)
    assert wrong[0] == 2 and made["wrong"] is wrong
    expected, _ = loss.cross_entropy_forward(logits[:1], target[:1], *settings)
    assert_close(np.array(made["loss"])[:1], expected, "float", "loss")


def test_what_is_missing_is_named(fake):
    with pytest.raises(TypeError, match="kernel softmax_rows: the array x is missing"):
        loader.run("softmax_rows", "float", {}, {})
    _, x = Draw(1)(2, 3)
    with pytest.raises(TypeError, match="kernel softmax_rows: the number columns is missing"):
        loader.run("softmax_rows", "float", {"x": x, "rows": 2}, {"y": ((2, 3), np.float32)})


def test_an_old_gpu_gets_what_it_can_run(fake):
    assert loader.expressions("conv_mma.cu", 75) == []
    assert "conv_direct_forward<float, true>" in loader.expressions("conv_direct.cu", 75)
    fake.cuda.Device(0).compute_capability = "75"
    with pytest.raises(RuntimeError, match=r"conv_mma.cu need a newer GPU than compute capability 7.5"):
        loader.module("conv_mma.cu", 0)


def test_a_view_at_an_odd_address_is_copied(fake):
    whole = fake.empty((9,), np.float32)
    assert loader.aligned(whole) is whole
    assert np.shares_memory(loader.aligned(whole[4:]), whole)
    assert not np.shares_memory(loader.aligned(whole[1:]), whole)
