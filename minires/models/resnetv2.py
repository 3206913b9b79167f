"""Pre-activation ResNets for large pictures (He et al. 2016, "Identity mappings in deep residual networks").

    resnetv2_18 ... 152             the blocks of preact_resnet.py in the layers of ResNet
    resnetv2_50x1_bit, 101x1_bit    with group norm and standardised weights, "BiT" (Kolesnikov et al. 2020, "Big
                                    transfer: general visual representation learning", section 2)

Names of layers and structure are timm's, so that its weights load. timm's stem has neither norm nor ReLU, since both
come first in the first block; its shortcuts in a layer's first block take the activated input.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from minires import nn
from minires.models.base import ImageModel
from minires.models.norms import find_norm, standardise_weights
from minires.models.preact_resnet import PreActBasicBlock, PreActBottleneck
from minires.models.resnet import conv1x1
from minires.nn import norm_act
from minires.nn.state import LoadReport
from minires.tensor import Tensor


class ResNetV2(ImageModel):
    """`layers`: number of blocks in each of the four layers; `width`: factor on all channels; the rest as in ResNet."""

    names: ClassVar = {
        "resnetv2_18": {"block": PreActBasicBlock, "layers": [2, 2, 2, 2]},
        "resnetv2_34": {"block": PreActBasicBlock, "layers": [3, 4, 6, 3]},
        "resnetv2_50": {"block": PreActBottleneck, "layers": [3, 4, 6, 3]},
        "resnetv2_101": {"block": PreActBottleneck, "layers": [3, 4, 23, 3]},
        "resnetv2_152": {"block": PreActBottleneck, "layers": [3, 8, 36, 3]},
    }
    parts_name = "resnetv2"
    blocks = (PreActBasicBlock, PreActBottleneck)
    head_name = "head.fc"
    standardisation_eps = 1e-6

    def __init__(
        self, block: type[PreActBasicBlock] | type[PreActBottleneck], layers: Sequence[int], num_classes: int = 1000,
        zero_init_residual: bool = False, width: int = 1, in_channels: int = 3, head: Any = None,
        name: str | None = None, norm: str = "batch",
    ) -> None:  # fmt: skip
        super().__init__()
        block = self.find_block(block)
        self._norm_layer = find_norm(norm)
        self.inplanes = 64 * width
        self.stem = self._make_stem(in_channels)
        rows = [self._make_layer(block, 64 * width * 2**number, count, 1 if number == 0 else 2)
                for number, count in enumerate(layers)]  # fmt: skip
        self._modules["stages"] = nn.Sequential(*rows)  # timm's name; here the attribute is the method `stages`
        self.num_features = self.inplanes
        self.norm = self._norm_layer(self.num_features)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Sequential({"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Identity()})
        if norm == "group_ws":
            standardise_weights(self, self.standardisation_eps)
        self._finish(
            name, num_classes, head, block=block, layers=list(layers), zero_init_residual=zero_init_residual,
            width=width, in_channels=in_channels, norm=norm,
        )  # fmt: skip

    def _make_stem(self, in_channels: int) -> nn.Sequential:
        conv = nn.Conv2d(in_channels, self.inplanes, 7, stride=2, padding=3, bias=False)
        return nn.Sequential({"conv": conv, "pool": nn.MaxPool2d(3, stride=2, padding=1)})

    def _make_layer(
        self, block: type[PreActBasicBlock] | type[PreActBottleneck], planes: int, count: int, stride: int
    ) -> nn.Sequential:
        out, norm, downsample = planes * block.expansion, self._norm_layer, None
        if stride != 1 or self.inplanes != out:
            downsample = nn.Sequential({"conv": conv1x1(self.inplanes, out, stride)})
        first = block(self.inplanes, planes, stride, downsample, norm)
        self.inplanes = out
        rest = [block(out, planes, 1, None, norm) for _ in range(1, count)]
        return nn.Sequential({"blocks": nn.Sequential(first, *rest)})

    @property
    def _layers(self) -> Any:
        return self._modules["stages"]

    def forward_features(self, x: Tensor) -> Tensor:
        """Pictures (N, in_channels, H, W) to the last feature map, after its norm and ReLU."""
        return norm_act(self.norm, self.relu, self._layers(self.stem(x)))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """A feature map to logits (N, num_classes); to the pooled features (N, num_features) if pre_logits."""
        return self.head.flatten(self.head.avgpool(x)) if pre_logits else self.head(x)

    def feature_names(self) -> list[str]:
        """The layers whose outputs are the feature maps; the last is after its norm and ReLU."""
        return ["stem.conv", *(f"stages.{number}" for number in range(len(self._layers) - 1)), "relu"]

    def stages(self) -> dict[str, list[nn.Module]]:
        """The modules that hold parameters: "stem", "layer1" to "layer4" (with the last norm), "head"."""
        layers = {f"layer{number}": [layer] for number, layer in enumerate(self._layers, 1)}
        layers["layer4"].append(self.norm)
        return {"stem": [self.stem], **layers, "head": [self.head]}

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> LoadReport:
        """As Module's. timm's head is a 1x1 convolution, whose weight (K, C, 1, 1) is taken as the matrix (K, C)."""
        key = "head.fc.weight"
        if isinstance(state_dict, Mapping) and getattr(state_dict.get(key), "shape", ())[2:] == (1, 1):
            state_dict = {**state_dict, key: state_dict[key].reshape(state_dict[key].shape[:2])}
        return super().load_state_dict(state_dict, strict, assign)


class BiTResNet(ResNetV2):
    """ResNetV2 with group norm and standardised weights; around the stem's max-pooling stand zeros."""

    names: ClassVar = {
        "resnetv2_50x1_bit": {"block": PreActBottleneck, "layers": [3, 4, 6, 3], "norm": "group_ws"},
        "resnetv2_101x1_bit": {"block": PreActBottleneck, "layers": [3, 4, 23, 3], "norm": "group_ws"},
    }
    parts_name = "resnetv2_bit"
    standardisation_eps = 1e-8

    def _make_stem(self, in_channels: int) -> nn.Sequential:
        conv = nn.Conv2d(in_channels, self.inplanes, 7, stride=2, padding=3, bias=False)
        return nn.Sequential({"conv": conv, "pad": nn.ConstantPad2d(1, 0.0), "pool": nn.MaxPool2d(3, stride=2)})
