"""Freezing: which parts of a model keep their weights while the rest is trained.

Three switches that never mean each other:

- `requires_grad` of a parameter: whether a gradient is computed and the optimizer moves it. `freeze` sets this one.
- `training` of a module (`train()`, `eval()`): whether dropout drops and batch norm looks at the batch.
- frozen statistics of a batch norm (`freeze_statistics`): whether it keeps and uses its running mean and variance
  whatever `training` says.

The usual trap is a "frozen" model whose batch-norm statistics go on drifting, because `requires_grad` does not stop
them and `model.train()` starts them again. `set_batch_norm` is the policy against it, and survives `train()`.
"""

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

from minires.errors import UsageError
from minires.nn import Module

HEAD = "head"
ALL_BUT_HEAD = ("all-but-head", "backbone")
POLICIES = ("auto", "frozen", "batch")


def stage_modules(model: Any) -> dict[str, list[Module]]:
    """Stage name -> its modules, from input to output: stem, layer1, ..., head."""
    return {name: [part] if isinstance(part, Module) else list(part) for name, part in model.stages().items()}


def parse_freeze(model: Any, freeze: str) -> list[str]:
    """Names of the stages that "none", "all-but-head" (or "backbone") or "stem,layer1" means.

    Raises UsageError for an unknown stage, with the nearest name, and if nothing would be left to train.
    """
    stages = list(model.stages())
    if freeze == "none":
        return []
    if freeze in ALL_BUT_HEAD:
        return [name for name in stages if name != HEAD]
    names = [name.strip() for name in freeze.split(",") if name.strip()]
    for name in names:
        if name not in stages:
            near = difflib.get_close_matches(name, [*stages, "none", *ALL_BUT_HEAD], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"no stage {name!r} to freeze; the model has {', '.join(stages)}{hint}",
                             code="usage.unknown")  # fmt: skip
    if not names:
        raise UsageError("--freeze is empty: give none, all-but-head or names of stages", code="usage.value")
    if set(names) == set(stages):
        raise UsageError("all stages are frozen: nothing is left to train", code="usage.conflict")
    return names


def freeze(model: Any, stages: Iterable[str]) -> None:
    """No gradients for the parameters of these stages, and no gradient array left from before."""
    _set_requires_grad(model, stages, False)


def unfreeze(model: Any, stages: Iterable[str] | None = None) -> None:
    """Train the parameters of these stages (default: of all) again. Batch-norm statistics stay under their policy."""
    _set_requires_grad(model, list(model.stages()) if stages is None else stages, True)


def set_batch_norm(model: Any, policy: str = "auto") -> None:
    """Decide what batch norm does in training, whoever calls `train()`.

    "frozen": every batch norm uses and keeps its running statistics. "batch": every one uses the batch's and updates
    the running ones, also where the weights are frozen. "auto": frozen exactly where none of its stage's parameters is
    trained. Raises ValueError for another policy.
    """
    if policy not in POLICIES:
        raise ValueError(f"the batch norm policy is one of {', '.join(POLICIES)}, got {policy!r}")
    for modules in stage_modules(model).values():
        trained = any(parameter.requires_grad for module in modules for parameter in module.parameters())
        for norm in batch_norms(modules):
            norm.freeze_statistics(policy == "frozen" or (policy == "auto" and not trained))


def batch_norms(modules: Iterable[Module]) -> Iterator[Any]:
    """Every batch norm in the modules: those that know `freeze_statistics`."""
    for module in modules:
        for part in module.modules():
            if hasattr(type(part), "freeze_statistics"):
                yield part


def _set_requires_grad(model: Any, stages: Iterable[str], value: bool) -> None:
    parts = stage_modules(model)
    for name in stages:
        if name not in parts:
            raise UsageError(f"no stage {name!r}; the model has {', '.join(parts)}", code="usage.unknown")
        for module in parts[name]:
            for parameter in module.parameters():
                parameter.requires_grad_(value)
                if not value:
                    parameter.grad = None
