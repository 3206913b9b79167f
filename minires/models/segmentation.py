"""A class for every pixel: fully convolutional networks (Long et al. 2015) on the features of any model of the zoo.

    features   the backbone's last map, some times smaller than the picture (8 times, where dilation stands for stride)
    head       a 3x3 convolution to a quarter of the channels, batch norm, ReLU, dropout, a 1x1 convolution to scores
    scores     enlarged to the picture's size, bilinearly

Names of layers are torchvision's, backbone.*, classifier.* and aux_classifier.*, so that its weights load.
"""

import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import minires.nn.functional as F
from minires import nn
from minires.errors import FileFormatError
from minires.io import download
from minires.io import weights as weight_files
from minires.models.base import ImageModel
from minires.models.features import FeatureExtractor, IntermediateLayerGetter, on_zeros
from minires.models.registry import create, family_of
from minires.models.resnet import ResNet
from minires.models.resnet_d import ResNetD
from minires.tensor import Tensor

IGNORED = 255  # the label of pixels that count for nothing: borders of objects, what nobody has labelled
VOC = 21  # classes of Pascal VOC with its background: torchvision's default
HEADS = ("classifier", "aux_classifier")
NAME = "fcn"  # of these models in a config


class FCNHead(nn.Sequential):
    """Features (N, in_channels, h, w) to scores (N, channels, h, w): torchvision's layers under its names."""

    def __init__(self, in_channels: int, channels: int) -> None:
        inside = in_channels // 4
        super().__init__(
            nn.Conv2d(in_channels, inside, 3, padding=1, bias=False), nn.BatchNorm2d(inside), nn.ReLU(),
            nn.Dropout(0.1), nn.Conv2d(inside, channels, 1),
        )  # fmt: skip


class FCN(nn.Module):
    """Pictures (N, C, H, W) to {"out": scores (N, num_classes, H, W)}; with an aux_classifier also "aux", alike.

    backbone: a module that gives {"out": features, and "aux": features for the aux_classifier}.
    """

    def __init__(self, backbone: nn.Module, classifier: nn.Module, aux_classifier: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone, self.classifier, self.aux_classifier = backbone, classifier, aux_classifier

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.backbone(x)
        heads = {"out": self.classifier, "aux": self.aux_classifier}
        return {
            name: F.interpolate(head(features[name]), size=x.shape[-2:], mode="bilinear", align_corners=False)
            for name, head in heads.items()
            if head is not None
        }

    @property
    def config(self) -> dict[str, Any]:
        """What `minires.models.create(**config)` needs to build this model; ValueError for parts of your own."""
        heads: list[Any] = [head for head in (self.classifier, self.aux_classifier) if head is not None]
        if not isinstance(self.backbone, FeatureExtractor) or not isinstance(self.backbone.model, ImageModel):
            raise ValueError("config: a backbone that is no model of the zoo cannot be written down")
        if not all(type(head) is FCNHead for head in heads):
            raise ValueError("config: heads other than FCNHead cannot be written down")
        return {"name": NAME, "backbone": self.backbone.model.config, "num_classes": heads[0][4].out_channels,
                "aux_loss": len(heads) > 1}  # fmt: skip

    def reset_head(self, num_classes: int) -> None:
        """New last layers, for another number of classes; all other weights stay."""
        for name in HEADS:
            head = getattr(self, name)
            if head is not None:
                head[4] = nn.Conv2d(head[4].in_channels, num_classes, 1).to(head[4].weight).train(self.training)


def segmentation_loss(
    outputs: Mapping[str, Tensor], targets: Tensor, ignore_index: int = IGNORED, aux_weight: float = 0.5
) -> Tensor:
    """Cross entropy of "out" over the pixels of targets (N, H, W), plus `aux_weight` times that of "aux" if there is.

    Pixels of the label `ignore_index` do not count. The weight is that of torchvision's recipe.
    """
    losses = {name: F.cross_entropy(scores, targets, ignore_index=ignore_index) for name, scores in outputs.items()}
    return losses["out"] if "aux" not in losses else losses["out"] + aux_weight * losses["aux"]


def fcn(
    backbone: str | ImageModel, num_classes: int | None = None, *, aux_loss: bool | None = None, weights: Any = None,
    weights_backbone: Any = None, replace_stride_with_dilation: Any = "auto", **options: Any,
) -> FCN:  # fmt: skip
    """An FCN on a model of the zoo: `fcn("resnet50", 21)`, or `fcn(model, 21)` on one that is there already.

    num_classes: scores a pixel; by default those of the weights, else 21. aux_loss: a second head on the map before the
    last, whose loss helps early layers; by default as in the weights, else none.
    weights: a file of a whole FCN, torchvision's or saved here; a head for another number of classes is replaced by a
    new one, with a warning. weights_backbone: as `weights` of `create`, for the backbone alone.
    replace_stride_with_dilation: as in ResNet; "auto" is (False, True, True), features of an eighth of the picture's
    size, for those that can (ResNet, SEResNet), and nothing for the others. options: for the backbone, by its name.
    ValueError for options of a backbone that is built already, FileFormatError for weights of another network.
    """
    state = {} if weights is None else weight_files.load(download.local(weights))
    found = VOC if weights is None else classes_of(state, weights)
    classes = found if num_classes is None else num_classes
    has_aux = any(key.startswith("aux_classifier.") for key in state) if aux_loss is None else aux_loss
    model = _make(backbone, classes, has_aux, weights_backbone, replace_stride_with_dilation, options)
    if weights is not None:
        _fill(model, state, found, classes, weights)
    return model


def _make(
    backbone: str | ImageModel, num_classes: int, aux_loss: bool, weights: Any, dilation: Any, options: dict[str, Any]
) -> FCN:
    if isinstance(backbone, str):
        if dilation == "auto":
            dilation = (False, True, True) if _can_dilate(family_of(backbone)) else None
        own: dict[str, Any] = {} if dilation is None else {"replace_stride_with_dilation": list(dilation)}
        return _make(create(backbone, weights=weights, **own, **options), num_classes, aux_loss, None, "auto", {})
    if weights is not None or dilation != "auto" or options:
        raise ValueError("options and weights of the backbone go with its name, not with a model that is there already")
    last, before = backbone.feature_names()[-1], backbone.feature_names()[-2]
    getter = IntermediateLayerGetter(backbone, {last: "out", **({before: "aux"} if aux_loss else {})})
    weight = next(backbone.parameters())
    heads = {name: FCNHead(one.shape[1], num_classes).to(weight) for name, one in on_zeros(getter, 96).items()}
    return FCN(getter, heads["out"], heads.get("aux")).train(backbone.training)


def of_config(backbone: Mapping[str, Any], num_classes: int | None, aux_loss: bool) -> FCN:
    """The FCN whose `config` says this."""
    return fcn(create(**backbone), num_classes, aux_loss=aux_loss)


def _can_dilate(family: type[ImageModel]) -> bool:
    return issubclass(family, ResNet) and not issubclass(family, ResNetD)


def classes_of(state: Mapping[str, Tensor], source: Any) -> int:
    """Number of classes of an FCN's state dict. FileFormatError for what is none."""
    last = state.get("classifier.4.weight")
    if last is None or last.ndim != 4:
        raise FileFormatError(os.fspath(source), None, "these are no weights of an FCN: they have no tensor "
                              "'classifier.4.weight' of four axes", hint="weights of the backbone alone are "
                              "weights_backbone")  # fmt: skip
    return last.shape[0]


def _fill(model: FCN, state: dict[str, Tensor], found: int, num_classes: int, source: Any) -> None:
    """The weights of a file in the model; other heads than the file's stay new, and a head not wanted is left out."""
    wanted = model.state_dict()
    given = {
        key: value for key, value in state.items() if model.aux_classifier is not None or not key.startswith("aux")
    }
    if found != num_classes:
        warnings.warn(f"{os.fspath(source)}: the head has {found} classes; new last layers with random values give "
                      f"num_classes={num_classes}", stacklevel=3)  # fmt: skip
        given.update({f"{head}.4.{part}": wanted[f"{head}.4.{part}"] for head in HEADS for part in ("weight", "bias")
                      if f"{head}.4.{part}" in wanted})  # fmt: skip
    try:
        model.load_state_dict(given)
    except RuntimeError as error:
        raise FileFormatError(os.fspath(source), None, f"the weights do not fit this FCN: {error}") from error


def _builder(name: str) -> Callable[..., FCN]:
    def build(
        *, weights: Any = None, progress: bool = True, num_classes: int | None = None, aux_loss: bool | None = None,
        weights_backbone: Any = None, **options: Any,
    ) -> FCN:  # fmt: skip
        shown = None if progress else False
        weights, weights_backbone = (download.local(one, progress=shown) for one in (weights, weights_backbone))
        return fcn(name, num_classes, aux_loss=aux_loss, weights=weights, weights_backbone=weights_backbone, **options)

    build.__name__ = build.__qualname__ = f"fcn_{name}"
    build.__doc__ = f"""An FCN on {name}; arguments as in `fcn`.

    progress: show on a terminal how a download goes on. Other than in torchvision nothing is fetched on its own:
    weights_backbone is the path or URL of a file.
    """
    return build


fcn_resnet18, fcn_resnet34, fcn_resnet50, fcn_resnet101 = (
    _builder(name) for name in ("resnet18", "resnet34", "resnet50", "resnet101")
)
