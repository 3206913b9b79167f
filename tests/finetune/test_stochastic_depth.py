"""Stochastic depth: blocks left out at random, the mean kept, nothing in evaluation."""

import numpy as np
import pytest

import minires as mr
from minires import models, random
from minires.errors import UsageError
from minires.finetune.stochastic_depth import DropBranch, stochastic_depth
from minires.tensor import Tensor

NAMES = ("cifar_resnet", "preact_resnet20", "resnet18", "seresnet50", "inception_resnet_v2")


def pictures(size=8, count=4):
    return Tensor(np.random.default_rng(0).standard_normal((count, 3, size, size)).astype(np.float32))


def test_the_hook_against_the_formula():
    hook, x = DropBranch(0.25), Tensor(np.ones((4000, 2, 1, 1), np.float32))
    module = mr.nn.Identity()
    with random.address(1, "step", 0):
        y = hook(module, (), x).numpy()
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    assert np.array_equal(y[:, 0], y[:, 1]), "a picture is left out as a whole"
    assert y.mean() == pytest.approx(1, abs=0.03)
    assert hook(module.eval(), (), x) is None and DropBranch(0.0)(module.train(), (), x) is None
    with pytest.raises(ValueError, match="below 1"):
        DropBranch(1.0)


@pytest.mark.parametrize("name", [name for name in NAMES if name in (*models.list_models(), "cifar_resnet")])
def test_evaluation_is_as_it_was_and_training_is_not(name):
    mr.manual_seed(1)
    options = {"depth": 8} if name == "cifar_resnet" else {}
    model = models.create(name, num_classes=3, **options)
    x = pictures(32 if name != "inception_resnet_v2" else 96, 2)
    before = model.eval()(x).detach().numpy()
    handles = stochastic_depth(model, 0.9)
    assert np.allclose(model.eval()(x).detach().numpy(), before, rtol=1e-4, atol=1e-5)
    model.train()
    with random.address(1, "step", 0), mr.no_grad():
        first = model(x).numpy()
    with random.address(1, "step", 1), mr.no_grad():
        other = model(x).numpy()
    with random.address(1, "step", 0), mr.no_grad():
        again = model(x).numpy()
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    for handle in handles:
        handle.remove()
    assert not any(module.has_hooks for module in model.modules())


def test_a_block_that_is_left_out_is_its_shortcut():
    mr.manual_seed(1)
    model = models.create("cifar_resnet", depth=8, num_classes=3)
    block = model.layer1[0]
    block.bn2.register_forward_hook(DropBranch(1 - 1e-9))
    x = model.forward_stem(pictures())
    with random.address(1, "step", 0):
        assert np.array_equal(block.train()(x).detach().numpy(), x.detach().numpy()), "ReLU leaves what is positive"


def test_networks_without_shortcuts_have_nothing_to_leave_out():
    with pytest.raises(UsageError, match="residual blocks"):
        stochastic_depth(models.create("plain20", num_classes=2), 0.1)


def test_rates_rise_from_the_first_block_to_the_last():
    model = models.create("cifar_resnet", depth=14, num_classes=2)
    stochastic_depth(model, 0.5)
    hooks = [module._forward_hooks for module in model.modules() if module.has_hooks]
    rates = [next(iter(table.values()))[0].rate for table in hooks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
