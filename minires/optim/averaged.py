"""ASGD: stochastic gradient descent whose result is the average of the parameters (Polyak and Juditsky 1992)."""

from collections.abc import Iterable
from typing import Any

from minires.optim.optimizer import Optimizer, check_at_least_zero, kept, refuse, signed_and_decayed
from minires.tensor import Tensor


class ASGD(Optimizer):
    """p = (1 - lambd eta) p - eta g;  a = a + mu (p - a), the average, in the state as `ax`.

    eta = lr / (1 + lambd lr t)^alpha and mu = 1 / max(1, t - t0) after step t: before t0 the average is p itself.
    weight_decay adds weight_decay * p to the gradient; maximize changes its sign. foreach changes nothing here;
    capturable=True and differentiable=True are refused.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, lambd: float = 1e-4, alpha: float = 0.75, t0: float = 1e6,
        weight_decay: float = 0, foreach: bool | None = None, maximize: bool = False, differentiable: bool = False,
        capturable: bool = False,
    ) -> None:  # fmt: skip
        refuse("ASGD", capturable=capturable, differentiable=differentiable)
        defaults = {"lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay,
                    "maximize": maximize}  # fmt: skip
        self.check_group(defaults)
        super().__init__(params, defaults)

    def check_group(self, group: dict[str, Any]) -> None:
        check_at_least_zero(group, lr="learning rate", weight_decay="weight_decay value")

    def update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        g, average = signed_and_decayed(parameter, gradient, group), kept(state, "ax", parameter)
        step = state["step"] = state.get("step", 0) + 1
        eta, mu = float(state.get("eta", group["lr"])), float(state.get("mu", 1.0))
        parameter.array[...] *= 1 - group["lambd"] * eta
        parameter.array[...] -= eta * g
        average += mu * (parameter.array - average)
        state["eta"] = group["lr"] / (1 + group["lambd"] * group["lr"] * step) ** group["alpha"]
        state["mu"] = 1 / max(1, step - group["t0"])
