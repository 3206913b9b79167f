"""Bugs planted in the shipped kernels, one at a time: the checks of this folder must find each of them.

A bug is one replacement in a kernel's text. "value": the kernel ends without complaint, and its result is wrong.
"""

import functools

import numpy as np
import pytest

from minires.kernels.cuda import convs, losses, norms, optims, pools, source, table
from minires.kernels.cuda.convs import Layer
from minires.kernels.reference.conv import conv2d_forward, conv2d_weight_gradient
from tests.cuda import harness
from tests.cuda.harness import EmulatorError, Module, instructions, needs_emulator
from tests.cuda.helpers import Draw, channels_first, channels_last
from tests.cuda.numbers import decode
from tests.kernels.helpers import error_of

pytestmark = needs_emulator


@functools.cache
def planted_module(file, old, new, name, instance):
    """The kernel's module with the replacement made in its file, or in a header that it includes."""
    text = source.expanded(table.KERNELS[name].file, instructions())
    assert source.read(file).count(old) == 1 and text.count(old) == 1, f"{old!r} is not just once in {file}"
    return Module(text.replace(old, new), [table.KERNELS[name].expression(instance)])


def runner(file, old, new, kernel, seed):
    """`run` with the planted kernel in place of `kernel`, and all others as they are."""

    def run(name, instance, given, outputs):
        module = planted_module(file, old, new, name, instance) if name == kernel else None
        return harness.run(name, instance, given, outputs, seed, module)

    return run


def batch_norm(run):
    _, x = Draw(1)(100, 24)
    residual, weight = Draw(2).numbers(100, 24), Draw(3).numbers(24)
    results = norms.batch_norm_training_forward(run, x, weight, None, 1e-5, residual, True)
    expected = np.maximum((x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) * weight + residual, 0)
    return max(error_of(results[0], expected), error_of(results[2], x.var(0)))


def cross_entropy(run):
    _, x = Draw(1)(6, 200)
    target = np.arange(6)
    made = losses.cross_entropy(run, x, target, None, -100, 0.0, np.zeros(1, np.int32), wants=("dx",))
    p = np.exp(x - x.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    loss = -np.log(p[np.arange(6), target])
    p[np.arange(6), target] -= 1
    return max(error_of(made["loss"], loss), error_of(made["dx"], p))


def gradient_norm(run):
    values = np.ones(5000, np.float32)
    array = harness.Array.holding(values, "grad")
    try:
        chunks = optims.chunks_of([[array.address]], [5000])
        made = optims.clip_factor(run, "float", chunks.arguments(), np.zeros(1, np.int32), 1.0, 0.0)
        return error_of(made["result"][:1], np.float32([np.sqrt(5000)]))
    finally:
        array.free()


def max_pool(run):
    _, x = Draw(1)(1, 7, 7, 4)
    y, winner = pools.max_pool2d_forward(run, x, (3, 3), (2, 2), (1, 1), (1, 1), False)
    dx = pools.max_pool2d_backward(run, np.ones_like(y), winner, (7, 7), (3, 3), (2, 2), (1, 1), (1, 1))
    return abs(float(dx.sum()) - y.size)


def convolution(exact, kind="float", window=3):
    def measure(run):
        layer = Layer((1, 9, 7, 40), (40, window, window, 40), padding=(window // 2, window // 2))
        x, wide = Draw(1, kind)(*layer.x_shape)
        weight, wide_w = Draw(2, kind)(*layer.weight_shape)
        y, _, _ = convs.forward(run, x, weight, layer, {}, exact)
        first = channels_first(wide), channels_first(wide_w)
        expected = conv2d_forward(*first, None, (1, 1), layer.padding, (1, 1), 1)
        return error_of(decode(y, kind), channels_last(expected))

    return measure


def epilogue_statistics(run):
    """Rows and columns that no tile fills, and a bias."""
    layer, kind = Layer((1, 9, 9, 40), (40, 1, 1, 40)), "__nv_bfloat16"
    (x, wide), (weight, wide_w) = Draw(1, kind)(*layer.x_shape), Draw(2, kind)(*layer.weight_shape)
    bias = Draw(3).numbers(40)
    _, sums, rows = convs.forward(run, x, weight, layer, {"bias": bias}, False, wants_sums=True)
    mean, variance, _ = norms.merged_statistics(run, sums, layer.pixels, rows, 0.0)
    z = wide.reshape(-1, 40) @ wide_w.reshape(40, 40).T + bias
    return max(error_of(mean, z.mean(0)), error_of(variance, z.var(0)))


def warpgroups(run):
    """Several rounds of the buffers: 9 taps of two chunks."""
    layer = Layer((1, 9, 7, 72), (40, 3, 3, 72), padding=(1, 1))
    x, wide = Draw(1, "__nv_bfloat16")(*layer.x_shape)
    weight, wide_w = Draw(2, "__nv_bfloat16")(*layer.weight_shape)
    y, _, _ = convs.forward(run, x, weight, layer, {}, False, way="wgmma 64")
    expected = conv2d_forward(channels_first(wide), channels_first(wide_w), None, (1, 1), (1, 1), (1, 1), 1)
    return error_of(decode(y, "__nv_bfloat16"), channels_last(expected))


def warpgroup_weights(run):
    """Several rounds of the buffers, 72 channels in a tile of 128."""
    layer = Layer((2, 13, 14, 72), (40, 3, 3, 72), padding=(1, 1))
    x, wide = Draw(1, "__half")(*layer.x_shape)
    grad, wide_grad = Draw(2, "__half")(*layer.y_shape)
    dweight = convs.weight_gradient(run, grad, x, layer, False, way="wgmma 128")
    first = channels_first(wide_grad), channels_first(wide)
    expected = conv2d_weight_gradient(*first, (40, 72, 3, 3), (1, 1), (1, 1), (1, 1), 1)
    return error_of(decode(dweight, "__half"), channels_last(expected))


def weight_gradient(run):
    layer = Layer((1, 9, 7, 40), (40, 1, 1, 40))
    x, wide = Draw(1, "__half")(*layer.x_shape)
    grad, wide_grad = Draw(2, "__half")(*layer.y_shape)
    dweight = convs.weight_gradient(run, grad, x, layer, False)
    return error_of(decode(dweight, "__half"), np.einsum("nhwo,nhwc->oc", wide_grad, wide).reshape(40, 1, 1, 40))


BN, CE, POOL, MMA = "batch_norm.cu", "cross_entropy.cu", "pool.cu", "conv_mma.cu"
HOPPER = "conv_wgmma.cu"
tensor_cores = convolution(False, "__nv_bfloat16")
pointwise = convolution(False, "__nv_bfloat16", window=1)
exact = convolution(True)

LAST_LINES = "    const float value = normaliser.log_probability(to_float(x[base + k]));\n    dx"

# what is planted; the kernel that gets it; file, old text, new text; what must be found
PLANTED = [
    ("a statistic without the rows of other lanes", epilogue_statistics, "conv_mma_forward", "conv_geometry.cuh",
     "lanes < 32; lanes *= 2) mean", "lanes < 16; lanes *= 2) mean", "value"),
    ("a tile's statistics of rows past its end", epilogue_statistics, "conv_mma_forward", "conv_geometry.cuh",
     "r < inside_rows; r += SHARES) mean", "r < 64; r += SHARES) mean", "value"),
    ("a statistic written by every lane", epilogue_statistics, "conv_mma_forward", "conv_geometry.cuh",
     "if (inside && share == 0)", "if (inside)", "race"),
    ("statistics of columns past the end", epilogue_statistics, "conv_mma_forward", "conv_geometry.cuh",
     "if (inside && share == 0)", "if (share == 0)", "bounds race"),
    ("a tile's rows counted as a whole tile", epilogue_statistics, "conv_mma_forward", "conv_geometry.cuh",
     "mean /= inside_rows", "mean /= 64", "value"),
    ("a barrier missing in a sum over rows", batch_norm, "batch_norm_sums", "common.cuh",
     "    __syncthreads();\n    if (row < half)", "    if (row < half)", "race unset"),
    ("a barrier missing in a sum over a block", cross_entropy, "cross_entropy", "common.cuh",
     "space[warp] = x;\n  __syncthreads();", "space[warp] = x;", "race unset"),
    ("one row too many", batch_norm, "batch_norm_apply", "common.cuh",
     "end = min(rows, begin + rows_per_split);", "end = min(rows, begin + rows_per_split) + 1;", "bounds race"),
    ("the last row is not written", batch_norm, "batch_norm_apply", BN,
     "    store<T, V>(y + i, value);", "    if (row < rows - 1) store<T, V>(y + i, value);", "unwritten"),
    ("the inverse deviation is not written", batch_norm, "batch_norm_statistics", BN,
     "  inverse_std[channel] = 1.f / sqrtf(total[0] / rows + eps);", "", "unwritten"),
    ("a statistic written by all shares", batch_norm, "batch_norm_statistics", BN,
     "  if (share || !inside) return;", "  if (!inside) return;", "race"),
    ("channels past the end", batch_norm, "batch_norm_sums", "common.cuh",
     "    inside = channel < channels;\n  }", "    inside = channel <= channels;\n  }", "bounds race"),
    ("the last split counted as a whole one", batch_norm, "batch_norm_statistics", BN,
     "total[0] += means[channels] + min(rows_per_split, rows - s * rows_per_split)",
     "total[0] += means[channels] + rows_per_split", "value"),
    ("half a warp in a shuffle", cross_entropy, "cross_entropy", "common.cuh",
     "constexpr unsigned WHOLE_WARP = 0xffffffffu;", "constexpr unsigned WHOLE_WARP = 0xffffu;", "mask"),
    ("a shuffle distance forgotten", cross_entropy, "cross_entropy", "common.cuh",
     "for (int distance = 16; distance; distance /= 2) x", "for (int distance = 16; distance > 1; distance /= 2) x",
     "value"),
    ("a column past the row", cross_entropy, "cross_entropy", CE,
     "  for (int k = threadIdx.x; k < columns; k += ROW_THREADS) {\n" + LAST_LINES,
     "  for (int k = threadIdx.x; k <= columns; k += ROW_THREADS) {\n" + LAST_LINES, "bounds race"),
    ("an early return before a barrier", cross_entropy, "cross_entropy", CE,
     "  if (!dx) return;", "  if (!dx || threadIdx.x == 99) return;", "barrier mask"),
    ("a chunk longer than its tensor", gradient_norm, "gradient_squares", "optim.cu",
     "return left < CHUNK ? (int)left : CHUNK;", "return CHUNK;", "bounds"),
    ("a window past the image", max_pool, "max_pool_forward", POOL,
     "if (c < 0 || c >= w.width) continue;\n      load", "if (c < 0 || c > w.width) continue;\n      load",
     "bounds value"),
    ("the last window forgotten", max_pool, "max_pool_backward", POOL,
     "last = min(count - 1, (at + pad) / stride);", "last = min(count - 2, (at + pad) / stride);", "value"),
    ("exact: a barrier missing in the main loop", exact, "conv_direct_forward", "conv_direct.cu",
     "(step + 1) % 2);\n    __syncthreads();", "(step + 1) % 2);", "race unset"),
    ("exact: one buffer for two", exact, "conv_direct_forward", "conv_direct.cu",
     "if (step + 1 < steps) put(a, b, (step + 1) % 2);", "if (step + 1 < steps) put(a, b, step % 2);", "race"),
    ("exact: a row past the image", exact, "conv_direct_forward", "conv_geometry.cuh",
     "if (i < 0 || j < 0 || i >= g.height || j >= g.width) return -1;",
     "if (i < 0 || j < 0 || i > g.height || j >= g.width) return -1;", "bounds"),
    ("exact: columns past the outputs", exact, "conv_direct_forward", "conv_geometry.cuh",
     "if (r >= inside_rows || c >= inside_columns) continue;", "if (r >= inside_rows) continue;", "bounds race"),
    ("tensor cores: no wait for the copies", tensor_cores, "conv_mma_forward", MMA,
     "      copy_async_wait<STAGES - 2>();", "      ", "async"),
    ("tensor cores: waits for one group too few", tensor_cores, "conv_mma_forward", MMA,
     "copy_async_wait<STAGES - 2>()", "copy_async_wait<STAGES - 1>()", "async"),
    ("tensor cores: no barrier after the wait", tensor_cores, "conv_mma_forward", MMA,
     "      __syncthreads();                // ...", "      // ...", "async race unset"),
    ("tensor cores: fills the buffer that is read", tensor_cores, "conv_mma_forward", MMA,
     "a_tile(next % STAGES), b_tile(next % STAGES)", "a_tile(step % STAGES), b_tile(step % STAGES)", "async race"),
    ("tensor cores: no zeros beyond the channels", tensor_cores, "conv_mma_forward", MMA,
     "const bool valid = from_weight[i] >= 0 && begin + B::deep(piece) < depth;",
     "const bool valid = from_weight[i] >= 0;", "bounds value"),
    ("tensor cores: padding not zero", tensor_cores, "conv_mma_forward", MMA,
     "const bool valid = source[i] >= 0 && k < depth;\n", "const bool valid = k < depth;\n", "alignment"),
    ("tensor cores: rows at odd addresses", tensor_cores, "conv_mma_forward", MMA,
     "PITCH = DEEP_FIRST ? LINES + 8 : DEEP;", "PITCH = DEEP_FIRST ? LINES + 8 : DEEP + PACK / 2;", "alignment"),
    ("tensor cores: fragments of b exchanged", tensor_cores, "conv_mma_forward", MMA,
     "b[0][0] = all[0], b[0][1] = all[1], b[1][0] = all[2]", "b[0][0] = all[1], b[0][1] = all[0], b[1][0] = all[2]",
     "value"),
    ("tensor cores: results written too early", pointwise, "conv_mma_forward", MMA,
     "    copy_async_wait<0>();\n    __syncthreads();\n", "    copy_async_wait<0>();\n", "race"),
    ("tensor cores: pixels beyond the split", weight_gradient, "conv_mma_weight_gradient", MMA,
     "const bool valid = m < end && output < g.breadth();", "const bool valid = output < g.breadth();", "bounds value"),
    ("tensor cores: a transposed fragment read as it lies", weight_gradient, "conv_mma_weight_gradient", MMA,
     "load_matrix_x4_transposed(a, ", "load_matrix_x4(a, ", "value"),
    ("warpgroups: no wait for a full buffer", warpgroups, "conv_wgmma_forward", HOPPER,
     "    mbarrier_wait(buffers.full(step), buffers.parity(step));\n", "", "async race unset proxy"),
    ("warpgroups: waits for the other parity", warpgroups, "conv_wgmma_forward", HOPPER,
     "buffers.full(step), buffers.parity(step));", "buffers.full(step), 1 - buffers.parity(step));",
     "async race unset proxy deadlock"),
    ("warpgroups: no wait for an empty buffer", warpgroups, "conv_wgmma_forward", HOPPER,
     "    if (step >= STAGES) mbarrier_wait(empty(step), parity(step - STAGES));\n", "",
     "async race barrier unset"),
    ("warpgroups: a buffer handed back while it is read", warpgroups, "conv_wgmma_forward", HOPPER,
     "    wgmma_wait<1>(sum);  // the step before has been read\n", "", "async race"),
    ("warpgroups: a buffer handed back too early", warpgroups, "conv_wgmma_forward", HOPPER,
     "mbarrier_arrive(buffers.empty(step - 1));", "mbarrier_arrive(buffers.empty(step));", "async race deadlock"),
    ("warpgroups: no wait for the products", warpgroups, "conv_wgmma_forward", HOPPER,
     "  wgmma_wait<0>(sum);\n", "", "async"),
    ("warpgroups: products not committed", warpgroups, "conv_wgmma_forward", HOPPER,
     "    wgmma_commit();\n", "", "async"),
    ("warpgroups: no wgmma.fence", warpgroups, "conv_wgmma_forward", HOPPER, "    wgmma_fence();\n", "", "async"),
    ("warpgroups: another swizzle than the descriptor says", warpgroups, "conv_wgmma_forward", HOPPER,
     "(piece ^ row % 8) * 8", "(piece ^ row / 2 % 8) * 8", "value"),
    ("warpgroups: the descriptor of another swizzle", warpgroups, "conv_wgmma_forward", HOPPER,
     "| 1ull << 62;", "| 2ull << 62;", "value"),
    ("warpgroups: no proxy fence", warpgroups, "conv_wgmma_forward", HOPPER,
     "they may have them\n    proxy_fence();".replace("they", "the tensor cores"), "the tensor cores may have them",
     "proxy"),
    ("warpgroups: no wait for the pixels' copies", warpgroups, "conv_wgmma_forward", HOPPER,
     "    copy_async_wait<AHEAD>();  //", "    //", "async"),
    ("warpgroups: fewer bytes expected than sent", warpgroups, "conv_wgmma_forward", HOPPER,
     "mbarrier_arrive_expecting(buffers.full(step), TILE_BYTES);",
     "mbarrier_arrive_expecting(buffers.full(step), TILE_BYTES / 2);", "deadlock"),
    ("warpgroups: barriers not made known to the copy engine", warpgroups, "conv_wgmma_forward", HOPPER,
     "      mbarrier_fence();\n", "", "proxy"),
    ("warpgroups: results over operands that are read", warpgroups, "conv_wgmma_forward", HOPPER,
     "  __syncthreads();  // nobody still reads the operands", "  // nobody still reads the operands", "async race"),
    ("warpgroups: weights beyond the outputs", warpgroups, "pack_weights", HOPPER,
     "if (column < columns && k < depth) {", "if (k < depth) {", "bounds"),
    ("warpgroups: operands not transposed", warpgroup_weights, "conv_wgmma_weight_gradient", HOPPER,
     "if constexpr (TRANSPOSED) product##_transposed", "if constexpr (false) product##_transposed", "race value"),
    ("warpgroups: no way to the next 64 channels", warpgroup_weights, "conv_wgmma_weight_gradient", HOPPER,
     "leading = TRANSPOSED ? DEEP * 128 / 16 : 1;", "leading = 1;", "value"),
    ("warpgroups: the next steps within the row", warpgroup_weights, "conv_wgmma_weight_gradient", HOPPER,
     "TRANSPOSED ? 16 * 128 / 16 : 32 / 16;", "32 / 16;", "value"),
    ("warpgroups: the gradient past the outputs", warpgroup_weights, "conv_wgmma_weight_gradient", HOPPER,
     "const bool valid = m < end && output < g.breadth();", "const bool valid = m < end;", "bounds"),
    ("warpgroups: the image past the channels", warpgroup_weights, "conv_wgmma_weight_gradient", HOPPER,
     "const bool valid = source >= 0 && channel < g.depth();", "const bool valid = source >= 0;", "bounds"),
    ("warpgroups: padding not zero", warpgroup_weights, "conv_wgmma_weight_gradient", HOPPER,
     "const bool valid = source >= 0 && channel < g.depth();", "const bool valid = channel < g.depth();", "alignment"),
    ("warpgroups: pixels past the split", warpgroup_weights, "conv_wgmma_weight_gradient", HOPPER,
     "end = min(rows.count(), begin + pixels_per_split);", "end = begin + pixels_per_split;", "bounds"),
    ("warpgroups: the same pixels in each step", warpgroup_weights, "conv_wgmma_weight_gradient", HOPPER,
     "      pixels[i].advance(g, DEEP);\n", "", "value"),
    ("warpgroups: an arrival that never comes", warpgroup_weights, "conv_wgmma_weight_gradient", HOPPER,
     "  buffers.make_barriers(PRODUCERS);", "  buffers.make_barriers(PRODUCERS + 1);", "deadlock"),
    ("warpgroups: outputs beyond the last written", warpgroup_weights, "conv_wgmma_weight_gradient", HOPPER,
     "if (output >= g.breadth() || c >= depth) continue;", "if (c >= depth) continue;", "bounds race"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def few_processors(monkeypatch):
    monkeypatch.setattr(norms, "PROCESSORS", 1)


@pytest.mark.parametrize(
    ("measure", "kernel", "file", "old", "new", "kinds"),
    [row[1:] for row in PLANTED],
    ids=[row[0] for row in PLANTED],
)
@pytest.mark.parametrize("seed", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_is_found(measure, kernel, file, old, new, kinds, seed):
    try:
        found = "nothing" if measure(runner(file, old, new, kernel, seed)) < 0.02 else "value"
    except EmulatorError as error:
        found = error.kind
    assert found in kinds.split(), found


@pytest.mark.parametrize(
    "measure",
    [
        batch_norm,
        cross_entropy,
        gradient_norm,
        max_pool,
        exact,
        tensor_cores,
        weight_gradient,
        warpgroups,
        warpgroup_weights,
    ],
)
def test_without_a_bug_nothing_is_found(measure):
    def run(name, instance, given, outputs):
        return harness.run(name, instance, given, outputs, seed=1)

    assert measure(run) < 0.02
