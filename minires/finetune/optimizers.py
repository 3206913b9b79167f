"""From settings to an optimizer and a learning-rate schedule."""

import bisect
import math
from collections.abc import Callable
from typing import Any

from minires import optim
from minires.finetune.settings import Settings
from minires.finetune.strategies.plan import Strategy
from minires.finetune.strategies.rates import parameter_groups


def make_optimizer(model: Any, settings: Settings, strategy: Strategy | None = None) -> Any:
    """The optimizer that --opt names, over what is trained now, or at some time by the strategy."""
    assert settings.lr is not None and settings.weight_decay is not None and settings.norm_weight_decay is not None
    groups = parameter_groups(
        model, settings.weight_decay, settings.norm_weight_decay, strategy=strategy, lr=settings.lr,
        layer_decay=settings.layer_decay, decay_body=not settings.l2_sp,
    )  # fmt: skip
    kind, more = KINDS[settings.opt or "adamw"]
    given = {"lr": settings.lr, **more(settings)}
    optimizer = optim.SAM(groups, kind, settings.sam, **given) if settings.sam else kind(groups, **given)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]  # most schedules note it themselves, plateau does not
    return optimizer


def _of_sgd(settings: Settings) -> dict[str, Any]:
    return {"momentum": settings.momentum, "nesterov": settings.momentum > 0}


def _of_rmsprop(settings: Settings) -> dict[str, Any]:
    return {"momentum": settings.momentum, **_of_adam(settings)}


def _of_lars(settings: Settings) -> dict[str, Any]:
    """Norms and biases adapted, too: without their share of a rate that is meant for shares they would run away."""
    return {**_of_sgd(settings), **_of_adam(settings), "always_adapt": True}


def _of_adam(settings: Settings) -> dict[str, Any]:
    """Its own defaults, where nothing is said."""
    given = {"betas": settings.opt_betas, "eps": settings.opt_eps}
    return {name: value for name, value in given.items() if value is not None}


def _decoupled(settings: Settings) -> dict[str, Any]:
    return {**_of_adam(settings), "decoupled_weight_decay": True}


KINDS: dict[str, tuple[Any, Callable[[Settings], dict[str, Any]]]] = {  # --opt -> class, and what it is given
    "sgd": (optim.SGD, _of_sgd), "adam": (optim.Adam, _of_adam), "adamw": (optim.AdamW, _of_adam),
    "nadam": (optim.NAdam, _decoupled), "radam": (optim.RAdam, _decoupled), "rmsprop": (optim.RMSprop, _of_rmsprop),
    "lion": (optim.Lion, _of_adam), "lamb": (optim.LAMB, _of_adam), "lars": (optim.LARS, _of_lars),
    "adamax": (optim.Adamax, _of_adam), "adagrad": (optim.Adagrad, _of_adam), "adadelta": (optim.Adadelta, _of_adam),
}  # fmt: skip


class Factor:
    """The learning rate at a step as a multiple of --lr: a straight rise, then the curve that --sched names.

    Step t of a warm-up of w steps has start + (1 - start) (t + 1) / w, so that no step is wasted on a rate of 0. After
    it the curve falls from 1 to 0, in share = (t - w) / (T - w), and the factor is floor + (1 - floor) curve:

        cosine     (1 + cos(pi share)) / 2        linear    1 - share        poly    (1 - share)^0.9, as torchvision's
        restarts   the cosine again and again, each time over --decay-epochs: share = (t - w) mod length / length

    exponential is rate^epochs, at least floor, its epochs counted from the end of the warm-up; step and multistep count
    theirs from the very beginning, as in timm.
    """

    def __init__(self, settings: Settings, steps_per_epoch: int) -> None:
        assert settings.lr is not None and settings.epochs is not None and settings.warmup_epochs is not None
        self.kind, self.rate = settings.sched, settings.decay_rate
        self.total = settings.epochs * steps_per_epoch
        self.warmup = min(round(settings.warmup_epochs * steps_per_epoch), self.total - 1)
        self.start, self.floor = settings.warmup_lr / settings.lr, min(1.0, settings.min_lr / settings.lr)
        self.epoch, self.length = steps_per_epoch, max(1, round((settings.decay_epochs or 1) * steps_per_epoch))
        if settings.sched == "step":
            self.milestones = list(range(self.length, self.total, self.length))
        else:
            self.milestones = [epoch * steps_per_epoch for epoch in settings.decay_milestones]

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return self.start + (1 - self.start) * (step + 1) / self.warmup
        since = step - self.warmup
        if self.kind == "exponential":
            return max(self.floor, self.rate ** (since / self.epoch))
        if self.kind in CURVES:
            share = min(1.0, since / (self.total - self.warmup))
            if self.kind == "restarts":
                share = since % self.length / self.length
            return self.floor + (1 - self.floor) * CURVES[self.kind](share)
        if self.kind in ("step", "multistep"):
            return self.rate ** bisect.bisect_right(self.milestones, step)
        return 1.0

    def late(self, start: int) -> Callable[[int], float]:
        """The same for parameters that join in at step `start`, with a rise of their own: 0 before it."""
        rise = max(self.warmup, 1)
        return lambda step: 0.0 if step < start else self(step) * min(1.0, (step - start + 1) / rise)

    def probing(self, end: int, times: float) -> Callable[[int], float]:
        """The same, and up to step `end`, while others have not joined in yet, so many times as much."""
        return lambda step: self(step) * (times if step < end else 1.0)


def _cosine(share: float) -> float:
    return (1 + math.cos(math.pi * share)) / 2


CURVES: dict[str, Callable[[float], float]] = {
    "cosine": _cosine, "restarts": _cosine, "linear": lambda share: 1 - share, "poly": lambda share: (1 - share) ** 0.9,
}  # fmt: skip


def make_schedule(
    optimizer: Any, settings: Settings, steps_per_epoch: int, strategy: Strategy | None = None
) -> Any:  # fmt: skip
    """The schedule that the settings name. It moves on after every step; plateau after every epoch, by the val loss.

    Parameters that the strategy begins with later have a warm-up of their own (not with plateau and onecycle).
    """
    assert settings.lr is not None and settings.epochs is not None
    if settings.sched == "plateau":
        patience = 5 if settings.decay_epochs is None else round(settings.decay_epochs)
        return optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=settings.decay_rate, patience=patience, min_lr=settings.min_lr
        )
    if settings.sched == "onecycle":
        total = settings.epochs * steps_per_epoch
        rates = [group["lr"] for group in optimizer.param_groups]
        has_momentum = not {"momentum", "betas"}.isdisjoint(optimizer.defaults)  # adagrad and adadelta have none
        return optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=max(total, 2), cycle_momentum=has_momentum)
    factor = Factor(settings, steps_per_epoch)
    # as a function: the attributes of an object would be saved, and come back in place of those of changed settings
    starts = [strategy.start_of(group["params"][0]) if strategy else 0 for group in optimizer.param_groups]
    end = strategy.last_start * steps_per_epoch if strategy else 0
    first = factor.probing(end, settings.probe_lr / settings.lr if settings.probe_lr else 1.0)
    return optim.lr_scheduler.LambdaLR(
        optimizer, [factor.late(start * steps_per_epoch) if start else first for start in starts]
    )


def base_rates(optimizer: Any) -> list[float]:
    """The rate of each group that the schedule starts from."""
    return [group["initial_lr"] for group in optimizer.param_groups]


def set_base_rates(optimizer: Any, schedule: Any, rates: list[float]) -> bool:
    """After a resume: let the schedule go on from where it is with these base rates; False if they are its own.

    Every rate of a group is changed in the same proportion, so that the shape of the schedule stays.
    """
    if rates == base_rates(optimizer):
        return False
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        share = rate / group["initial_lr"]
        for name in {"lr", "max_lr", "min_lr"} & set(group):
            group[name] *= share
        group["initial_lr"] = rate
    if hasattr(schedule, "base_lrs"):
        schedule.base_lrs = rates
    return True
