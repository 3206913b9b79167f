"""What --opt and --sched name: the optimizers and curves themselves, checks of what goes together, learning."""

import math

import numpy as np
import pytest

from minires import models, nn, optim
from minires.errors import UsageError
from minires.finetune import finetune
from minires.finetune.optimizer_table import USUAL
from minires.finetune.optimizers import KINDS, make_optimizer, make_schedule
from minires.finetune.settings import Settings
from minires.tensor import Tensor
from tests.finetune.helpers import make_photos, make_weights


def settings(**given):
    return Settings(data="d", **given).check().resolved("finetune")


def test_the_tables_name_the_same_optimizers():
    assert set(USUAL) == set(KINDS)


@pytest.mark.parametrize(
    ("opt", "kind", "facts"),
    [
        ("sgd", optim.SGD, {"momentum": 0.9, "nesterov": True}),
        ("adam", optim.Adam, {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}),
        ("adamw", optim.AdamW, {"betas": (0.9, 0.999), "decoupled_weight_decay": True, "weight_decay": 0.05}),
        ("nadam", optim.NAdam, {"decoupled_weight_decay": True, "weight_decay": 0.05}),
        ("radam", optim.RAdam, {"decoupled_weight_decay": True}),
        ("rmsprop", optim.RMSprop, {"momentum": 0.9, "eps": 1e-8}),
        ("lion", optim.Lion, {"betas": (0.9, 0.99), "weight_decay": 0.2}),
        ("lamb", optim.LAMB, {"eps": 1e-6, "weight_decay": 0.02}),
        ("lars", optim.LARS, {"momentum": 0.9, "nesterov": True, "always_adapt": True, "eps": 1e-8}),
        ("adamax", optim.Adamax, {"betas": (0.9, 0.999), "weight_decay": 0.0}),
        ("adagrad", optim.Adagrad, {"eps": 1e-10}),
        ("adadelta", optim.Adadelta, {"eps": 1e-6}),
    ],
)
def test_every_optimizer_is_made_with_its_own_defaults_and_moves_the_loss_down(opt, kind, facts):
    model = models.resnet20(weights="shapes")
    made = settings(opt=opt)
    optimizer = make_optimizer(model, made)
    assert type(optimizer) is kind
    decayed = next(group for group in optimizer.param_groups if group["weight_decay"] == made.weight_decay)
    assert {name: decayed[name] for name in facts} == facts
    assert all(group["weight_decay"] in (0.0, made.weight_decay) for group in optimizer.param_groups)
    x = Tensor(np.random.default_rng(0).standard_normal((4, 3, 32, 32)).astype(np.float32))
    target, losses = Tensor(np.arange(4)), []
    for _ in range(4):
        loss = nn.functional.cross_entropy(model(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    arrays = [value for state in optimizer.state.values() for value in state.values() if np.ndim(value) > 0]
    assert len(arrays) == USUAL[opt].copies * len(list(model.parameters()))


def rates(epochs=6, steps=5, **given):
    made = settings(epochs=epochs, lr=0.2, **{"warmup_epochs": 1.0, **given})
    parameter = nn.Parameter(np.zeros(1))
    optimizer = optim.SGD([parameter], lr=made.lr)
    schedule, found = make_schedule(optimizer, made, steps), []
    for _ in range(epochs * steps):
        found.append(optimizer.param_groups[0]["lr"] / made.lr)
        optimizer.step()
        schedule.step()
    return found


CURVES = {
    "linear": lambda t: 1 - t / 25,
    "poly": lambda t: (1 - t / 25) ** 0.9,
    "cosine": lambda t: (1 + math.cos(math.pi * t / 25)) / 2,
    "restarts": lambda t: (1 + math.cos(math.pi * (t % 10) / 10)) / 2,
}


@pytest.mark.parametrize("sched", CURVES)
@pytest.mark.parametrize("min_lr", [0.0, 0.05])
def test_curves_after_the_warm_up(sched, min_lr):
    more = {"decay_epochs": 2} if sched == "restarts" else {}
    found = rates(sched=sched, min_lr=min_lr, **more)
    assert found[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    floor = min_lr / 0.2
    assert found[5:] == pytest.approx([floor + (1 - floor) * CURVES[sched](t) for t in range(25)])


def test_exponential_falls_by_the_rate_an_epoch_down_to_the_floor():
    found = rates(sched="exponential", decay_rate=0.5, min_lr=0.02)
    assert found[5::5] == pytest.approx([1.0, 0.5, 0.25, 0.125, 0.1])
    assert rates(sched="ExponentialLR", decay_rate=0.5)[5:] == pytest.approx([0.5 ** (t / 5) for t in range(25)])


@pytest.mark.parametrize(
    ("more", "factor"),
    [
        ({"sched": "step", "decay_epochs": 2, "decay_rate": 0.5}, lambda t: 0.5 ** (t // 10)),
        ({"sched": "step", "decay_epochs": 0.5, "decay_rate": 0.5}, lambda t: 0.5 ** (t // 2)),
        ({"sched": "multistep", "decay_milestones": (2, 5)}, lambda t: 0.1 ** ((t >= 10) + (t >= 25))),
        ({"sched": "constant"}, lambda t: 1.0),
        ({"sched": "cosine", "warmup_epochs": 0.0}, lambda t: (1 + math.cos(math.pi * t / 30)) / 2),
        ({"sched": "cosine", "warmup_epochs": 9.0}, lambda t: 1.0),
    ],
)  # fmt: skip
def test_steps_counted_from_the_beginning(more, factor):
    """At every one of 30 steps; the warm-up of 5 steps rises to where the curve is, or leaves one step of it."""
    found, warmup = rates(**more), min(round(5 * more.get("warmup_epochs", 1.0)), 29)
    assert found[:warmup] == pytest.approx([(t + 1) / warmup for t in range(warmup)])
    assert found[warmup:] == pytest.approx([factor(t) for t in range(warmup, 30)])


@pytest.mark.parametrize("opt", list(USUAL))
def test_onecycle_is_torchs_with_every_optimizer(opt):
    torch = pytest.importorskip("torch")
    made = settings(opt=opt, sched="onecycle", epochs=3, sam=0.05 if opt == "adagrad" else 0.0)
    optimizer = make_optimizer(models.create("cifar_resnet", depth=8, num_classes=2), made)
    schedule = make_schedule(optimizer, made, 4)
    theirs = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=made.lr, momentum=0.9)
    other = torch.optim.lr_scheduler.OneCycleLR(theirs, made.lr, total_steps=12)
    for _ in range(11):
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([theirs.param_groups[0]["lr"]] * len(rates))
        if "momentum" in optimizer.defaults:
            assert optimizer.param_groups[0]["momentum"] == pytest.approx(theirs.param_groups[0]["momentum"])
        for each in (optimizer, theirs, schedule, other):
            if each is optimizer and made.sam:
                optimizer.second_step()
            else:
                each.step()


@pytest.mark.parametrize(
    ("torch", "ours"),
    [("LinearLR", "linear"), ("PolynomialLR", "poly"), ("CosineAnnealingWarmRestarts", "restarts")],
)  # fmt: skip
def test_names_of_torch(torch, ours):
    assert Settings(data="d", sched=torch, decay_epochs=1).check().sched == ours


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"opt": "sgd", "opt_betas": (0.8, 0.9)}, "--opt-betas is for adam, adamw, .*, not for --opt sgd"),
        ({"opt": "lion", "opt_eps": 1e-4}, "--opt-eps is for .*, not for --opt lion"),
        ({"opt": "rmsprop", "opt_betas": (0.8, 0.9)}, "not for --opt rmsprop"),
        ({"opt": "adamw", "momentum": 0.8}, "--momentum is for sgd, rmsprop, lars, not for --opt adamw"),
        ({"sam": 0.05, "device": "cuda", "amp": "float16"}, "--sam does not go with --amp float16"),
        ({"sam": -1}, "--sam must be at least 0"),
        ({"sched": "onecycle", "opt": "sgd", "momentum": 0.8}, "--momentum does not go with --sched onecycle"),
        ({"sched": "onecycle", "opt_betas": (0.8, 0.9)}, "the first of --opt-betas does not go with --sched onecycle"),
        ({"sched": "restarts"}, "--sched restarts needs --decay-epochs"),
        ({"sched": "exponential", "decay_epochs": 2}, "--decay-epochs does not go with --sched exponential"),
        ({"opt": "lyon"}, "did you mean 'lion'"),
        ({"opt": "SAM"}, "--opt SAM: SAM goes around any .* --sam"),
        ({"sched": "exponental"}, "did you mean 'exponential'"),
    ],
)
def test_what_does_not_go_together(given, message):
    with pytest.raises(UsageError, match=message):
        Settings(data="d", **given).check()


def test_what_older_runs_have_written_down_is_no_conflict():
    assert Settings(data="d", opt="sgd", opt_betas=(0.9, 0.999), opt_eps=1e-8).check().opt == "sgd"


SLOW = [pytest.param(opt, more, marks=pytest.mark.slow) for opt, more in (
    ("lamb", {"sched": "poly"}), ("radam", {"sched": "exponential"}), ("adamax", {"sam": 0.1, "clip_grad": 0.5}),
    ("adagrad", {}), ("adadelta", {"sched": "linear"}),
)]  # fmt: skip


@pytest.mark.parametrize(
    ("opt", "more"),
    [("lion", {"sched": "restarts", "decay_epochs": 1}), ("lars", {}),
     ("sgd", {"sam": 0.05, "grad_accum_steps": 2, "batch_size": 4, "clip_grad": 1.0, "drop_path": 0.2}), *SLOW],
)  # fmt: skip
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, opt, more):
    make_photos(tmp_path / "photos")
    given = {"data": str(tmp_path / "photos"), "weights": str(make_weights(tmp_path / "weights")), "epochs": 2,
             "batch_size": 8, "opt": opt, "workers": 0, **more}  # fmt: skip
    finetune(**given, output=str(tmp_path / "whole"))
    parts = finetune(**given, output=str(tmp_path / "parts"), max_steps=2)
    assert parts.resumable
    finetune(resume=str(tmp_path / "parts"))
    first, second = (tmp_path / name / "model" / "model.safetensors" for name in ("whole", "parts"))
    assert first.read_bytes() == second.read_bytes()
