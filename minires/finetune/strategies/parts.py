"""Strategies that train a few parameters of every layer, and the head: a hundredth of the model, or less."""

from typing import Any

from minires.errors import UsageError
from minires.finetune.freezing import HEAD, stage_modules
from minires.finetune.strategies.plan import Strategy
from minires.nn import Module


def bitfit(model: Any, bn: str = "auto") -> Strategy:
    """Biases only (Ben Zaken et al. 2022, "BitFit"). In a ResNet they are those of its norms."""
    return _only(model, {path for path, _ in model.named_parameters() if path.endswith("bias")}, "bias", bn)


def batch_norm_only(model: Any, bn: str = "auto") -> Strategy:
    """Scale and shift of the norms only (Frankle et al. 2020, "Training BatchNorm and only BatchNorm")."""
    paths = set()
    for path, module in model.named_modules():
        if is_norm(module):
            paths |= {f"{path}.{name}" for name, _ in module.named_parameters(recurse=False)}
    return _only(model, paths, "norm with weights", bn)


def is_norm(module: Module) -> bool:
    """Whether a module normalises: the class says so in its name, as BatchNorm2d and GroupNorm do."""
    return any("Norm" in kind.__name__ for kind in type(module).__mro__)


def _only(model: Any, paths: set[str], what: str, bn: str) -> Strategy:
    in_head = {id(parameter) for module in stage_modules(model)[HEAD] for parameter in module.parameters()}
    if all(id(parameter) in in_head for path, parameter in model.named_parameters() if path in paths):
        raise UsageError(f"there is no {what} before the head of this model", code="usage.conflict")
    return Strategy(model, dict.fromkeys(model.stages(), 0), paths.__contains__, bn)
