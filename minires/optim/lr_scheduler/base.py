"""What all schedules share."""

import warnings
from typing import Any

from minires.optim.optimizer import Optimizer


class LRScheduler:
    """Base class: a schedule defines `get_lr`, the rates of all groups at `last_epoch`, the number of steps so far."""

    is_initial = False  # whether the first rate is being set, by __init__

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        for number, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(f"param 'initial_lr' is not specified in param_groups[{number}] when resuming a "
                               "schedule with last_epoch >= 0")  # fmt: skip
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._first_step()

    def _first_step(self) -> None:
        self.is_initial = True
        self._step_count = 1
        self.last_epoch += 1
        self._set(self.get_lr())
        del self.is_initial

    def get_lr(self) -> list[float]:
        """The learning rates of the groups at `last_epoch`."""
        raise NotImplementedError

    def get_last_lr(self) -> list[float]:
        """The learning rates that were set last."""
        return self._last_lr

    def step(self, epoch: float | None = None) -> None:
        """Move on by one. Warns if the optimizer has not made a step before: the first rate would be skipped.

        epoch: go there instead, an older way that PyTorch keeps, with a warning.
        """
        never_stepped = type(self.optimizer).step is Optimizer.step and self.optimizer.steps_seen == 0
        if self._step_count == 1 and self.last_epoch == 0 and never_stepped:
            warnings.warn("Detected call of `lr_scheduler.step()` before `optimizer.step()`: the first value of the "
                          "schedule is skipped", stacklevel=2)  # fmt: skip
        self._step_count += 1
        if epoch is not None:
            self._go_to(epoch)
            return
        self.last_epoch += 1
        self._set(self.get_lr())

    def _go_to(self, epoch: float) -> None:
        warnings.warn("the epoch argument of `scheduler.step()` is deprecated: call step() without it", stacklevel=3)
        self.last_epoch = epoch  # type: ignore[assignment]
        self._set(getattr(self, "_get_closed_form_lr", self.get_lr)())

    def _start_at_zero(self) -> None:
        """Begin the schedule now, wherever the rates stand: by its closed form where it has one."""
        self.last_epoch = 0
        closed_form = getattr(self, "_get_closed_form_lr", self.get_lr)
        self._set(closed_form())

    def _set(self, rates: list[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self._last_lr = self._current()

    def _current(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer, whose own state holds the current rates."""
        return {name: value for name, value in self.__dict__.items() if name != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` returned. Load the optimizer's state, too."""
        self.__dict__.update(state_dict)


def check_optimizer(optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


def one_for_each_group(optimizer: Optimizer, value: Any, name: str) -> list[float]:
    """A list or tuple with a value for each group, or one value for all. ValueError naming a list of another length."""
    groups = len(optimizer.param_groups)
    values = list(value) if isinstance(value, list | tuple) else [value] * groups
    if len(values) != groups:
        raise ValueError(f"{name} must have the same length as optimizer.param_groups. "
                         f"{name} has {len(values)} values, param_groups has {groups}")  # fmt: skip
    return values
