"""Schedules against torch's for 60 steps, with a round trip of their state in the middle."""

import math
import pickle
import warnings

import numpy as np
import pytest

import minires as mr
from minires import optim
from minires.nn import Parameter

torch = pytest.importorskip("torch")

SCHEDULES = {
    "StepLR": lambda s, o: s.StepLR(o, 7, gamma=0.5),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [30, 10, 10, 45], gamma=0.3),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.93),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 20, eta_min=0.003),
    "CosineAnnealingLR to the end": lambda s, o: s.CosineAnnealingLR(o, 60),
    "LinearLR": lambda s, o: s.LinearLR(o, start_factor=0.2, end_factor=0.7, total_iters=25),
    "LinearLR default": lambda s, o: s.LinearLR(o),
    "ConstantLR": lambda s, o: s.ConstantLR(o, factor=0.25, total_iters=12),
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda t: 0.9**t),
    "LambdaLR per group": lambda s, o: s.LambdaLR(o, [lambda t: 0.9**t, lambda t: 1 / (1 + t)]),
    "SequentialLR": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, total_iters=10), s.CosineAnnealingLR(o, 30), s.ExponentialLR(o, 0.9)], [10, 40]
    ),
    "SequentialLR of steps": lambda s, o: s.SequentialLR(
        o, [s.ConstantLR(o, 0.1, 5), s.StepLR(o, 6, 0.5), s.MultiStepLR(o, [3, 5], 0.2)], [8, 33]
    ),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 0.5, total_steps=61),
    "OneCycleLR linear": lambda s, o: s.OneCycleLR(
        o, [0.5, 0.1], epochs=7, steps_per_epoch=9, anneal_strategy="linear", pct_start=0.4, div_factor=10.0
    ),
    "OneCycleLR three phases": lambda s, o: s.OneCycleLR(
        o, 0.5, total_steps=61, three_phase=True, base_momentum=[0.7, 0.8], max_momentum=0.9, final_div_factor=50.0
    ),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda t: 0.95 if t % 3 else 0.8),
    "MultiplicativeLR per group": lambda s, o: s.MultiplicativeLR(o, [lambda t: 0.95, lambda t: 1 - 0.01 * t]),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, 40, power=1.7),
    "PolynomialLR default": lambda s, o: s.PolynomialLR(o),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 7, eta_min=0.001),
    "CosineAnnealingWarmRestarts longer": lambda s, o: s.CosineAnnealingWarmRestarts(o, 5, T_mult=2),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.01, 0.1, step_size_up=7),
    "CyclicLR halved": lambda s, o: s.CyclicLR(o, [0.01, 0.02], 0.1, 5, 8, "triangular2", base_momentum=[0.7, 0.8]),
    "CyclicLR shrinking": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 4, mode="exp_range", gamma=0.97, cycle_momentum=False),
    "CyclicLR of a function": lambda s, o: s.CyclicLR(
        o, 0.01, 0.1, 4, 3, scale_fn=lambda t: 1 / (1 + t), scale_mode="iterations"
    ),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 20), s.ExponentialLR(o, 0.9)]),
    "SequentialLR of restarts": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, total_iters=10), s.CosineAnnealingWarmRestarts(o, 4, 2), s.PolynomialLR(o, 9)], [10, 45]
    ),
    "OneCycleLR without momentum": lambda s, o: s.OneCycleLR(o, 0.5, total_steps=61, cycle_momentum=False),
}
PLATEAUS = {
    "min rel": {"factor": 0.5, "patience": 2},
    "max abs": {"mode": "max", "factor": 0.3, "patience": 1, "threshold_mode": "abs", "threshold": 0.05},
    "min abs": {"factor": 0.5, "patience": 0, "cooldown": 3, "threshold_mode": "abs", "threshold": 0.01},
    "max rel": {"mode": "max", "factor": 0.5, "patience": 3, "threshold": 0.1},
    "limits": {"factor": 0.5, "patience": 0, "min_lr": [0.01, 0.02], "eps": 1e-3},
}


def optimizers(kind="SGD"):
    def build(module, parameters):
        groups = [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.02}]
        return getattr(module, kind)(groups, lr=0.1, **({"momentum": 0.9} if kind == "SGD" else {}))

    ours = build(optim, [Parameter(np.zeros(1)), Parameter(np.zeros(2))])
    return ours, build(torch.optim, [torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(2))])


def figures(optimizer):
    names = ("lr", "momentum", "betas")
    return [[group[name] for name in names if name in group] for group in optimizer.param_groups]


def assert_same(ours, theirs, place):
    flat = [np.hstack([np.hstack(group) for group in figures(optimizer)]) for optimizer in (ours, theirs)]
    assert np.allclose(*flat, rtol=1e-12, atol=1e-15), f"{place}: {flat}"


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_sixty_steps_as_torch_with_a_round_trip(name, kind):
    ours, theirs = optimizers(kind)
    schedule, expected = SCHEDULES[name](optim.lr_scheduler, ours), SCHEDULES[name](torch.optim.lr_scheduler, theirs)
    assert_same(ours, theirs, "at the start")
    seen = set()
    for step in range(60):
        ours.step()
        theirs.step()
        schedule.step()
        expected.step()
        assert_same(ours, theirs, f"after step {step}")
        assert np.allclose(schedule.get_last_lr(), expected.get_last_lr(), rtol=1e-12)
        seen.add(round(ours.param_groups[0]["lr"], 9))
        if step == 29:
            saved = pickle.loads(pickle.dumps((ours.state_dict(), schedule.state_dict())))
            ours, _ = optimizers(kind)
            schedule = SCHEDULES[name](optim.lr_scheduler, ours)
            ours.load_state_dict(saved[0])
            schedule.load_state_dict(saved[1])
    assert len(seen) > 1, "the schedule never changed anything"


@pytest.mark.parametrize("name", PLATEAUS)
def test_plateau_as_torch(name):
    ours, theirs = optimizers()
    schedule = optim.lr_scheduler.ReduceLROnPlateau(ours, **PLATEAUS[name])
    expected = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **PLATEAUS[name])
    sign = -1 if PLATEAUS[name].get("mode") == "max" else 1
    random = np.random.default_rng(5)
    for step in range(60):
        figure = sign * (1 / (1 + 0.1 * step) + 0.05 * random.standard_normal())
        figure = math.nan if step == 17 else figure
        schedule.step(figure)
        expected.step(figure)
        assert_same(ours, theirs, f"after step {step}")
        assert (schedule.best, schedule.num_bad_epochs) == (expected.best, expected.num_bad_epochs)
        if step == 29:
            saved = schedule.state_dict()
            schedule = optim.lr_scheduler.ReduceLROnPlateau(ours, **PLATEAUS[name])
            schedule.load_state_dict(saved)
    assert ours.param_groups[0]["lr"] < 0.1, "the rate was never cut"


def test_warm_up_and_cosine():
    ours, _ = optimizers()
    schedule = optim.lr_scheduler.CosineWithWarmup(ours, warmup_steps=4, total_steps=12, eta_min=0.01)
    rates = []
    for _ in range(16):
        rates.append(ours.param_groups[0]["lr"])
        ours.step()
        schedule.step()
    expected = [0.025, 0.05, 0.075, 0.1]
    expected += [0.01 + 0.09 * (1 + math.cos(math.pi * t / 8)) / 2 for t in range(8)] + [0.01] * 4
    assert np.allclose(rates, expected, rtol=1e-12)
    for wrong in ((5, 5), (-1, 4)):
        with pytest.raises(ValueError, match="warmup_steps < total_steps"):
            optim.lr_scheduler.CosineWithWarmup(ours, *wrong)


@pytest.mark.parametrize(
    "build",
    [
        lambda s, o: s.ConstantLR(o, factor=2.0),
        lambda s, o: s.LinearLR(o, start_factor=0.0),
        lambda s, o: s.LinearLR(o, end_factor=-1.0),
        lambda s, o: s.LambdaLR(o, [lambda t: 1.0]),
        lambda s, o: s.OneCycleLR(o, 0.1),
        lambda s, o: s.OneCycleLR(o, 0.1, total_steps=0),
        lambda s, o: s.OneCycleLR(o, 0.1, epochs=3, steps_per_epoch=-1),
        lambda s, o: s.OneCycleLR(o, 0.1, total_steps=9, pct_start=2.0),
        lambda s, o: s.OneCycleLR(o, 0.1, total_steps=9, anneal_strategy="cubic"),
        lambda s, o: s.OneCycleLR(o, [0.1], total_steps=9),
        lambda s, o: s.ReduceLROnPlateau(o, factor=1.0),
        lambda s, o: s.ReduceLROnPlateau(o, mode="best"),
        lambda s, o: s.ReduceLROnPlateau(o, threshold_mode="x"),
        lambda s, o: s.ReduceLROnPlateau(o, min_lr=[0.1]),
        lambda s, o: s.MultiplicativeLR(o, [lambda t: 1.0]),
        lambda s, o: s.CosineAnnealingWarmRestarts(o, 0),
        lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, T_mult=0),
        lambda s, o: s.CyclicLR(o, 0.1, 0.2, mode="square"),
        lambda s, o: s.CyclicLR(o, [0.1], 0.2),
        lambda s, o: s.ChainedScheduler([]),
        lambda s, o: s.ChainedScheduler([s.ReduceLROnPlateau(o)]),
        lambda s, o: s.SequentialLR(o, [], []),
        lambda s, o: s.SequentialLR(o, [s.StepLR(o, 3)], [4]),
        lambda s, o: s.SequentialLR(o, [s.StepLR(o, 3), s.ReduceLROnPlateau(o)], [4]),
    ],
)
def test_wrong_arguments_are_refused_where_torch_refuses_them(build):
    ours, theirs = optimizers()
    with pytest.raises(ValueError):
        build(torch.optim.lr_scheduler, theirs)
    with pytest.raises(ValueError):
        build(optim.lr_scheduler, ours)


def test_one_cycle_ends_and_says_so():
    ours, _ = optimizers()
    schedule = optim.lr_scheduler.OneCycleLR(ours, 0.1, total_steps=5)
    ours.step()
    for _ in range(5):
        schedule.step()
    with pytest.raises(ValueError, match="Tried to step 6 times"):
        schedule.step()


def test_a_schedule_before_its_optimizer_warns():
    ours, _ = optimizers()
    schedule = optim.lr_scheduler.StepLR(ours, 2)
    with pytest.warns(UserWarning, match=r"before `optimizer.step\(\)`"):
        schedule.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schedule.step()


def test_needs_an_optimizer_and_initial_rates():
    with pytest.raises(TypeError, match="is not an Optimizer"):
        optim.lr_scheduler.StepLR("SGD", 3)
    ours, _ = optimizers()
    with pytest.raises(KeyError, match="initial_lr"):
        optim.lr_scheduler.StepLR(ours, 3, last_epoch=5)


RESTARTED = {
    "CosineAnnealingWarmRestarts": (3, 2, 0.01), "StepLR": (2,), "CosineAnnealingLR": (4,),
    "LambdaLR": (lambda epoch: 0.5**epoch,),
}  # fmt: skip


@pytest.mark.parametrize(("name", "arguments"), RESTARTED.items())
def test_to_an_epoch_as_in_torch(name, arguments):
    found = []
    for library in (mr, torch):
        optimizer = library.optim.SGD([library.nn.Parameter(library.ones(1))], lr=0.1)
        schedule = getattr(library.optim.lr_scheduler, name)(optimizer, *arguments)
        optimizer.step()
        rates = []
        for epoch in (0.5, 2, 4.25, 7) if name.endswith("Restarts") else (1, 5, 3):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                schedule.step(epoch)
            rates.append((schedule.get_last_lr()[0], schedule.last_epoch))
        found.append(rates)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)
