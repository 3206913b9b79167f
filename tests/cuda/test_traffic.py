"""What can be said of speed without a GPU: bytes that kernels move, how whole their sectors are, banks in conflict.

A warp's access to global memory moves whole sectors of 32 bytes; what it does not use of them is waste. Shared memory
has 32 banks; what two lanes want of one bank at once takes two rounds. The emulator counts both.
"""

import numpy as np
import pytest

from minires.kernels.cuda import convs, losses, norms, pictures, pools
from minires.kernels.cuda.convs import Layer
from tests.cuda import harness
from tests.cuda.harness import counted, needs_emulator
from tests.cuda.helpers import Draw

pytestmark = needs_emulator
KINDS = ("float", "__nv_bfloat16")


@pytest.fixture(autouse=True)
def few_processors(monkeypatch):
    monkeypatch.setattr(norms, "PROCESSORS", 1)


class Meter:
    """A `run` that keeps the traffic of every launch by the kernel's name."""

    def __init__(self):
        self.traffic = {}

    def __call__(self, name, instance, given, outputs):
        with counted() as self.traffic[name]:
            return harness.run(name, instance, given, outputs)

    def check(self, name, read, written, waste=1.1):
        """The kernel reads and writes these bytes, in not many more sectors: parameters, and what it wastes."""
        found = self.traffic[name]
        assert found.bytes_read >= read, (name, found.bytes_read, read)
        assert found.sectors_read * 32 <= waste * read, (name, found.sectors_read * 32, read)
        assert found.bytes_written == written, (name, found.bytes_written, written)
        assert found.sectors_written * 32 <= waste * found.bytes_written, name


ROWS, CHANNELS = 4096, 64


@pytest.mark.parametrize("kind", KINDS)
def test_batch_norm_moves_what_it_says(kind):
    """Forward x twice, the residual and y once; backward gradient, x and y twice, dx and the masked gradient once."""
    (x, _), (other, _), meter = Draw(1, kind)(ROWS, CHANNELS), Draw(2, kind)(ROWS, CHANNELS), Meter()
    values, size = Draw(3).numbers(CHANNELS), x.nbytes
    norms.batch_norm_training_forward(meter, x, values, values, 1e-5, other, True)
    meter.check("batch_norm_apply", 2 * size, size, waste=1.2)
    sums = meter.traffic["batch_norm_sums"]
    assert sums.bytes_read >= size and sums.sectors_read * 32 <= 1.1 * size
    assert sums.bytes_written <= 0.02 * size
    norms.batch_norm_backward(meter, other, x, values, values, values, x, False)
    meter.check("batch_norm_backward_apply", 3 * size, 2 * size, waste=1.2)
    sums = meter.traffic["batch_norm_backward_sums"]
    assert sums.bytes_read >= 3 * size and sums.sectors_read * 32 <= 1.1 * 3 * size


@pytest.mark.parametrize("kind", KINDS)
def test_cross_entropy_reads_a_row_three_times(kind):
    """Once for the largest and the sum, once for the loss, once for the gradient: from memory once, then the cache."""
    (x, _), meter = Draw(1, kind)(8, 1024), Meter()
    losses.cross_entropy(meter, x, np.arange(8), None, -100, 0.1, np.zeros(1, np.int32), wants=("dx",))
    meter.check("cross_entropy", 3 * x.nbytes, x.nbytes + 8 * 4, waste=1.2)


@pytest.mark.parametrize("kind", KINDS)
def test_pools(kind):
    (x, _), meter = Draw(1, kind)(2, 16, 16, 64), Meter()
    pools.max_pool2d_forward(meter, x, (2, 2), (2, 2), (0, 0), (1, 1), False)
    meter.check("max_pool_forward", x.nbytes, x.nbytes // 4 + x.size // 4)
    pools.adaptive_avg_pool2d_forward(meter, x, (1, 1))
    meter.check("adaptive_avg_pool_forward", x.nbytes, x.nbytes // 256)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout(kind):
    (x, _), meter = Draw(1, kind)(1 << 16), Meter()
    pictures.dropout(meter, x, np.arange(5, dtype=np.uint64), 0.5)
    assert meter.traffic["dropout"].bytes_written == x.nbytes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "tile", ["64, 64", *(pytest.param(tile, marks=pytest.mark.slow) for tile in ("128, 128", "128, 64"))]
)
def test_tensor_cores_meet_no_bank_conflicts(kind, tile, monkeypatch):
    """Nor do they read more than each operand once for each tile of the other, or half a sector."""
    monkeypatch.setattr(convs, "matrix_tile", lambda rows, columns: tile)
    (high, wide), meter = map(int, tile.split(",")), Meter()
    layer = Layer((1, 16, 16, 128), (128, 1, 1, 128))
    (x, _), (weight, _), (grad, _) = (
        Draw(1, kind)(*shape) for shape in (layer.x_shape, layer.weight_shape, layer.y_shape)
    )
    convs.forward(meter, x, weight, layer, {}, False)
    convs.input_gradient(meter, grad, weight, layer, False)
    convs.weight_gradient(meter, grad, x, layer, False)
    operands = x.nbytes * (128 // wide) + weight.nbytes * (256 // high)
    meter.check("conv_mma_forward", operands, grad.nbytes)
    meter.check("conv_mma_input_gradient", operands, x.nbytes)
    for name in ("conv_mma_forward", "conv_mma_input_gradient", "conv_mma_weight_gradient"):
        found = meter.traffic[name]
        assert found.rounds <= 1.05 * found.rounds_at_least, (name, found.rounds, found.rounds_at_least)
    statistics = Meter()  # of the epilogue, in the same shared memory
    convs.forward(statistics, x, weight, layer, {}, False, wants_sums=True)
    more, plain = statistics.traffic["conv_mma_forward"], meter.traffic["conv_mma_forward"]
    assert more.rounds - plain.rounds <= 1.05 * (more.rounds_at_least - plain.rounds_at_least) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_exact_convolution_meets_few_bank_conflicts(kind):
    (x, _), (weight, _), meter = Draw(1, kind)(1, 16, 16, 64), Draw(2, kind)(64, 3, 3, 64), Meter()
    convs.forward(meter, x, weight, Layer(x.shape, weight.shape, padding=(1, 1)), {}, True)
    plain = meter.traffic["conv_direct_forward"]
    assert plain.rounds <= 1.15 * plain.rounds_at_least
    convs.forward(meter, x, weight, Layer(x.shape, weight.shape, padding=(1, 1)), {}, True, wants_sums=True)
    more = meter.traffic["conv_direct_forward"]
    assert more.rounds - plain.rounds <= 1.05 * (more.rounds_at_least - plain.rounds_at_least) > 0


def test_the_counters_count():
    """A column of a matrix: every lane in a sector of its own, and all lanes in one bank; a row: whole sectors."""
    text = """
    __global__ void kernel(const float* x, float* y, int stride) {
      __shared__ float tile[32 * 32];
      tile[threadIdx.x * stride] = x[threadIdx.x * stride];
      y[threadIdx.x] = tile[threadIdx.x * stride];
    }"""
    module = harness.Module(text, ["kernel"])
    for stride, sectors, rounds in ((32, 32, 64), (1, 4, 2), (2, 8, 4)):
        arrays = [harness.Array.holding(np.zeros(1024, np.float32), "x"), harness.Array(32, np.float32, "y", "out")]
        with counted() as traffic:
            module.launch("kernel", (1, 1, 1), 32, [*arrays, harness.NUMBERS["int"](stride)])
        for array in arrays:
            array.free()
        assert (traffic.bytes_read, traffic.sectors_read) == (128, sectors)
        assert (traffic.bytes_written, traffic.sectors_written) == (128, 4)
        assert (traffic.rounds, traffic.rounds_at_least) == (rounds, 2)
