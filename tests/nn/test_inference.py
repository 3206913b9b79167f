"""Plans of compiled models: the same outputs as without, buffers used again, and when there is no plan."""

import copy
import itertools
import pickle
import threading

import numpy as np
import pytest

from minires import autograd, compile_inference, kernels, models, nn, no_grad, ops
from minires.kernels.cpu import parallel, small_products
from minires.nn import inference_plan
from minires.nn.inference_graph import Graph, NotPlannable, graph_of
from minires.nn.inference_plan import Layers, Plan, stretches
from minires.tensor import Tensor
from tests.nn.test_fuse import pictures, with_history


@pytest.fixture(params=[1, 2, 3], ids=["one thread", "two threads", "three threads"])
def threads(request, monkeypatch):
    monkeypatch.setattr(parallel, "blas_threads", lambda: request.param)
    return request.param


def small(name="cifar_resnet", **options):
    options = options or {"depth": 8}
    return with_history(models.create(name, num_classes=5, **options))


def check(model, compiled, x, tolerance=1e-5):
    """Outputs agree with those of the model; returns the compiled model's."""
    with no_grad():
        expected = model(x).array
    y = compiled(x).array
    assert y.shape == expected.shape and y.dtype == expected.dtype
    assert np.abs(y - expected).max() <= tolerance * np.abs(expected).max()
    return y


def is_planned(compiled):
    return [row["planned"] for row in compiled.plans()]


BLOCKS = {"layers": [1, 1, 1, 1]}
FAMILIES = [
    ("resnet", {"block": "BasicBlock", **BLOCKS}, 40),
    ("resnet", {"block": "Bottleneck", **BLOCKS}, 40),
    ("resnet", {"block": "Bottleneck", **BLOCKS, "replace_stride_with_dilation": [False, True, True]}, 40),
    ("resnet", {"block": "Bottleneck", **BLOCKS, "groups": 4, "width_per_group": 16}, 40),
    ("resnet", {"block": "Bottleneck", **BLOCKS, "norm": "group"}, 40),
    ("resnet_d", {"block": "Bottleneck", **BLOCKS}, 40),
    ("se_resnet", {"block": "SEBottleneck", **BLOCKS}, 40),
    ("resnetv2", {"block": "PreActBottleneck", **BLOCKS}, 40),
    ("cifar_resnet", {"depth": 8, "shortcut": "B"}, 20),
    ("cifar_resnet", {"depth": 8, "shortcut": None}, 20),
    ("preact_resnet", {"depth": 8}, 20),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "side"), FAMILIES)
def test_families_batches_and_sizes(name, options, side, threads):
    model = small(name, **options)
    compiled = compile_inference(model)
    for count in (1, 2, 5):
        check(model, compiled, pictures(count, side))
    check(model, compiled, pictures(2, side - 3))
    check(model, compiled, pictures(2, side, "float32"))
    assert is_planned(compiled) == [True, True]


def test_inception():
    model = with_history(models.inception_resnet_v2(num_classes=5))
    compiled = compile_inference(model)
    check(model, compiled, pictures(1, 80))
    assert is_planned(compiled) == [True]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_again_whatever_came_in_between(dtype, threads):
    compiled = compile_inference(small().to(dtype))
    batches = [pictures(4, 16, dtype), pictures(1, 16, dtype), pictures(3, 21, dtype), pictures(4, 9, dtype)]
    first = [compiled(x).array for x in batches]
    kept = [y.copy() for y in first]
    for _ in range(2):
        for x, before in zip(batches, kept, strict=True):
            assert np.array_equal(compiled(x).array, before)
    assert all(np.array_equal(y, before) for y, before in zip(first, kept, strict=True))  # nothing was overwritten


def test_the_input_is_left_alone_and_may_lie_in_memory_in_any_order():
    compiled = compile_inference(small())
    x = pictures(3, 16)
    before = x.array.copy()
    y = compiled(x).array
    assert np.array_equal(x.array, before)
    assert np.array_equal(compiled(Tensor(np.ascontiguousarray(before))).array, y)
    assert np.array_equal(compiled(Tensor(np.repeat(before, 2, 3)[:, :, :, ::2])).array, y)


def test_a_result_is_a_new_array():
    compiled = compile_inference(with_history(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())))
    first, second = compiled(pictures(2, 7)).array, compiled(pictures(2, 7)).array
    assert first.shape == (2, 4, 5, 5) and not np.shares_memory(first, second)
    first[...] = 7
    assert np.array_equal(compiled(pictures(2, 7)).array, second) and is_planned(compiled) == [True]


@pytest.mark.parametrize("count", [1, 7, 9])
def test_more_threads_than_pictures(count, monkeypatch):
    monkeypatch.setattr(parallel, "blas_threads", lambda: 12)
    model = small()
    check(model, compile_inference(model), pictures(count, 16))


def test_several_threads_may_call_one_model(threads):
    model = small()
    compiled, other = compile_inference(model), compile_inference(small(depth=14))
    batches = [pictures(count, 16) for count in (1, 4, 6)]
    expected = [(compiled(x).array, other(x).array) for x in batches]
    wrong = []

    def call():
        for _ in range(5):
            for x, (first, second) in zip(batches, expected, strict=True):
                if not (np.array_equal(compiled(x).array, first) and np.array_equal(other(x).array, second)):
                    wrong.append(x)

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_an_error_in_a_plan_reaches_the_caller_and_the_next_call_works(threads, monkeypatch):
    compiled = compile_inference(small())
    for count in (1, 4):
        x = pictures(count, 16)
        expected = compiled(x).array
        with monkeypatch.context() as patch:
            patch.setattr(Plan, "_store", lambda self, part: 1 / 0)
            compiled.runner.kept.clear()
            with pytest.raises(ZeroDivisionError):
                compiled(x)
        compiled.runner.kept.clear()
        assert np.array_equal(compiled(x).array, expected)


# ------------------------------------------------------------------------------------------- when the model changes


def test_changed_weights_make_a_new_plan():
    compiled = compile_inference(small())
    x = pictures(2, 16)
    before = compiled(x).array
    state = {name: tensor.array * 1.5 for name, tensor in compiled.state_dict().items()}
    compiled.load_state_dict(state)
    changed = compiled(x).array
    assert not np.allclose(changed, before)
    check(compiled.model, compiled, x)
    head = compiled.model.get_submodule("fc")
    head.bias = nn.Parameter(Tensor(head.bias.array + 1))
    assert np.allclose(compiled(x).array, changed + 1, atol=1e-4)
    compiled.to("float64")
    assert compiled(pictures(2, 16, "float64")).dtype == np.float64


def test_a_hook_that_comes_later_runs():
    compiled, seen = compile_inference(small()), []
    x = pictures(1, 16)
    planned = compiled(x).array
    handle = compiled.model.layer1.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    assert np.allclose(compiled(x).array, planned, atol=1e-5) and len(seen) == 1
    assert compiled.plans()[0]["reason"] == "a module has hooks"
    handle.remove()
    assert np.array_equal(compiled(x).array, planned) and len(seen) == 1 and is_planned(compiled) == [True]


def test_copies_start_afresh():
    compiled = compile_inference(small())
    x = pictures(2, 16)
    y = compiled(x).array
    for other in (copy.deepcopy(compiled), pickle.loads(pickle.dumps(compiled.runner))):
        assert (other.plans() if isinstance(other, nn.Module) else other.report()) == []
    assert np.array_equal(copy.deepcopy(compiled)(x).array, y)


# ------------------------------------------------------------------------------------------- when there is no plan


class Odd(nn.Module):
    """Models that cannot be planned, each for a reason of its own."""

    def __init__(self, what):
        super().__init__()
        self.what, self.conv = what, nn.Conv2d(3, 3, 1)

    def forward(self, x):
        y = self.conv(x)
        ways = {
            "branch": lambda: y * 2 if float(x.array.sum()) > 0 else y * 3,
            "literal": lambda: y * float(y.array.max()),
            "NumPy": lambda: y + Tensor(np.abs(y.array)),
            "across": lambda: y - y.mean((0,), keepdim=True),
            "batch": lambda: y.reshape((1, y.shape[0] * 3, *y.shape[2:])),
            "tuple": lambda: (y, y * 2),
            "input": lambda: x,
            "axes": lambda: y.reshape((y.shape[0], 3, -1)),
            "pictures": lambda: y[:1],
        }
        return ways[self.what]()


@pytest.mark.parametrize(("what", "reason"), [
    ("branch", "depends on the values"), ("literal", "depends on the values"), ("NumPy", "no operation computed"),
    ("across", "Mean may not treat"), ("batch", "Reshape may not treat"), ("tuple", "not one tensor"),
    ("input", "not one tensor"), ("axes", "Reshape gives"), ("pictures", "GetItem may not treat"),
])  # fmt: skip
def test_what_cannot_be_planned_runs_as_it_is(what, reason):
    model = Odd(what).eval()
    compiled, x = compile_inference(model), pictures(3, 5)
    found, expected = compiled(x), model(x)
    pairs = zip(found, expected, strict=True) if what == "tuple" else [(found, expected)]
    assert all(np.array_equal(a.array, b.array) for a, b in pairs)
    (row,) = compiled.plans()
    assert row["shape"] == (3, 5, 5) and row["planned"] is False and reason in row["reason"]


def test_what_does_not_fit_is_an_error_of_the_model():
    compiled = compile_inference(small())
    with pytest.raises(RuntimeError, match=r"expected .* 3 channels|channels"):
        compiled(pictures(2, 16, channels=2))
    with pytest.raises(RuntimeError):
        compiled(Tensor(np.zeros((2, 3), np.float32)))


def test_a_single_picture_without_a_batch_and_an_empty_batch():
    model = with_history(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))[0]
    compiled = compile_inference(model)
    assert compiled(Tensor(pictures(1, 5).array[0])).shape == (4, 5, 5)
    assert compiled(pictures(0, 5)).shape == (0, 4, 5, 5) and compiled.plans() == []


def test_whoever_looks_at_operations_or_chooses_kernels_gets_them():
    compiled, x = compile_inference(small()), pictures(1, 16)
    y = compiled(x).array
    with autograd.tape() as lines:
        compiled(x)
    assert len(lines) > 10
    with kernels.use("reference"):
        plain = compiled(x).array
    assert not np.array_equal(plain, y) and np.allclose(plain, y, atol=1e-5 * np.abs(y).max())


# ---------------------------------------------------------------------------------------------------- graph and plan


class Tangle(nn.Module):
    """Results that lead nowhere, sums of two convolutions, a value that two layers and the output see."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 5, padding=2)

    def forward(self, x):
        self.b(x) * 3
        y = ops.relu(self.a(x) + self.b(x))
        z = ops.relu(self.c(y) * 0.5 + y)
        return ops.cat([z, self.c(z) + 1.0, y], 1)


def test_a_tangled_model(threads):
    model = Tangle().eval()
    compiled = compile_inference(model)
    for count in (1, 3):
        check(model, compiled, pictures(count, 9))
    graph = graph_of(model, (3, 9, 9), np.dtype("float32"))
    assert [operation.name for operation in graph.operations] == ["Conv2d"] * 4 + ["Add", "Concatenate"]
    taken_in = [(op.scale, op.residual is not None, op.relu) for op in graph.operations[:3]]
    assert taken_in == [(1.0, False, False), (1.0, True, True), (0.5, True, True)]


def test_pictures_go_a_few_at_a_time(monkeypatch, threads):
    model = small()
    graph = graph_of(model, (3, 16, 16), np.dtype("float32"))
    monkeypatch.setattr(inference_plan, "PLACES", 1)
    monkeypatch.setattr(inference_plan, "IN_CACHE", 2 * 16 * 16 * 16)
    assert [part.few for part in stretches(graph, 8)] == [2, 4, 8]
    parts = stretches(graph, 5)
    assert [part.few for part in parts] == [2, 4, 5] and parts[-1].last == len(graph.operations) - 1
    assert all(a.last + 1 == b.first for a, b in itertools.pairwise(parts))
    compiled = compile_inference(model)
    for count in (1, 5, 17):
        check(model, compiled, pictures(count, 16))


def test_memory_is_shared_and_reported():
    model = small(depth=20)
    compiled = compile_inference(model)
    compiled(pictures(4, 16))
    (row,) = compiled.plans()
    graph = graph_of(compiled.model, (3, 16, 16), np.dtype("float32"))
    every = 4 * 4 * sum(int(np.prod(graph.shapes[operation.result])) for operation in graph.operations)
    plan = Plan(graph, Layers(graph), 4, 1)
    assert plan.memory.nbytes < every / 3 and plan.bytes > plan.memory.nbytes
    assert row["buffers"] > 0 and row["weights"] > 0 and row["dtype"] == "float32"
    before = row["buffers"]
    compiled(pictures(4, 16))
    assert compiled.plans()[0]["buffers"] == before


def test_old_sizes_are_forgotten():
    compiled = compile_inference(small())
    for side in range(8, 16):
        compiled(pictures(1, side))
    assert [row["shape"][1] for row in compiled.plans()] == [12, 13, 14, 15]


def test_a_plan_keeps_no_array_of_the_user():
    compiled = compile_inference(small())
    x = pictures(2, 16)
    compiled(x)
    plans = [plan for kept in compiled.runner.kept.values() for plan in kept.plans.values()]
    assert plans and all(plan.x.size == plan.out.size == 0 for plan in plans)


def test_both_ways_of_multiplying(monkeypatch):
    model, x = small("resnet", block="Bottleneck", **BLOCKS), pictures(2, 40)
    for small_ones in (True, False):
        monkeypatch.setattr(small_products, "small_products_pay", lambda yes=small_ones: yes)
        check(model, compile_inference(model), x)


def test_a_graph_says_why_not():
    with pytest.raises(NotPlannable, match="fails: "):
        graph_of(small(), (2, 16, 16), np.dtype("float32"))
    assert isinstance(graph_of(small(), (3, 16, 16), np.dtype("float32")), Graph)


class Looking(nn.Module):
    """Doubles what it is given if that is long: which no noise is, so that two traces are the same."""

    def __init__(self, look):
        super().__init__()
        self.conv, self.look = nn.Conv2d(3, 4, 3), look

    def forward(self, x):
        y = self.conv(x)
        return y * 2 if self.look((y * y).mean()) > 1e6 else y


@pytest.mark.parametrize("look", [Tensor.item, float, int, Tensor.tolist, Tensor.numpy, lambda y: 2e6 * bool(y > 1e6)])
def test_a_model_that_looks_at_values_is_not_planned(look):
    model = Looking(look).eval()
    compiled = compile_inference(model)
    for scale in (1, 1e6):
        x = pictures(2, 8) * scale
        with no_grad():
            assert np.allclose(compiled(x).array, model(x).array)
    assert compiled.plans()[0]["reason"] == "the model looks at values"


def test_without_plans():
    model = Odd("branch").eval()
    compiled, x = compile_inference(model, plan=False), pictures(3, 5)
    assert np.array_equal(compiled(x).array, model(x).array) and compiled.plans() == []
    assert compile_inference(compiled) is compiled
