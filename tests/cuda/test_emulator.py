"""The emulator itself: it computes what CUDA would, and finds each kind of mistake, in small kernels made for that."""

import ctypes

import numpy as np
import pytest

from tests.cuda.harness import Array, EmulatorError, Module, needs_emulator

pytestmark = needs_emulator
INT = ctypes.c_int32


def launch(text, values, grid=(1, 1, 1), block=32, shared=0, seed=0):
    """Run `kernel` of this text; numbers become ints, arrays are freed afterwards and their values returned."""
    try:
        module = Module(text, ["kernel"])
        arguments = [value if isinstance(value, Array | None) else INT(value) for value in values]
        module.launch("kernel", grid, block, arguments, shared, seed)
        arrays = [value for value in values if isinstance(value, Array)]
        for array in arrays:
            if array.role == "out":
                array.check_written()
        return [array.values.copy() for array in arrays]
    finally:
        for value in values:
            if isinstance(value, Array):
                value.free()


def given(values):
    return Array.holding(np.asarray(values), "x")


def output(shape, dtype=np.float32):
    return Array(shape, dtype, "y", "out")


REVERSE = """
__global__ void kernel(const float* x, float* y, int n) {
  __shared__ float tile[64];
  const int i = threadIdx.x;
  tile[i] = x[i];
  __syncthreads();
  y[i] = tile[n - 1 - i];
}
"""


@pytest.mark.parametrize("seed", range(4))
def test_a_right_kernel_is_right(seed):
    x = np.arange(64, dtype=np.float32)
    _, y = launch(REVERSE, [given(x), output(64), 64], block=64, seed=seed)
    assert np.array_equal(y, x[::-1])


MISTAKES = [
    ("missing barrier", "  __syncthreads();\n", "", {"race", "unset"}),
    ("index past the declaration", "tile[i] =", "tile[i + 1] =", {"bounds"}),
    ("index past the array through a pointer", "tile[i] =", "*(&tile[0] + i + 1) =", {"bounds", "unset"}),
    ("off-by-one read of an input", "x[i]", "x[i + 1]", {"bounds"}),
    ("off-by-one write", "y[i] =", "y[i + 1] =", {"bounds"}),
    ("missing write", "y[i] =", "if (i < n - 1) y[i] =", {"unwritten"}),
    ("reading what nobody wrote", "tile[i] = x[i];", "if (i != 7) tile[i] = x[i];", {"unset"}),
    ("reading an output", "y[i] =", "y[i] = y[i] +", {"unset"}),
    ("writing an input", "y[i] =", "const_cast<float*>(x)[i] = 0; y[i] =", {"read-only"}),
    ("two threads, one place", "y[i] =", "y[i / 2] =", {"race"}),
    ("only warps are in step", "__syncthreads();", "__syncwarp();", {"race", "unset"}),
    ("overflow of an index", "y[i] =", "y[(i + n * 40000000) % 64] =", {"arithmetic"}),
    ("a vector at an odd address", "x[i]", "reinterpret_cast<const float2*>(x + 1)->x", {"alignment"}),
    ("a wild pointer", "x[i]", "x[i - 100000000]", {"bounds"}),
]


@pytest.mark.parametrize(("old", "new", "kinds"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES])
@pytest.mark.parametrize("seed", [0, 5])
def test_mistakes_are_found(old, new, kinds, seed):
    assert REVERSE.count(old) == 1
    with pytest.raises(EmulatorError) as error:
        launch(REVERSE.replace(old, new), [given(np.ones(64, np.float32)), output(64), 64], block=64, seed=seed)
    assert error.value.kind in kinds, str(error.value)


DIVERGENT = ["if (i < 32) __syncthreads();", "if (i < 32) __syncthreads();\n  else\n  __syncthreads();",
             "if (i == 40) return; __syncthreads();", "if (i % 2) __syncthreads();"]  # fmt: skip


@pytest.mark.parametrize("barrier", DIVERGENT)
@pytest.mark.parametrize("seed", [0, 5])
def test_divergent_barriers_are_found(barrier, seed):
    text = f"__global__ void kernel(float* y) {{ const int i = threadIdx.x; y[i] = i; {barrier} }}"
    with pytest.raises(EmulatorError) as error:
        launch(text, [output(64)], block=64, seed=seed)
    assert error.value.kind == "barrier"


def test_a_message_says_where():
    with pytest.raises(EmulatorError, match=r"array 'x', byte 256 of 256 \(element 64\)"):
        launch(REVERSE.replace("x[i]", "x[i + 1]"), [given(np.ones(64, np.float32)), output(64), 64], block=64)


SHUFFLE = """
__global__ void kernel(int* y) {
  const int lane = threadIdx.x;
  int sum = lane;
  for (int d = 16; d; d /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, d);
  y[lane] = sum;
  y[32 + lane] = __shfl_up_sync(0xffffffffu, lane, 1, 8);
  y[64 + lane] = __shfl_down_sync(0xffffffffu, lane, 2);
  y[96 + lane] = __shfl_sync(0xffffffffu, lane, 3, 16);
  y[128 + lane] = __ballot_sync(0xffffffffu, lane % 3 == 0);
  y[160 + lane] = __reduce_add_sync(0xffffffffu, (unsigned)lane);
}
"""


@pytest.mark.parametrize("seed", [0, 1])
def test_shuffles_and_votes(seed):
    (y,) = launch(SHUFFLE, [output(192, np.int32)], seed=seed)
    lane = np.arange(32)
    expected = [
        np.full(32, 496),
        np.where(lane % 8 == 0, lane, lane - 1),
        np.where(lane + 2 < 32, lane + 2, lane),
        lane // 16 * 16 + 3,
        np.full(32, sum(1 << k for k in range(0, 32, 3))),
        np.full(32, 496),
    ]
    assert np.array_equal(y.reshape(6, 32), expected)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(0xffffffffu, sum, d)", "(0x0000ffffu, sum, d)"),
        ("(0xffffffffu, sum, d)", "(0x7fffffffu, sum, d)"),
        ("for (int d", "if (lane < 31) for (int d"),
        ("int sum = lane;", "int sum = lane; if (lane == 3) return;"),
    ],
)
@pytest.mark.parametrize("seed", [0, 5])
def test_warp_divergence_is_found(old, new, seed):
    with pytest.raises(EmulatorError) as error:
        launch(SHUFFLE.replace(old, new), [output(192, np.int32)], seed=seed)
    assert error.value.kind in {"mask", "deadlock"}


def test_a_shuffle_orders_no_memory():
    text = """
    __global__ void kernel(int* y) {
      __shared__ int tile[32];
      tile[threadIdx.x] = threadIdx.x;
      SYNC
      y[threadIdx.x] = tile[threadIdx.x ^ 1];
    }"""
    with pytest.raises(EmulatorError) as error:
        launch(text.replace("SYNC", "__shfl_sync(0xffffffffu, 0, 0);"), [output(32, np.int32)])
    assert error.value.kind == "race"
    (y,) = launch(text.replace("SYNC", "__syncwarp();"), [output(32, np.int32)])
    assert np.array_equal(y, np.arange(32) ^ 1)


COUNT = """
__global__ void kernel(const int* x, int* y) { UPDATE }
"""


def test_blocks_share_through_atomics_only():
    x = np.arange(96, dtype=np.int32)

    def total(update):
        sums = Array.holding(np.zeros(1, np.int32), "y", "inout")
        return launch(COUNT.replace("UPDATE", update), [given(x), sums], grid=(3, 1, 1), seed=2)[1]

    assert total("atomicAdd(y, x[blockIdx.x * 32 + threadIdx.x]);") == x.sum()
    with pytest.raises(EmulatorError) as error:
        total("if (threadIdx.x == 0) *y += x[blockIdx.x];")
    assert error.value.kind == "race"


COPY = """
#include "instructions.cuh"
__global__ void kernel(const float* x, float* y) {
  extern __shared__ __align__(16) float tile[];
  const int i = threadIdx.x * 4;
  copy_async_16(tile + i, x + i, threadIdx.x != 5);
  copy_async_commit();
  copy_async_wait<0>();
  __syncthreads();
  for (int j = 0; j < 4; j++) y[i + j] = tile[127 - i - j];
}
"""


def copy_kernel(text, shared=512, seed=0):
    from tests.cuda.harness import instructions

    text = text.replace('#include "instructions.cuh"', instructions()["instructions.cuh"].replace("#pragma once", ""))
    x = np.arange(128, dtype=np.float32)
    return launch(text, [given(x), output(128)], shared=shared, seed=seed)[1]


@pytest.mark.parametrize("seed", [0, 1])
def test_copies(seed):
    expected = np.arange(128, dtype=np.float32)
    expected[20:24] = 0
    assert np.array_equal(copy_kernel(COPY, seed=seed), expected[::-1])


@pytest.mark.parametrize(
    ("old", "new", "kinds"),
    [
        ("  copy_async_wait<0>();\n", "", {"async"}),
        ("copy_async_wait<0>()", "copy_async_wait<1>()", {"async"}),
        ("  copy_async_commit();\n", "", {"async"}),
        ("copy_async_wait<0>();\n  __syncthreads();", "__syncthreads();\n  copy_async_wait<0>();", {"async", "race"}),
        ("  __syncthreads();\n", "", {"async", "race", "unset"}),
        ("tile + i, x + i,", "tile + i + 1, x + i,", {"alignment"}),
        ("tile + i, x + i,", "tile + i, x + i + 4,", {"bounds"}),
        ("tile + i, x + i,", "tile + i + 4, x + i,", {"bounds"}),
    ],
)
@pytest.mark.parametrize("seed", [0, 5])
def test_mistakes_with_copies_are_found(old, new, kinds, seed):
    assert COPY.count(old) == 1
    with pytest.raises(EmulatorError) as error:
        copy_kernel(COPY.replace(old, new), seed=seed)
    assert error.value.kind in kinds, str(error.value)


def test_too_little_dynamic_shared_memory_is_found():
    with pytest.raises(EmulatorError, match="dynamic shared memory, byte 496 of 496"):
        copy_kernel(COPY, shared=496)


@pytest.mark.parametrize(("block", "shared"), [(1025, 0), (0, 0), (32, 228 << 10)])
def test_launches_that_no_gpu_takes(block, shared):
    with pytest.raises(EmulatorError, match="no GPU takes"):
        launch(SHUFFLE, [output(192, np.int32)], block=block, shared=shared)
