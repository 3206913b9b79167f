"""Adam (Kingma and Ba 2015), AMSGrad (Reddi et al. 2018) and AdamW (Loshchilov and Hutter 2019)."""

from collections.abc import Iterable
from typing import Any

from minires import kernels
from minires.backend import Array, array_module, float32, is_capturing, on_device_of
from minires.kernels.cuda.adapters import optim as cuda_optim
from minires.optim.optimizer import Optimizer, check_at_least_zero, refuse
from minires.optim.together import together
from minires.tensor import Tensor


class Adam(Optimizer):
    """m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;  p = p - lr * m' / (sqrt(v') + eps).

    m' = m / (1 - beta1^t) and v' = v / (1 - beta2^t) undo the start at 0, t counting the steps of this parameter.
    weight_decay adds weight_decay * p to the gradient; decoupled_weight_decay shrinks p by lr * weight_decay * p
    instead. amsgrad: the largest v so far takes v's place. maximize: the gradient's sign is changed.
    foreach and fused choose among PyTorch's implementations and change nothing here; differentiable=True is refused.
    capturable=True: t is counted on the GPU, so that a CUDA graph may hold the step, but for the first one; for dense
    float32 parameters on a GPU, RuntimeError for others. In the state, `step` is a tensor then, else a Python int
    (PyTorch: always a tensor).
    """

    folds = True

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, amsgrad: bool = False, *, foreach: bool | None = None, maximize: bool = False,
        capturable: bool = False, differentiable: bool = False, fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:  # fmt: skip
        refuse(type(self).__name__, differentiable=differentiable)
        defaults = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
                    "maximize": maximize, "capturable": capturable,
                    "decoupled_weight_decay": decoupled_weight_decay}  # fmt: skip
        self.check_group(defaults)
        super().__init__(params, defaults)

    def check_group(self, group: dict[str, Any]) -> None:
        check_at_least_zero(group, lr="learning rate", eps="epsilon value", weight_decay="weight_decay value")
        for index, beta in enumerate(group["betas"]):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {index}: {beta}")

    def update_together(self, parameters: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """Parameters that have made a step before, or all if capturable; the others wait for `update`."""
        (beta1, beta2), counted_there = group["betas"], group["capturable"]
        if counted_there and not is_capturing():
            for parameter in parameters:
                _begin(parameter, self.state[parameter], group)

        def launch(
            arrays: list[Array], grads: list[Array], states: list[list[Array]], members: list[Tensor]
        ) -> None:  # fmt: skip
            steps = [self.state[parameter]["step"] for parameter in members]
            cuda_optim.adam_together(
                arrays, grads, [*states, None][:3], [step.array for step in steps] if counted_there else steps[0] + 1,
                group["lr"], beta1, beta2, group["eps"], group["weight_decay"], group["decoupled_weight_decay"],
                group["maximize"], self.gradient_factor,
            )  # fmt: skip
            for parameter in members if not counted_there else ():
                self.state[parameter]["step"] += 1

        key = (lambda state: None) if counted_there else (lambda state: state["step"])
        return together(self, parameters, _averages(group), key, launch)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            for parameter in group["params"] if group["capturable"] else ():
                if parameter in self.state:
                    _begin(parameter, self.state[parameter], group)

    def update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        if group["capturable"]:
            raise RuntimeError(f"{type(self).__name__}: capturable=True is for dense float32 parameters on a GPU with "
                               f"gradients of float32, float16 or bfloat16, got a parameter of type {parameter.dtype} "
                               f"on {parameter.device} with a gradient of type {gradient.dtype}")  # fmt: skip
        _begin(parameter, state, group)
        state["step"] += 1
        beta1, beta2 = group["betas"]
        kernels.adam_step(
            parameter.array, gradient.array, state["exp_avg"].array, state["exp_avg_sq"].array,
            state["max_exp_avg_sq"].array if group["amsgrad"] else None,
            step=state["step"], lr=group["lr"], beta1=beta1, beta2=beta2, eps=group["eps"],
            weight_decay=group["weight_decay"], decoupled=group["decoupled_weight_decay"], maximize=group["maximize"],
        )  # fmt: skip


def _averages(group: dict[str, Any]) -> list[str]:
    return ["exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if group["amsgrad"] else [])]


def _begin(parameter: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    """Add what a state lacks: averages of 0, and the number of steps, which is on the parameter's GPU if capturable."""
    xp = array_module(parameter.array)
    with on_device_of(parameter.array):
        for name in _averages(group):
            if name not in state:
                state[name] = Tensor(xp.zeros_like(parameter.array))
        step = state.setdefault("step", 0)
        if group["capturable"] and not isinstance(step, Tensor):
            state["step"] = Tensor(xp.full((), step, float32))


class AdamW(Adam):
    """Adam with decoupled weight decay, 0.01 by default."""

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False, foreach: bool | None = None,
        capturable: bool = False, differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize,
                         capturable=capturable, differentiable=differentiable, fused=fused,
                         decoupled_weight_decay=True)  # fmt: skip
