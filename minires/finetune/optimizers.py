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
    """SGD with momentum (Nesterov), Adam or AdamW over what is trained now, or at some time by the strategy."""
    assert settings.lr is not None and settings.weight_decay is not None and settings.norm_weight_decay is not None
    optimizer: Any
    groups = parameter_groups(
        model, settings.weight_decay, settings.norm_weight_decay, strategy=strategy, lr=settings.lr,
        layer_decay=settings.layer_decay, decay_body=not settings.l2_sp,
    )  # fmt: skip
    if settings.opt == "sgd":
        optimizer = optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.momentum > 0)
    else:
        kind = optim.AdamW if settings.opt == "adamw" else optim.Adam
        first, second = settings.opt_betas
        optimizer = kind(groups, lr=settings.lr, betas=(first, second), eps=settings.opt_eps)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]  # most schedules note it themselves, plateau does not
    return optimizer


class Factor:
    """The learning rate at a step as a multiple of --lr: a straight rise, then cosine, step, multistep or constant.

    Step t of a warm-up of w steps has start + (1 - start) (t + 1) / w, so that no step is wasted on a rate of 0; after
    it, with share = (t - w) / (T - w): cosine is floor + (1 - floor) (1 + cos(pi share)) / 2; step and multistep count
    epochs from the very beginning, as in timm.
    """

    def __init__(self, settings: Settings, steps_per_epoch: int) -> None:
        assert settings.lr is not None and settings.epochs is not None and settings.warmup_epochs is not None
        self.kind, self.rate = settings.sched, settings.decay_rate
        self.total = settings.epochs * steps_per_epoch
        self.warmup = min(round(settings.warmup_epochs * steps_per_epoch), self.total - 1)
        self.start, self.floor = settings.warmup_lr / settings.lr, min(1.0, settings.min_lr / settings.lr)
        if settings.sched == "step":
            every = round((settings.decay_epochs or 1) * steps_per_epoch)
            self.milestones = list(range(max(every, 1), self.total, max(every, 1)))
        else:
            self.milestones = [epoch * steps_per_epoch for epoch in settings.decay_milestones]

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return self.start + (1 - self.start) * (step + 1) / self.warmup
        if self.kind == "cosine":
            share = min(1.0, (step - self.warmup) / (self.total - self.warmup))
            return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * share)) / 2
        if self.kind in ("step", "multistep"):
            return self.rate ** bisect.bisect_right(self.milestones, step)
        return 1.0

    def late(self, start: int) -> Callable[[int], float]:
        """The same for parameters that join in at step `start`, with a rise of their own: 0 before it."""
        rise = max(self.warmup, 1)
        return lambda step: 0.0 if step < start else self(step) * min(1.0, (step - start + 1) / rise)


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
        return optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=max(total, 2))
    factor = Factor(settings, steps_per_epoch)
    # as a function: the attributes of an object would be saved, and come back in place of those of changed settings
    starts = [strategy.start_of(group["params"][0]) if strategy else 0 for group in optimizer.param_groups]
    return optim.lr_scheduler.LambdaLR(optimizer, [
        factor.late(start * steps_per_epoch) if start else (lambda step: factor(step)) for start in starts
    ])  # fmt: skip


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
