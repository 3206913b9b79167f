"""Strategies: which parameters move and which stay bit for bit, in which epoch; rates; the pull to start."""

import itertools

import numpy as np
import pytest

import minires as mr
from minires import models, nn, optim
from minires.data import ArrayDataset, DataLoader
from minires.errors import UsageError
from minires.finetune import strategies
from minires.finetune.adapters import lora, parallel, ssf
from minires.finetune.optimizers import make_optimizer, make_schedule
from minires.finetune.settings import STRATEGIES, Settings
from minires.finetune.strategies.choosing import MAKERS, choose_strategy, parse_unfreeze
from minires.finetune.strategies.rates import layers
from minires.training import Callback, Trainer
from tests.finetune.test_heads_and_freezing import batch, everything, is_statistic

EPOCHS = 6
STAGES = ["stem", "layer1", "layer2", "layer3", "head"]


def make_model(**options):
    mr.manual_seed(3)
    return models.create("cifar_resnet", depth=8, num_classes=4, **options)


class Snapshots(Callback):
    """The bits of the model before each epoch."""

    def __init__(self):
        self.taken = []

    def before_epoch(self, trainer):
        self.taken.append(everything(trainer.model))


def moved_by_epoch(model, strategy, epochs=EPOCHS):
    """For each epoch, the names of what it has changed."""
    snapshots = Snapshots()
    optimizer = optim.SGD(strategy.all_parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    images, targets = batch()
    loader = DataLoader(ArrayDataset(images.numpy(), targets.numpy()), 3)
    trainer = Trainer(model, optimizer, nn.CrossEntropyLoss(), callbacks=[strategy.callback(), snapshots],
                      progress=False)  # fmt: skip
    trainer.fit(loader, epochs=epochs)
    states = [*snapshots.taken, everything(model)]
    return [{name for name in after if after[name] != before[name]}
            for before, after in itertools.pairwise(states)]  # fmt: skip


def weights(names):
    return {name for name in names if not is_statistic(name)}


def stages_of(names):
    """Stages of the model above that the names are in."""
    return {{"conv1": "stem", "bn1": "stem", "fc": "head"}.get(name.split(".")[0], name.split(".")[0])
            for name in names}  # fmt: skip


SMALL = {
    "bitfit": (strategies.bitfit, lambda name: name.endswith(".bias")),
    "bn": (strategies.batch_norm_only, lambda name: "bn" in name or "downsample.1" in name or name.startswith("fc")),
    "lora": (lora, lambda name: "lora_" in name or name.startswith("fc")),
    "adapter": (parallel, lambda name: name.endswith("adapter") or name.startswith("fc")),
    "ssf": (ssf, lambda name: "ssf_" in name or name.startswith("fc")),
}


@pytest.mark.parametrize("name", SMALL)
def test_a_few_parameters_of_every_layer_move_and_all_others_stay(name):
    make, expected = SMALL[name]
    model = make_model()
    strategy = make(model)
    moved = set().union(*moved_by_epoch(model, strategy, 2))
    wanted = {each for each in everything(model) if not is_statistic(each) and (expected(each) or each == "fc.weight")}
    assert weights(moved) == wanted
    assert stages_of(wanted) == set(STAGES)
    assert {each for each in moved if is_statistic(each)}, "statistics move, unless they are frozen"


@pytest.mark.parametrize("name", STRATEGIES)
def test_frozen_statistics_stay_in_every_strategy(name):
    model = make_model()
    settings = Settings(data="d", strategy=name, epochs=2, bn="frozen").check().resolved("finetune")
    moved = set().union(*moved_by_epoch(model, choose_strategy(model, settings), 2))
    assert moved and not any(is_statistic(each) for each in moved)


def test_head_and_full():
    model = make_model()
    assert moved_by_epoch(model, strategies.head(model), 1) == [{"fc.weight", "fc.bias"}]
    model = make_model()
    assert moved_by_epoch(model, strategies.full(model), 1) == [set(everything(model))]


def test_the_last_stages():
    model = make_model()
    (moved,) = moved_by_epoch(model, strategies.last(model, 2), 1)
    assert stages_of(moved) == {"layer3", "head"}
    for wrong in (0, 6):
        with pytest.raises(ValueError, match="the model has 5 stages"):
            strategies.last(model, wrong)


def test_the_head_first_then_all():
    model = make_model()
    moved = moved_by_epoch(model, strategies.lp_ft(model, EPOCHS))
    assert moved[:3] == [{"fc.weight", "fc.bias"}] * 3
    assert moved[3:] == [set(everything(model))] * 3


def test_gradual_unfreezing():
    model = make_model()
    strategy = strategies.gradual(model, 8)
    assert strategy.starts == {"head": 0, "layer3": 1, "layer2": 2, "layer1": 3, "stem": 4}
    assert strategy.describe().endswith("head; from epoch 2: layer3; from epoch 3: layer2; from epoch 4: layer1; "
                                        "from epoch 5: stem")  # fmt: skip
    moved = moved_by_epoch(model, strategy, 5)
    assert [stages_of(names) for names in moved] == [set(STAGES[-count:]) for count in range(1, 6)]
    few = strategies.gradual(make_model(), 1)
    assert set(few.starts.values()) == {0}, "one epoch: nothing is left for later"


def test_unfreezing_at_epochs_of_ones_own():
    model = make_model()
    settings = Settings(data="d", epochs=5, freeze="all-but-head", unfreeze_at=("1:layer3", "3:all"))
    strategy = choose_strategy(model, settings.check().resolved("finetune"))
    assert strategy.starts == {"head": 0, "layer3": 1, "layer2": 3, "layer1": 3, "stem": 3}


@pytest.mark.parametrize(
    ("word", "expected"),
    [("layer3", "EPOCHS:STAGE"), ("3:", "EPOCHS:STAGE"), ("x:layer3", "EPOCHS:STAGE"), ("-1:layer3", "EPOCHS:STAGE"),
     ("1:layer_3", "did you mean 'layer3'"), ("6:layer3", "after 6 of 6 epochs")],
)  # fmt: skip
def test_words_that_make_no_sense(word, expected):
    with pytest.raises(UsageError, match=expected):
        parse_unfreeze(make_model(), [word], 6)


def test_something_is_trained_in_the_first_epoch():
    for settings, expected in (
        ({"freeze": "head", "strategy": "head"}, "nothing is left to train"),
        ({"freeze": "all-but-head", "unfreeze_at": ("2:head",)}, "nothing is trained in the first epoch"),
    ):
        with pytest.raises(UsageError, match=expected):
            choose_strategy(make_model(), Settings(data="d", epochs=5, **settings).check().resolved("finetune"))
    with pytest.raises(UsageError, match="no stage 'tail'"):
        strategies.Strategy(make_model(), {"tail": 0})
    with pytest.raises(UsageError, match="no bias before the head"):
        strategies.bitfit(nn_without_bias())


def nn_without_bias():
    model = make_model()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.bias = None
    return model


def test_a_combination_of_freezing_and_adapters():
    model = make_model()
    settings = Settings(data="d", epochs=5, strategy="lora", lora_rank=2, freeze="stem,layer1")
    strategy = choose_strategy(model, settings.check().resolved("finetune"))
    assert {name for name, each in model.named_parameters() if each.requires_grad} == {
        name for name, _ in model.named_parameters()
        if ("lora_" in name and name.startswith(("layer2", "layer3"))) or name.startswith("fc")
    }  # fmt: skip
    assert strategy.trained(0) == ["layer2", "layer3", "head"]


def test_every_name_has_a_maker():
    assert tuple(MAKERS) == STRATEGIES


# ------------------------------------------------------------------------------------------------- groups and rates


def test_layers_from_the_head_to_the_stem():
    model = models.create("resnet18", num_classes=3)
    counted = layers(model)
    assert len(counted) == 1 + 4 * 2 + 1
    assert counted[0] == [model.fc] and counted[1] == [model.layer4[1]] and model.conv1 in counted[-1]
    owned = [parameter for modules in counted for module in modules for parameter in module.parameters()]
    assert sorted(map(id, owned)) == sorted(map(id, model.parameters())), "each once"


def test_rates_by_depth():
    model = make_model()
    groups = strategies.parameter_groups(model, 0.1, 0.0, lr=1.0, layer_decay=0.5)
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert groups[0]["lr"] == 1.0, "the head's comes first: the rate that is shown"
    assert rates[id(model.fc.weight)] == 1.0 and rates[id(model.layer3[0].conv1.weight)] == 0.5
    assert rates[id(model.layer1[0].bn1.bias)] == 0.5**3 and rates[id(model.conv1.weight)] == 0.5**4
    assert len(rates) == sum(1 for _ in model.parameters())
    decays = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    assert decays[id(model.conv1.weight)] == 0.1 and decays[id(model.bn1.weight)] == 0.0


def test_parameters_that_join_in_warm_up_of_their_own():
    model = make_model()
    settings = Settings(data="d", epochs=8, strategy="lp-ft", lr=1.0, sched="constant", warmup_epochs=0.5, opt="sgd")
    strategy = choose_strategy(model, settings.check().resolved("finetune"))
    settings = settings.resolved("finetune")
    optimizer = make_optimizer(model, settings, strategy)
    schedule = make_schedule(optimizer, settings, 4, strategy)
    heads, bodies = [], []
    for _ in range(20):
        heads.append(optimizer.param_groups[0]["lr"])
        bodies.append(optimizer.param_groups[-1]["lr"])
        optimizer.step()
        schedule.step()
    assert heads == [0.5] + [1.0] * 19
    assert bodies == [0.0] * 16 + [0.5] + [1.0] * 3


@pytest.mark.parametrize(
    ("given", "lr", "probe"),
    [({}, 1e-3, None), ({"strategy": "head"}, 1e-2, None), ({"freeze": "backbone"}, 1e-2, None),
     ({"strategy": "head", "opt": "sgd"}, 0.1, None), ({"strategy": "head", "head": "64"}, 3e-3, None),
     ({"strategy": "head", "opt": "lars"}, 5.0, None), ({"strategy": "lora"}, 3e-3, None),
     ({"strategy": "bn"}, 1e-2, None), ({"strategy": "head", "unfreeze_at": ("2:all",)}, 1e-3, None),
     ({"strategy": "head", "loss": "arcface"}, 1e-3, None), ({"strategy": "head", "lr": 0.5}, 0.5, None),
     ({"strategy": "lp-ft"}, 1e-3, 1e-2), ({"strategy": "lp-ft", "sched": "onecycle"}, 1e-3, None),
     ({"strategy": "lp-ft", "lr": 0.5}, 0.5, None), ({"strategy": "lp-ft", "probe_lr": 0.5}, 1e-3, 0.5)],
)  # fmt: skip
def test_few_parameters_learn_at_a_larger_rate(given, lr, probe):
    chosen = Settings(data="d", **given).check().resolved("finetune")
    assert (chosen.lr, chosen.probe_lr) == (pytest.approx(lr), probe and pytest.approx(probe))
    assert chosen.resolved("finetune") == chosen


@pytest.mark.parametrize("given", [{"strategy": "head"}, {"strategy": "lp-ft", "sched": "plateau"}])
def test_a_rate_for_a_probe_that_there_is_not(given):
    with pytest.raises(UsageError, match="--probe-lr is for --strategy lp-ft"):
        Settings(data="d", probe_lr=0.1, **given).check()


def test_the_head_alone_has_a_rate_of_its_own():
    model = make_model()
    settings = Settings(data="d", epochs=4, strategy="lp-ft", lr=0.1, probe_lr=0.4, sched="constant", warmup_epochs=0)
    settings = settings.check().resolved("finetune")
    strategy = choose_strategy(model, settings)
    optimizer = make_optimizer(model, settings, strategy)
    schedule = make_schedule(optimizer, settings, 3, strategy)
    rates = []
    for _ in range(12):
        rates.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[-1]["lr"]))
        optimizer.step()
        schedule.step()
    assert rates[:6] == [(pytest.approx(0.4), 0.0)] * 6 and rates[6:] == [(pytest.approx(0.1), pytest.approx(0.1))] * 6


@pytest.mark.parametrize("sched", ["cosine", "onecycle", "plateau"])
def test_every_schedule_keeps_the_proportions_of_the_rates(sched):
    model = make_model()
    settings = Settings(data="d", epochs=4, layer_decay=0.5, lr=1.0, sched=sched, opt="sgd").resolved("finetune")
    optimizer = make_optimizer(model, settings)
    schedule = make_schedule(optimizer, settings, 3)
    for _ in range(5):
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates[-1] / rates[0] == pytest.approx(0.5**4)
        optimizer.step()
        schedule.step(*([1.0] if sched == "plateau" else []))


def test_a_pull_towards_the_start():
    model = make_model()
    images, targets = batch()
    plain = nn.CrossEntropyLoss()
    loss_fn = strategies.PullToStart(plain, model, 0.3)
    assert loss_fn(model(images), targets).item() == plain(model(images), targets).item(), "no distance yet"
    start = model.conv1.weight.detach().numpy().copy()
    with mr.no_grad():
        for parameter in (model.conv1.weight, model.fc.weight):
            parameter.array[...] += 0.5
            parameter.bump_version()
    away = 0.15 * ((model.conv1.weight.detach().numpy() - start) ** 2).sum()
    model.eval()
    pulled, alone = loss_fn(model(images), targets), plain(model(images), targets)
    assert pulled.item() == pytest.approx(alone.item() + away, rel=1e-5), "the head is not pulled"
    pulled.backward()
    with_pull = model.conv1.weight.grad.numpy().copy()
    model.zero_grad()
    plain(model(images), targets).backward()
    assert np.allclose(with_pull - model.conv1.weight.grad.numpy(), 0.3 * 0.5, atol=1e-5)
    groups = strategies.parameter_groups(model, 0.1, 0.0, decay_body=False)
    decayed = {id(each) for group in groups if group["weight_decay"] for each in group["params"]}
    assert decayed == {id(model.fc.weight)}
    strategies.head(model)
    assert loss_fn(model(images), targets).item() == plain(model(images), targets).item(), "frozen: nothing to pull"
    with pytest.raises(ValueError, match="alpha"):
        strategies.PullToStart(plain, model, 0.0)
    with pytest.raises(ValueError, match="mean"):
        strategies.PullToStart(nn.CrossEntropyLoss(reduction="sum"), model, 1.0)
