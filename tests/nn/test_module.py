"""Module: registration, names, state, hooks, text; against torch where torch has the same."""

import copy
import pickle

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.tensor import Tensor


class Tied(nn.Module):
    """Parameters, buffers, children, something shared and something that is none of these."""

    def __init__(self, framework=nn, tensor=lambda *shape: Tensor(np.zeros(shape, np.float32))):
        framework.Module.__init__(self)
        self.scale = framework.Parameter(tensor(3))
        self.first = framework.Linear(3, 3)
        self.register_buffer("count", tensor(2))
        self.register_buffer("scratch", tensor(4), persistent=False)
        self.block = framework.Sequential(framework.Conv2d(2, 4, 3, bias=False), framework.BatchNorm2d(4))
        self.again = self.first
        self.register_parameter("absent", None)
        self.title = "text"

    def forward(self, x):
        return self.first(x) * self.scale


@pytest.fixture
def twin():
    torch = pytest.importorskip("torch")
    return type("Tied", (torch.nn.Module,), {"__init__": Tied.__init__})(torch.nn, torch.zeros)


def test_names_and_order_as_torch(twin):
    ours = Tied()
    for method in ("named_parameters", "named_buffers", "named_children", "named_modules"):
        assert [name for name, _ in getattr(ours, method)()] == [name for name, _ in getattr(twin, method)()], method
    for method in ("named_parameters", "named_buffers", "named_modules"):
        settings = {"remove_duplicate": False, "prefix": "net"}
        names = [name for name, _ in getattr(ours, method)(**settings)]
        assert names == [name for name, _ in getattr(twin, method)(**settings)], method
    assert list(ours.state_dict()) == list(twin.state_dict())
    assert [t.shape for t in ours.state_dict().values()] == [tuple(t.shape) for t in twin.state_dict().values()]
    assert repr(ours) == repr(twin)


def test_setting_attributes_as_torch():
    module = Tied()
    assert "scale" in module._parameters and "scale" not in module.__dict__
    with pytest.raises(TypeError, match=r"as parameter 'scale' \(Parameter or None expected\)"):
        module.scale = Tensor(np.zeros(3))
    with pytest.raises(TypeError, match="as child module 'first'"):
        module.first = 3
    with pytest.raises(TypeError, match="as buffer 'count'"):
        module.count = "x"
    module.count = Tensor(np.ones(2, np.float32))
    assert module.state_dict()["count"].tolist() == [1.0, 1.0]
    module.scale = None
    assert "scale" not in dict(module.named_parameters())
    module.first = nn.Parameter(np.zeros(1))
    assert "first" in dict(module.named_parameters()) and "first" not in dict(module.named_modules())
    del module.first
    assert not hasattr(module, "first")
    with pytest.raises(AttributeError):
        del module.first


def test_before_init_and_wrong_names():
    class Forgetful(nn.Module):
        def __init__(self):
            self.layer = nn.ReLU()

    class Learned(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(np.zeros(1))

    with pytest.raises(AttributeError, match=r"cannot assign module before Module.__init__\(\) call"):
        Forgetful()
    with pytest.raises(AttributeError, match=r"cannot assign parameters before Module.__init__\(\) call"):
        Learned()
    module = nn.Module()
    with pytest.raises(KeyError, match=r"can.*t be empty"):
        module.register_buffer("", None)
    with pytest.raises(KeyError, match=r"can.*t be empty or contain"):
        module.add_module("a.b", nn.ReLU())
    with pytest.raises(KeyError, match="already exists"):
        module.register_buffer("forward", None)
    with pytest.raises(TypeError, match="not a Module subclass"):
        module.add_module("a", 3)
    with pytest.raises(NotImplementedError, match='missing the required "forward" function'):
        module(1)


def test_a_typo_names_its_neighbour():
    with pytest.raises(AttributeError, match=r"no attribute 'frist'\. Did you mean 'first'"):
        _ = Tied().frist
    with pytest.raises(AttributeError, match=r"no attribute 'xyzzy'$"):
        _ = Tied().xyzzy


def test_paths():
    module = Tied()
    assert module.get_submodule("block.1") is module.block[1]
    assert module.get_submodule("") is module
    assert module.get_parameter("block.0.weight") is module.block[0].weight
    assert module.get_buffer("block.1.running_mean") is module.block[1].running_mean
    with pytest.raises(AttributeError, match="no attribute '7'"):
        module.get_submodule("block.7")
    with pytest.raises(AttributeError, match="not a Module"):
        module.get_submodule("scale")
    with pytest.raises(AttributeError, match="not a Parameter"):
        module.get_parameter("count")
    with pytest.raises(AttributeError, match="not a buffer"):
        module.get_buffer("scale")


def test_all_faults_of_a_state_dict_in_one_error():
    module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Linear(5, 2))
    before = {name: tensor.array.copy() for name, tensor in module.state_dict().items()}
    state = {name: np.ones_like(tensor.array) for name, tensor in module.state_dict().items()}
    del state["0.bias"], state["1.running_var"], state["1.num_batches_tracked"]
    state.update({"head.weight": np.zeros(1), "2.weight": np.zeros((9, 5)), "2.bias": "text", "0.wieght": np.zeros(2)})
    with pytest.raises(RuntimeError) as caught:
        module.load_state_dict(state)
    message = str(caught.value)
    assert message.startswith("Error(s) in loading state_dict for Sequential:\n\t")
    assert 'Missing key(s) in state_dict: "0.bias", "1.running_var"' in message
    assert 'Unexpected key(s) in state_dict: "head.weight", "0.wieght"' in message
    assert "size mismatch for 2.weight: copying a param with shape (9, 5)" in message
    assert "current model is (2, 5)" in message
    assert '"2.bias" is neither a Tensor nor an array but str' in message
    assert "num_batches_tracked" not in message
    for name, tensor in module.state_dict().items():
        assert np.array_equal(tensor.array, before[name]), f"{name} was changed by a load that failed"
    with pytest.raises(RuntimeError) as lenient:
        module.load_state_dict(state, strict=False)
    assert "size mismatch" in str(lenient.value) and "Missing" not in str(lenient.value)


def test_loading_leniently_returns_what_differs():
    module = nn.Sequential(nn.Linear(2, 2))
    report = module.load_state_dict({"0.weight": np.ones((2, 2)), "extra": np.zeros(1)}, strict=False)
    assert report == (["0.bias"], ["extra"])
    assert report.missing_keys == ["0.bias"] and report.unexpected_keys == ["extra"]
    assert module[0].weight.tolist() == [[1, 1], [1, 1]]
    assert str(module.load_state_dict(module.state_dict())) == "<All keys matched successfully>"
    with pytest.raises(TypeError, match="dict-like"):
        module.load_state_dict([1])


def test_loading_copies_into_the_existing_arrays():
    layer = nn.Conv2d(3, 4, 3)
    array, values = layer.weight.array, np.random.default_rng(0).standard_normal((4, 3, 3, 3))
    assert array.transpose(0, 2, 3, 1).flags.c_contiguous, "a convolution's weight lies channels-last"
    version = layer.weight.version.value
    layer.load_state_dict({"weight": values, "bias": Tensor(np.arange(4))})
    assert layer.weight.array is array and array.dtype == np.float32
    assert np.array_equal(array, values.astype(np.float32)) and layer.bias.tolist() == [0, 1, 2, 3]
    assert layer.weight.version.value > version
    layer.load_state_dict({"weight": values, "bias": np.zeros(4)}, assign=True)
    assert layer.weight.array is values and isinstance(layer.weight, nn.Parameter) and layer.weight.requires_grad


def test_a_counter_saved_with_one_axis_loads():
    norm = nn.BatchNorm2d(2)
    norm.load_state_dict({**norm.state_dict(), "num_batches_tracked": np.array([7])})
    assert norm.num_batches_tracked.item() == 7


def test_train_eval_gradients_and_apply():
    module = Tied()
    assert module.eval() is module and not any(part.training for part in module.modules())
    assert module.train() is module and all(part.training for part in module.modules())
    with pytest.raises(ValueError, match="boolean"):
        module.train("yes")
    module.requires_grad_(False)
    assert not any(parameter.requires_grad for parameter in module.parameters())
    order = []
    module.apply(lambda part: order.append(type(part).__name__))
    assert order == ["Linear", "Conv2d", "BatchNorm2d", "Sequential", "Tied"]
    module.scale.grad = Tensor(np.ones(3, np.float32))
    module.zero_grad(set_to_none=False)
    assert module.scale.grad.tolist() == [0, 0, 0]
    module.zero_grad()
    assert module.scale.grad is None


def test_conversion_keeps_identity_order_and_counters():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    weight = module[0].weight
    weight.grad = Tensor(np.ones((4, 3, 3, 3), np.float32))
    module[1].num_batches_tracked.fill_(2**24 + 1)
    assert module.double() is module and module[0].weight is weight
    assert {t.dtype.name for t in module.parameters()} == {"float64"} and weight.grad.dtype == np.float64
    assert weight.array.transpose(0, 2, 3, 1).flags.c_contiguous
    assert module[1].num_batches_tracked.dtype == np.int64 and module[1].num_batches_tracked.item() == 2**24 + 1
    assert module.half()[0].weight.dtype == np.float16
    assert module.float()[1].running_mean.dtype == np.float32
    assert module.to("cpu", np.float64)[0].bias.dtype == np.float64
    assert module.to(Tensor(np.zeros(1, np.float32)))[0].bias.dtype == np.float32
    with pytest.raises(TypeError, match="real numbers only, not int64"):
        module.to(np.int64)


def test_copies_and_pickles_are_independent():
    module = Tied()
    module.block[1].freeze_statistics()
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert repr(other) == repr(module) and other.again is other.first
        for (name, a), (_, b) in zip(module.named_parameters(), other.named_parameters(), strict=True):
            assert isinstance(b, nn.Parameter) and np.array_equal(a.array, b.array), name
            assert not np.shares_memory(a.array, b.array) and a.array.strides == b.array.strides, name
        other.first.weight.array[...] = 5
        assert not (module.first.weight.array == 5).any()
        other.new = nn.Parameter(np.zeros(1))
        assert "new" not in dict(module.named_parameters())


def test_forward_hooks():
    layer, seen = nn.ReLU(), []
    x = Tensor(np.array([-1.0, 2.0]))
    layer.register_forward_pre_hook(lambda module, args: seen.append(("pre", module is layer, args[0] is x)))
    double = layer.register_forward_hook(lambda module, args, output: output * 2)
    layer.register_forward_hook(lambda module, args, output: seen.append(("after", output.tolist())))
    assert layer(x).tolist() == [0.0, 4.0]
    assert seen == [("pre", True, True), ("after", [0.0, 4.0])]
    double.remove()
    double.remove()
    assert layer(x).tolist() == [0.0, 2.0]
    replaced = layer.register_forward_pre_hook(lambda module, args: -args[0])
    assert layer(x).tolist() == [1.0, 0.0]
    replaced.remove()
    layer.register_forward_pre_hook(lambda m, args, kwargs: ((), {"input": kwargs["input"] * 3}), with_kwargs=True)
    layer.register_forward_hook(lambda m, args, kwargs, y: seen.append(kwargs["input"].tolist()), with_kwargs=True)
    seen.clear()
    layer._forward_pre_hooks.pop(0)
    assert layer(input=x).tolist() == [0.0, 6.0] and seen[-1] == [-3.0, 6.0]


def test_prepended_hooks_run_first():
    layer, order = nn.Identity(), []
    layer.register_forward_hook(lambda *_: order.append("a"))
    handle = layer.register_forward_hook(lambda *_: order.append("b"), prepend=True)
    layer.register_forward_hook(lambda *_: order.append("c"))
    layer(Tensor(np.zeros(1)))
    assert order == ["b", "a", "c"]
    handle.remove()
    layer(Tensor(np.zeros(1)))
    assert order[3:] == ["a", "c"]


def run_backward_hooks(framework, tensor, module, replace):
    """What a backward hook sees on the second of three layers, and the gradients that result."""
    seen = []

    def hook(layer, grad_input, grad_output):
        seen.append(([np.array(g.detach().tolist()) for g in grad_input], [np.array(g.tolist()) for g in grad_output]))
        return (grad_input[0] * 10,) if replace else None

    module[1].register_full_backward_hook(hook)
    x = tensor(np.array([[1.0, 2.0], [0.5, -3.0]]))
    (module(x) * module(x)).sum().backward()
    return seen, [np.array(p.grad.tolist()) for p in (x, *module.parameters())]


@pytest.mark.parametrize("replace", [False, True])
def test_backward_hooks_as_torch(replace):
    torch = pytest.importorskip("torch")
    ours = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    theirs = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)).double()
    theirs.load_state_dict({k: torch.from_numpy(v.array.copy()) for k, v in ours.state_dict().items()})
    mine = run_backward_hooks(nn, lambda a: Tensor(a, requires_grad=True), ours, replace)
    other = run_backward_hooks(torch.nn, lambda a: torch.tensor(a, requires_grad=True), theirs, replace)
    assert len(mine[0]) == len(other[0]) == 2
    for (inputs, outputs), (their_inputs, their_outputs) in zip(mine[0], other[0], strict=True):
        assert np.allclose(inputs, their_inputs, rtol=1e-12) and np.allclose(outputs, their_outputs, rtol=1e-12)
    for a, b in zip(mine[1], other[1], strict=True):
        assert np.allclose(a, b, rtol=1e-12)


def test_backward_hook_without_a_gradient_to_the_input():
    layer, seen = nn.Linear(2, 1), []
    layer.register_full_backward_hook(lambda module, grad_input, grad_output: seen.append((grad_input, grad_output)))
    layer(Tensor(np.ones((1, 2), np.float32))).sum().backward()
    assert seen[0][0] == (None,) and seen[0][1][0].tolist() == [[1.0]]
    layer.register_full_backward_hook(lambda *_: (None, None, None))
    with pytest.raises(RuntimeError, match="3 gradients for 1 inputs"):
        layer(Tensor(np.ones((1, 2), np.float32))).sum().backward()


def test_containers_as_torch():
    torch = pytest.importorskip("torch")

    def build(framework):
        row = framework.Sequential(framework.ReLU(), framework.Tanh(), framework.Sigmoid(), framework.Tanh())
        texts = [repr(row), repr(row[1:3]), repr(row[-1]), len(row)]
        del row[1]
        row.append(framework.Identity()).extend([framework.ReLU()]).insert(1, framework.Flatten())
        row[0] = framework.Dropout(0.1)
        texts += [repr(row), repr(row + framework.Sequential(framework.ReLU())), repr(row.pop(0)), repr(row)]
        listed = framework.ModuleList([framework.ReLU(), framework.ReLU(), framework.Tanh()])
        listed += [framework.Tanh()]
        listed.insert(0, framework.Linear(1, 2))
        longer = listed + framework.ModuleList([framework.ReLU()])
        texts += [repr(listed), repr(listed[1:]), repr(longer), list(listed.state_dict())]
        named = framework.ModuleDict({"a": framework.ReLU()})
        named["b"] = framework.Linear(2, 2)
        named.update({"c": framework.Tanh()})
        texts += [repr(named), list(named), list(named.keys()), "b" in named, len(named), repr(named.pop("a"))]
        del named["c"]
        return [*texts, repr(named), [name for name, _ in named.named_parameters()]]

    assert build(nn) == build(torch.nn)


def test_named_sequential_and_its_errors():
    row = nn.Sequential({"first": nn.ReLU(), "second": nn.Tanh()})
    assert row.first is row[0] and list(row._modules) == ["first", "second"]
    assert nn.Sequential()(3) == 3
    with pytest.raises(IndexError, match="out of range"):
        row[2]
    with pytest.raises(ValueError, match="names"):
        row.insert(0, nn.ReLU())
    with pytest.raises(TypeError):
        nn.Sequential(3)


def test_parameter():
    array = np.zeros(3, np.float32)
    parameter = nn.Parameter(array)
    assert parameter.requires_grad and parameter.array is array and parameter.is_leaf
    assert repr(parameter) == "Parameter containing:\ntensor([0., 0., 0.], requires_grad=True)"
    assert not isinstance(parameter * 2, nn.Parameter)
    assert not nn.Parameter(array, requires_grad=False).requires_grad
    with pytest.raises(RuntimeError, match="floating point"):
        nn.Parameter(np.zeros(3, np.int64))


def test_old_keys_are_changed_while_loading():
    class Renamed(mr.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = mr.nn.Linear(2, 1, bias=False)

        def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing, unexpected, errors):
            if local_metadata.get("version", 1) < 2 and f"{prefix}linear.weight" in state_dict:
                state_dict[f"{prefix}fc.weight"] = state_dict.pop(f"{prefix}linear.weight")
            state_dict.pop(f"{prefix}unused", None)
            super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, unexpected, errors)

    model, old = mr.nn.Sequential(Renamed()), {"0.linear.weight": mr.ones(1, 2), "0.unused": mr.zeros(1)}
    model.load_state_dict(old)
    assert model[0].fc.weight.tolist() == [[1, 1]] and sorted(old) == ["0.linear.weight", "0.unused"]
    handle = model.register_load_state_dict_pre_hook(lambda module, state, prefix, *_: state.update(
        {"0.fc.weight": state.pop("w")}))  # fmt: skip
    model.load_state_dict({"w": mr.zeros(1, 2)})
    assert model[0].fc.weight.tolist() == [[0, 0]]
    handle.remove()
    model[0]._load_from_state_dict = lambda *arguments: arguments[-1].append("too old")
    with pytest.raises(RuntimeError, match="too old"):
        model.load_state_dict({"0.fc.weight": mr.zeros(1, 2)})
