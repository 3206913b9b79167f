"""Parameter groups: what is trained, with a rate and a weight decay of its own where it should have one.

Discriminative rates: early layers know what all pictures have in common, edges and textures, and need to change less
than late ones. With the factor d, a layer that stands k layers before the head learns with lr d^k (Howard and Ruder
2018; timm's --layer-decay). A layer here is a residual block, or the stem.
"""

from collections.abc import Iterable
from typing import Any

from minires.errors import UsageError
from minires.finetune.freezing import HEAD, stage_modules
from minires.finetune.strategies.plan import Strategy
from minires.nn import Module, Sequential


def layers(model: Any) -> list[list[Module]]:
    """The model's layers from the head (0) to the stem: its stages, those that are a row of blocks block by block."""
    found: list[list[Module]] = []
    for modules in stage_modules(model).values():
        if len(modules) == 1 and isinstance(modules[0], Sequential) and modules[0] is not _head(model):
            found += [[block] for block in modules[0]]
        else:
            found.append(modules)
    return found[::-1]


def _head(model: Any) -> Module:
    return stage_modules(model)[HEAD][0]


def depths(model: Any) -> dict[int, int]:
    """id of a parameter -> how many layers before the head it stands."""
    return {
        id(parameter): depth
        for depth, modules in enumerate(layers(model))
        for module in modules
        for parameter in module.parameters()
    }


def parameter_groups(
    model: Any, weight_decay: float, norm_weight_decay: float, *, strategy: Strategy | None = None,
    lr: float | None = None, layer_decay: float = 1.0, decay_body: bool = True,
) -> list[dict[str, Any]]:  # fmt: skip
    """Groups for an optimizer: weights, and norms and biases (one axis) with a decay of their own; the head's first.

    Decay pulls towards zero; a norm's scale is at home at one, and a bias has nothing to overfit with. Frozen
    parameters are in no group. strategy: what is ever trained (default: what requires a gradient now); what joins in at
    different times is in different groups. lr, layer_decay: the head's rate, and the factor for each layer before it.
    decay_body: whether there is weight decay before the head (L2-SP pulls elsewhere).
    Raises UsageError if nothing is left to train.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    starts = {id(parameter): 0 for parameter in trained}
    if strategy is not None:
        starts = {id(each): start for name, start in strategy.starts.items() for each in strategy.parameters[name]}
        trained = [parameter for parameter in model.parameters() if id(parameter) in starts]
    if not trained:
        raise UsageError("all parameters are frozen: nothing is left to train", code="usage.conflict")
    depth, in_head = depths(model), _ids(stage_modules(model)[HEAD])
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for parameter in trained:
        layer = depth[id(parameter)] if layer_decay != 1 else 0
        pulled = not decay_body and id(parameter) not in in_head
        groups.setdefault((starts[id(parameter)], layer, pulled, parameter.ndim <= 1), []).append(parameter)
    made = []
    for (_, layer, pulled, one_axis), parameters in sorted(groups.items(), key=lambda item: item[0]):
        decay = 0.0 if pulled else norm_weight_decay if one_axis else weight_decay
        rate = {} if lr is None else {"lr": lr * layer_decay**layer}
        made.append({"params": parameters, "weight_decay": decay, **rate})
    return made


def _ids(modules: Iterable[Module]) -> set[int]:
    return {id(parameter) for module in modules for parameter in module.parameters()}
