"""Every operation of the table that torch has too: the same results and gradients, in float32 and float64."""

import functools

import numpy as np
import pytest
from hypothesis import given

from minires.ops.table import PLAIN
from minires.random import philox
from tests.ops.helpers import ENTRIES, cotangents, evaluate, few, floats, seeds

torch = pytest.importorskip("torch")
from tests.torch_tools import assert_close  # noqa: E402

ROUGH_IN_TORCH = {"celu": 1e-7, "hardsigmoid": 1e-7}  # there 1 / alpha and 1 / 6 are float32 in float64, too
IN_TORCH = [label for label, entry in ENTRIES.items() if entry.torch]


def evaluate_torch(entry, seed, dtype, computed_in=None, gradients=True):
    """As `evaluate`, with torch's function; `computed_in` a wider type, from the same rounded numbers, if given."""
    tensors, wide = [], computed_in or dtype

    def make(array, has_gradient):
        array = array.astype(dtype).astype(wide) if array.dtype.kind == "f" else array
        tensors.append(torch.from_numpy(np.array(array)).requires_grad_(has_gradient and gradients))
        return tensors[-1]

    positional, named = entry.fill(entry.draw(philox(seed, entry.label)), make)
    function = functools.reduce(getattr, entry.torch.split("."), torch)
    outcome = function.__get__(*positional) if entry.torch == "Tensor.mT" else function(*positional, **named)
    results = floats(outcome)
    for y, c in zip(results, cotangents([y.shape for y in results], dtype, seed), strict=True):
        if y.requires_grad:
            y.backward(torch.from_numpy(c.astype(wide)), retain_graph=True)
    results = outcome if isinstance(outcome, tuple | list) else (outcome,)
    return results, [x.grad for x in tensors if x.requires_grad]


@pytest.mark.parametrize("label", IN_TORCH)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(seed=seeds)
@few
def test_as_torch(label, dtype, seed):
    ours, theirs = evaluate(ENTRIES[label], seed, dtype), evaluate_torch(ENTRIES[label], seed, dtype)
    exact = evaluate_torch(ENTRIES[label], seed, dtype, computed_in=np.float64)
    for kind, found, expected, true in zip(("result", "gradient"), ours, theirs, exact, strict=True):
        for number, (a, b, c) in enumerate(zip(found, expected, true, strict=True)):
            assert (a is None) == (b is None), f"{kind} {number}"
            if a is not None:
                assert_close(a, b, f"{kind} {number}", allowed(b, c, ROUGH_IN_TORCH.get(ENTRIES[label].name, 1e-10)))


@pytest.mark.parametrize("entry", [entry for entry in PLAIN if entry.torch], ids=lambda entry: entry.label)
@given(seed=seeds)
@few
def test_results_without_gradient_as_torch(entry, seed):
    ours, theirs = evaluate(entry, seed)[0], evaluate_torch(entry, seed, np.float64, gradients=False)[0]
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        if isinstance(b, bool):
            assert a is b
        else:
            assert_close(a, b)


def allowed(theirs, exact, in_float64=1e-10):
    """1e-5 in float32, 1e-10 in float64 (or `in_float64`), relative to the largest value. Also a few roundings of 1,
    and in float32 what torch itself is off: the gradient of a norm over two values is nearly 0, a small difference of
    large numbers.
    """
    if not theirs.numel():
        return in_float64
    largest, is_single = max(float(theirs.detach().abs().max()), 1e-30), theirs.dtype == torch.float32
    off = 4 * torch.finfo(theirs.dtype).eps if theirs.is_floating_point() else 0.0
    if is_single:
        off += float((theirs - exact).detach().abs().max())
    return (1e-5 if is_single else in_float64) + off / largest
