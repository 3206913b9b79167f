"""The models by name, and their weights."""

import fnmatch
import inspect
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from minires.errors import FileFormatError, UsageError
from minires.io import download, files
from minires.io import weights as weight_files
from minires.models import keras_keys, keys
from minires.models.base import ImageModel
from minires.models.features import feature_list
from minires.models.inception_resnet import InceptionResNetV2
from minires.models.preact_resnet import PreActCifarResNet
from minires.models.resnet import CifarResNet, ResNet
from minires.models.resnet_d import ResNetD
from minires.models.resnetv2 import BiTResNet, ResNetV2
from minires.models.se_resnet import SEResNet
from minires.nn import init
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


def create(
    name: str, *, num_classes: int | None = None, weights: Any = None, features_only: bool = False,
    out_indices: Sequence[int] | None = None, **options: Any,
) -> Any:  # fmt: skip
    """A model by its name: `create("resnet50", num_classes=10)`, or `create(**model.config)`.

    num_classes: outputs of the head; by default those of the weights, else 1000 (CIFAR models: 10).
    weights: path of a weights file (.safetensors, .npz, .pth), under torchvision's, timm's or Hugging Face's names (see
    minires/models/keys.py), a Keras file (.h5, .keras), which makes a resnet50 a resnet50_keras (see
    minires/models/keras_keys.py), a URL of one, which is downloaded once (see minires/io/download.py), or the name of
    weights that come with minires ("shapes", for resnet20). A head for another number of classes is replaced by a new
    one, and the first convolution adapted to `in_channels`, with a warning.
    features_only: its feature maps in the place of the model, those of `out_indices` (see minires/models/features.py).
    options: in_channels, norm (see minires/models/norms.py) and what else the class of the family takes;
    "resnet", "cifar_resnet" and the other names of families take the parts that a model is built of.
    ValueError for an unknown name, UsageError for a missing file, FileFormatError for weights of another model,
    DownloadError for a URL that cannot be had.
    """
    if name == "fcn":
        return _segmentation(num_classes, weights, {**options, "features_only": features_only or out_indices})
    family_of(name)
    if features_only:
        return feature_list(create(name, num_classes=num_classes, weights=weights, **options), out_indices)
    if out_indices is not None:
        raise ValueError("out_indices goes with features_only=True")
    if weights is not None:
        weights = download.local(weights)
        state, actual, own = keras_keys.adopt(read_weights(name, weights), weights, name)
        known = target(actual or name, {**own, **options})
        return fill(keys.fit(state, [known], weights), num_classes, weights)
    return _build(name, {**options, **({} if num_classes is None else {"num_classes": num_classes})})


def _segmentation(num_classes: int | None, weights: Any, options: dict[str, Any]) -> Any:
    """The FCN of a config (models/segmentation.py, which is made of what stands here)."""
    from minires.models import segmentation

    if weights is not None or options.pop("features_only"):
        raise ValueError("create('fcn', ...) takes what FCN.config says; with weights it is models.fcn(backbone, ...)")
    return segmentation.of_config(num_classes=num_classes, **options)


def target(name: str, options: Mapping[str, Any]) -> keys.Target:
    """What can be filled in a model of this name and these options: keys and shapes."""
    with init.without_draws(fill=False):
        return keys.target_of(_build(name, dict(options)), name, options, family_of(name).head_name)


def fill(fitted: keys.Fitted, num_classes: int | None, source: Any) -> Model:
    """The model that the weights of the file `source` fit, with those weights.

    A head for another number of classes, or missing in the file, is new and random, which a warning says; so is said
    that the first convolution has been adapted to another number of channels than the file's.
    """
    name, head, path = fitted.target.name, fitted.target.head, os.fspath(source)
    options, state, found = dict(fitted.target.options), dict(fitted.state), fitted.num_classes
    channels = options.setdefault("in_channels", fitted.in_channels)
    if channels != fitted.in_channels:
        state[fitted.target.stem] = keys.adapt_stem(state[fitted.target.stem], channels)
        warnings.warn(f"{path}: the first convolution takes {fitted.in_channels} channels; it is adapted to {channels} "
                      "(summed, or repeated and scaled)", stacklevel=3)  # fmt: skip
    if num_classes is None and not fitted.has_head:
        raise FileFormatError(path, None, f"these weights of {name} have no head", hint="num_classes=N makes a new one")
    classes = num_classes if num_classes is not None else found
    with init.without_draws(fill=False):  # what is not overwritten below is no random number
        model = _build(name, options if classes is None else {**options, "num_classes": classes})
    if classes is not None and (not fitted.has_head or found not in (None, classes)):
        has = f"has {found} classes" if fitted.has_head else "is not in the file"
        warnings.warn(f"{path}: the head {has}; a new one with random values gives num_classes={classes}",
                      stacklevel=3)  # fmt: skip
        model.reset_head(classes)
        new = {key: tensor for key, tensor in model.state_dict().items() if key.startswith(f"{head}.")}
        state = {**fitted.without_head(state), **new}
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
            raise UsageError(f"there are no weights {path!r} for {name}: give the path or URL of a weights file",
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


def builder(name: str) -> Callable[..., Model]:
    """The function `resnet50(...)` of one name, as torchvision has them."""
    family = _BY_NAME[name]
    usual = inspect.signature(family).parameters["num_classes"].default

    def build(*, weights: Any = None, progress: bool = True, num_classes: int | None = None, **options: Any) -> Model:
        weights = download.local(weights, progress=None if progress else False)
        return create(name, num_classes=num_classes, weights=weights, **options)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"""{name}: a {family.__name__}.

    weights: path or URL of a weights file, or the name of weights that come with minires. progress: show on a terminal
    how a download goes on. num_classes: by default those of the weights, else {usual}. options: see {family.__name__}.
    """
    return build
