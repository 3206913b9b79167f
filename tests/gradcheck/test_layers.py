"""Layers, blocks and a whole training step, with the fast kernels and with the textbook's."""

import numpy as np
import pytest

from minires import kernels, nn, ops
from minires.cli.gradcheck import LAYERS, images, of_layer
from minires.gradcheck import gradcheck
from minires.models.resnet import BasicBlock, Bottleneck
from minires.tensor import Tensor


@pytest.mark.parametrize("label", list(LAYERS))
@pytest.mark.parametrize("kernel_set", ["cpu", "reference"])
def test_layer(label, kernel_set):
    with kernels.use(kernel_set):
        report = of_layer(label)
    assert report.problem is None and report.compared >= 6 and report.largest_error < 1e-6


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("training", [True, False])
def test_every_number_of_a_block(block, stride, training):
    """Entry by entry, all parameters and the input; odd sizes."""
    channels, out = 3, 2 * block.expansion
    shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
    module = block(channels, 2, stride, shortcut).double().train(training)
    random = np.random.default_rng(stride)
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.dtype.kind == "f":
            tensor.array[...] = random.uniform(0.4, 1.6, tensor.shape) * random.choice([1, 1, 1, -1], tensor.shape)
    for name, buffer in module.named_buffers():
        if name.endswith("running_var"):
            buffer.array[...] = np.abs(buffer.array)
    before = {name: tensor.array.copy() for name, tensor in module.state_dict().items()}
    assert gradcheck(module, images(2, channels, 5, 3), max_entries=200)
    for name, tensor in module.state_dict().items():
        assert np.array_equal(tensor.array, before[name]), name


def test_frozen_parameters_are_passed_through():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)).double()
    for parameter in model[1].parameters():
        parameter.requires_grad_(False)
    for parameter in model[3].parameters():
        parameter.requires_grad_(False)
    assert gradcheck(model, images(5, 3))
    assert gradcheck(model, Tensor(np.ones((5, 3)) * np.arange(5.0)[:, None]))


def test_fused_operation_with_the_same_tensor_twice():
    """A residual that is the batch norm's own input: both paths add up."""
    x, weight, bias = images(4, 3, 2, 2), images(3), images(3)

    def block(x, weight, bias):
        return ops.batch_norm_act(x, None, None, weight, bias, True, residual=x, relu=True)

    assert gradcheck(block, (x, weight, bias))
