"""What every model knows about itself: its features and its head, its stages, and the words that rebuild it.

A family is a class with a table `names`: the names of its models, and the arguments that make each of them.
"""

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from minires import nn, ops
from minires.models.heads import build_head, describe_head
from minires.nn import init
from minires.tensor import Tensor


class ImageModel(nn.Module):
    """Pictures (N, in_channels, H, W) to logits (N, num_classes): features, average pooling, head.

    A family defines `forward_features`, `stages` (where it has no `layer_names`) and ends its __init__ with `_finish`.
    """

    names: ClassVar[dict[str, dict[str, Any]]] = {}
    parts_name: ClassVar[str] = ""  # the name for a model of this family that is in no table
    blocks: ClassVar[tuple[type[nn.Module], ...]] = ()  # what the argument `block` may be, also by name
    head_name: ClassVar[str] = "fc"  # where the head stands: a path such as "head.fc"
    layer_names: ClassVar[tuple[str, ...]] = ()

    __init__: Callable[..., None]  # every family has arguments of its own
    num_features: int
    avgpool: nn.Module
    metadata: dict[str, Any]  # what travels with the weights, where it is known: "preprocessing" (words), "classes"
    _options: dict[str, Any]

    def forward_features(self, x: Tensor) -> Tensor:
        """Pictures (N, in_channels, H, W) to the last feature map (N, num_features, h, w)."""
        x = self.forward_stem(x)
        for name in self.layer_names:
            x = getattr(self, name)(x)
        return x

    def forward_stem(self, x: Tensor) -> Tensor:
        """Pictures to the input of layer1."""
        raise NotImplementedError

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """A feature map to logits (N, num_classes); to the pooled features (N, num_features) if pre_logits."""
        x = ops.flatten(self.avgpool(x), 1)
        return x if pre_logits else self.get_submodule(self.head_name)(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def stages(self) -> dict[str, list[nn.Module]]:
        """The modules that hold parameters, from the picture to the logits: "stem", "layer1", ..., "head"."""
        layers = {name: [getattr(self, name)] for name in self.layer_names}
        return {"stem": [self.conv1, self.bn1], **layers, "head": [self.get_submodule(self.head_name)]}

    def feature_names(self) -> list[str]:
        """The layers whose outputs are the feature maps, the largest first: the stem's, then each layer's."""
        return ["relu", *self.layer_names]

    def reset_head(self, head: int | nn.Module) -> None:
        """Replace the head: a new Linear with so many outputs, or a module that takes (N, num_features)."""
        if not isinstance(head, nn.Module):
            head = nn.Linear(self.num_features, head).to(next(self.parameters())).train(self.training)
        self._put_head(head)

    def _put_head(self, head: nn.Module) -> None:
        path, _, name = self.head_name.rpartition(".")
        setattr(self.get_submodule(path), name, head)

    @property
    def config(self) -> dict[str, Any]:
        """What `minires.models.create(**config)` needs to build this model: name, num_classes, other settings.

        A head that is not one Linear stands under "head" (see minires/models/heads.py). ValueError for a head or a
        norm_layer that cannot be written down.
        """
        if "norm_layer" in self._options:
            raise ValueError("config: a model with a norm_layer of your own cannot be written down")
        return {**self._options, **describe_head(self.get_submodule(self.head_name), self.num_features)}

    def _finish(self, name: str | None, num_classes: int, head: Any, **options: Any) -> None:
        """Make the head, draw initial values, and remember those options that differ from the usual ones."""
        self.metadata = {}
        self._put_head(nn.Linear(self.num_features, num_classes) if head is None else build_head(head))
        name = name or self.parts_name
        usual = {**_defaults(type(self)), **self.names.get(name, {})}
        differing = {key: value for key, value in options.items() if key not in usual or value != usual[key]}
        self._options = {"name": name, **{key: _in_words(value) for key, value in differing.items()}}
        self._initialise(options.get("zero_init_residual", False))

    def _initialise(self, zero_init_residual: bool) -> None:
        """He et al. 2015 for convolutions; optionally 0 for the layer that ends each block (its `last`).

        With that 0 every block starts as the identity (Goyal et al. 2017, section 5.1). Norms start as 1 and 0.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for module in self.modules() if zero_init_residual else ():
            if isinstance(module, self.blocks):
                init.zeros_(getattr(module, module.last).weight)

    @classmethod
    def find_block(cls, block: Any) -> Any:
        """A class of blocks, given as itself or by its name. ValueError for a name that this family does not have."""
        if not isinstance(block, str):
            return block
        known = {kind.__name__: kind for kind in cls.blocks}
        if block not in known:
            raise ValueError(f"block must be one of {', '.join(known)}, not {block!r}")
        return known[block]


def _defaults(family: type[ImageModel]) -> dict[str, Any]:
    """The arguments of a family that have a default value, with it."""
    parameters = inspect.signature(family).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty}


def _in_words(value: Any) -> Any:
    """A class by its name, so that JSON can hold it."""
    return value.__name__ if isinstance(value, type) else value
