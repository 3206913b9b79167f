"""Floor 5: the models.

resnet     the networks, in one file          heads      what stands behind them, as data
registry   the models by name, and their weights
"""

from minires.models.registry import (
    create,
    embedded_info,
    list_models,
    plain20,
    plain32,
    plain44,
    plain56,
    plain110,
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet44,
    resnet50,
    resnet56,
    resnet101,
    resnet110,
    resnet152,
)
from minires.models.resnet import BasicBlock, Bottleneck, CifarResNet, PadShortcut, PlainBlock, ResNet

__all__ = [
    "BasicBlock", "Bottleneck", "CifarResNet", "PadShortcut", "PlainBlock", "ResNet", "create", "embedded_info",
    "list_models", "plain20", "plain32", "plain44", "plain56", "plain110", "resnet18", "resnet20", "resnet32",
    "resnet34", "resnet44", "resnet50", "resnet56", "resnet101", "resnet110", "resnet152",
]  # fmt: skip
