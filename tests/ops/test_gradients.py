"""Every operation of the table: gradients, kernel sets, types, memory orders; and that nothing is missing from it."""

import inspect

import numpy as np
import pytest
from hypothesis import given, strategies

from minires import kernels, ops
from minires.autograd import Function
from minires.gradcheck import gradcheck
from minires.kernels import cpu
from minires.ops import creation
from minires.ops.table import PLAIN, TABLE, WITHOUT_GRADIENT
from minires.tensor import OPERATIONS, Tensor
from tests.ops.helpers import ENTRIES, LAYOUTS, evaluate, few, fewer, floats, functions_below, laid_out, seeds

every_entry = pytest.mark.parametrize("label", list(ENTRIES))


@every_entry
@given(seed=seeds, layout=strategies.sampled_from(LAYOUTS))
@few
def test_gradients_agree_with_finite_differences(label, seed, layout):
    function, inputs = ENTRIES[label].case(seed)
    assert gradcheck(function, [Tensor(laid_out(x.array, layout), requires_grad=True) for x in inputs], seed=seed)


@every_entry
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
@given(seed=seeds)
@fewer
def test_fast_kernels_agree_with_the_textbook(label, dtype, tolerance, seed):
    fast = evaluate(ENTRIES[label], seed, dtype)
    with kernels.use("reference"):
        textbook = evaluate(ENTRIES[label], seed, dtype)
    assert_same(fast, textbook, tolerance)


@every_entry
@given(seed=seeds)
@fewer
def test_float32_stays_float32(label, seed):
    for dtype in (np.float32, np.float64):
        results, gradients = evaluate(ENTRIES[label], seed, dtype)
        assert {y.dtype for y in floats(results)} == {np.dtype(dtype)}
        assert all(gradient is None or gradient.dtype == dtype for gradient in gradients)


@every_entry
@given(seed=seeds)
@fewer
def test_the_memory_order_of_the_inputs_does_not_matter(label, seed):
    expected = evaluate(ENTRIES[label], seed)
    for layout in LAYOUTS[1:]:
        assert_same(evaluate(ENTRIES[label], seed, layout=layout), expected, 1e-12)


def assert_same(found, expected, tolerance):
    for ours, theirs in zip((*found[0], *found[1]), (*expected[0], *expected[1]), strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
            scale = np.abs(theirs.array).max(initial=1.0)
            assert np.allclose(ours.array, theirs.array, rtol=0, atol=tolerance * scale, equal_nan=True)


# -------------------------------------------------------------------------------------------------- completeness


def test_every_operation_is_in_the_table():
    names = {entry.name for entry in TABLE}
    assert not names & set(WITHOUT_GRADIENT)
    assert set(OPERATIONS) == names | set(WITHOUT_GRADIENT), "give every operation an entry in minires/ops/table.py"
    assert len(ENTRIES) == len(TABLE), "labels must be unique"


def test_every_public_function_is_an_operation_or_makes_tensors():
    functions = {name: value for name, value in vars(ops).items() if not name.startswith("_")}
    public = {value.__name__ for value in functions.values() if inspect.isfunction(value)}
    made = {name for name, value in vars(creation).items() if inspect.isfunction(value)}
    made |= {"tril_indices", "triu_indices"}
    assert len(public) > 60
    assert public - made - set(OPERATIONS) == set()


def subclasses(kind):
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


def test_every_function_class_is_reached_from_the_table():
    defined = {kind for kind in subclasses(Function) if kind.__module__.startswith("minires.ops.")}
    reached = set()
    for entry in TABLE:
        for seed in range(8):
            function, inputs = entry.case(seed)
            for y in floats(function(*inputs)):
                reached |= functions_below(y)
    assert len(defined) > 30
    made_into_others = {base for kind in defined for base in kind.__bases__}
    elsewhere = {"Move"}  # between devices: tests/cuda/test_devices.py
    assert {kind.__name__ for kind in defined - reached - made_into_others} == elsewhere


@pytest.mark.parametrize("entry", PLAIN, ids=lambda entry: entry.label)
def test_what_has_no_gradient_requires_none(entry):
    for seed in range(4):
        results, _ = evaluate(entry, seed)
        assert all(isinstance(y, bool) or not y.requires_grad for y in results)


def test_every_fast_kernel_is_reached_from_the_table(monkeypatch):
    called = set()

    def watch(name, kernel):
        def run(*arguments, **settings):
            called.add(name)
            return kernel(*arguments, **settings)

        return run

    fast = {name for family in cpu.FAMILIES for name in family.__all__}
    table = {name: {kind: watch(name, kernel) for kind, kernel in versions.items()}
             for name, versions in kernels.TABLE.items()}  # fmt: skip
    monkeypatch.setattr(kernels, "TABLE", table)
    for entry in TABLE:
        for seed in range(6):
            evaluate(entry, seed)
    of_optimizers = {name for name in table if name in kernels.reference.optim.__all__}
    on_a_gpu = set(kernels.reference.moments.__all__)  # what tests/cuda/test_moments.py reaches
    assert (fast | set(table)) - of_optimizers - on_a_gpu - called == set()
