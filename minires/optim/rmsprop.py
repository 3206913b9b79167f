"""RMSprop (Tieleman and Hinton 2012; centred: Graves 2013), and what it came from and led to: Adagrad, Adadelta.

All three divide the gradient by a measure of its size, element by element.
"""

from collections.abc import Iterable
from typing import Any

from minires.backend import array_module
from minires.optim.optimizer import Optimizer, check_at_least_zero, kept, refuse, signed_and_decayed
from minires.tensor import Tensor


class RMSprop(Optimizer):
    """v = alpha v + (1 - alpha) g^2;  p = p - lr g / (sqrt(v) + eps).

    centered: v less the square of the mean gradient, m = alpha m + (1 - alpha) g. momentum: b = momentum b +
    g / (sqrt(v) + eps), p = p - lr b. weight_decay adds weight_decay * p to the gradient; maximize changes its sign.
    foreach changes nothing here; capturable=True and differentiable=True are refused.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0,
        momentum: float = 0, centered: bool = False, capturable: bool = False, foreach: bool | None = None,
        maximize: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        refuse("RMSprop", capturable=capturable, differentiable=differentiable)
        defaults = {"lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
                    "weight_decay": weight_decay, "maximize": maximize}  # fmt: skip
        self.check_group(defaults)
        super().__init__(params, defaults)

    def check_group(self, group: dict[str, Any]) -> None:
        check_at_least_zero(group, lr="learning rate", eps="epsilon value", momentum="momentum value",
                            weight_decay="weight_decay value", alpha="alpha value")  # fmt: skip

    def update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        g, xp = signed_and_decayed(parameter, gradient, group), array_module(parameter.array)
        state["step"] = state.get("step", 0) + 1
        alpha, squares = group["alpha"], kept(state, "square_avg", parameter)
        squares *= alpha
        squares += (1 - alpha) * (g * g)
        size = squares
        if group["centered"]:
            mean = kept(state, "grad_avg", parameter)
            mean += (1 - alpha) * (g - mean)
            size = squares - mean * mean
        step = g / (xp.sqrt(size) + group["eps"])
        if group["momentum"] > 0:
            buffer = kept(state, "momentum_buffer", parameter)
            buffer *= group["momentum"]
            buffer += step
            step = buffer
        parameter.array[...] -= group["lr"] * step


class Adagrad(Optimizer):
    """s = s + g^2;  p = p - lr / (1 + (t - 1) lr_decay) * g / (sqrt(s) + eps). Duchi et al. 2011.

    s begins at initial_accumulator_value; t counts the steps of this parameter. weight_decay, maximize, foreach, fused,
    differentiable: as elsewhere.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
        initial_accumulator_value: float = 0, eps: float = 1e-10, foreach: bool | None = None, *,
        maximize: bool = False, differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        refuse("Adagrad", differentiable=differentiable)
        defaults = {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
                    "initial_accumulator_value": initial_accumulator_value, "maximize": maximize}  # fmt: skip
        self.check_group(defaults)
        super().__init__(params, defaults)

    def check_group(self, group: dict[str, Any]) -> None:
        check_at_least_zero(group, lr="learning rate", lr_decay="lr_decay value", weight_decay="weight_decay value",
                            initial_accumulator_value="initial accumulator", eps="epsilon value")  # fmt: skip

    def update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        g, xp = signed_and_decayed(parameter, gradient, group), array_module(parameter.array)
        state["step"] = state.get("step", 0) + 1
        total = kept(state, "sum", parameter, group["initial_accumulator_value"])
        total += g * g
        rate = group["lr"] / (1 + (state["step"] - 1) * group["lr_decay"])
        parameter.array[...] -= rate * g / (xp.sqrt(total) + group["eps"])


class Adadelta(Optimizer):
    """v = rho v + (1 - rho) g^2;  d = g sqrt(u + eps) / sqrt(v + eps);  u = rho u + (1 - rho) d^2;  p = p - lr d.

    Zeiler 2012. u makes the step's unit that of the parameter. weight_decay, maximize, foreach, capturable,
    differentiable: as elsewhere.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0,
        foreach: bool | None = None, *, capturable: bool = False, maximize: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        refuse("Adadelta", capturable=capturable, differentiable=differentiable)
        defaults = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        self.check_group(defaults)
        super().__init__(params, defaults)

    def check_group(self, group: dict[str, Any]) -> None:
        check_at_least_zero(group, lr="learning rate", eps="epsilon value", weight_decay="weight_decay value")
        if not 0.0 <= group["rho"] <= 1.0:
            raise ValueError(f"Invalid rho value: {group['rho']}")

    def update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        g, xp = signed_and_decayed(parameter, gradient, group), array_module(parameter.array)
        state["step"] = state.get("step", 0) + 1
        rho, eps = group["rho"], group["eps"]
        squares, steps = kept(state, "square_avg", parameter), kept(state, "acc_delta", parameter)
        squares *= rho
        squares += (1 - rho) * (g * g)
        step = xp.sqrt(steps + eps) / xp.sqrt(squares + eps) * g
        steps *= rho
        steps += (1 - rho) * (step * step)
        parameter.array[...] -= group["lr"] * step
