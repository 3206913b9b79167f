"""The models: names, sizes, agreement with torch, their parts, their description, their weights."""

import copy
import json
import math

import numpy as np
import pytest

from minires import models, nn
from minires.errors import FileFormatError, UsageError
from minires.io import safetensors
from minires.tensor import Tensor

PARAMETERS = {  # torchvision's documentation; the CIFAR ones follow from section 4.2 of the paper
    "resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032, "resnet101": 44_549_160,
    "resnet152": 60_192_808, "resnext50_32x4d": 25_028_904, "resnext101_32x8d": 88_791_336,
    "resnext101_64x4d": 83_455_272, "wide_resnet50_2": 68_883_240, "wide_resnet101_2": 126_886_696,
    "resnet50_gn": 25_557_032, "resnet20": 269_722, "resnet32": 464_154, "resnet44": 658_586, "resnet56": 853_018,
    "resnet110": 1_727_962, "plain20": 269_722, "plain32": 464_154, "plain44": 658_586, "plain56": 853_018,
    "plain110": 1_727_962, "resnet50_keras": 25_583_592, "resnet101_keras": 44_601_832, "resnet152_keras": 60_268_520,
}  # fmt: skip


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def pictures(*shape, dtype=np.float32, seed=0):
    """Random pictures, channels-last in memory as the loader gives them."""
    n, c, h, w = shape
    array = np.random.default_rng(seed).standard_normal((n, h, w, c)).astype(dtype)
    return Tensor(array.transpose(0, 3, 1, 2))


def small(name="resnet18", **options):
    """A ResNet with one block a layer, to keep the tests quick."""
    block = "Bottleneck" if name == "resnet50" else "BasicBlock"
    return models.create("resnet", block=block, layers=[1, 1, 1, 1], **{"num_classes": 5, **options})


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts(name):
    with nn.init.without_draws():
        assert count(getattr(models, name)()) == PARAMETERS[name]


def test_cifar_counts_by_hand():
    """16 channels at full size, 32 at half, 64 at a quarter; option B adds two 1x1 convolutions and their norms."""
    n = 5
    convolutions = 3 * 16 * 9 + 2 * n * 16 * 16 * 9
    convolutions += 16 * 32 * 9 + (2 * n - 1) * 32 * 32 * 9 + 32 * 64 * 9 + (2 * n - 1) * 64 * 64 * 9
    norms = 2 * (16 + 2 * n * (16 + 32 + 64))
    assert count(models.resnet32()) == convolutions + norms + 64 * 10 + 10
    extra = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    assert count(models.resnet32(shortcut="B")) == count(models.resnet32()) + extra


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_keys_order_and_shapes_are_torchvision_s(name):
    pytest.importorskip("torch")
    from tests.torch_resnet import LAYERS, TorchResNet

    ours, theirs = getattr(models, name)(), TorchResNet(*LAYERS[name])
    expected = {key: tuple(tensor.shape) for key, tensor in theirs.state_dict().items()}
    assert {key: tensor.shape for key, tensor in ours.state_dict().items()} == expected
    assert list(ours.state_dict()) == list(expected)


def compare_with_torch(ours, theirs, x, training, tolerance, gradient_tolerance):
    import torch

    from tests.torch_tools import assert_close, compare_gradients

    ours.train(training)
    theirs.train(training)
    target = np.arange(x.shape[0]) % 5
    logits, expected = ours(x), theirs(torch.from_numpy(np.ascontiguousarray(x.array)))
    assert_close(logits, expected, "logits", tolerance)
    nn.CrossEntropyLoss()(logits, Tensor(target)).backward()
    torch.nn.CrossEntropyLoss()(expected, torch.from_numpy(target)).backward()
    compare_gradients(ours, theirs, gradient_tolerance)
    for (name, a), (_, b) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
        assert_close(a, b, name, tolerance)


def give_torch_s_weights(ours, theirs):
    """Random weights and statistics in torch's model, loaded into ours as a file would be."""
    import torch

    torch.manual_seed(0)
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.2)
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    for name, parameter in theirs.named_parameters():  # as in trained networks: blocks add little to what they get
        if name.endswith("bn3.weight" if hasattr(theirs.layer1[0], "bn3") else "bn2.weight"):
            parameter.data.uniform_(0.1, 0.4)
    report = ours.load_state_dict({key: tensor.numpy() for key, tensor in theirs.state_dict().items()})
    assert not report.missing_keys and not report.unexpected_keys


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_logits_and_all_gradients_as_torch_in_float64(name, training):
    pytest.importorskip("torch")
    from tests.torch_resnet import LAYERS, TorchResNet

    ours, theirs = getattr(models, name)(num_classes=7).double(), TorchResNet(*LAYERS[name], num_classes=7).double()
    give_torch_s_weights(ours, theirs)
    compare_with_torch(ours, theirs, pictures(3, 3, 40, 33, dtype=np.float64), training, 1e-10, 1e-9)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_float32_is_as_near_to_the_truth_as_torch_s(name, training):
    """Logits may be off by three times as much as torch's own. Gradients jump where a ReLU's input rounds to the other
    side of 0, which happens to one framework and not to the other: they must be within 2 %.
    """
    torch = pytest.importorskip("torch")
    from tests.torch_resnet import LAYERS, TorchResNet

    ours, theirs = getattr(models, name)(num_classes=7), TorchResNet(*LAYERS[name], num_classes=7)
    give_torch_s_weights(ours, theirs)
    x, target = pictures(4, 3, 64, 64), np.arange(4)
    exact = copy.deepcopy(theirs).double()
    results = []
    for model, kind in ((exact, torch.float64), (theirs, torch.float32)):
        logits = model.train(training)(torch.from_numpy(np.ascontiguousarray(x.array)).to(kind))
        torch.nn.CrossEntropyLoss()(logits, torch.from_numpy(target)).backward()
        results.append([logits.detach().numpy(), *(p.grad.numpy() for p in model.parameters())])
    logits = ours.train(training)(x)
    nn.CrossEntropyLoss()(logits, Tensor(target)).backward()
    truth, expected = results
    mine = [logits.array, *(p.grad.array for p in ours.parameters())]

    def errors(arrays):
        return [np.linalg.norm(a - t) / np.linalg.norm(t) for a, t in zip(arrays, truth, strict=True)]

    off, torch_off = errors(mine), errors(expected)
    assert off[0] < 3 * torch_off[0] + 1e-6
    assert max(off) < 0.02 and np.mean(off) < 5e-3


@pytest.mark.parametrize(
    ("options", "torch_options"),
    [
        ({"groups": 4, "width_per_group": 16}, {"groups": 4, "width": 16}),
        ({"width_per_group": 128}, {"width": 128}),
        ({"replace_stride_with_dilation": [False, True, True]}, {"dilate": (False, True, True)}),
    ],
)
def test_variants_as_torch(options, torch_options):
    pytest.importorskip("torch")
    from tests.torch_resnet import TorchResNet

    ours = models.create("resnet", block="Bottleneck", layers=[1, 1, 2, 1], num_classes=7, **options).double()
    theirs = TorchResNet([1, 1, 2, 1], True, num_classes=7, **torch_options).double()
    give_torch_s_weights(ours, theirs)
    compare_with_torch(ours, theirs, pictures(2, 3, 40, 40, dtype=np.float64), True, 1e-10, 1e-9)


def test_initial_values():
    model = models.resnet18()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * math.prod(module.kernel_size)
            expected = math.sqrt(2 / fan_out)
            size = module.weight.numel()
            assert abs(module.weight.array.std() / expected - 1) < 5 / math.sqrt(size)
            assert abs(module.weight.array.mean()) < 5 * expected / math.sqrt(size)
            assert np.abs(module.weight.array).max() > 2.5 * expected, "normal, not uniform"
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight.array == 1).all() and (module.bias.array == 0).all()
    bound = 1 / math.sqrt(512)
    assert 0.99 * bound < np.abs(model.fc.weight.array).max() <= bound
    for name, last in (("resnet18", "bn2"), ("resnet50", "bn3")):
        blocks = small(name, zero_init_residual=True).layer3
        assert all((getattr(block, last).weight.array == 0).all() for block in blocks)
        assert all((block.bn1.weight.array == 1).all() for block in blocks)
    assert all((block.bn2.weight.array == 0).all() for block in models.resnet20(zero_init_residual=True).layer1)


def test_forward_is_features_then_head():
    model, x = small().eval(), pictures(2, 3, 64, 64)
    features = model.forward_features(x)
    assert features.shape == (2, 512, 2, 2)
    assert np.array_equal(model.forward_head(features).array, model(x).array)
    pooled = model.forward_head(features, pre_logits=True)
    assert pooled.shape == (2, model.num_features)
    assert np.allclose(pooled.array, features.array.mean((2, 3)), rtol=1e-5, atol=1e-6)
    cifar = models.resnet20().eval()
    assert cifar.forward_features(pictures(2, 3, 32, 32)).shape == (2, 64, 8, 8)
    assert cifar(pictures(2, 3, 20, 28)).shape == (2, 10)


@pytest.mark.parametrize("build", [small, models.resnet20])
def test_stages_hold_every_parameter_once(build):
    model = build()
    stages = model.stages()
    assert list(stages) == ["stem", *model.layer_names, "head"]
    held = [id(p) for modules in stages.values() for module in modules for p in module.parameters()]
    assert sorted(held) == sorted(id(p) for p in model.parameters())


def test_reset_head():
    model = small().double()
    model.requires_grad_(False)
    model.reset_head(3)
    assert model.fc.weight.shape == (3, 512) and model.fc.weight.dtype == np.float64
    assert all(p.requires_grad for p in model.fc.parameters())
    assert model.config["num_classes"] == 3
    head = nn.Sequential(nn.Linear(512, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))
    model.reset_head(head)
    assert model.fc is head and model.float()(pictures(2, 3, 32, 32)).shape == (2, 2)


CONFIGURATIONS = [
    lambda: models.resnet18(num_classes=3),
    lambda: small("resnet50", replace_stride_with_dilation=[False, False, True], zero_init_residual=True),
    lambda: small("resnet50", groups=2, width_per_group=8, in_channels=1),
    lambda: models.resnet20(shortcut="B", in_channels=1),
    lambda: models.resnet20(shortcut=None),
    lambda: models.plain20(num_classes=4),
    lambda: models.create("cifar_resnet", depth=14),
]
HEADS = [
    None,
    lambda n: nn.Linear(n, 7),
    lambda n: nn.Linear(n, 7, bias=False),
    lambda n: nn.Sequential(nn.Linear(n, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2)),
    lambda n: nn.Identity(),
]


@pytest.mark.parametrize("build", CONFIGURATIONS)
@pytest.mark.parametrize("head", HEADS)
def test_config_rebuilds_the_model(build, head):
    model = build()
    if head is not None:
        model.reset_head(head(model.num_features))
    again = models.create(**json.loads(json.dumps(model.config)))
    assert repr(again) == repr(model) and again.config == model.config
    again.load_state_dict(model.state_dict())
    x = pictures(2, model.conv1.in_channels, 32, 32)
    assert np.array_equal(model.eval()(x).array, again.eval()(x).array)


def test_config_says_what_cannot_be_written_down():
    model = small()
    model.reset_head(nn.Sequential({"a": nn.Linear(512, 2)}))
    with pytest.raises(ValueError, match="names of their own"):
        _ = model.config
    model.reset_head(nn.Sequential(small()))
    with pytest.raises(ValueError, match="a head with ResNet cannot be written down"):
        _ = model.config
    with pytest.raises(ValueError, match="norm_layer"):
        _ = small(norm_layer=nn.BatchNorm2d).config
    with pytest.raises(ValueError, match="unknown layer 'Rocket'"):
        small(head=[["Rocket", 1]])


def test_plain_networks_have_no_shortcut():
    """With every convolution at 0 a residual network still passes its input on; a plain one passes nothing."""
    for build, passes in ((models.resnet20, True), (models.plain20, False)):
        model = build().eval()
        for name in model.layer_names:
            for module in getattr(model, name).modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.zeros_(module.weight)
        assert bool(model.forward_features(pictures(1, 3, 8, 8)).array.any()) == passes
    assert models.resnet20(shortcut=None).config["shortcut"] is None


def test_parameter_free_shortcut():
    shortcut, x = models.PadShortcut(2, 3), pictures(2, 4, 6, 5)
    y = shortcut(x).array
    assert y.shape == (2, 7, 3, 3)
    assert np.array_equal(y[:, :4], x.array[:, :, ::2, ::2]) and not y[:, 4:].any()
    assert list(shortcut.state_dict()) == [] and repr(shortcut) == "PadShortcut(stride=2, extra_channels=3)"


def test_hooks_inside_a_block_fire_and_change_nothing():
    model, x, seen = small().eval(), pictures(1, 3, 32, 32), []
    expected = model(x).array
    for module in model.modules():
        module.register_forward_hook(lambda module, args, output: seen.append(type(module).__name__))
    assert np.allclose(model(x).array, expected, rtol=1e-4, atol=1e-5)
    assert {"BatchNorm2d", "ReLU", "BasicBlock", "Conv2d", "Linear", "MaxPool2d"} <= set(seen)
    assert seen.count("BatchNorm2d") == sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_layers_can_be_exchanged():
    model = small()
    model.relu = nn.Tanh()
    model.layer1[0].bn2 = nn.Identity()
    model(pictures(2, 3, 32, 32)).sum().backward()
    assert model.conv1.weight.grad is not None
    assert isinstance(models.resnet20(norm_layer=lambda planes: nn.Identity()).bn1, nn.Identity)


def test_frozen_layers_get_no_gradient_but_pass_it_on():
    model = small()
    model.layer2.requires_grad_(False)
    model(pictures(2, 3, 32, 32)).sum().backward()
    assert all(p.grad is None for p in model.layer2.parameters())
    assert all(p.grad is not None for p in model.layer1.parameters())


def test_weights_from_a_file(tmp_path):
    model = models.resnet20(num_classes=4)
    path = tmp_path / "weights.safetensors"
    safetensors.save_file({name: tensor.array for name, tensor in model.state_dict().items()}, path)
    loaded = models.resnet20(weights=path)
    assert loaded.config["num_classes"] == 4, "the number of classes is the file's"
    for (name, a), (_, b) in zip(model.state_dict().items(), loaded.state_dict().items(), strict=True):
        assert np.array_equal(a.array, b.array), name
    with pytest.raises(FileFormatError, match=r"not fit the model resnet32: nothing for 'layer1\.3\.conv1\.weight'"):
        models.resnet32(weights=path)
    with pytest.raises(UsageError, match="there are no weights 'imagenet' for resnet20"):
        models.resnet20(weights="imagenet")


def test_wrong_use_is_said():
    with pytest.raises(ValueError, match="there is no model 'resnet19'; models are resnet18, "):
        models.create("resnet19")
    with pytest.raises(ValueError, match="3-element tuple"):
        models.resnet50(replace_stride_with_dilation=[True])
    with pytest.raises(ValueError, match="BasicBlock only supports"):
        models.resnet18(groups=2)
    with pytest.raises(ValueError, match="depth must be 6 n"):
        models.create("cifar_resnet", depth=21)
    with pytest.raises(ValueError, match="shortcut must be"):
        models.resnet20(shortcut="C")
    with pytest.raises(TypeError, match="pretrained"):
        models.resnet18(pretrained=True)


def test_deepcopy():
    model = small()
    other = copy.deepcopy(model)
    other.conv1.weight.array[...] = 0
    assert model.conv1.weight.array.any() and other.config == model.config
