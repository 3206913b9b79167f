"""Stochastic gradient descent, with momentum (Polyak 1964) in PyTorch's form."""

from collections.abc import Iterable
from typing import Any

from minires import kernels
from minires.backend import array_module
from minires.kernels.cuda.adapters import optim as cuda_optim
from minires.optim.optimizer import Optimizer, check_at_least_zero, refuse
from minires.optim.together import together
from minires.tensor import Tensor


class SGD(Optimizer):
    """g = gradient + weight_decay * p;  b = momentum * b + (1 - dampening) * g;  p = p - lr * b.

    The first b is g itself. nesterov: p = p - lr * (g + momentum * b) (Sutskever et al. 2013). maximize: the gradient's
    sign is changed. foreach and fused choose among PyTorch's implementations and change nothing here;
    differentiable=True is refused. A CUDA graph may hold its step, but for the first one. ValueError for settings below
    0, and for nesterov without momentum or with dampening.
    """

    capturable = folds = True

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, momentum: float = 0, dampening: float = 0,
        weight_decay: float = 0, nesterov: bool = False, *, maximize: bool = False, foreach: bool | None = None,
        differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        refuse("SGD", differentiable=differentiable)
        defaults = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
                    "nesterov": nesterov, "maximize": maximize}  # fmt: skip
        self.check_group(defaults)
        super().__init__(params, defaults)

    def check_group(self, group: dict[str, Any]) -> None:
        check_at_least_zero(group, lr="learning rate", momentum="momentum value", weight_decay="weight_decay value")
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")

    def update_together(self, parameters: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """Parameters that have a momentum buffer already, or need none; the others wait for `update`."""
        has_momentum = group["momentum"] != 0
        return together(
            self, parameters, ["momentum_buffer"] if has_momentum else [], lambda state: None,
            lambda arrays, grads, states, _: cuda_optim.sgd_together(
                arrays, grads, states[0] if states else None, False, group["lr"], group["momentum"],
                group["dampening"], group["weight_decay"], group["nesterov"], group["maximize"],
                self.gradient_factor,
            ),
        )  # fmt: skip

    def update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        first = state.get("momentum_buffer") is None
        if group["momentum"] != 0 and first:
            state["momentum_buffer"] = Tensor(array_module(parameter.array).zeros_like(parameter.array))
        buffer = state["momentum_buffer"].array if group["momentum"] != 0 else None
        kernels.sgd_step(
            parameter.array, gradient.array, buffer, first=first, lr=group["lr"], momentum=group["momentum"],
            dampening=group["dampening"], weight_decay=group["weight_decay"], nesterov=group["nesterov"],
            maximize=group["maximize"],
        )  # fmt: skip
