"""Steps by the gradient's sign: Lion (Chen et al. 2023) and Rprop (Riedmiller and Braun 1993)."""

from collections.abc import Iterable
from typing import Any

from minires.backend import array_module
from minires.optim.optimizer import (
    Optimizer,
    check_at_least_zero,
    check_betas,
    kept,
    refuse,
    signed_and_decayed,
)
from minires.tensor import Tensor


class Lion(Optimizer):
    """p = p - lr (sign(beta1 m + (1 - beta1) g) + weight_decay p);  m = beta2 m + (1 - beta2) g.

    Chen et al. 2023, "Symbolic discovery of optimization algorithms", program 1. Not in PyTorch. The rate should be 3
    to 10 times smaller than AdamW's, and weight_decay that much larger. maximize: the gradient's sign is changed.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        defaults = {"lr": lr, "betas": tuple(betas), "weight_decay": weight_decay, "maximize": maximize}
        self.check_group(defaults)
        super().__init__(params, defaults)

    def check_group(self, group: dict[str, Any]) -> None:
        check_at_least_zero(group, lr="learning rate", weight_decay="weight_decay value")
        check_betas(group["betas"])

    def update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        g, xp = signed_and_decayed(parameter, gradient, group, decay=False), array_module(parameter.array)
        (beta1, beta2), mean = group["betas"], kept(state, "exp_avg", parameter)
        parameter.array[...] *= 1 - group["lr"] * group["weight_decay"]
        parameter.array[...] -= group["lr"] * xp.sign(beta1 * mean + (1 - beta1) * g)
        mean += (1 - beta2) * (g - mean)


class Rprop(Optimizer):
    """p = p - sign(g) d;  d grows by etas[1] while the sign of g stays, and shrinks by etas[0] when it changes.

    d begins at lr and stays within step_sizes; after a change of sign the step is left out once. maximize: the
    gradient's sign is changed. foreach changes nothing here; capturable=True and differentiable=True are refused.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50), *, capturable: bool = False, foreach: bool | None = None,
        maximize: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        refuse("Rprop", capturable=capturable, differentiable=differentiable)
        defaults = {"lr": lr, "etas": tuple(etas), "step_sizes": tuple(step_sizes), "maximize": maximize}
        self.check_group(defaults)
        super().__init__(params, defaults)

    def check_group(self, group: dict[str, Any]) -> None:
        check_at_least_zero(group, lr="learning rate")
        if not 0.0 < group["etas"][0] < 1.0 < group["etas"][1]:
            raise ValueError(f"Invalid eta values: {group['etas'][0]}, {group['etas'][1]}")

    def update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        g, xp = (-gradient.array if group["maximize"] else gradient.array), array_module(parameter.array)
        state["step"] = state.get("step", 0) + 1
        before, size = kept(state, "prev", parameter), kept(state, "step_size", parameter, group["lr"])
        (shrink, grow), agreement = group["etas"], xp.sign(g * before)
        factor = xp.where(agreement > 0, grow, xp.where(agreement < 0, shrink, 1))
        size[...] = xp.clip(size * factor, *group["step_sizes"])
        g = xp.where(agreement < 0, 0, g)
        parameter.array[...] -= xp.sign(g) * size
        before[...] = g
