"""Every model that torchvision or timm names, against the same in torch: keys, logits, gradients, statistics.

Short versions (one or two blocks a layer) of every kind run in the quick set, whole networks where marked slow.
"""

import copy

import numpy as np
import pytest

from minires import models, nn
from minires.tensor import Tensor

torch = pytest.importorskip("torch")
from tests.torch_tools import assert_close  # noqa: E402
from tests.torch_zoo import MODELS, V2Block, torch_model  # noqa: E402

NAMES = [*MODELS, "inception_resnet_v2"]
KINDS = ["resnext50_32x4d", "resnet50_gn", "resnet18d", "resnet50d", "seresnet18", "seresnet50", "seresnext50_32x4d",
         "resnetv2_18", "resnetv2_50", "resnetv2_50x1_bit", "inception_resnet_v2"]  # fmt: skip
LAST = ("bn2.weight", "bn3.weight", "conv2d.weight")  # what ends a block


def give_random_weights(model):
    """Weights and statistics as in a trained network: blocks add little to what they are given."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.GroupNorm):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.2)
        if isinstance(module, V2Block):
            getattr(module, f"conv{module.count}").weight.data.mul_(0.3)
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    for name, parameter in model.named_parameters():
        if name.endswith(LAST):
            parameter.data.mul_(0.3)


def pair(name, layers=None):
    """(ours, torch's) with the same random weights, torch's given to ours as a file would be."""
    theirs = torch_model(name, layers, num_classes=7)
    give_random_weights(theirs)
    with nn.init.without_draws():
        ours = models.create(name, num_classes=7, **({"layers": layers} if layers else {}))
    report = ours.load_state_dict({key: tensor.numpy() for key, tensor in theirs.state_dict().items()})
    assert not report.missing_keys and not report.unexpected_keys
    return ours, theirs


def short(name):
    """Blocks a layer, and the side of the pictures."""
    return ([2, 1, 1], 80) if name == "inception_resnet_v2" else ([1, 2, 1, 1], 40)


def pictures(count, side, dtype):
    return np.random.default_rng(0).standard_normal((count, 3, side, side + 3)).astype(dtype)


def compare(ours, theirs, x, training, tolerance, gradient_tolerance):
    """Logits, gradients of all parameters and the statistics afterwards."""
    ours.train(training)
    theirs.train(training)
    target = np.arange(len(x)) % 7
    logits, expected = ours(Tensor(x)), theirs(torch.from_numpy(x))
    assert_close(logits, expected, "logits", tolerance)
    nn.CrossEntropyLoss()(logits, Tensor(target)).backward()
    torch.nn.CrossEntropyLoss()(expected, torch.from_numpy(target)).backward()
    gradients = {key: parameter.grad for key, parameter in theirs.named_parameters()}
    assert [key for key, _ in ours.named_parameters()] == list(gradients)
    usual = float(np.median([gradient.abs().max() for gradient in gradients.values()]))
    for key, parameter in ours.named_parameters():
        expected = gradients[key].reshape(parameter.shape)
        if expected.abs().max() < 1e-12 * usual:  # a bias before a batch norm: 0, but for roundings
            assert np.abs(parameter.grad.array).max() < 1e-12 * usual, key
        else:
            assert_close(parameter.grad, expected, key, gradient_tolerance)
    for (key, a), (_, b) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
        assert_close(a, b, key, tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_keys_order_and_shapes(name):
    with torch.device("meta"):
        theirs = torch_model(name)
    with nn.init.without_draws():
        ours = models.create(name)
    expected = {key: tuple(tensor.shape) for key, tensor in theirs.state_dict().items()}
    if name.startswith("resnetv2"):  # a 1x1 convolution in timm
        assert expected["head.fc.weight"][2:] == (1, 1)
        expected["head.fc.weight"] = expected["head.fc.weight"][:2]
    assert {key: tensor.shape for key, tensor in ours.state_dict().items()} == expected
    assert list(ours.state_dict()) == list(expected)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", KINDS)
def test_short_versions_in_float64(name, training):
    layers, side = short(name)
    ours, theirs = pair(name, layers)
    compare(ours.double(), theirs.double(), pictures(3, side, "float64"), training, 1e-10, 1e-9)


@pytest.mark.parametrize("name", KINDS)
def test_short_versions_in_float32(name):
    layers, side = short(name)
    ours, theirs = pair(name, layers)
    x = pictures(4, side, "float32")
    for training in (True, False):
        with torch.no_grad():
            expected = theirs.train(training)(torch.from_numpy(x))
        assert_close(ours.train(training)(Tensor(x)), expected, f"training={training}", 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_whole_networks(name, training):
    """float32 logits within 1e-4 of the largest, and float64 gradients of every parameter, of whole networks."""
    ours, theirs = pair(name)
    side = 80 if name == "inception_resnet_v2" else 64
    x = pictures(4, side, "float32")
    with torch.no_grad():
        expected = copy.deepcopy(theirs).train(training)(torch.from_numpy(x))
    assert_close(copy.deepcopy(ours).train(training)(Tensor(x)), expected, "float32 logits", 1e-4)
    compare(ours.double(), theirs.double(), x.astype("float64")[:3], training, 1e-10, 1e-8)


def as_published(name):
    torchvision = pytest.importorskip("torchvision")
    if hasattr(torchvision.models, name):
        return getattr(torchvision.models, name)()
    timm = pytest.importorskip("timm")
    return timm.create_model(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_as_torchvision_and_timm_themselves(name):
    """Where they are installed."""
    theirs = as_published(name)
    give_random_weights(theirs)
    with nn.init.without_draws():
        ours = models.create(name)
    ours.load_state_dict({key: tensor.numpy() for key, tensor in theirs.state_dict().items()})
    x = pictures(2, 80, "float32")
    with torch.no_grad():
        expected = theirs.eval()(torch.from_numpy(x))
    assert_close(ours.eval()(Tensor(x)), expected, "logits", 1e-4)
