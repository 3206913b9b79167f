"""The emulated tensor-core instructions against the PTX manual: which lane holds which element of which matrix.

The manual's formulas (sections "Matrix Fragments for mma.m16n8k16 with floating point type" and "... mma.m16n8k8") are
written out here once more, independently of the emulator's, and element by element.
"""

import numpy as np
import pytest

from tests.cuda.harness import Array, Module, instructions, needs_emulator
from tests.cuda.numbers import decode, encode

pytestmark = needs_emulator

KERNEL = """
__global__ void kernel(const unsigned* a, const unsigned* b, const float* c, float* d) {
  unsigned ra[4], rb[2];
  float rc[4], rd[4];
  for (int i = 0; i < 4; i++) ra[i] = a[threadIdx.x * 4 + i];
  for (int i = 0; i < 2; i++) rb[i] = b[threadIdx.x * 2 + i];
  for (int i = 0; i < 4; i++) rc[i] = c[threadIdx.x * 4 + i];
  PRODUCT(rd, ra, rb, rc);
  for (int i = 0; i < 4; i++) d[threadIdx.x * 4 + i] = rd[i];
}
"""


def launch(text, *values, block=32, seed=0):
    headers = instructions()["instructions.cuh"].replace("#pragma once", "")
    try:
        Module(headers + text, ["kernel"]).launch("kernel", (1, 1, 1), block, values, 0, seed)
        return values[-1].values.copy()
    finally:
        for value in values:
            value.free()


def a_place(lane, i):
    """Row and column of element a_i, m16n8k16: the manual's groupID and threadID_in_group."""
    group, member = lane >> 2, lane % 4
    row = group if 0 <= i < 2 or 4 <= i < 6 else group + 8
    return row, member * 2 + (i & 1) + (8 if i >= 4 else 0)


def b_place(lane, i):
    group, member = lane >> 2, lane % 4
    return member * 2 + (i & 1) + (8 if i >= 2 else 0), group


def c_place(lane, i):
    group, member = lane >> 2, lane % 4
    return group if i < 2 else group + 8, member * 2 + (i & 1)


def a_place_tf32(lane, i):
    group, member = lane >> 2, lane % 4
    return group + (8 if i in (1, 3) else 0), member + (4 if i in (2, 3) else 0)


def b_place_tf32(lane, i):
    group, member = lane >> 2, lane % 4
    return member + (4 if i == 1 else 0), group


def spread(matrix, place, count):
    """[32][count]: what each lane holds of a matrix."""
    return np.array([[matrix[place(lane, i)] for i in range(count)] for lane in range(32)])


def gather(held, place, shape):
    matrix = np.full(shape, np.nan, held.dtype)
    for lane in range(32):
        for i in range(held.shape[1]):
            matrix[place(lane, i)] = held[lane, i]
    return matrix


def draw(seed, *shapes):
    generator = np.random.default_rng(seed)
    return [generator.standard_normal(shape).astype(np.float32) for shape in shapes]


def product(instruction, a, b, c):
    arrays = [Array.holding(np.ascontiguousarray(v), n) for v, n in ((a, "a"), (b, "b"), (c, "c"))]
    return launch(KERNEL.replace("PRODUCT", instruction), *arrays, Array((32, 4), np.float32, "d", "out"))


@pytest.mark.parametrize(
    ("kind", "instruction"),
    [("__half", "mma_m16n8k16_half"), ("__nv_bfloat16", "mma_m16n8k16_bfloat16")],
)
def test_products_of_16_bit_values(kind, instruction):
    A, B, C = draw(1, (16, 16), (16, 8), (16, 8))
    a = spread(encode(A, kind), a_place, 8).view(np.uint32)
    b = spread(encode(B, kind), b_place, 4).view(np.uint32)
    d = gather(product(instruction, a, b, spread(C, c_place, 4)), c_place, (16, 8))
    expected = decode(encode(A, kind), kind).astype(float) @ decode(encode(B, kind), kind).astype(float) + C
    assert np.abs(d - expected).max() < 1e-5


def test_product_of_tf32():
    """Only 10 bits of fraction count, whatever the registers hold beyond them."""
    A, B, C = draw(2, (16, 8), (8, 8), (16, 8))
    a, b = spread(A, a_place_tf32, 4).view(np.uint32), spread(B, b_place_tf32, 2).view(np.uint32)
    d = gather(product("mma_m16n8k8_tf32", a, b, spread(C, c_place, 4)), c_place, (16, 8))

    def cut(x):
        return (x.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32).astype(float)

    assert np.abs(d - (cut(A) @ cut(B) + C)).max() < 1e-5
    assert np.abs(d - (A.astype(float) @ B + C)).max() > 1e-5


def test_every_element_has_one_place():
    for place, count, shape in ((a_place, 8, (16, 16)), (b_place, 4, (16, 8)), (c_place, 4, (16, 8)),
                                (a_place_tf32, 4, (16, 8)), (b_place_tf32, 2, (8, 8))):  # fmt: skip
        places = {place(lane, i) for lane in range(32) for i in range(count)}
        assert places == {(row, column) for row in range(shape[0]) for column in range(shape[1])}


@pytest.mark.parametrize("transposed", [False, True])
def test_load_matrix(transposed):
    name = "load_matrix_x4_transposed" if transposed else "load_matrix_x4"
    text = f"""
    __global__ void kernel(const uint4* x, unsigned* y) {{
      __shared__ uint4 rows[32];
      rows[threadIdx.x] = x[threadIdx.x];
      __syncwarp();
      unsigned result[4];
      {name}(result, rows + threadIdx.x);
      for (int i = 0; i < 4; i++) y[threadIdx.x * 4 + i] = result[i];
    }}"""
    matrices = np.arange(256, dtype=np.uint16).reshape(4, 8, 8)
    x = Array.holding(matrices.view(np.uint32).reshape(32, 4), "x")
    y = launch(text, x, Array((32, 4), np.uint32, "y", "out"), seed=3).view(np.uint16).reshape(32, 4, 2)
    for lane in range(32):
        for matrix in range(4):
            for half in range(2):
                row, column = lane // 4, lane % 4 * 2 + half
                place = (matrix, column, row) if transposed else (matrix, row, column)
                assert y[lane, matrix, half] == matrices[place]


def test_conversions_round_as_numpy():
    """Every class of float32 to half and bfloat16 and back, and to tf32."""
    text = """
    __global__ void kernel(const float* x, unsigned short* y, unsigned short* z, unsigned* t) {
      const int i = blockIdx.x * blockDim.x + threadIdx.x;
      y[i] = __float2half_rn(x[i]).bits;
      z[i] = __float2bfloat16_rn(x[i]).bits;
      t[i] = to_tf32(x[i]);
    }"""
    bits = np.random.default_rng(3).integers(0, 2**32, 1016, dtype=np.uint32)
    special = np.float32([0, -0.0, np.inf, 65519.99, 65520, 6e-8, 2.9e-8, 1e-40]).view(np.uint32)
    x = np.concatenate([bits, special]).view(np.float32)
    x[np.isnan(x)] = 1
    outs = [Array(x.shape, t, n, "out") for t, n in ((np.uint16, "y"), (np.uint16, "z"), (np.uint32, "t"))]
    arrays = [Array.holding(x, "x"), *outs]
    Module(instructions()["instructions.cuh"].replace("#pragma once", "") + text, ["kernel"]).launch(
        "kernel", (1, 1, 1), 1024, arrays
    )
    half, bfloat16, tf32 = (array.values.copy() for array in outs)
    for array in arrays:
        array.free()
    with np.errstate(over="ignore"):
        assert np.array_equal(half, x.astype(np.float16).view(np.uint16))
    assert np.array_equal(bfloat16, encode(x, "__nv_bfloat16"))
    away = x.view(np.uint32).astype(np.uint64) + 0x1000 & 0xFFFFE000
    expected = np.where(np.isinf(x), x.view(np.uint32), away.astype(np.uint32))
    assert np.array_equal(tf32, expected)
