"""What layers inside a model put out, by their names, as torchvision and timm offer it.

    IntermediateLayerGetter(model, {"layer2": "low", "layer4": "out"})(x)    {"low": Tensor, "out": Tensor}
    create_feature_extractor(model, ["layer1.0.relu_1", "flatten"])(x)       layers inside layers; torchvision's names
    feature_list(model, out_indices=(1, 2, 3))(x)                            [Tensor, Tensor, Tensor], as in timm

The model itself runs, watched by hooks for the time of one call, and stops as soon as everything that was asked for is
there. Layers are shared with the model, not copied: training the one trains the other.
"""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from minires import nn
from minires.autograd import no_grad
from minires.models.base import ImageModel
from minires.tensor import HookHandle, Tensor

POOLED = "flatten"  # torchvision's name for what the head is given: pooled features (N, num_features)


class Node(NamedTuple):
    """A place in the model: the output of the layer at `path` when it is called for the `call`-th time, from 0.

    is_input: what the layer is given, in the place of its output.
    """

    path: str
    call: int = 0
    is_input: bool = False


class _Enough(Exception):  # noqa: N818 - nothing is wrong
    """Everything that was asked for is there."""


class FeatureExtractor(nn.ModuleDict):
    """Pictures to {name: output of a layer}. return_nodes: {layer: name in the answer}, or a list of layers.

    A layer is named by its path, "layer3" or "layer3.1.bn2". One that is called several times is meant by its first
    call; "layer3.1.relu_1" is its second. "flatten" is what the model's head is given. The keys of the state dict are
    the model's; the modules that come after the last one needed are left out (by the order in which the model holds
    them, which is that of their use in all models here; ValueError in forward where it is not).
    ValueError for a layer that the model does not have, with the nearest name; in forward for one that is not called.
    """

    def __init__(self, model: nn.Module, return_nodes: Mapping[str, str] | Sequence[str]) -> None:
        super().__init__()
        wanted = return_nodes if isinstance(return_nodes, Mapping) else {name: name for name in return_nodes}
        if isinstance(return_nodes, str) or not wanted:
            raise ValueError(f"the layers are a dictionary or a list of names, got {return_nodes!r}")
        self.return_layers = {str(name): str(answer) for name, answer in wanted.items()}
        if len(set(self.return_layers.values())) < len(self.return_layers):
            raise ValueError(f"two layers have one name in the answer: {self.return_layers}")
        object.__setattr__(self, "model", model)  # not registered: the keys are those of its children
        self.nodes = {answer: find_node(model, name) for name, answer in self.return_layers.items()}
        children = list(model._modules)
        end = max(_last_child(node, children) for node in self.nodes.values()) + 1
        held = {name: model._modules[name] for name in children[:end]}
        self._modules.update({name: module for name, module in held.items() if module is not None})
        self._parameters.update(model._parameters)
        self._buffers.update(model._buffers)
        self._left_out = children[end:]

    def forward(self, x: Tensor) -> Any:
        found: dict[str, Tensor] = {}
        handles = self._watch(found)
        try:
            self.model.forward(x)
        except _Enough:
            pass
        finally:
            for handle in handles:
                handle.remove()
        missing = [layer for layer, answer in self.return_layers.items() if answer not in found]
        if missing:
            raise ValueError(f"the model has not called {', '.join(missing)}, or not so often")
        return {answer: found[answer] for answer in self.nodes}

    def _watch(self, found: dict[str, Tensor]) -> list[HookHandle]:
        """Hooks that gather the outputs, and end the model's forward when the last one is there."""
        handles = []
        for answer, node in self.nodes.items():
            module, note = self.model.get_submodule(node.path), self._note(answer, node, found)
            handles.append(module.register_forward_pre_hook(note) if node.is_input
                           else module.register_forward_hook(note))  # fmt: skip
        heads = {node.path for node in self.nodes.values() if node.is_input}
        for name in self._left_out:
            module = self.model._modules[name]
            if module is not None and name not in heads:
                handles.append(module.register_forward_pre_hook(self._refuse(name)))
        return handles

    def _note(self, answer: str, node: Node, found: dict[str, Tensor]) -> Any:
        calls = iter(range(1 << 62))

        def note(module: nn.Module, arguments: tuple[Any, ...], output: Any = None) -> None:
            if next(calls) == node.call:
                found[answer] = arguments[0] if node.is_input else output
            if len(found) == len(self.nodes):
                raise _Enough

        return note

    def _refuse(self, name: str) -> Any:
        def refuse(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            raise ValueError(f"the model uses {name!r} earlier than its order of layers says: its features are not to "
                             "be had without it")  # fmt: skip

        return refuse

    def train(self, mode: bool = True) -> "FeatureExtractor":
        """Switch the model to training or evaluation, as a Module does."""
        super().train(mode)
        self.model.training = mode
        return self


class IntermediateLayerGetter(FeatureExtractor):
    """torchvision.models._utils.IntermediateLayerGetter: `return_layers` {layer: name}; layers inside layers, too."""

    def __init__(self, model: nn.Module, return_layers: Mapping[str, str]) -> None:
        if not isinstance(return_layers, Mapping):
            raise ValueError(f"return_layers is a dictionary, such as {{'layer4': 'out'}}, got {return_layers!r}")
        super().__init__(model, return_layers)


def create_feature_extractor(
    model: nn.Module, return_nodes: Mapping[str, str] | Sequence[str]
) -> FeatureExtractor:  # fmt: skip
    """torchvision.models.feature_extraction.create_feature_extractor, for layers (and "flatten"), not operations."""
    return FeatureExtractor(model, return_nodes)


def on_zeros(extractor: FeatureExtractor, side: int) -> Any:
    """What the extractor makes of one picture of zeros, side x side, in eval mode; it is left in the mode it was in."""
    return shown_zeros(extractor, extractor.model, side)


def shown_zeros(shown: nn.Module, model: nn.Module, side: int) -> Any:
    """`shown`, which is made of the layers of `model`, called with one picture of zeros, as in `on_zeros`."""
    weight = next(shown.parameters())
    modes = [(module, module.training) for module in (model, *shown.modules())]
    try:
        with no_grad():
            picture = Tensor(np.zeros((1, weight.shape[1], side, side), weight.dtype)).to(weight.device)
            return shown.eval()(picture)
    finally:
        for module, training in modes:
            module.training = training


def find_node(model: nn.Module, name: str) -> Node:
    """The place that a name means. ValueError with the nearest name for one that means nothing."""
    paths = [path for path, _ in model.named_modules(remove_duplicate=False) if path]
    if name in paths:
        return Node(name)
    if name == POOLED and isinstance(model, ImageModel):
        return Node(model.head_name, is_input=True)
    repeated = re.fullmatch(r"(.+)_([1-9]\d*)", name)
    if repeated and repeated[1] in paths:
        return Node(repeated[1], int(repeated[2]))
    near = difflib.get_close_matches(name, [*paths, POOLED], n=1, cutoff=0.0)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{type(model).__name__} has no layer {name!r}{hint}")


def _last_child(node: Node, children: Sequence[str]) -> int:
    """The place of the model's last child that is needed for this node."""
    child, _, inside = node.path.partition(".")
    return children.index(child) - (node.is_input and not inside)


# --------------------------------------------------------------------------------------------------------- as in timm


class FeatureInfo(list[dict[str, Any]]):
    """A row a feature map: {"num_chs": channels, "reduction": pixels of the picture by pixels of the map, "module"}."""

    def channels(self) -> list[int]:
        """Channels of each map."""
        return [row["num_chs"] for row in self]

    def reduction(self) -> list[int]:
        """How many times each map is smaller than the picture."""
        return [row["reduction"] for row in self]

    def module_name(self) -> list[str]:
        """The layer that each map comes from."""
        return [row["module"] for row in self]


class FeatureList(FeatureExtractor):
    """Pictures to a list of feature maps, the largest first: what timm's features_only=True makes."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return list(super().forward(x).values())

    @property
    def feature_info(self) -> FeatureInfo:
        """Channels, reduction and layer of each map, found by showing the model one picture of zeros, 224 x 224."""
        side = 224
        maps = on_zeros(self, side)
        rows = zip(maps, self.nodes.values(), strict=True)
        return FeatureInfo(
            {"num_chs": one.shape[1], "reduction": 2 ** round(math.log2(side / one.shape[2])), "module": node.path}
            for one, node in rows
        )


def feature_list(model: ImageModel, out_indices: Sequence[int] | None = None) -> FeatureList:
    """The feature maps of a model of the zoo: 0 is the stem's, then one for each layer. out_indices: which of them.

    Negative ones count from the end. ValueError for one that does not exist.
    """
    names = model.feature_names()
    places = range(len(names)) if out_indices is None else out_indices
    wrong = [index for index in places if not -len(names) <= index < len(names)]
    if wrong:
        raise ValueError(f"out_indices: there are the feature maps 0 to {len(names) - 1}, not {wrong[0]}")
    if len({index % len(names) for index in places}) < len(places):
        raise ValueError(f"out_indices names a feature map twice: {tuple(places)}")
    return FeatureList(model, [names[index] for index in places])
