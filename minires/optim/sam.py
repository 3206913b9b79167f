"""Sharpness-aware minimisation: steps by the gradient at the worst place nearby."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from minires.autograd import enable_grad, no_grad
from minires.backend import Array, on_device_of
from minires.optim.optimizer import Optimizer
from minires.tensor import Tensor


class SAM(Optimizer):
    """e = rho g / |g|, g the gradient of all parameters together; then base_optimizer's step by the gradient at p + e.

    Foret et al. 2021, "Sharpness-aware minimization for efficiently improving generalization"; adaptive: e = rho p^2 g
    / |p g| (ASAM, Kwon et al. 2021). base_optimizer: a class, such as SGD, with its own settings in **settings. A step
    takes two backward passes: `step(closure)` calls the closure twice; or by hand

        loss.backward(); optimizer.first_step(); optimizer.zero_grad()
        <the loss at p + e>.backward(); optimizer.second_step()

    Not in PyTorch. param_groups and the state are those of the base optimizer, in `base_optimizer`.
    """

    def __init__(
        self, params: Iterable[Any], base_optimizer: Callable[..., Optimizer], rho: float = 0.05,
        adaptive: bool = False, **settings: Any,
    ) -> None:  # fmt: skip
        if not rho >= 0.0:
            raise ValueError(f"Invalid rho, should be non-negative: {rho}")
        self.rho, self.adaptive = rho, adaptive
        self.base_optimizer = base_optimizer(params, **settings)
        self.defaults, self.param_groups = self.base_optimizer.defaults, self.base_optimizer.param_groups
        self.state, self.steps_seen = self.base_optimizer.state, 0
        self.step_pre_hooks, self.step_post_hooks = (
            self.base_optimizer.step_pre_hooks, self.base_optimizer.step_post_hooks)  # fmt: skip
        self.moved: list[tuple[Tensor, Array]] = []  # parameters that stand at p + e, and their p

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; the closure clears the gradients, computes the loss and its backward, and returns the loss at p."""
        if closure is None:
            raise RuntimeError("SAM needs the gradient twice: give step a closure, or use first_step and second_step")
        with enable_grad():
            loss = closure()
        self.first_step()
        with enable_grad():
            closure()
        self.second_step()
        return loss

    @no_grad()
    def first_step(self) -> None:
        """From p to p + e. RuntimeError if the parameters stand there already."""
        if self.moved:
            raise RuntimeError("SAM: first_step was called twice without second_step")
        pairs = [(p, p.grad.array) for group in self.param_groups for p in group["params"] if p.grad is not None]
        scale = self.rho / (math.sqrt(sum(self._square(p.array, gradient) for p, gradient in pairs)) + 1e-12)
        for parameter, gradient in pairs:
            with on_device_of(parameter.array):
                self.moved.append((parameter, parameter.array.copy(order="K")))
                change = gradient * parameter.array * parameter.array if self.adaptive else gradient
                parameter.array[...] += scale * change
            parameter.bump_version()

    def _square(self, values: Array, gradient: Array) -> float:
        """What one parameter adds to the square of the gradient's size."""
        with on_device_of(values):
            size = values * gradient if self.adaptive else gradient
            return float((size * size).sum())

    @no_grad()
    def second_step(self) -> None:
        """Back to p, and the base optimizer's step with the gradients that were found at p + e."""
        self.step_back()
        self.steps_seen += 1
        self.base_optimizer.step()

    @no_grad()
    def step_back(self) -> None:
        """From p + e to p, to the bit; nothing where the parameters stand there."""
        for parameter, values in self.moved:
            with on_device_of(parameter.array):
                parameter.array[...] = values
            parameter.bump_version()
        self.moved = []

    def check_group(self, group: dict[str, Any]) -> None:
        self.base_optimizer.check_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """A group more for the base optimizer."""
        self.base_optimizer.add_param_group(param_group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As the base optimizer's."""
        self.base_optimizer.load_state_dict(state_dict)
        self.state = self.base_optimizer.state
