"""ResNet-D (He et al. 2019, "Bag of tricks for image classification with convolutional neural networks", section 4.2).

Two changes to ResNet, keys and structure as in timm's `resnet50d`:
    the stem      three 3x3 convolutions (32, 32, 64 channels) in the place of one of 7x7 (the paper's ResNet-C)
    the shortcut  averages 2x2 pixels and then changes the channels, where ResNet's throws three of four pixels away
"""

from typing import ClassVar

from minires import nn
from minires.models.resnet import BasicBlock, Bottleneck, ResNet, conv1x1, conv3x3


class ResNetD(ResNet):
    """ResNet with a deep stem and averaging shortcuts; arguments as in ResNet, but without dilation."""

    names: ClassVar = {
        "resnet18d": {"block": BasicBlock, "layers": [2, 2, 2, 2]},
        "resnet34d": {"block": BasicBlock, "layers": [3, 4, 6, 3]},
        "resnet50d": {"block": Bottleneck, "layers": [3, 4, 6, 3]},
        "resnet101d": {"block": Bottleneck, "layers": [3, 4, 23, 3]},
        "resnet152d": {"block": Bottleneck, "layers": [3, 8, 36, 3]},
    }
    parts_name = "resnet_d"

    def _make_stem(self, in_channels: int) -> None:
        super()._make_stem(in_channels)
        width, norm = self.inplanes // 2, self._norm_layer
        self.conv1 = nn.Sequential(
            conv3x3(in_channels, width, stride=2), norm(width), nn.ReLU(inplace=True),
            conv3x3(width, width), norm(width), nn.ReLU(inplace=True),
            conv3x3(width, self.inplanes),
        )  # fmt: skip

    def _make_shortcut(self, in_planes: int, out_planes: int, stride: int) -> nn.Sequential:
        if self.dilation > 1:
            raise NotImplementedError(f"{self.parts_name} has no replace_stride_with_dilation")
        # at an odd border the average is of the pixels that are there
        pool = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False) if stride > 1 else nn.Identity()
        return nn.Sequential(pool, conv1x1(in_planes, out_planes), self._norm_layer(out_planes))
