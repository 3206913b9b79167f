"""The models by name, and their weights."""

import fnmatch
import inspect
import json
import os
from collections.abc import Callable
from typing import Any

from minires.errors import UsageError
from minires.io import files
from minires.io import weights as weight_files
from minires.models.base import ImageModel
from minires.models.inception_resnet import InceptionResNetV2
from minires.models.preact_resnet import PreActCifarResNet
from minires.models.resnet import CifarResNet, ResNet
from minires.models.resnet_d import ResNetD
from minires.models.resnetv2 import BiTResNet, ResNetV2
from minires.models.se_resnet import SEResNet
from minires.tensor import Tensor

Model = ImageModel

FAMILIES: tuple[type[ImageModel], ...] = (
    ResNet, ResNetD, SEResNet, ResNetV2, BiTResNet, InceptionResNetV2, CifarResNet, PreActCifarResNet,
)  # fmt: skip
_BY_NAME = {name: family for family in FAMILIES for name in family.names}
_BY_PARTS = {family.parts_name: family for family in FAMILIES if family.parts_name not in _BY_NAME}
_FOLDER = os.path.join(os.path.dirname(__file__), "weights")


def list_models(pattern: str | None = None) -> list[str]:
    """Names that `create` knows; with a pattern such as "*resnet50*" those that match it."""
    return [name for name in _BY_NAME if pattern is None or fnmatch.fnmatchcase(name, pattern)]


def create(name: str, *, num_classes: int | None = None, weights: Any = None, **options: Any) -> Model:
    """A model by its name: `create("resnet50", num_classes=10)`, or `create(**model.config)`.

    num_classes: outputs of the head; by default those of the weights, else 1000 (CIFAR models: 10).
    weights: path of a .safetensors or .npz file, or the name of weights that come with minires ("shapes", for
    resnet20). options: in_channels, norm (see minires/models/norms.py) and what else the class of the family takes;
    "resnet", "cifar_resnet" and the other names of families take the parts that a model is built of.
    ValueError for an unknown name; UsageError if the file's head has another number of classes, or does not exist.
    """
    state, head = None, f"{family_of(name).head_name}.weight"
    if weights is not None:
        state = read_weights(name, weights)
        num_classes = _classes_to_build(state.get(head), num_classes, weights, "head" in options)
    model = _build(name, {**options, **({} if num_classes is None else {"num_classes": num_classes})})
    if state is not None:
        model.load_state_dict(state)
    return model


def family_of(name: str) -> type[ImageModel]:
    """The class that a name belongs to. ValueError for an unknown one."""
    family = _BY_NAME.get(name) or _BY_PARTS.get(name)
    if family is None:
        raise ValueError(f"there is no model {name!r}; models are {', '.join(list_models())}")
    return family


def _build(name: str, options: dict[str, Any]) -> Model:
    family = family_of(name)
    return family(**{**family.names.get(name, {}), **options}, name=name)


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


def _classes_to_build(weight: Tensor | None, asked: int | None, source: Any, has_own_head: bool) -> int | None:
    """The number of classes of the weights (as asked, if their head is not one Linear). UsageError if they differ."""
    if has_own_head or weight is None:
        return asked
    found = weight.shape[0]
    if asked not in (None, found):
        raise UsageError(
            f"num_classes={asked}, but the head of {os.fspath(source)} has {found} classes",
            code="weights.head", file=os.fspath(source),
            hint=f"leave num_classes out, then replace the head: model.reset_head({asked})",
        )  # fmt: skip
    return found


def builder(name: str) -> Callable[..., Model]:
    """The function `resnet50(...)` of one name, as torchvision has them."""
    family = _BY_NAME[name]
    usual = inspect.signature(family).parameters["num_classes"].default

    def build(*, weights: Any = None, progress: bool = True, num_classes: int | None = None, **options: Any) -> Model:
        return create(name, num_classes=num_classes, weights=weights, **options)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"""{name}: a {family.__name__}.

    weights: path of a .safetensors or .npz file, or the name of weights that come with minires. num_classes: by
    default those of the weights, else {usual}. Nothing is downloaded, so that torchvision's `progress` has nothing
    to show. options: see {family.__name__}.
    """
    return build
