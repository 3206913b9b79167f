"""The summary of a model: published figures, sums by hand, and that the model is left as it was."""

import json

import numpy as np
import pytest

from minires import models, nn
from minires.models.summary import summarize
from minires.tensor import Tensor

# 10^9 multiply-adds for a picture of 224 x 224: torchvision's documentation ("GFLOPS"), to its three places
GIGA = {
    "resnet18": 1.814, "resnet34": 3.664, "resnet50": 4.089, "resnet101": 7.801, "resnet152": 11.514,
    "resnext50_32x4d": 4.230, "resnext101_32x8d": 16.414, "resnext101_64x4d": 15.460, "wide_resnet50_2": 11.398,
    "wide_resnet101_2": 22.753,
}  # fmt: skip
QUICK = ("resnet18", "resnet50", "resnext50_32x4d")


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
                                  for name in GIGA])  # fmt: skip
def test_published_figures(name):
    with nn.init.without_draws():
        model = models.create(name)
    found = summarize(model)
    assert round(found.multiply_adds / 1e9, 3) == GIGA[name]
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert sum(layer.parameters for layer in found.layers) == found.parameters == found.trainable_parameters


def test_resnet20_on_cifar():
    """41 million multiply-adds: section 4.2's network by hand."""
    found = summarize(models.resnet20(), (1, 3, 32, 32))
    convolutions = 3 * 16 * 9 * 1024 + 6 * 16 * 16 * 9 * 1024
    convolutions += (16 * 32 + 5 * 32 * 32) * 9 * 256 + (32 * 64 + 5 * 64 * 64) * 9 * 64
    assert found.multiply_adds == convolutions + 64 * 10
    assert found.parameters == 269_722


def test_by_hand():
    shared = nn.ReLU()
    model = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), shared, nn.Conv2d(6, 6, 1), shared,
                          nn.Flatten(), nn.Linear(6 * 4 * 5, 7), nn.BatchNorm1d(7)).double()  # fmt: skip
    model[0].requires_grad_(False)
    found = summarize(model, (2, 4, 8, 10))
    rows = [(layer.name, layer.kind, layer.output, layer.parameters, layer.multiply_adds) for layer in found.layers]
    assert rows == [
        ("0", "Conv2d", (2, 6, 4, 5), 6 * 2 * 9 + 6, 2 * 6 * 20 * 2 * 9),
        ("1", "ReLU", (2, 6, 4, 5), 0, 0),
        ("2", "Conv2d", (2, 6, 4, 5), 42, 2 * 6 * 20 * 6),
        ("1", "ReLU", (2, 6, 4, 5), 0, 0),
        ("4", "Flatten", (2, 120), 0, 0),
        ("5", "Linear", (2, 7), 120 * 7 + 7, 2 * 7 * 120),
        ("6", "BatchNorm1d", (2, 7), 14, 0),
    ]
    assert [layer.memory for layer in found.layers] == [8 * 240] * 5 + [8 * 14] * 2
    assert found.activation_memory == 8 * (5 * 240 + 2 * 14)
    assert found.parameters - found.trainable_parameters == 114
    assert found.weights_memory == 8 * (found.parameters + 14) + 8  # running statistics, number of batches
    assert json.loads(json.dumps(found.to_dict()))["layers"][0]["output"] == [2, 6, 4, 5]


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training):
    model = models.resnet20().train(training)
    model.layer1.eval()
    before = {key: tensor.array.copy() for key, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    summarize(model, (1, 3, 8, 8))
    with pytest.raises(RuntimeError):
        summarize(model, (1, 4, 8, 8))
    assert [module.training for module in model.modules()] == modes
    assert not any(module.has_hooks for module in model.modules())
    assert all(np.array_equal(tensor.array, before[key]) for key, tensor in model.state_dict().items())
    model.eval()(Tensor(np.zeros((1, 3, 8, 8), np.float32)))


def test_every_family_can_be_summarized():
    for name, layers, side in (
        ("resnet50d", [1, 1, 1, 1], 64),
        ("seresnet50", [1, 1, 1, 1], 64),
        ("resnetv2_50x1_bit", [1, 1, 1, 1], 64),
        ("inception_resnet_v2", [1, 1, 1], 75),
    ):
        with nn.init.without_draws():
            model = models.create(name, layers=layers)
        found = summarize(model, (1, 3, side, side))
        assert sum(layer.parameters for layer in found.layers) == found.parameters
        assert found.layers[-1].output == (1, 1000) and found.multiply_adds > 1e7
