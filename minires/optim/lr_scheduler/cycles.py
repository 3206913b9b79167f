"""Schedules that come back: cosine with warm restarts, and triangles."""

import math
from collections.abc import Callable
from typing import Any

from minires.optim.lr_scheduler.base import LRScheduler, check_optimizer, one_for_each_group
from minires.optim.lr_scheduler.factors import own_state
from minires.optim.optimizer import Optimizer


class CosineAnnealingWarmRestarts(LRScheduler):
    """eta_min + (base - eta_min) (1 + cos(pi T_cur / T_i)) / 2;  at T_cur = T_i the rate starts again.

    T_cur: steps since the last restart. T_i: steps to the next one, first T_0, each time T_mult times as many.
    `step(epoch)` goes to any place, a fraction of an epoch too: `step(epoch + batch / batches)`.
    Loshchilov and Hutter 2017, "SGDR". ValueError for numbers that are not whole and positive.
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        if not isinstance(T_0, int) or T_0 <= 0:
            raise ValueError(f"Expected positive integer T_0, but got {T_0}")
        if not isinstance(T_mult, int) or T_mult < 1:
            raise ValueError(f"Expected integer T_mult >= 1, but got {T_mult}")
        self.T_0, self.T_i, self.T_mult, self.eta_min, self.T_cur = T_0, T_0, T_mult, eta_min, last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        self.T_cur, self.T_i = self.last_epoch, self.T_0
        if self.T_mult == 1:
            self.T_cur %= self.T_0
        while self.T_cur >= self.T_i:
            self.T_cur -= self.T_i
            self.T_i *= self.T_mult
        factor = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * factor for base in self.base_lrs]

    def _go_to(self, epoch: float) -> None:
        if epoch < 0:
            raise ValueError(f"Expected non-negative epoch, but got {epoch}")
        self.last_epoch = epoch  # type: ignore[assignment]
        self._set(self.get_lr())
        self.last_epoch = math.floor(epoch)


SCALES: dict[str, tuple[str, Callable[[float, float], float]]] = {  # mode: (counted in, height by gamma and count)
    "triangular": ("cycle", lambda gamma, count: 1.0),
    "triangular2": ("cycle", lambda gamma, count: 1 / 2.0 ** (count - 1)),
    "exp_range": ("iterations", lambda gamma, count: gamma**count),
}


class CyclicLR(LRScheduler):
    """From base_lr up to max_lr in step_size_up steps and down again in step_size_down, over and over (Smith 2017).

    mode: height of the triangles: "triangular" all the same, "triangular2" halved with each cycle, "exp_range" times
    gamma^t. scale_fn: a function of one's own instead, of the cycle's number (from 1) or of the step, by scale_mode,
    "cycle" or "iterations"; it is not saved in the state. cycle_momentum: momentum (Adam: beta1) moves the other way,
    from max_momentum to base_momentum and back. base_lr, max_lr and the momenta may be lists, one value a group.
    """

    def __init__(
        self, optimizer: Optimizer, base_lr: Any, max_lr: Any, step_size_up: int = 2000,
        step_size_down: int | None = None, mode: str = "triangular", gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None, scale_mode: str = "cycle", cycle_momentum: bool = True,
        base_momentum: Any = 0.8, max_momentum: Any = 0.9, last_epoch: int = -1,
    ) -> None:  # fmt: skip
        check_optimizer(optimizer)
        low = one_for_each_group(optimizer, base_lr, "base_lr")
        self.max_lrs = one_for_each_group(optimizer, max_lr, "max_lr")
        down = step_size_up if step_size_down is None else step_size_down
        self.total_size = float(step_size_up + down)
        self.step_ratio = step_size_up / self.total_size
        if scale_fn is None:
            if mode not in SCALES:
                raise ValueError(f"mode is invalid and scale_fn is None: {mode!r}, expected one of {list(SCALES)}")
            scale_mode = SCALES[mode][0]
        if scale_mode not in ("cycle", "iterations"):
            raise ValueError(f"scale_mode must be 'cycle' or 'iterations', got {scale_mode!r}")
        self.mode, self.gamma, self.scale_mode, self._scale_fn_custom = mode, gamma, scale_mode, scale_fn
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            if not {"momentum", "betas"} & set(optimizer.defaults):
                raise ValueError("optimizer must support momentum or beta1 with `cycle_momentum` option enabled")
            self.base_momentums = one_for_each_group(optimizer, base_momentum, "base_momentum")
            self.max_momentums = one_for_each_group(optimizer, max_momentum, "max_momentum")
        if last_epoch == -1:
            for group, rate in zip(optimizer.param_groups, low, strict=True):
                group["lr"] = rate
        super().__init__(optimizer, last_epoch)
        self.base_lrs = low

    def scale_fn(self, count: float) -> float:
        """The height of the triangle, as a share of the first one's."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(count)
        return SCALES[self.mode][1](self.gamma, count)

    def get_lr(self) -> list[float]:
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        place = 1.0 + self.last_epoch / self.total_size - cycle
        share = place / self.step_ratio if place <= self.step_ratio else (place - 1) / (self.step_ratio - 1)
        height = share * self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            groups = zip(self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True)
            for group, least, most in groups:
                momentum = most - (most - least) * height
                if "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum
        return [base + (top - base) * height for base, top in zip(self.base_lrs, self.max_lrs, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """As the base class; of scale_fn only the attributes, if it is an object and not a function."""
        return {**super().state_dict(), "_scale_fn_custom": own_state(self._scale_fn_custom)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` returned; scale_fn stays the one given to __init__."""
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "_scale_fn_custom"})
        if state_dict["_scale_fn_custom"] is not None and self._scale_fn_custom is not None:
            self._scale_fn_custom.__dict__.update(state_dict["_scale_fn_custom"])
