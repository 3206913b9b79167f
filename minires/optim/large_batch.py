"""Optimizers for large batches, with a rate for each layer by the size of its weights: LARS and LAMB.

A parameter's step is scaled by its trust ratio, |p| / |step|: no layer moves by more than a share of its own size,
however large the common rate. Not in PyTorch; names and defaults are those of timm.
"""

import math
from collections.abc import Iterable
from typing import Any

from minires.backend import Array, array_module, on_device_of
from minires.optim.optimizer import (
    Optimizer,
    check_at_least_zero,
    check_betas,
    kept,
    signed_and_decayed,
)
from minires.tensor import Tensor


def _length(array: Array) -> float:
    """The 2-norm of all elements."""
    with on_device_of(array):
        return math.sqrt(float((array * array).sum()))


class LARS(Optimizer):
    """g' = trust (g + weight_decay p), trust = trust_coeff |p| / (|g| + weight_decay |p| + eps); then SGD with g'.

    b = momentum b + (1 - dampening) g', the first b is g';  p = p - lr b, or with nesterov p - lr (g' + momentum b).
    The trust ratio is 1 where |p| or |g| is 0, and for groups without weight decay (biases, norms, as usual) unless
    always_adapt. trust_clip: lr * trust is at most lr (LARC). You et al. 2017, "Large batch training of convolutional
    networks".
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1.0, momentum: float = 0, dampening: float = 0,
        weight_decay: float = 0, nesterov: bool = False, trust_coeff: float = 0.001, eps: float = 1e-8,
        trust_clip: bool = False, always_adapt: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        defaults = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
                    "nesterov": nesterov, "trust_coeff": trust_coeff, "eps": eps, "trust_clip": trust_clip,
                    "always_adapt": always_adapt, "maximize": maximize}  # fmt: skip
        self.check_group(defaults)
        super().__init__(params, defaults)

    def check_group(self, group: dict[str, Any]) -> None:
        check_at_least_zero(group, lr="learning rate", momentum="momentum value", weight_decay="weight_decay value",
                            trust_coeff="trust_coeff value", eps="epsilon value")  # fmt: skip
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")

    def update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        trust, decay = 1.0, group["weight_decay"]
        if decay != 0 or group["always_adapt"]:
            own, its = _length(parameter.array), _length(gradient.array)
            if own > 0 and its > 0:
                trust = group["trust_coeff"] * own / (its + decay * own + group["eps"])
            if group["trust_clip"]:
                trust = min(trust / group["lr"], 1.0)
        g = signed_and_decayed(parameter, gradient, group) * trust
        if group["momentum"] != 0:
            first = "momentum_buffer" not in state
            buffer = kept(state, "momentum_buffer", parameter)
            buffer *= group["momentum"]
            buffer += g if first else (1 - group["dampening"]) * g
            g = g + group["momentum"] * buffer if group["nesterov"] else buffer
        parameter.array[...] -= group["lr"] * g


class LAMB(Optimizer):
    """u = m' / (sqrt(v') + eps) + weight_decay p, Adam's step with decoupled decay;  p = p - lr (|p| / |u|) u.

    m' and v' as in Adam; bias_correction=False uses m and v themselves. The ratio is 1 where |p| or |u| is 0, and for
    groups without weight decay unless always_adapt; trust_clip: at most 1. max_grad_norm: gradients are first scaled
    so that the norm of all of them together is at most this (None: they are not). You et al. 2020, "Large batch
    optimization for deep learning: training BERT in 76 minutes", algorithm 2.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-6,
        weight_decay: float = 0.01, bias_correction: bool = True, max_grad_norm: float | None = 1.0,
        trust_clip: bool = False, always_adapt: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        defaults = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay,
                    "bias_correction": bias_correction, "max_grad_norm": max_grad_norm, "trust_clip": trust_clip,
                    "always_adapt": always_adapt, "maximize": maximize}  # fmt: skip
        self.check_group(defaults)
        self.scale = 1.0
        super().__init__(params, defaults)

    def check_group(self, group: dict[str, Any]) -> None:
        check_at_least_zero(group, lr="learning rate", eps="epsilon value", weight_decay="weight_decay value")
        check_betas(group["betas"])
        if group["max_grad_norm"] is not None and not group["max_grad_norm"] > 0:
            raise ValueError(f"Invalid max_grad_norm: {group['max_grad_norm']}")

    def _update_all(self) -> None:
        most = self.defaults["max_grad_norm"]
        if most is not None:
            gradients = [p.grad.array for group in self.param_groups for p in group["params"] if p.grad is not None]
            total = math.sqrt(sum(_length(gradient) ** 2 for gradient in gradients))
            self.scale = most / total if total > most else 1.0
        super()._update_all()

    def update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        g, xp = signed_and_decayed(parameter, gradient, group, decay=False) * self.scale, array_module(parameter.array)
        step = state["step"] = state.get("step", 0) + 1
        beta1, beta2 = group["betas"]
        mean, squares = kept(state, "exp_avg", parameter), kept(state, "exp_avg_sq", parameter)
        mean += (1 - beta1) * (g - mean)
        squares *= beta2
        squares += (1 - beta2) * (g * g)
        first, second = (1 - beta1**step, 1 - beta2**step) if group["bias_correction"] else (1.0, 1.0)
        update = (mean / first) / (xp.sqrt(squares / second) + group["eps"])
        trust = 1.0
        if group["weight_decay"] != 0:
            update += group["weight_decay"] * parameter.array
        if group["weight_decay"] != 0 or group["always_adapt"]:
            own, its = _length(parameter.array), _length(update)
            trust = own / its if own > 0 and its > 0 else 1.0
            trust = min(trust, 1.0) if group["trust_clip"] else trust
        parameter.array[...] -= group["lr"] * trust * update
