"""Batch norms folded into convolutions: the same outputs, from a copy, and only where it is allowed."""

import numpy as np
import pytest

from minires import compile_inference, models, nn, no_grad, ops
from minires.nn.fuse import InferenceModel
from minires.nn.trace import trace
from minires.tensor import Tensor

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def pictures(count, side, dtype="float32", channels=3):
    array = np.random.default_rng(7).standard_normal((count, side, side, channels)).astype(dtype)
    return Tensor(array.transpose(0, 3, 1, 2))


def with_history(model, seed=3):
    """The model in eval mode, its norms as if they had been trained: no statistic, weight or bias is 0 or 1."""
    random = np.random.default_rng(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.track_running_stats:
            module.running_mean.array[...] = random.normal(0, 0.3, module.num_features)
            module.running_var.array[...] = random.uniform(0.5, 2, module.num_features)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.GroupNorm) and module.weight is not None:
            module.weight.data.array[...] = random.uniform(0.5, 1.2, module.weight.shape)
            module.bias.data.array[...] = random.normal(0, 0.2, module.bias.shape)
    return model.eval()


def count(model, kind):
    return sum(type(module) is kind for module in model.modules())


def check(model, x, folded, left=0, tolerance=None):
    """Compile; outputs agree; so many norms were folded and so many are left. Returns the compiled model."""
    compiled = compile_inference(model)
    with no_grad():
        expected = model(x).array
    error = np.abs(compiled(x).array - expected).max() / np.abs(expected).max()
    assert error <= (TOLERANCE[x.dtype.name] if tolerance is None else tolerance)
    assert (count(compiled, nn.FoldedConv2d), count(compiled, nn.BatchNorm2d)) == (folded, left)
    return compiled


# name, options, side of the pictures, norms folded, norms left
SMALL = [
    ("resnet", {"block": "BasicBlock", "layers": [1, 1, 1, 1]}, 40, 12, 0),
    ("resnet", {"block": "Bottleneck", "layers": [1, 1, 1, 1]}, 40, 17, 0),
    ("resnet", {"block": "Bottleneck", "layers": [1, 1, 1, 1], "groups": 4, "width_per_group": 16}, 40, 17, 0),
    ("resnet", {"block": "Bottleneck", "layers": [1, 1, 1, 1], "norm": "group"}, 40, 0, 0),
    ("resnet_d", {"block": "Bottleneck", "layers": [1, 1, 1, 1]}, 40, 19, 0),
    ("se_resnet", {"block": "SEBottleneck", "layers": [1, 1, 1, 1]}, 40, 17, 0),
    ("cifar_resnet", {"depth": 8}, 20, 7, 0),
    ("cifar_resnet", {"depth": 8, "shortcut": "B"}, 20, 9, 0),
    ("cifar_resnet", {"depth": 8, "shortcut": None}, 20, 7, 0),
    ("cifar_resnet", {"depth": 8, "norm": "group_ws"}, 20, 0, 0),
    ("preact_resnet", {"depth": 8}, 20, 4, 3),  # the stem's result goes to a norm and to a shortcut
    ("resnetv2", {"block": "PreActBottleneck", "layers": [1, 1, 1, 1]}, 40, 8, 5),
]  # fmt: skip


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("name", "options", "side", "folded", "left"), SMALL)
def test_equal_to_the_model_it_was_made_from(name, options, side, folded, left, dtype):
    model = with_history(models.create(name, num_classes=5, **options).to(dtype))
    check(model, pictures(2, side, dtype), folded, left)


DEEP = ("101", "110", "152", "164")  # the same parts, more often


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in models.list_models() if not any(depth in name for depth in DEEP)])
def test_models_by_name(name):
    model = with_history(models.create(name, num_classes=5))
    assert any(isinstance(module, nn.BatchNorm2d | nn.GroupNorm) for module in model.modules())
    compiled = compile_inference(model)
    x = pictures(1, 96)
    with no_grad():
        expected = model(x).array
    assert np.abs(compiled(x).array - expected).max() <= 1e-5 * np.abs(expected).max()


def small(**options):
    return with_history(models.create("cifar_resnet", depth=8, num_classes=5, **options))


def test_the_original_stays_as_it_is():
    model = small()
    model.train()
    model.layer1.eval()
    before = {name: tensor.array.copy() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    compiled = model.fuse()
    assert isinstance(compiled, InferenceModel) and [module.training for module in model.modules()] == modes
    assert not any(module.has_hooks for module in model.modules())
    assert all(np.array_equal(tensor.array, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    own = [tensor.array for tensor in model.parameters()]
    assert not any(np.shares_memory(a, tensor.array) for a in own for tensor in compiled.parameters())


def test_there_is_nothing_to_train():
    compiled = compile_inference(small())
    with pytest.raises(RuntimeError, match="cannot be trained"):
        compiled.train()
    assert not any(module.training for module in compiled.modules())
    assert not any(parameter.requires_grad for parameter in compiled.parameters())
    assert compiled.eval() is compiled and compile_inference(compiled) is compiled
    assert not compiled(pictures(1, 16)).requires_grad


def test_pictures_of_other_sizes_and_channels():
    model = small(in_channels=1)
    check(model, pictures(3, 9, channels=1), folded=7)
    compiled = compile_inference(model, pictures(1, 8, channels=1))
    assert compiled(pictures(2, 30, channels=1)).shape == (2, 5)


def test_features_and_head():
    model, x = small(), pictures(2, 16)
    compiled = compile_inference(model)
    with no_grad():
        expected = model.forward_head(model.forward_features(x), pre_logits=True).array
    pooled = compiled.forward_head(compiled.forward_features(x), pre_logits=True)
    assert np.allclose(pooled.array, expected, atol=1e-5 * np.abs(expected).max())


def test_frozen_statistics_are_those_that_are_folded():
    model = small()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.freeze_statistics()
    check(model.train(), pictures(2, 16), folded=7)


def test_norms_without_weight_or_bias_or_statistics():
    def row(**options):
        return nn.Sequential(nn.Conv2d(3, 4, 3, bias=True), nn.BatchNorm2d(4, **options))

    x = pictures(2, 9)
    check(with_history(row(affine=False)), x, folded=1)
    biasless = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, bias=False)).eval()
    biasless[1].running_var.array[...] = 3
    check(biasless, x, folded=1)
    check(row(track_running_stats=False).eval(), x, folded=0, left=1, tolerance=0)


def test_a_hook_on_either_keeps_the_two_apart():
    model, seen = small(), []
    model.layer1[0].bn1.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    model.layer2[0].conv2.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    check(model, pictures(2, 16), folded=5, left=2)
    assert len(seen) == 2 * 4  # once to find out, once to check, once by the model, once by the copy


def test_a_hook_in_between_that_changes_the_tensor_keeps_the_two_apart():
    model = with_history(nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1)), nn.BatchNorm2d(4)))
    model[0].register_forward_hook(lambda module, inputs, output: output * 2)
    check(model, pictures(2, 5), folded=0, left=1, tolerance=0)


class Shared(nn.Module):
    """One of its parts is used twice."""

    def __init__(self, what):
        super().__init__()
        self.what = what
        self.conv, self.bn, self.other = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.again = self.conv if what == "second name" else None

    def forward(self, x):
        y = self.conv(x)
        if self.what == "output":
            return self.bn(y) + y
        if self.what == "conv":
            return self.bn(y) + self.other(self.conv(x * 2))
        if self.what == "norm":
            return self.bn(y) + self.bn(x)
        if self.what == "weight":
            return self.bn(y) + ops.conv2d(x, self.conv.weight)
        return self.bn(y)


@pytest.mark.parametrize("what", ["output", "conv", "norm", "weight", "second name"])
def test_what_is_used_twice_is_left_alone(what):
    check(with_history(Shared(what)), pictures(2, 5), folded=0, left=2, tolerance=0)


class OddNames(nn.Module):
    """Neither names nor order say which norm follows which convolution."""

    def __init__(self):
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.conv1, self.conv2, self.relu = nn.Conv2d(4, 4, 1), nn.Conv2d(3, 4, 1), nn.ReLU()

    def forward(self, x):
        y = nn.norm_act(self.bn1, self.relu, self.conv2(x))
        return ops.relu(self.bn2(self.conv1(y)))


def test_pairs_are_found_by_what_happens_not_by_names():
    model, x = with_history(OddNames()), pictures(2, 5)
    compiled = compile_inference(model, x)
    assert count(compiled, nn.FoldedConv2d) == 2
    assert np.allclose(compiled(x).array, model(x).detach().array, atol=1e-5)
    assert compiled.model.bn1.weight.shape == (4, 3, 1, 1)


def test_an_example_that_does_not_fit():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 25, 2))
    with pytest.raises(RuntimeError) as failure:
        compile_inference(model)
    assert "give an `example`" in failure.value.__notes__[0]
    with_history(model)
    assert count(compile_inference(model, pictures(1, 5)), nn.FoldedConv2d) == 1


def test_fuse_conv_bn_eval_as_in_torch():
    torch = pytest.importorskip("torch")
    from tests.torch_tools import assert_close, load_into_torch

    conv, bn = nn.Conv2d(4, 6, 3, 2, padding=1, groups=2), nn.BatchNorm2d(6, eps=1e-3)
    with_history(nn.Sequential(conv, bn))
    theirs = torch.nn.Conv2d(4, 6, 3, 2, padding=1, groups=2).eval(), torch.nn.BatchNorm2d(6, eps=1e-3).eval()
    load_into_torch(conv, theirs[0])
    load_into_torch(bn, theirs[1])
    ours, expected = nn.utils.fuse_conv_bn_eval(conv, bn), torch.nn.utils.fusion.fuse_conv_bn_eval(*theirs)
    assert_close(ours.weight, expected.weight)
    assert_close(ours.bias, expected.bias)
    assert ours is not conv and ours.stride == (2, 2) and ours.groups == 2 and ours.weight.requires_grad


def test_fuse_conv_bn_eval_refuses():
    conv, bn = nn.Conv2d(3, 4, 1).eval(), nn.BatchNorm2d(4)
    with pytest.raises(RuntimeError, match="eval mode"):
        nn.utils.fuse_conv_bn_eval(conv, bn)
    with pytest.raises(RuntimeError, match="track_running_stats=False"):
        nn.utils.fuse_conv_bn_eval(conv, nn.BatchNorm2d(4, track_running_stats=False).eval())


def test_a_trace_names_operations_and_modules():
    model = with_history(OddNames())
    found = trace(model, pictures(1, 5))
    names = [(step.function.__name__, step.module) for step in found.steps]
    assert names == [("Conv2d", "conv2"), ("BatchNormInference", "bn1"), ("Relu", "relu"), ("Conv2d", "conv1"),
                     ("BatchNormInference", "bn2"), ("Relu", "")]  # fmt: skip
    assert found.steps[0].arguments[0] is found.input and found.steps[-1].results[0] is found.output
    assert not any(module.has_hooks for module in model.modules())
    with pytest.raises(RuntimeError):
        trace(model, pictures(1, 5, channels=2))
    assert not any(module.has_hooks for module in model.modules())


class TellsMore(nn.Module):
    """Shows the convolution's result to the world as well, or looks at it in ways that leave no operation behind."""

    def __init__(self, what):
        super().__init__()
        self.what = what
        self.conv, self.bn = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.conv(x)
        z = self.bn(y)
        ways = {"tuple": lambda: (z, y), "dict": lambda: {"out": z, "features": [y]}, "mask": lambda: z * (y > 0),
                "argmax": lambda: z + y.argmax(1, keepdim=True), "NumPy": lambda: z * float(y.array.max())}  # fmt: skip
        return ways[self.what]()


@pytest.mark.parametrize("what", ["tuple", "dict"])
def test_what_is_an_output_itself_is_left_alone(what):
    model, x = with_history(TellsMore(what)), pictures(2, 5)
    compiled = compile_inference(model)
    found, expected = (
        (r[0], r[1]) if what == "tuple" else (r["out"], r["features"][0]) for r in (compiled(x), model(x))
    )
    assert count(compiled, nn.FoldedConv2d) == 0
    assert all((a.array == b.array).all() for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("what", ["mask", "argmax", "NumPy"])
def test_a_result_looked_at_in_secret_is_found_out(what):
    with pytest.raises(RuntimeError, match="other than by its batch norm"):
        compile_inference(with_history(TellsMore(what)))


class Noisy(TellsMore):
    def forward(self, x):
        return nn.functional.dropout(self.bn(self.conv(x)), 0.5, training=True)


def test_a_model_that_draws_draws_the_same_when_it_is_tried():
    assert count(compile_inference(with_history(Noisy(""))), nn.FoldedConv2d) == 1
