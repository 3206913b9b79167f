"""Floor 5: the models.

resnet     the networks that the others vary: ResNet, ResNeXt, wide ResNet, and the small ones for CIFAR
resnet_d, se_resnet, preact_resnet, resnetv2, inception_resnet    a family each
segmentation   a class for every pixel      features   what layers inside put out, by name
base       what every model knows about itself     heads      what stands behind the features, as data
recipes    how pictures are prepared for published weights       summary    layers, shapes, costs
norms      the norms they can be built with        registry   the models by name, and their weights
keys, keras_keys    how others name the layers     loading    a model from its weights file alone

Every name of `list_models()` is a function here too: `models.resnet50(num_classes=10)`.
"""

import difflib
from typing import Any

from minires.models.base import ImageModel
from minires.models.features import FeatureExtractor, IntermediateLayerGetter, create_feature_extractor, feature_list
from minires.models.loading import load
from minires.models.norms import NORMS
from minires.models.recipes import preprocessing
from minires.models.registry import builder, create, embedded_info, list_models
from minires.models.resnet import BasicBlock, Bottleneck, CifarResNet, PadShortcut, PlainBlock, ResNet
from minires.models.segmentation import (
    FCN,
    FCNHead,
    fcn,
    fcn_resnet18,
    fcn_resnet34,
    fcn_resnet50,
    fcn_resnet101,
    segmentation_loss,
)
from minires.models.summary import summarize

__all__ = [
    "FCN",
    "NORMS",
    "BasicBlock",
    "Bottleneck",
    "CifarResNet",
    "FCNHead",
    "FeatureExtractor",
    "ImageModel",
    "IntermediateLayerGetter",
    "PadShortcut",
    "PlainBlock",
    "ResNet",
    "create",
    "create_feature_extractor",
    "embedded_info",
    "fcn",
    "fcn_resnet18",
    "fcn_resnet34",
    "fcn_resnet50",
    "fcn_resnet101",
    "feature_list",
    "list_models",
    "load",
    "preprocessing",
    "segmentation_loss",
    "summarize",
]  # fmt: skip

_BUILDERS = {name: builder(name) for name in list_models()}
globals().update(_BUILDERS)
__all__ += list(_BUILDERS)


def __getattr__(name: str) -> Any:
    near = difflib.get_close_matches(name, __all__, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise AttributeError(f"minires.models has no {name!r}{hint}")
