"""SE-ResNet (Hu et al. 2018, "Squeeze-and-excitation networks"): every block weighs its channels. Keys are timm's.

squeeze      the mean of each channel over the picture
excitation   two small layers make a number between 0 and 1 of these, for each channel
scale        the channel is multiplied by its number, before the shortcut is added (section 3)
"""

from typing import Any, ClassVar

from minires import nn, ops
from minires.models.resnet import BasicBlock, Bottleneck, ResNet
from minires.nn import norm_act
from minires.tensor import Tensor


class SqueezeExcite(nn.Module):
    """x * sigmoid(fc2(relu(fc1(mean of x over the pixels)))), for x (N, channels, H, W).

    Between the layers are a 16th of the channels, rounded to a multiple of 8 (at least 8), as in timm.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        reduced = max(8, (channels // 16 + 4) // 8 * 8)
        self.fc1 = nn.Conv2d(channels, reduced, 1)  # on one pixel: linear layers that take (N, C, 1, 1)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = nn.Conv2d(reduced, channels, 1)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        squeezed = ops.mean(x, (2, 3), keepdim=True)
        return x * self.gate(self.fc2(self.relu(self.fc1(squeezed))))


class SEBasicBlock(BasicBlock):
    """A BasicBlock whose channels are weighed before the shortcut is added."""

    def __init__(
        self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None, *arguments: Any,
        **settings: Any,
    ) -> None:  # fmt: skip
        super().__init__(inplanes, planes, stride, None, *arguments, **settings)
        self.se = SqueezeExcite(planes * self.expansion)
        self.downsample = downsample  # behind the rest, which is timm's order of keys

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = norm_act(self.bn1, self.relu, self.conv1(x))
        return self.relu(self.se(self.bn2(self.conv2(out))) + identity)


class SEBottleneck(Bottleneck):
    """A Bottleneck whose channels are weighed before the shortcut is added."""

    def __init__(
        self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None, *arguments: Any,
        **settings: Any,
    ) -> None:  # fmt: skip
        super().__init__(inplanes, planes, stride, None, *arguments, **settings)
        self.se = SqueezeExcite(planes * self.expansion)
        self.downsample = downsample  # behind the rest, which is timm's order of keys

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = norm_act(self.bn1, self.relu, self.conv1(x))
        out = norm_act(self.bn2, self.relu, self.conv2(out))
        return self.relu(self.se(self.bn3(self.conv3(out))) + identity)


class SEResNet(ResNet):
    """ResNet of blocks with squeeze and excitation; arguments as in ResNet."""

    names: ClassVar = {
        "seresnet18": {"block": SEBasicBlock, "layers": [2, 2, 2, 2]},
        "seresnet34": {"block": SEBasicBlock, "layers": [3, 4, 6, 3]},
        "seresnet50": {"block": SEBottleneck, "layers": [3, 4, 6, 3]},
        "seresnet101": {"block": SEBottleneck, "layers": [3, 4, 23, 3]},
        "seresnet152": {"block": SEBottleneck, "layers": [3, 8, 36, 3]},
        "seresnext50_32x4d": {"block": SEBottleneck, "layers": [3, 4, 6, 3], "groups": 32, "width_per_group": 4},
        "seresnext101_32x8d": {"block": SEBottleneck, "layers": [3, 4, 23, 3], "groups": 32, "width_per_group": 8},
    }
    parts_name = "se_resnet"
    blocks = (SEBasicBlock, SEBottleneck)
