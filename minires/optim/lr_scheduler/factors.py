"""Schedules that multiply the rate at every step: by a function, or along a power of the time left."""

import types
from collections.abc import Callable
from typing import Any

from minires.optim.lr_scheduler.base import LRScheduler
from minires.optim.lr_scheduler.curves import LambdaLR
from minires.optim.optimizer import Optimizer


class MultiplicativeLR(LambdaLR):
    """Times lr_lambda(t) at every step; one function, or a list with one for each group, which are not saved."""

    def get_lr(self) -> list[float]:
        if self.is_initial:
            return self._current()
        factors = [function(self.last_epoch) for function in self.lr_lambdas]
        return [rate * factor for rate, factor in zip(self._current(), factors, strict=True)]


class PolynomialLR(LRScheduler):
    """base * (1 - t / total_iters)^power, then 0."""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        if self.is_initial or self.last_epoch > self.total_iters:
            return self._current()
        now, before = (1.0 - t / self.total_iters for t in (self.last_epoch, self.last_epoch - 1))
        return [rate * (now / before) ** self.power for rate in self._current()]

    def _get_closed_form_lr(self) -> list[float]:
        left = 1.0 - min(self.total_iters, self.last_epoch) / self.total_iters
        return [base * left**self.power for base in self.base_lrs]


def own_state(function: Callable[..., Any] | None) -> dict[str, Any] | None:
    """What a state keeps of a function: the attributes of one that is an object, nothing of a plain function."""
    return None if function is None or isinstance(function, types.FunctionType) else dict(function.__dict__)
