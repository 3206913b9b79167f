"""Adam's kin: Adamax (Kingma and Ba 2015, section 7.1), NAdam (Dozat 2016), RAdam (Liu et al. 2020).

m = beta1 m + (1 - beta1) g and v = beta2 v + (1 - beta2) g^2 are Adam's; t counts the steps of a parameter.
weight_decay adds weight_decay * p to the gradient, or shrinks p by lr * weight_decay * p if decoupled_weight_decay.
maximize changes the gradient's sign. foreach changes nothing here; capturable=True and differentiable=True are refused.
"""

import math
from collections.abc import Iterable
from typing import Any

from minires.backend import Array, array_module
from minires.optim.optimizer import (
    Optimizer,
    check_at_least_zero,
    check_betas,
    kept,
    refuse,
    signed_and_decayed,
)
from minires.tensor import Tensor


class _Kin(Optimizer):
    """What the three share: checks, the averages."""

    def check_group(self, group: dict[str, Any]) -> None:
        check_at_least_zero(group, lr="learning rate", eps="epsilon value", weight_decay="weight_decay value")
        check_betas(group["betas"])

    @staticmethod
    def decayed(parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> Array:
        """The gradient with its sign and the decay; where that is decoupled, the parameter shrinks here."""
        if group["decoupled_weight_decay"] and group["weight_decay"] != 0:
            parameter.array[...] *= 1 - group["lr"] * group["weight_decay"]
            return signed_and_decayed(parameter, gradient, group, decay=False)
        return signed_and_decayed(parameter, gradient, group)

    @staticmethod
    def moments(parameter: Tensor, g: Array, group: dict[str, Any], state: dict[str, Any]) -> tuple[Array, Array]:
        """m and v after this gradient."""
        beta1, beta2 = group["betas"]
        mean, squares = kept(state, "exp_avg", parameter), kept(state, "exp_avg_sq", parameter)
        mean += (1 - beta1) * (g - mean)
        squares *= beta2
        squares += (1 - beta2) * (g * g)
        return mean, squares


class Adamax(_Kin):
    """u = max(beta2 u, |g| + eps);  p = p - lr / (1 - beta1^t) * m / u."""

    def __init__(
        self, params: Iterable[Any], lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, foreach: bool | None = None, *, maximize: bool = False, differentiable: bool = False,
        capturable: bool = False,
    ) -> None:  # fmt: skip
        refuse("Adamax", capturable=capturable, differentiable=differentiable)
        defaults = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        self.check_group(defaults)
        super().__init__(params, defaults)

    def update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        g, xp = signed_and_decayed(parameter, gradient, group), array_module(parameter.array)
        state["step"] = state.get("step", 0) + 1
        beta1, beta2 = group["betas"]
        mean, largest = kept(state, "exp_avg", parameter), kept(state, "exp_inf", parameter)
        mean += (1 - beta1) * (g - mean)
        largest[...] = xp.maximum(beta2 * largest, xp.absolute(g) + group["eps"])
        parameter.array[...] -= group["lr"] / (1 - beta1 ** state["step"]) * mean / largest


class NAdam(_Kin):
    """Adam with Nesterov's momentum: p = p - lr ((1 - c_t) g / (1 - C_t) + c_(t+1) m / (1 - C_t c_(t+1))) / size.

    c_t = beta1 (1 - 0.96^(t momentum_decay) / 2), C_t the product of c_1 to c_t, size = sqrt(v / (1 - beta2^t)) + eps.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, momentum_decay: float = 4e-3, decoupled_weight_decay: bool = False, *,
        foreach: bool | None = None, maximize: bool = False, capturable: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        refuse("NAdam", capturable=capturable, differentiable=differentiable)
        defaults = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay,
                    "momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay,
                    "maximize": maximize}  # fmt: skip
        self.check_group(defaults)
        super().__init__(params, defaults)

    def check_group(self, group: dict[str, Any]) -> None:
        super().check_group(group)
        check_at_least_zero(group, momentum_decay="momentum_decay value")

    def update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        g, xp = self.decayed(parameter, gradient, group), array_module(parameter.array)
        step = state["step"] = state.get("step", 0) + 1
        (beta1, beta2), decay = group["betas"], group["momentum_decay"]
        now, following = (beta1 * (1 - 0.5 * 0.96 ** (t * decay)) for t in (step, step + 1))
        product = state["mu_product"] = float(state.get("mu_product", 1.0)) * now
        mean, squares = self.moments(parameter, g, group, state)
        size = xp.sqrt(squares / (1 - beta2**step)) + group["eps"]
        ahead = (1 - now) / (1 - product) * g + following / (1 - product * following) * mean
        parameter.array[...] -= group["lr"] * ahead / size


class RAdam(_Kin):
    """Adam whose first steps wait for v: p = p - lr m' r sqrt(1 - beta2^t) / (sqrt(v) + eps), m' = m / (1 - beta1^t).

    r = sqrt((rho - 4)(rho - 2) R / ((R - 4)(R - 2) rho)), R = 2 / (1 - beta2) - 1, rho = R - 2 t beta2^t /
    (1 - beta2^t). While rho <= 5 the variance of v is too large: p = p - lr m'.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, decoupled_weight_decay: bool = False, *, foreach: bool | None = None,
        maximize: bool = False, capturable: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        refuse("RAdam", capturable=capturable, differentiable=differentiable)
        defaults = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
                    "decoupled_weight_decay": decoupled_weight_decay}  # fmt: skip
        self.check_group(defaults)
        super().__init__(params, defaults)

    def update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        g, xp = self.decayed(parameter, gradient, group), array_module(parameter.array)
        step = state["step"] = state.get("step", 0) + 1
        beta1, beta2 = group["betas"]
        mean, squares = self.moments(parameter, g, group, state)
        full = mean / (1 - beta1**step)
        most = 2 / (1 - beta2) - 1
        length = most - 2 * step * beta2**step / (1 - beta2**step)
        if length > 5:
            trust = math.sqrt((length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length))
            full = full * (trust * math.sqrt(1 - beta2**step)) / (xp.sqrt(squares) + group["eps"])
        parameter.array[...] -= group["lr"] * full
