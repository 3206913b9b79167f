"""Pre-activation ResNets, "v2" (He et al. 2016, "Identity mappings in deep residual networks").

In ResNet a ReLU stands behind every addition, and changes what the shortcut brings. Here norm and ReLU come before each
convolution, nothing comes behind the addition, and the input reaches the last layer by additions alone (figure 4e).

Here are the two blocks, and preact_resnet20 to 110 and 164 for CIFAR; 164 is made of bottlenecks (table 4). Those for
large pictures are in resnetv2.py.
"""

from typing import Any, ClassVar

from minires import nn
from minires.models.base import ImageModel
from minires.models.norms import Norm, find_norm, standardise_weights
from minires.models.resnet import PadShortcut, conv1x1, conv3x3
from minires.nn import norm_act
from minires.tensor import Tensor


class PreActBasicBlock(nn.Module):
    """conv2(act(norm2(conv1(act(norm1(x)))))) + shortcut, both convolutions 3x3.

    The shortcut is x itself; where the block has a `downsample`, it is that of act(norm1(x)).
    """

    expansion = 1
    last = "conv2"  # the layer before the shortcut is added

    def __init__(self, inplanes: int, planes: int, stride: int, downsample: nn.Module | None, norm: Norm) -> None:
        super().__init__()
        self.downsample = downsample
        self.norm1 = norm(inplanes)
        self.conv1 = conv3x3(inplanes, planes, stride)
        self.norm2 = norm(planes)
        self.conv2 = conv3x3(planes, planes)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        active = norm_act(self.norm1, self.relu, x)
        identity = x if self.downsample is None else self.downsample(active)
        out = self.conv1(active)
        return self.conv2(norm_act(self.norm2, self.relu, out)) + identity


class PreActBottleneck(nn.Module):
    """The same of three convolutions: 1x1 to `planes` channels, 3x3 (with the stride), 1x1 to four times as many."""

    expansion = 4
    last = "conv3"

    def __init__(self, inplanes: int, planes: int, stride: int, downsample: nn.Module | None, norm: Norm) -> None:
        super().__init__()
        self.downsample = downsample
        self.norm1 = norm(inplanes)
        self.conv1 = conv1x1(inplanes, planes)
        self.norm2 = norm(planes)
        self.conv2 = conv3x3(planes, planes, stride)
        self.norm3 = norm(planes)
        self.conv3 = conv1x1(planes, planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        active = norm_act(self.norm1, self.relu, x)
        identity = x if self.downsample is None else self.downsample(active)
        out = self.conv1(active)
        out = self.conv2(norm_act(self.norm2, self.relu, out))
        return self.conv3(norm_act(self.norm3, self.relu, out)) + identity


class PreActCifarResNet(ImageModel):
    """Pre-activation ResNet for small pictures: three layers of n blocks, with 16, 32 and 64 `planes`.

    depth: 6n + 2 with basic blocks, 9n + 2 with bottlenecks. The other arguments as in CifarResNet. As in the paper the
    first block of all hands its activated input to the shortcut, too.
    """

    names: ClassVar = {
        **{f"preact_resnet{depth}": {"depth": depth} for depth in (20, 32, 44, 56, 110)},
        "preact_resnet164": {"depth": 164, "block": PreActBottleneck},
    }
    parts_name = "preact_resnet"
    blocks = (PreActBasicBlock, PreActBottleneck)
    layer_names = ("layer1", "layer2", "layer3")

    def __init__(
        self, depth: int, num_classes: int = 10, shortcut: str = "A", zero_init_residual: bool = False,
        in_channels: int = 3, head: Any = None, name: str | None = None, norm: str = "batch",
        block: type[PreActBasicBlock] | type[PreActBottleneck] = PreActBasicBlock,
    ) -> None:  # fmt: skip
        super().__init__()
        block = self.find_block(block)
        each = 9 if block is PreActBottleneck else 6
        if (depth - 2) % each != 0 or depth < each + 2:
            raise ValueError(f"depth must be {each} n + 2, such as {3 * each + 2}, not {depth}")
        if shortcut not in ("A", "B"):
            raise ValueError(f"shortcut must be 'A' or 'B', not {shortcut!r}")
        self._norm_layer = find_norm(norm)
        self.inplanes, self.num_features, self.shortcut = 16, 64 * block.expansion, shortcut
        self.conv1 = conv3x3(in_channels, 16)
        for number, planes in enumerate((16, 32, 64)):
            layer = self._make_layer(block, planes, (depth - 2) // each, stride=1 if number == 0 else 2)
            self.add_module(self.layer_names[number], layer)
        self.norm = self._norm_layer(self.num_features)
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        if norm == "group_ws":
            standardise_weights(self)
        self._finish(
            name, num_classes, head, depth=depth, shortcut=shortcut, zero_init_residual=zero_init_residual,
            in_channels=in_channels, norm=norm, block=block,
        )  # fmt: skip

    def _make_layer(
        self, block: type[PreActBasicBlock] | type[PreActBottleneck], planes: int, count: int, stride: int
    ) -> nn.Sequential:
        out, norm = planes * block.expansion, self._norm_layer
        downsample: nn.Module = nn.Identity()  # of the first layer
        if (stride, self.inplanes) != (1, out):
            same = self.shortcut == "A"
            downsample = PadShortcut(stride, out - self.inplanes) if same else conv1x1(self.inplanes, out, stride)
        first = block(self.inplanes, planes, stride, downsample, norm)
        self.inplanes = out
        return nn.Sequential(first, *(block(out, planes, 1, None, norm) for _ in range(1, count)))

    def forward_stem(self, x: Tensor) -> Tensor:
        """Pictures to the input of layer1, of the same height and width."""
        return self.conv1(x)

    def forward_features(self, x: Tensor) -> Tensor:
        """Pictures (N, in_channels, H, W) to the last feature map, after its norm and ReLU."""
        return norm_act(self.norm, self.relu, super().forward_features(x))

    def feature_names(self) -> list[str]:
        """The layers whose outputs are the feature maps; the last is after its norm and ReLU."""
        return ["conv1", "layer1", "layer2", "relu"]

    def stages(self) -> dict[str, list[nn.Module]]:
        """The modules that hold parameters; the last norm belongs to layer3."""
        return {"stem": [self.conv1], "layer1": [self.layer1], "layer2": [self.layer2],
                "layer3": [self.layer3, self.norm], "head": [self.fc]}  # fmt: skip
