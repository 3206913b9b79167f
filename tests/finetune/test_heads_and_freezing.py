"""Heads in all their forms; which parameters move, and which stay bit for bit."""

import numpy as np
import pytest

import minires as mr
from minires import models, nn, optim
from minires.errors import UsageError
from minires.finetune import build_head, freeze, replace_head, set_batch_norm, unfreeze
from minires.finetune.freezing import batch_norms, parse_freeze, stage_modules
from minires.finetune.heads import last_linear, parse_head
from minires.finetune.optimizers import parameter_groups
from minires.nn import functional as F


@pytest.fixture
def model():
    mr.manual_seed(3)
    return models.create("cifar_resnet", depth=8, num_classes=4)


def batch(count: int = 6, size: int = 8):
    rng = np.random.default_rng(0)
    images = rng.standard_normal((count, 3, size, size)).astype(np.float32)
    return mr.tensor(images), mr.tensor(rng.integers(0, 3, count))


def everything(model) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}


def train_steps(model, steps: int = 3) -> set[str]:
    """Names of what a few steps have changed. train() is called in between, as users do."""
    before = everything(model)
    optimizer = optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9, weight_decay=0.1)
    images, targets = batch()
    for _ in range(steps):
        model.train()
        optimizer.zero_grad()
        F.cross_entropy(model(images), targets).backward()
        optimizer.step()
    return {name for name, value in everything(model).items() if value != before[name]}


def is_statistic(name: str) -> bool:
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


@pytest.mark.parametrize("text", ["1024,", "0", "-3", "wide", "1024;7"])
def test_head_texts_that_make_no_sense(text):
    with pytest.raises(UsageError, match="--head"):
        parse_head(text)


def test_head_texts():
    assert parse_head("linear") == () and parse_head(None) == () and parse_head("1024,512") == (1024, 512)


def test_forms_of_heads():
    assert isinstance(build_head(8, 3), nn.Linear)
    head = build_head(8, 3, (16, 5), dropout=0.2)
    assert [type(layer).__name__ for layer in head] == ["Linear", "ReLU", "Dropout"] * 2 + ["Linear"]
    assert [tuple(layer.weight.shape) for layer in head if isinstance(layer, nn.Linear)] == [(16, 8), (5, 16), (3, 5)]
    assert not any(isinstance(layer, nn.Dropout) for layer in build_head(8, 3, (16,)))
    with pytest.raises(ValueError, match="at least 1"):
        build_head(8, 0)


@pytest.mark.parametrize(("hidden", "dropout"), [((), 0.0), ((12,), 0.0), ((12, 7), 0.3)])
def test_a_new_head_leaves_the_rest_and_survives_config(model, hidden, dropout):
    before = everything(model)
    replace_head(model, 5, hidden, dropout)
    after = everything(model)
    assert all(after[name] == value for name, value in before.items() if not name.startswith("fc"))
    images, _ = batch()
    assert tuple(model(images).shape) == (6, 5)
    again = models.create(**model.config)
    again.load_state_dict(model.state_dict())
    assert np.array_equal(again.eval()(images).detach().numpy(), model.eval()(images).detach().numpy())
    assert last_linear(model).out_features == 5


def test_all_but_head(model):
    replace_head(model, 3, (6,))
    freeze(model, parse_freeze(model, "all-but-head"))
    set_batch_norm(model, "auto")
    moved = train_steps(model)
    assert moved == {"fc.0.weight", "fc.0.bias", "fc.2.weight", "fc.2.bias"}


def test_stages(model):
    freeze(model, parse_freeze(model, "stem, layer1"))
    set_batch_norm(model, "auto")
    moved = train_steps(model)
    assert not any(name.startswith(("conv1", "bn1", "layer1")) for name in moved)
    assert {name for name in everything(model) if name.startswith(("layer2", "layer3", "fc"))} == moved


def test_frozen_statistics_stay_while_weights_move(model):
    set_batch_norm(model, "frozen")
    moved = train_steps(model)
    assert not any(is_statistic(name) for name in moved)
    assert "conv1.weight" in moved and "bn1.weight" in moved
    assert all(norm.training for norm in batch_norms([model]))  # train() was called and changed nothing about them


def test_batch_statistics_move_where_weights_are_frozen(model):
    freeze(model, parse_freeze(model, "all-but-head"))
    set_batch_norm(model, "batch")
    moved = train_steps(model)
    assert {name for name in moved if is_statistic(name)} == {name for name in everything(model) if is_statistic(name)}
    assert {name for name in moved if not is_statistic(name)} == {"fc.weight", "fc.bias"}


def test_unfreeze(model):
    freeze(model, list(stage_modules(model)))
    assert not any(parameter.requires_grad for parameter in model.parameters())
    unfreeze(model, ["layer3"])
    assert {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad} == {"layer3"}
    unfreeze(model)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_names_of_stages(model):
    assert parse_freeze(model, "none") == [] and parse_freeze(model, "backbone") == parse_freeze(model, "all-but-head")
    with pytest.raises(UsageError, match="did you mean 'layer1'"):
        parse_freeze(model, "layer_1")
    with pytest.raises(UsageError, match="nothing is left to train"):
        parse_freeze(model, ",".join(stage_modules(model)))
    with pytest.raises(UsageError, match="no stage 'tail'"):
        freeze(model, ["tail"])
    with pytest.raises(ValueError, match="policy"):
        set_batch_norm(model, "eval")


def test_groups_of_parameters(model):
    freeze(model, ["stem"])
    weights, others = parameter_groups(model, 0.1, 0.0)
    assert all(parameter.ndim > 1 for parameter in weights["params"]) and weights["weight_decay"] == 0.1
    assert all(parameter.ndim == 1 for parameter in others["params"]) and others["weight_decay"] == 0.0
    count = sum(1 for parameter in model.parameters() if parameter.requires_grad)
    assert len(weights["params"]) + len(others["params"]) == count < sum(1 for _ in model.parameters())
    freeze(model, list(stage_modules(model)))
    with pytest.raises(UsageError, match="nothing is left to train"):
        parameter_groups(model, 0.1, 0.0)
