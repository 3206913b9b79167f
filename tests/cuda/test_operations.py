"""Every operation on arrays of a GPU against the same on NumPy's: with the stand-in for CuPy, or on a GPU.

`pytest -m gpu` runs the same comparisons with CuPy itself.
"""

import numpy as np
import pytest

from minires.backend import device_of, move
from minires.ops.table import PLAIN, TABLE
from minires.random import philox
from minires.tensor import Tensor
from tests.cuda.harness import needs_emulator
from tests.ops.helpers import cotangents, floats

pytestmark = needs_emulator
ENTRIES = {entry.label: entry for entry in (*TABLE, *PLAIN) if entry.name != "new_empty"}


def evaluate(entry, seed, device, dtype=np.float32):
    """(results, gradients) as NumPy arrays of one draw, computed on `device`."""
    tensors = []

    def make(array, has_gradient):
        array = array.astype(dtype) if array.dtype.kind == "f" else array
        tensors.append(Tensor(move(array, device), requires_grad=has_gradient))
        return tensors[-1]

    positional, named = entry.fill(entry.draw(philox(seed, entry.label)), make)
    outcome = entry.call(positional, named)
    results = floats(outcome)
    for y, c in zip(results, cotangents([y.shape for y in results], dtype, seed), strict=True):
        if y.requires_grad:
            y.backward(Tensor(move(c, device)), retain_graph=True)
    outcome = outcome if isinstance(outcome, tuple | list) else (outcome,)
    gradients = [x.grad for x in tensors if x.requires_grad]
    assert all(device_of(y.array) == device for y in outcome if isinstance(y, Tensor)), "a result has left the device"
    assert all(g is None or device_of(g.array) == device for g in gradients), "a gradient has left the device"
    return [None if y is None else move(y.array, "cpu") if isinstance(y, Tensor) else y for y in (*outcome, *gradients)]


def compare(label, seed, device):
    for ours, expected in zip(evaluate(ENTRIES[label], seed, device), evaluate(ENTRIES[label], seed, "cpu"),
                              strict=True):  # fmt: skip
        assert (ours is None) == (expected is None)
        if isinstance(expected, np.ndarray):
            assert ours.shape == expected.shape and ours.dtype == expected.dtype
            scale = np.abs(expected).max(initial=1.0)
            assert np.allclose(ours, expected, rtol=0, atol=2e-5 * scale, equal_nan=True)


@pytest.mark.parametrize("label", list(ENTRIES))
def test_operation_on_the_stand_in(label, stand_in):
    for seed in range(2):
        compare(label, seed, "cuda:0")


@pytest.mark.gpu
@pytest.mark.parametrize("label", list(ENTRIES))
def test_operation_on_the_gpu(label):
    cupy = pytest.importorskip("cupy")
    if not cupy.cuda.is_available():
        pytest.skip("CuPy finds no GPU")
    for seed in range(8):
        compare(label, seed, "cuda:0")
