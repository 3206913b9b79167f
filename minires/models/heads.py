"""Heads as data: what stands behind the pooled features, written so that JSON can hold it.

A head is one Linear, described by its number of outputs alone ({"num_classes": 10}), or a row of layers:
{"num_classes": 10, "head": [["Linear", 512, 1024], ["ReLU"], ["Dropout", 0.2], ["Linear", 1024, 10]]}, or another
single layer: {"num_classes": 10, "head": ["Linear", 512, 10, False]}, this one without bias.
"""

from collections.abc import Callable, Sequence
from typing import Any

from minires import nn

# layer -> the arguments that make it again
_ARGUMENTS: dict[type[nn.Module], Callable[[Any], list[Any]]] = {
    nn.Linear: lambda layer: [layer.in_features, layer.out_features, *([] if layer.bias is not None else [False])],
    nn.CosineLinear: lambda layer: [layer.in_features, layer.out_features, layer.scale],
    nn.L2Normalize: lambda layer: [],
    nn.BatchNorm1d: lambda layer: [layer.num_features],
    nn.Dropout: lambda layer: [layer.p],
    nn.Flatten: lambda layer: [layer.start_dim, layer.end_dim],
    nn.ReLU: lambda layer: [],
    nn.Sigmoid: lambda layer: [],
    nn.Tanh: lambda layer: [],
    nn.Identity: lambda layer: [],
}


def describe_head(head: nn.Module, num_features: int) -> dict[str, Any]:
    """The entries of a model's config that describe its head. ValueError naming a layer that has no description."""
    if type(head) is nn.Linear and head.in_features == num_features and head.bias is not None:
        return {"num_classes": head.out_features}
    layers = list(head) if isinstance(head, nn.Sequential) else [head]
    if isinstance(head, nn.Sequential) and list(head._modules) != [str(i) for i in range(len(layers))]:
        raise ValueError("config: a head whose layers have names of their own cannot be written down")
    unknown = [layer for layer in layers if type(layer) not in _ARGUMENTS]
    if unknown:
        raise ValueError(f"config: a head with {type(unknown[0]).__name__} cannot be written down; "
                         f"known are {', '.join(kind.__name__ for kind in _ARGUMENTS)}")  # fmt: skip
    outputs = [layer.out_features for layer in layers if isinstance(layer, nn.Linear)]
    rows = [[type(layer).__name__, *_ARGUMENTS[type(layer)](layer)] for layer in layers]
    described = rows if isinstance(head, nn.Sequential) else rows[0]
    return {"num_classes": outputs[-1] if outputs else num_features, "head": described}


def build_head(head: Sequence[Any]) -> nn.Module:
    """The module that `describe_head` described. ValueError for a layer it does not know."""
    one_layer = bool(head) and isinstance(head[0], str)
    rows = [head] if one_layer else head
    known = {kind.__name__: kind for kind in _ARGUMENTS}
    unknown = [row[0] for row in rows if row[0] not in known]
    if unknown:
        raise ValueError(f"head: unknown layer {unknown[0]!r}; known are {', '.join(known)}")
    layers = [known[name](*arguments) for name, *arguments in rows]
    return layers[0] if one_layer else nn.Sequential(*layers)
