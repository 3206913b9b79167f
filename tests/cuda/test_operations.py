"""Every operation on arrays of a GPU against the same on NumPy's: with the stand-in for CuPy, or on a GPU.

Also in float64, in memory with gaps, on the second GPU while the first is the present one, and without elements.
`pytest -m gpu` runs the same comparisons with CuPy itself.
"""

import warnings
from typing import NamedTuple

import numpy as np
import pytest

from minires import kernels
from minires.backend import device_of, move
from minires.kernels.cuda.adapters import float64
from minires.ops.table import PLAIN, TABLE
from minires.random import philox
from minires.tensor import Tensor
from tests.cuda.harness import needs_emulator
from tests.ops.helpers import cotangents, floats

pytestmark = needs_emulator
ENTRIES = {entry.label: entry for entry in (*TABLE, *PLAIN) if entry.name != "new_empty"}


class Case(NamedTuple):
    """How an operation is tried."""

    seed: int
    device: str = "cuda:0"
    dtype: type = np.float32
    gaps: bool = False  # between the elements in memory
    empty: bool = False  # nothing along the first axis


CASES = {"plain": Case(0), "second": Case(1, "cuda:1", gaps=True), "float64": Case(2, dtype=np.float64),
         "empty": Case(3, empty=True)}  # fmt: skip


def spread(array, device):
    """The array on the device, in memory in which another number stands between any two."""
    if not array.ndim:
        return move(array, device)
    return move(np.stack([array, np.full_like(array, 7)], axis=-1), device)[..., 0]


def evaluate(entry, case, device):
    """(results, gradients) as NumPy arrays of one draw, computed on `device`."""
    tensors, place = [], spread if case.gaps and device != "cpu" else move

    def make(array, has_gradient):
        array = array.astype(case.dtype) if array.dtype.kind == "f" else array
        array = array[:0] if case.empty and array.ndim else array
        tensors.append(Tensor(place(array, device), requires_grad=has_gradient))
        return tensors[-1]

    positional, named = entry.fill(entry.draw(philox(case.seed, entry.label)), make)
    outcome = entry.call(positional, named)
    results = floats(outcome)
    for y, c in zip(results, cotangents([y.shape for y in results], case.dtype, case.seed), strict=True):
        if y.requires_grad:
            y.backward(Tensor(place(c.astype(y.dtype), device)), retain_graph=True)
    outcome = outcome if isinstance(outcome, tuple | list) else (outcome,)
    gradients = [x.grad for x in tensors if x.requires_grad]
    assert all(device_of(y.array) == device for y in outcome if isinstance(y, Tensor)), "a result has left the device"
    assert all(g is None or device_of(g.array) == device for g in gradients), "a gradient has left the device"
    return [None if y is None else move(y.array, "cpu") if isinstance(y, Tensor) else y for y in (*outcome, *gradients)]


def tried(entry, case, device):
    """As `evaluate`; None of an operation that refuses an array without elements."""
    try:
        with np.errstate(all="ignore"):
            return evaluate(entry, case, device)
    except (RuntimeError, ValueError, IndexError, TypeError):
        if not case.empty:
            raise
        return None


def compare(label, case):
    ours, theirs = (tried(ENTRIES[label], case, device) for device in (case.device, "cpu"))
    assert (ours is None) == (theirs is None), "one of the two has refused"
    for our, expected in zip(ours or [], theirs or [], strict=True):
        assert (our is None) == (expected is None)
        if isinstance(expected, np.ndarray):
            assert our.shape == expected.shape and our.dtype == expected.dtype
            scale = np.abs(np.nan_to_num(expected)).max(initial=1.0)
            near = 2e-5 if case.dtype == np.float32 else 1e-12
            assert np.allclose(our, expected, rtol=0, atol=near * scale, equal_nan=True)


@pytest.mark.usefixtures("two_devices")
@pytest.mark.parametrize("how", list(CASES))
@pytest.mark.parametrize("label", list(ENTRIES))
def test_operation_on_the_stand_in(label, how):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* in float64 is computed on the CPU", RuntimeWarning)
        compare(label, CASES[how])


@pytest.mark.gpu
@pytest.mark.parametrize("label", list(ENTRIES))
def test_operation_on_the_gpu(label):
    cupy = pytest.importorskip("cupy")
    if not cupy.cuda.is_available():
        pytest.skip("CuPy finds no GPU")
    for seed in range(4):
        for case in CASES.values():
            compare(label, case._replace(seed=seed, device="cuda:0"))


def test_what_kernels_do_with_float64():
    """Each is in one of two lists: computed by CuPy's expressions, or on the CPU with a warning."""
    by_expressions = {"adam_step", "add_to", "log_softmax", "log_softmax_backward", "matmul", "relu_backward",
                      "relu_forward", "sgd_step", "softmax", "softmax_backward", "sum_over"}  # fmt: skip
    on_a_gpu = {name for name, versions in kernels.TABLE.items() if "cuda" in versions}
    assert on_a_gpu == by_expressions | float64.ON_THE_CPU and not by_expressions & float64.ON_THE_CPU
