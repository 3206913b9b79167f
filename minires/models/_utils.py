"""torchvision.models._utils, where users of torchvision import IntermediateLayerGetter from."""

from minires.models.features import IntermediateLayerGetter

__all__ = ["IntermediateLayerGetter"]
