"""Hopper's instructions in the emulator: each against NumPy, and each way to use it wrongly is found.

Where an operand of wgmma lies in shared memory is written out here once more from the PTX manual ("Shared Memory Matrix
Layout"): by rows and pieces, where the emulator works on the bits of addresses.
"""

import numpy as np
import pytest

from tests.cuda.harness import EmulatorError, instructions, needs_emulator
from tests.cuda.numbers import decode, encode
from tests.cuda.test_emulator import given, launch, output

pytestmark = needs_emulator
SEEDS = pytest.mark.parametrize("seed", [0, 5])


def run(text, values, **settings):
    headers = "".join(instructions()[name].replace("#pragma once", "") for name in ("instructions.cuh", "hopper.cuh"))
    return launch(headers + text, values, **settings)


def expect(kinds, text, values, **settings):
    """One of these errors, by the emulator's own words for them."""
    with pytest.raises(EmulatorError) as error:
        run(text, values(), **settings)
    assert error.value.kind in kinds.split(), str(error.value)


def changed(text, old, new):
    assert text.count(old) == 1, f"{old!r} is not just once in the kernel"
    return text.replace(old, new)


# ----------------------------------------------------------------------------------------------------------- wgmma

PRODUCT = """
__global__ void kernel(const unsigned* image, const float* c, float* d, int words, int steps, int a_low, int a_high,
                       int b_low, int b_high, int next) {
  extern __shared__ __align__(1024) unsigned char memory[];
  for (int i = threadIdx.x; i < words; i += 128) reinterpret_cast<unsigned*>(memory)[i] = image[i];
  proxy_fence();
  __syncthreads();
  const unsigned long long base = shared_address(memory) / 16;
  const unsigned long long a = ((unsigned long long)a_high << 32 | (unsigned)a_low) + base;
  const unsigned long long b = ((unsigned long long)b_high << 32 | (unsigned)b_low) + base;
  float sum[COUNT];
  for (int i = 0; i < COUNT; i++) sum[i] = c[threadIdx.x * COUNT + i];
  wgmma_fence();
  for (int s = 0; s < steps; s++) MULTIPLY(sum, a + s * next, b + s * next);
  wgmma_commit();
  wgmma_wait<0>(sum);
  for (int i = 0; i < COUNT; i++) d[threadIdx.x * COUNT + i] = sum[i];
}
"""
WIDTHS = {0: 16, 1: 128, 2: 64, 3: 32}  # by the descriptor's mode: bytes of a row of an atom of eight rows


class Layout:
    """Operands of `lines` rows of A, or columns of B, and 16 `steps` of the sum."""

    def __init__(self, mode, transposed, steps):
        self.mode, self.transposed, self.steps, self.width = mode, transposed, steps, WIDTHS[mode]
        self.atom = 8 * self.width
        if mode == 0:  # atoms of 8 x 16 bytes: along the sum one after the other, then along the lines
            self.leading, self.stride = (128, 256 * steps)
            if transposed:
                self.leading, self.stride = (self.stride, self.leading)[::-1]
        else:  # transposed: atoms follow each other along the sum, then along the lines
            self.leading, self.stride = (self.atom * 2 * steps if transposed else 16), self.atom
        by_rows = 32 if not transposed else 2 * self.stride
        self.next = (256 if mode == 0 else by_rows) // 16

    def place(self, line, k):
        """Byte of one element."""
        row, along = (k, line * 2) if self.transposed else (line, k * 2)
        if self.mode == 0:
            between = (row // 8 * 128 + along // 16 * 256 * self.steps if self.transposed
                       else row // 8 * self.stride + along // 16 * self.leading)  # fmt: skip
            return between + row % 8 * 16 + along % 16
        piece = along % self.width // 16 ^ row % 8 // (128 // self.width)  # the swizzle: pieces change places
        return (row // 8 * self.stride + row % 8 * self.width + piece * 16 + along % 16
                + along // self.width * self.leading)  # fmt: skip

    def descriptor(self, start):
        return start // 16 | self.leading // 16 << 16 | self.stride // 16 << 32 | self.mode << 62

    def write(self, image, start, values):
        for line in range(values.shape[0]):
            for k in range(values.shape[1]):
                image[(start + self.place(line, k)) // 2] = values[line, k]


def halves(descriptor):
    return [int(np.int32(np.uint32(part & 0xFFFFFFFF))) for part in (descriptor, descriptor >> 32)]


def c_place(thread, i):
    """The manual's "Register Fragments for wgmma.mma_async.m64nNk16": row and column of d[i]."""
    warp, lane = divmod(thread, 32)
    return 16 * warp + lane // 4 + 8 * (i // 2 % 2), 8 * (i // 4) + 2 * (lane % 4) + i % 2


def problem(kind="__half", columns=64, mode=1, transposed=False, steps=1):
    """(values for the kernel, the product that must come out) of random matrices."""
    random, layout, half = np.random.default_rng(1), Layout(mode, transposed, steps), columns // 2
    a, b = (encode(random.standard_normal((lines, 16 * steps)), kind) for lines in (64, columns))
    c = random.standard_normal((64, columns)).astype(np.float32)
    image, second = np.zeros(1 << 14, np.uint16), 1 << 14
    layout.write(image, 0, a.view(np.uint16))
    layout.write(image, second, b.view(np.uint16))
    held = np.array([[c[c_place(thread, i)] for i in range(half)] for thread in range(128)])
    numbers = [steps, *halves(layout.descriptor(0)), *halves(layout.descriptor(second)), layout.next]

    def values(words=1 << 13):
        return [given(image.view(np.uint32)), given(held), output((128, half)), words, *numbers]

    return values, c + decode(a, kind).astype(float) @ decode(b, kind).astype(float).T


def product_of(kind, columns, transposed):
    name = f"wgmma_n{columns}_{'half' if kind == '__half' else 'bfloat16'}{'_transposed' if transposed else ''}"
    return PRODUCT.replace("COUNT", str(columns // 2)).replace("MULTIPLY", name)


@pytest.mark.parametrize(("mode", "steps"), [(1, 4), (2, 2), (3, 1), (0, 2)])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("kind", "columns"), [("__half", 64), ("__nv_bfloat16", 128)])
def test_products_of_a_warpgroup(kind, columns, transposed, mode, steps):
    values, expected = problem(kind, columns, mode, transposed, steps)
    d = run(product_of(kind, columns, transposed), values(), block=128, shared=1 << 15, seed=3)[-1]
    found = np.full(expected.shape, np.nan)
    for thread in range(128):
        for i in range(columns // 2):
            found[c_place(thread, i)] = d[thread, i]
    assert np.abs(found - expected).max() < 1e-4


WRITE = "reinterpret_cast<unsigned*>(memory)[threadIdx.x] = 0;"
WRONG_PRODUCTS = [
    ("no fence", "  wgmma_fence();\n", "", "async"),
    ("a fence too early", "  wgmma_fence();\n", "  wgmma_fence();\n  sum[0] += 1;\n", "async"),
    ("no commit", "  wgmma_commit();\n", "", "async"),
    ("no wait", "  wgmma_wait<0>(sum);\n", "", "async"),
    ("a wait for all but one", "wgmma_wait<0>", "wgmma_wait<1>", "async"),
    ("the results changed meanwhile", "  wgmma_commit();\n", "  sum[0] += 1;\n  wgmma_commit();\n", "async"),
    ("the operands changed meanwhile", "  wgmma_commit();\n", f"  wgmma_commit();\n  {WRITE}\n", "async race"),
    ("no proxy fence", "  proxy_fence();\n", "", "proxy"),
    ("a proxy fence too early", "  proxy_fence();\n", f"  proxy_fence();\n  {WRITE}\n", "proxy"),
    ("no barrier behind the writes", "  __syncthreads();\n", "", "race unset"),
    ("three of four warps", "  wgmma_fence();\n", "  if (threadIdx.x >= 96) return;\n  wgmma_fence();\n", "mask"),
    ("a wgmma that one warp leaves out", "for (int s = 0; s < steps", "for (int s = threadIdx.x / 96; s < steps",
     "mask"),
    ("lanes of another mind", "const unsigned long long base =", "const unsigned long long base = threadIdx.x % 2 +",
     "mask"),
    ("warps of another mind", "const unsigned long long base =",
     "const unsigned long long base = threadIdx.x / 32 * 64 +", "mask"),
    ("an operand that is partly unwritten", "i < words;", "i < 1000;", "unset"),
    ("an operand past the end", "const unsigned long long base =", "const unsigned long long base = 2000 +", "bounds"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "kinds"), [row[1:] for row in WRONG_PRODUCTS],
                         ids=[row[0] for row in WRONG_PRODUCTS])  # fmt: skip
@SEEDS
def test_products_used_wrongly(old, new, kinds, seed):
    values, _ = problem()
    text = changed(product_of("__half", 64, False), old, new)
    expect(kinds, text, values, block=128, shared=1 << 15, seed=seed)


def test_a_block_of_half_a_warpgroup():
    values, _ = problem()
    expect("mask", product_of("__half", 64, False), values, block=64, shared=1 << 15)


# ---------------------------------------------------------------------------------------- bulk copies and mbarriers

ROUNDS = 5
RING = """
__global__ void kernel(const float* x, float* y, int rounds) {
  __shared__ __align__(16) float tile[2][64];
  __shared__ unsigned long long full[2], empty[2];
  if (threadIdx.x == 0) {
    for (int s = 0; s < 2; s++) {
      mbarrier_init(full + s, 1);
      mbarrier_init(empty + s, 32);
    }
    mbarrier_fence();
  }
  __syncthreads();
  if (threadIdx.x == 32) {
    for (int r = 0; r < rounds; r++) {
      const int s = r % 2;
      if (r >= 2) mbarrier_wait(empty + s, r / 2 - 1 & 1);
      mbarrier_arrive_expecting(full + s, 256);
      bulk_copy(tile[s], x + r * 64, 256, full + s);
    }
  } else if (threadIdx.x < 32) {
    for (int r = 0; r < rounds; r++) {
      const int s = r % 2;
      mbarrier_wait(full + s, r / 2 & 1);
      y[r * 64 + threadIdx.x] = tile[s][63 - threadIdx.x];
      y[r * 64 + 32 + threadIdx.x] = tile[s][31 - threadIdx.x];
      mbarrier_arrive(empty + s);
    }
  }
}
"""


def rows():
    return [given(np.arange(64.0 * ROUNDS, dtype=np.float32)), output((ROUNDS, 64)), ROUNDS]


@pytest.mark.parametrize("seed", range(6))
def test_a_ring_of_two_buffers(seed):
    _, y = run(RING, rows(), block=64, seed=seed)
    assert np.array_equal(y, np.arange(64.0 * ROUNDS).reshape(ROUNDS, 64)[:, ::-1])


WRONG_RINGS = [
    ("no wait for the copy", "      mbarrier_wait(full + s, r / 2 & 1);\n", "", "async race unset"),
    ("the phase before", "full + s, r / 2 & 1", "full + s, r / 2 + 1 & 1", "async race unset deadlock"),
    ("always the first phase", "full + s, r / 2 & 1", "full + s, 0", "async race unset deadlock"),
    ("no wait for room", "      if (r >= 2) mbarrier_wait(empty + s, r / 2 - 1 & 1);\n", "", "async race barrier"),
    ("room of the phase before", "r / 2 - 1 & 1", "r / 2 & 1", "async race deadlock barrier"),
    ("fewer bytes expected", "arrive_expecting(full + s, 256)", "arrive_expecting(full + s, 128)", "deadlock"),
    ("more bytes expected", "arrive_expecting(full + s, 256)", "arrive_expecting(full + s, 512)", "deadlock"),
    ("no bytes expected", "mbarrier_arrive_expecting(full + s, 256)", "mbarrier_arrive(full + s)",
     "deadlock async race"),
    ("the copy engine does not know the barriers", "    mbarrier_fence();\n", "", "proxy"),
    ("barriers used before they are made", "  __syncthreads();\n", "", "race unset barrier"),
    ("a barrier that was not made", "      mbarrier_init(full + s, 1);\n", "", "barrier unset"),
    ("a barrier made twice", "      mbarrier_init(full + s, 1);\n",
     "      mbarrier_init(full + s, 1);\n      mbarrier_init(full + s, 1);\n", "barrier"),
    ("an arrival too few", "mbarrier_init(full + s, 1)", "mbarrier_init(full + s, 2)", "deadlock"),
    ("an arrival too many", "mbarrier_init(empty + s, 32)", "mbarrier_init(empty + s, 31)", "barrier race async"),
    ("readers that do not say so", "      mbarrier_arrive(empty + s);\n", "", "deadlock"),
    ("an arrival before the reading", "mbarrier_wait(full + s, r / 2 & 1);\n",
     "mbarrier_wait(full + s, r / 2 & 1);\n      mbarrier_arrive(empty + s);\n", "barrier race async deadlock"),
    ("a source at an odd address", "x + r * 64, 256", "x + r * 64 + 1, 256", "alignment"),
    ("a size that 16 does not divide", "x + r * 64, 256", "x + r * 64, 252", "alignment"),
    ("a source past its end", "x + r * 64, 256", "x + r * 64 + 64, 256", "bounds"),
    ("a target past its end", "bulk_copy(tile[s], x + r * 64, 256", "bulk_copy(tile[s] + 128, x + r * 64, 256",
     "bounds alignment race barrier async"),
    ("a target in the registers' memory", "bulk_copy(tile[s], x", "float own[64]; bulk_copy(own, x",
     "bounds alignment"),
    ("a target that is written, too", "mbarrier_arrive(empty + s);",
     "tile[s][threadIdx.x] = 0;\n      mbarrier_arrive(empty + s);", "race async proxy"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "kinds"), [row[1:] for row in WRONG_RINGS],
                         ids=[row[0] for row in WRONG_RINGS])  # fmt: skip
@SEEDS
def test_rings_used_wrongly(old, new, kinds, seed):
    expect(kinds, changed(RING, old, new), rows, block=64, seed=seed)


def test_a_phase_orders_memory():
    """What was written before an arrival is seen behind the wait for its phase, and not by whoever does not wait."""
    text = """
    __global__ void kernel(float* y) {
      __shared__ float tile[64];
      __shared__ unsigned long long barrier;
      if (threadIdx.x == 0) mbarrier_init(&barrier, 64);
      __syncthreads();
      tile[threadIdx.x] = threadIdx.x;
      mbarrier_arrive(&barrier);
      mbarrier_wait(&barrier, 0);
      y[threadIdx.x] = tile[63 - threadIdx.x];
    }"""
    (y,) = run(text, [output(64)], block=64, seed=1)
    assert np.array_equal(y, np.arange(63, -1, -1))
    expect("race unset", changed(text, "      mbarrier_wait(&barrier, 0);\n", ""), lambda: [output(64)], block=64)
    arrive = "      mbarrier_arrive(&barrier);\n"
    late = changed(changed(text, arrive, ""), "      tile[", f"{arrive}      tile[")
    expect("race unset", late, lambda: [output(64)], block=64, seed=2)
