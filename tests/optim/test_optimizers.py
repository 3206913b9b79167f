"""Optimizers against torch's, 50 steps; their state, their groups, their errors."""

import copy
import math
import pickle

import numpy as np
import pytest

import minires as mr
from minires import optim
from minires.nn import Parameter
from minires.tensor import Tensor

torch = pytest.importorskip("torch")
from tests.torch_tools import assert_close, to_torch  # noqa: E402

SETTINGS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.2}),
    ("SGD", {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.05, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-3}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("Adam", {"lr": 0.05, "amsgrad": True}),
    ("Adam", {"lr": 0.01, "maximize": True, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.05}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True, "maximize": True}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.05, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1, "momentum": 0.8, "centered": True}),
    ("RMSprop", {"lr": 0.01, "maximize": True, "centered": True}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.05, "weight_decay": 0.1, "initial_accumulator_value": 0.3, "maximize": True}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.8, "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    ("Adamax", {}),
    ("Adamax", {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.05, "betas": (0.8, 0.95), "weight_decay": 0.1, "momentum_decay": 0.02, "maximize": True}),
    ("NAdam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"lr": 0.05, "betas": (0.8, 0.95), "weight_decay": 0.1}),
    ("RAdam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("Rprop", {}),
    ("Rprop", {"lr": 0.1, "etas": (0.4, 1.5), "step_sizes": (1e-3, 0.3), "maximize": True}),
    ("ASGD", {"lr": 0.1, "t0": 20}),
    ("ASGD", {"lr": 0.05, "lambd": 0.01, "alpha": 0.5, "t0": 5, "weight_decay": 0.1, "maximize": True}),
]
NUMBERS = ("step", "mu_product", "eta", "mu")  # of the state, kept as Python numbers
ROUGH = {"NAdam": 1e-6, "ASGD": 1e-6}  # torch keeps the product of momenta, and eta, in float32


def starting_values(dtype):
    random = np.random.default_rng(1)
    image_weight = random.standard_normal((4, 3, 3, 2)).astype(dtype).transpose(0, 3, 1, 2)  # channels-last
    return [random.standard_normal((5, 4)).astype(dtype), random.standard_normal(3).astype(dtype), image_weight]


def gradients(step, dtype):
    """Gradients that depend on nothing but the step, of changing size; the second parameter has none at times."""
    random = np.random.default_rng(100 + step)
    arrays = [random.standard_normal(value.shape).astype(dtype) * (1 + step % 5) for value in starting_values(dtype)]
    return [arrays[0], None if step % 3 == 2 else arrays[1], arrays[2]]


def pair_of_optimizers(name, settings, dtype, grouped=False):
    ours = [Parameter(value.copy(order="K")) for value in starting_values(dtype)]
    theirs = [torch.nn.Parameter(to_torch(value)) for value in starting_values(dtype)]

    def build(module, parameters):
        own = {"lr": 0.02} if name == "Rprop" else {"lr": 0.02, "weight_decay": 0.3}
        groups = [{"params": parameters[:1]}, {"params": parameters[1:], **own}]
        return getattr(module, name)(groups if grouped else parameters, **settings)

    return ours, theirs, build(optim, ours), build(torch.optim, theirs)


def run(ours, theirs, optimizer, expected, steps, dtype):
    for step in steps:
        for mine, other, gradient in zip(ours, theirs, gradients(step, dtype), strict=True):
            mine.grad = None if gradient is None else Tensor(gradient.copy())
            other.grad = None if gradient is None else torch.from_numpy(gradient.copy())
        optimizer.step()
        expected.step()


def tolerance(name, dtype):
    return 2e-5 if dtype == np.float32 else ROUGH.get(name, 1e-10)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("name", "settings"), SETTINGS)
@pytest.mark.parametrize("grouped", [False, True])
def test_fifty_steps_as_torch(name, settings, dtype, grouped):
    ours, theirs, optimizer, expected = pair_of_optimizers(name, settings, dtype, grouped)
    run(ours, theirs, optimizer, expected, range(50), dtype)
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        assert_close(mine, other, f"parameter {number}", tolerance(name, dtype))
    for mine, other in zip(ours, theirs, strict=True):
        for key, value in expected.state[other].items():
            if key in NUMBERS:
                assert optimizer.state[mine][key] == pytest.approx(float(value), rel=1e-5), key
            elif isinstance(value, torch.Tensor):
                assert_close(optimizer.state[mine][key], value, key, tolerance(name, dtype))
    assert ours[2].array.transpose(0, 2, 3, 1).flags.c_contiguous, "a channels-last weight stays so"


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_state_round_trip_in_the_middle(name, settings):
    ours, theirs, optimizer, expected = pair_of_optimizers(name, settings, np.float64, grouped=True)
    run(ours, theirs, optimizer, expected, range(20), np.float64)
    state = pickle.loads(pickle.dumps(optimizer.state_dict()))
    fresh_parameters = [Parameter(p.array.copy(order="K")) for p in ours]
    fresh = getattr(optim, name)([{"params": fresh_parameters[:1]}, {"params": fresh_parameters[1:]}], lr=123.0)
    fresh.load_state_dict(state)
    run(fresh_parameters, theirs, fresh, expected, range(20, 50), np.float64)
    run(ours, theirs, optimizer, expected, range(20, 50), np.float64)
    for mine, continued in zip(ours, fresh_parameters, strict=True):
        assert np.array_equal(mine.array, continued.array), "resumed and uninterrupted must be bit-equal"


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_a_state_of_torch_is_understood(name, settings):
    ours, theirs, optimizer, expected = pair_of_optimizers(name, settings, np.float64)
    run(ours, theirs, optimizer, expected, range(10), np.float64)
    state = expected.state_dict()
    as_arrays = {
        number: {key: value.numpy() if isinstance(value, torch.Tensor) else value for key, value in entries.items()}
        for number, entries in state["state"].items()
    }
    fresh = getattr(optim, name)(ours, lr=5.0)
    fresh.load_state_dict({"state": as_arrays, "param_groups": state["param_groups"]})
    run(ours, theirs, fresh, expected, range(10, 30), np.float64)
    for mine, other in zip(ours, theirs, strict=True):
        assert_close(mine, other, tolerance=tolerance(name, np.float64))


def test_state_dict_has_torch_s_structure():
    ours, theirs, optimizer, expected = pair_of_optimizers("Adam", {"amsgrad": True}, np.float64, grouped=True)
    run(ours, theirs, optimizer, expected, range(2), np.float64)
    mine, other = optimizer.state_dict(), expected.state_dict()
    assert [group["params"] for group in mine["param_groups"]] == [g["params"] for g in other["param_groups"]]
    assert set(mine["state"]) == set(other["state"])
    assert {key for entries in mine["state"].values() for key in entries} == {
        key for entries in other["state"].values() for key in entries
    }
    for group, their_group in zip(mine["param_groups"], other["param_groups"], strict=True):
        for name, value in group.items():
            assert their_group[name] == value, name


def test_loading_refuses_what_does_not_fit_and_changes_nothing():
    parameters = [Parameter(np.zeros(3)), Parameter(np.zeros((2, 2)))]
    optimizer = optim.SGD(parameters, lr=0.1, momentum=0.9)
    two_groups = optim.SGD([{"params": parameters[:1]}, {"params": parameters[1:]}], lr=0.5)
    with pytest.raises(ValueError, match="different number of parameter groups"):
        optimizer.load_state_dict(two_groups.state_dict())
    with pytest.raises(ValueError, match="doesn't match the size"):
        optimizer.load_state_dict(optim.SGD(parameters[:1], lr=0.5).state_dict())
    state = optimizer.state_dict()
    state["state"] = {1: {"momentum_buffer": np.zeros(7)}}
    with pytest.raises(ValueError, match=r"momentum_buffer of parameter 1 has shape \(7,\), the parameter \(2, 2\)"):
        optimizer.load_state_dict(state)
    state["state"] = {9: {"momentum_buffer": np.zeros(7)}}
    with pytest.raises(ValueError, match="parameter 9"):
        optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_loading_keeps_type_and_memory_order():
    weight = Parameter(np.zeros((2, 3, 3, 4), np.float32).transpose(0, 3, 1, 2))
    optimizer = optim.Adam([weight])
    moments = np.random.default_rng(0).standard_normal((2, 4, 3, 3))
    state = {"step": 3, "exp_avg": moments, "exp_avg_sq": moments**2}
    optimizer.load_state_dict({"state": {"0": state}, "param_groups": optimizer.state_dict()["param_groups"]})
    loaded = optimizer.state[weight]["exp_avg"].array
    assert loaded.dtype == np.float32 and loaded.strides == weight.array.strides
    assert np.array_equal(loaded, moments.astype(np.float32))
    moments[:] = 0
    assert loaded.any(), "the state was copied"


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("SGD", {"lr": -0.1}), ("SGD", {"lr": math.nan}), ("SGD", {"momentum": -1}), ("SGD", {"weight_decay": -1}),
        ("SGD", {"nesterov": True}), ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}),
        ("Adam", {"lr": -1}), ("Adam", {"eps": -1}), ("Adam", {"betas": (1.0, 0.9)}), ("Adam", {"betas": (0.9, -0.1)}),
        ("Adam", {"weight_decay": -1}), ("AdamW", {"lr": -1}),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_in_torch_s_words(name, settings):
    with pytest.raises(ValueError) as ours:
        getattr(optim, name)([Parameter(np.zeros(2))], **settings)
    with pytest.raises(ValueError) as ours_in_a_group:
        getattr(optim, name)([{"params": [Parameter(np.zeros(2))], **settings}])
    assert str(ours.value) == str(ours_in_a_group.value)
    if not any(isinstance(value, float) and math.isnan(value) for value in settings.values()):
        with pytest.raises(ValueError) as theirs:
            getattr(torch.optim, name)([torch.nn.Parameter(torch.zeros(2))], **settings)
        assert str(ours.value) == str(theirs.value)


def test_wrong_parameters_are_refused():
    parameter = Parameter(np.zeros(2))
    with pytest.raises(ValueError, match="empty parameter list"):
        optim.SGD([], lr=0.1)
    with pytest.raises(TypeError, match="iterable of Tensors"):
        optim.SGD(parameter, lr=0.1)
    with pytest.raises(TypeError, match="can only optimize Tensors"):
        optim.SGD([np.zeros(2)], lr=0.1)
    with pytest.raises(ValueError, match="non-leaf"):
        optim.SGD([parameter * 2], lr=0.1)
    with pytest.raises(ValueError, match="more than one parameter group"):
        optim.SGD([{"params": [parameter]}, {"params": [parameter]}], lr=0.1)
    with pytest.raises(ValueError, match="no setting 'learning_rate'"):
        optim.SGD([{"params": [parameter], "learning_rate": 3}], lr=0.1)
    with pytest.warns(UserWarning, match="duplicate parameters"):
        optim.SGD([parameter, parameter], lr=0.1)
    with pytest.raises(TypeError, match="ordered collection"):
        optim.SGD([{"params": {parameter}}], lr=0.1)
    with pytest.raises(NotImplementedError, match="differentiable"):
        optim.SGD([parameter], lr=0.1, differentiable=True)
    with pytest.raises(NotImplementedError, match="capturable"):
        optim.NAdam([parameter], capturable=True)


def test_capturable_adam_is_for_a_gpu():
    parameter = Parameter(np.zeros(2, np.float32))
    parameter.grad = mr.ones(2)
    with pytest.raises(RuntimeError, match=r"capturable=True is for dense float32 parameters on a GPU.* on cpu"):
        optim.Adam([parameter], capturable=True).step()


def test_groups_named_parameters_and_repr():
    first, second = Parameter(np.zeros(2)), Parameter(np.zeros(3))
    optimizer = optim.SGD([("a", first)], lr=0.1, momentum=0.9)
    optimizer.add_param_group({"params": [("b", second)], "lr": 0.01})
    assert [group["param_names"] for group in optimizer.param_groups] == [["a"], ["b"]]
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.01]
    assert "Parameter Group 1" in repr(optimizer) and "momentum: 0.9" in repr(optimizer)
    with pytest.raises(ValueError, match="with/without names"):
        optimizer.add_param_group({"params": [Parameter(np.zeros(1))]})


def test_step_raises_the_version_and_runs_the_closure():
    parameter = Parameter(np.ones(2))
    optimizer = optim.SGD([parameter], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (parameter * parameter).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2.0
    assert np.array_equal(parameter.array, [0.0, 0.0])
    used = parameter * parameter
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        used.sum().backward()


def test_zero_grad():
    parameter = Parameter(np.ones(2))
    optimizer = optim.SGD([parameter], lr=0.5)
    parameter.grad = Tensor(np.ones(2))
    optimizer.zero_grad(set_to_none=False)
    assert parameter.grad.tolist() == [0.0, 0.0]
    optimizer.zero_grad()
    assert parameter.grad is None


def test_deepcopy_of_model_and_optimizer_together():
    parameter = Parameter(np.ones(2))
    optimizer = optim.SGD([parameter], lr=0.5, momentum=0.9)
    parameter.grad = Tensor(np.ones(2))
    optimizer.step()
    other_parameter, other = copy.deepcopy((parameter, optimizer))
    assert other.param_groups[0]["params"][0] is other_parameter
    assert other.state[other_parameter]["momentum_buffer"].tolist() == [1.0, 1.0]


OF_HOOKS = {"SGD": mr.optim.SGD, "LBFGS": mr.optim.LBFGS,
            "SAM": lambda params, lr: mr.optim.SAM(params, mr.optim.SGD, lr=lr)}  # fmt: skip


@pytest.mark.parametrize("name", OF_HOOKS)
def test_hooks_around_a_step(name):
    p, calls = mr.nn.Parameter(mr.ones(2)), []
    optimizer = OF_HOOKS[name]([p], lr=0.1)
    first = optimizer.register_step_pre_hook(lambda *found: calls.append(("before", found[0], p.tolist())))
    optimizer.register_step_post_hook(lambda *found: calls.append(("after", found[0], p.tolist())))

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert [word for word, _, _ in calls] == ["before", "after"] and calls[0][2] != calls[1][2]
    first.remove()
    optimizer.step(closure)
    assert [word for word, _, _ in calls] == ["before", "after", "after"]


def test_a_rate_in_a_tensor():
    p = mr.nn.Parameter(mr.ones(2))
    optimizer = mr.optim.SGD([p], lr=mr.tensor(0.25))
    (p * 2).sum().backward()
    optimizer.step()
    assert optimizer.param_groups[0]["lr"] == 0.25 and p.tolist() == [0.5, 0.5]
