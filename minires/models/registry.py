"""The models by name, and their weights."""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from minires.errors import UsageError
from minires.io import files
from minires.io import weights as weight_files
from minires.models.resnet import BasicBlock, Bottleneck, CifarResNet, ResNet
from minires.tensor import Tensor

Model = ResNet | CifarResNet

_IMAGENET: dict[str, tuple[type[BasicBlock] | type[Bottleneck], list[int]]] = {
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
    "resnet101": (Bottleneck, [3, 4, 23, 3]),
    "resnet152": (Bottleneck, [3, 8, 36, 3]),
}
_CIFAR_DEPTHS = (20, 32, 44, 56, 110)
_FOLDER = os.path.join(os.path.dirname(__file__), "weights")


def list_models() -> list[str]:
    """Names that `create` knows."""
    return [*_IMAGENET, *(f"{family}{depth}" for family in ("resnet", "plain") for depth in _CIFAR_DEPTHS)]


def create(name: str, *, num_classes: int | None = None, weights: Any = None, **options: Any) -> Model:
    """A model by its name: `create("resnet50", num_classes=10)`, or `create(**model.config)`.

    num_classes: outputs of the head; by default those of the weights, else 1000 (CIFAR models: 10).
    weights: path of a .safetensors or .npz file, or the name of weights that come with minires ("shapes", for
    resnet20). options: see ResNet and CifarResNet; "resnet" and "cifar_resnet" take the parts they are built of.
    ValueError for an unknown name; UsageError if the file's head has another number of classes, or does not exist.
    """
    state = None
    if weights is not None:
        state = read_weights(name, weights)
        num_classes = _classes_to_build(state, num_classes, weights, "head" in options)
    model = _build(name, {**options, **({} if num_classes is None else {"num_classes": num_classes})})
    if state is not None:
        model.load_state_dict(state)
    return model


def _build(name: str, options: dict[str, Any]) -> Model:
    if name in _IMAGENET:
        block, layers = _IMAGENET[name]
        return ResNet(block, layers, name=name, **options)
    if name == "resnet" and "block" in options:
        blocks = {block.__name__: block for block in (BasicBlock, Bottleneck)}
        return ResNet(**{**options, "block": blocks.get(options["block"], options["block"])})
    if name == "cifar_resnet":
        return CifarResNet(**options)
    if name in list_models():
        plain = name.startswith("plain")
        usual = {"shortcut": None} if plain else {}
        return CifarResNet(int(name.removeprefix("plain").removeprefix("resnet")), name=name, **{**usual, **options})
    raise ValueError(f"there is no model {name!r}; models are {', '.join(list_models())}")


def read_weights(name: str, source: Any) -> dict[str, Tensor]:
    """The state dict in a file, or of the weights that come with minires under the name `source`."""
    path = os.fspath(source)
    embedded = os.path.join(_FOLDER, f"{name}_{path}.safetensors")
    if os.sep not in path and "." not in path:  # a name; a folder that happens to be called so does not count
        if not os.path.exists(embedded):
            raise UsageError(f"there are no weights {path!r} for {name}: give the path of a .safetensors or .npz file",
                             code="weights.unknown", hint=f"with minires come: {_embedded_names()}")  # fmt: skip
        path = embedded
    return weight_files.load(path)


def embedded_info(name: str, source: str) -> dict[str, Any]:
    """What is known about weights that come with minires: config, preprocessing, classes, how they were made."""
    return json.loads(files.read_text(os.path.join(_FOLDER, f"{name}_{source}.json")))


def _embedded_names() -> str:
    entries = sorted(os.listdir(_FOLDER)) if os.path.isdir(_FOLDER) else []
    found = [entry.removesuffix(".safetensors").split("_", 1) for entry in entries if entry.endswith(".safetensors")]
    return ", ".join(f"{kind!r} for {model}" for model, kind in found) or "none"


def _classes_to_build(
    state: Mapping[str, Tensor], asked: int | None, source: Any, has_own_head: bool
) -> int | None:
    """The number of classes of the weights (as asked, if their head is not one Linear). UsageError if they differ."""
    if has_own_head or "fc.weight" not in state:
        return asked
    found = state["fc.weight"].shape[0]
    if asked not in (None, found):
        raise UsageError(
            f"num_classes={asked}, but the head of {os.fspath(source)} has {found} classes",
            code="weights.head", file=os.fspath(source),
            hint=f"leave num_classes out, then replace the head: model.reset_head({asked})",
        )  # fmt: skip
    return found


def _builder(name: str, summary: str) -> Callable[..., Model]:
    """The function `resnet50(...)` of one name, as torchvision has them."""

    def build(
        *, weights: Any = None, progress: bool = True, num_classes: int | None = None, **options: Any
    ) -> Model:
        return create(name, num_classes=num_classes, weights=weights, **options)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"""{summary}

    weights: path of a .safetensors or .npz file, or the name of weights that come with minires. num_classes: by
    default those of the weights, else {1000 if name in _IMAGENET else 10}. Nothing is downloaded, so that torchvision's
    `progress` has nothing to show. options: see {"ResNet" if name in _IMAGENET else "CifarResNet"}.
    """
    return build


resnet18, resnet34, resnet50, resnet101, resnet152 = (
    _builder(name, f"{name} for large pictures (v1.5).") for name in _IMAGENET
)
resnet20, resnet32, resnet44, resnet56, resnet110 = (
    _builder(f"resnet{depth}", f"ResNet of {depth} layers for small pictures, as for CIFAR.") for depth in _CIFAR_DEPTHS
)
plain20, plain32, plain44, plain56, plain110 = (
    _builder(f"plain{depth}", f"resnet{depth} without its shortcuts.") for depth in _CIFAR_DEPTHS
)
