"""Signals through a network, with and without shortcuts; and the network as it was before."""

import numpy as np
import pytest

import minires as mr
from minires import models, random
from minires.explain.flow import LayerFlow, signal_chart, signal_flow


def flow(name):
    with random.address(3, "test-model"):
        model = models.create(name, num_classes=10)
    rng = np.random.default_rng(0)
    images = mr.tensor(rng.normal(size=(8, 3, 32, 32)).astype(np.float32))
    return model, signal_flow(model, images, mr.tensor(rng.integers(0, 10, 8)))


def test_every_layer_in_order_and_the_model_as_it_was():
    model, found = flow("resnet20")
    assert [found[0].name, found[-1].name] == ["conv1", "fc"] and len(found) == 20
    assert all(layer.deviation > 0 and layer.gradient > 0 and 0 < layer.not_positive < 1 for layer in found)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert float(model.bn1.num_batches_tracked.item()) == 0 and model.training
    assert not any(module.has_hooks for module in model.modules())


def test_frozen_layers_have_no_gradient():
    model, _ = flow("resnet20")
    model.conv1.weight.requires_grad = False
    found = signal_flow(model, mr.zeros(2, 3, 16, 16), mr.tensor([1, 2]))
    assert found[0].gradient is None and found[1].gradient is not None


def test_without_shortcuts_gradients_differ_more():
    def ratio(found):
        sizes = [layer.gradient for layer in found[:-1]]
        return max(sizes) / min(sizes)

    assert ratio(flow("plain56")[1]) > 2 * ratio(flow("resnet56")[1])


def test_the_chart_of_two_networks():
    layers = [LayerFlow("conv1", 0.0, 1.0, 0.5, 0.1), LayerFlow("fc", 0.0, 2.0, 0.5, None)]
    text = signal_chart({"with shortcuts": layers, "without": layers[:1]}).svg()
    assert text.count("with shortcuts") == text.count("without<") == 2
    with pytest.raises(ValueError, match="nothing to show"):
        signal_chart({"dead": [LayerFlow("conv1", 0.0, 0.0, 1.0, None)]})
