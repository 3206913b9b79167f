"""ResNets (He et al. 2016, "Deep residual learning for image recognition"), and the same networks without shortcuts.

Two families from the same parts:
    resnet18/34/50/101/152    for large pictures: 7x7 stem of stride 2, max-pooling, four layers (table 1 of the paper).
        Names, shapes and initial values are torchvision's, so that its weights load. "v1.5": in a Bottleneck the
        stride is on the 3x3 convolution, not on the first 1x1 as in the paper.
        Of the same class: resnext50_32x4d etc. with grouped 3x3 convolutions (Xie et al. 2017, "Aggregated residual
        transformations"), wide_resnet50_2 etc. with twice the inner channels (Zagoruyko and Komodakis 2016), and
        resnet50_gn with group normalisation (Wu and He 2018).
        resnet50_keras etc. are keras.applications' ResNet50: the stride on the first 1x1 as in the paper, a bias in
        every convolution, another eps. Their weights come from Keras's files (see keras_keys.py).
    resnet20/32/44/56/110     for CIFAR: 3x3 stem, three layers of 16, 32, 64 channels (section 4.2);
    plain20/...               the same depths without shortcuts, which the paper compares with.

A model knows its parts: `forward_features`, `forward_head`, `stages()`, `reset_head()`, and `config`, a dictionary for
JSON that `minires.models.create(**config)` rebuilds it from.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from minires import nn, ops
from minires.models.base import ImageModel
from minires.models.norms import Norm, find_norm, standardise_weights
from minires.nn import conv_norm_act, norm_act
from minires.tensor import Tensor


def conv3x3(in_planes: int, out_planes: int, stride: int = 1, groups: int = 1, dilation: int = 1) -> nn.Conv2d:
    """3x3 convolution that keeps the size of the image (at stride 1); no bias, since a batch norm follows."""
    return nn.Conv2d(in_planes, out_planes, 3, stride, padding=dilation, dilation=dilation, groups=groups, bias=False)


def conv1x1(in_planes: int, out_planes: int, stride: int = 1) -> nn.Conv2d:
    """1x1 convolution: a matrix applied to the channels of every pixel."""
    return nn.Conv2d(in_planes, out_planes, 1, stride, bias=False)


def projected(x: Tensor, downsample: nn.Module) -> Tensor:
    """downsample(x); where that is a convolution and its norm, as one operation if nn.conv_norm_act has one."""
    if type(downsample) is nn.Sequential and len(downsample) == 2 and not downsample.has_hooks:
        return conv_norm_act(downsample[0], downsample[1], None, x)
    return downsample(x)


class BasicBlock(nn.Module):
    """relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)), both convolutions 3x3.

    The shortcut is `downsample` where the shape changes, else x itself.
    """

    expansion = 1  # channels that come out, as a multiple of `planes`
    last = "bn2"  # the layer before the shortcut is added

    def __init__(
        self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None, groups: int = 1,
        base_width: int = 64, dilation: int = 1, norm_layer: Norm | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if groups != 1 or base_width != 64:
            raise ValueError("BasicBlock only supports groups=1 and base_width=64")
        norm = norm_layer or nn.BatchNorm2d
        self.conv1 = conv3x3(inplanes, planes, stride, dilation=dilation)
        self.bn1 = norm(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(planes, planes, dilation=dilation)
        self.bn2 = norm(planes)
        self.downsample = downsample
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = norm_act(self.bn1, self.relu, self.conv1(x))
        return norm_act(self.bn2, self.relu, self.conv2(out), residual=identity)


class Bottleneck(nn.Module):
    """1x1 to `planes` channels, 3x3 (with the stride), 1x1 to four times as many, plus the shortcut."""

    expansion = 4
    last = "bn3"

    def __init__(
        self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None, groups: int = 1,
        base_width: int = 64, dilation: int = 1, norm_layer: Norm | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        norm = norm_layer or nn.BatchNorm2d
        width = int(planes * (base_width / 64.0)) * groups
        self.conv1 = conv1x1(inplanes, width)
        self.bn1 = norm(width)
        self.conv2 = conv3x3(width, width, stride, groups, dilation)
        self.bn2 = norm(width)
        self.conv3 = conv1x1(width, planes * self.expansion)
        self.bn3 = norm(planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else projected(x, self.downsample)
        out = norm_act(self.bn1, self.relu, self.conv1(x))
        out = norm_act(self.bn2, self.relu, self.conv2(out))
        return conv_norm_act(self.conv3, self.bn3, self.relu, out, residual=identity)


class BottleneckV1(Bottleneck):
    """A Bottleneck as in the paper, with the stride on its first 1x1 convolution."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.conv1.stride, self.conv2.stride = self.conv2.stride, self.conv1.stride


class PlainBlock(BasicBlock):
    """A BasicBlock without its shortcut."""

    def forward(self, x: Tensor) -> Tensor:
        out = norm_act(self.bn1, self.relu, self.conv1(x))
        return norm_act(self.bn2, self.relu, self.conv2(out))


class PadShortcut(nn.Module):
    """The paper's shortcut "A", without parameters: every stride-th pixel, and channels of zeros after the others."""

    def __init__(self, stride: int, extra_channels: int) -> None:
        super().__init__()
        self.stride, self.extra_channels = stride, extra_channels

    def forward(self, x: Tensor) -> Tensor:
        return ops.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra_channels))

    def extra_repr(self) -> str:
        return f"stride={self.stride}, extra_channels={self.extra_channels}"


class ResNet(ImageModel):
    """ResNet for large pictures. `layers`: number of blocks in each of the four layers; the rest as in torchvision.

    replace_stride_with_dilation: for layers 2 to 4, whether a dilated convolution stands in for the stride (other than
    in torchvision also with a BasicBlock).
    norm: one of minires.models.norms.NORMS; norm_layer: torchvision's way to give any other, goes before `norm`.
    norm_eps: what the norms add to the variance. conv_bias: a bias in every convolution, although a norm follows.
    in_channels: 3 for colour pictures (torchvision has no other). head: see minires/models/heads.py.
    name: under which `create` finds the model; "resnet" names its parts in the config.
    """

    names: ClassVar = {
        "resnet18": {"block": BasicBlock, "layers": [2, 2, 2, 2]},
        "resnet34": {"block": BasicBlock, "layers": [3, 4, 6, 3]},
        "resnet50": {"block": Bottleneck, "layers": [3, 4, 6, 3]},
        "resnet101": {"block": Bottleneck, "layers": [3, 4, 23, 3]},
        "resnet152": {"block": Bottleneck, "layers": [3, 8, 36, 3]},
        "resnext50_32x4d": {"block": Bottleneck, "layers": [3, 4, 6, 3], "groups": 32, "width_per_group": 4},
        "resnext101_32x8d": {"block": Bottleneck, "layers": [3, 4, 23, 3], "groups": 32, "width_per_group": 8},
        "resnext101_64x4d": {"block": Bottleneck, "layers": [3, 4, 23, 3], "groups": 64, "width_per_group": 4},
        "wide_resnet50_2": {"block": Bottleneck, "layers": [3, 4, 6, 3], "width_per_group": 128},
        "wide_resnet101_2": {"block": Bottleneck, "layers": [3, 4, 23, 3], "width_per_group": 128},
        "resnet50_gn": {"block": Bottleneck, "layers": [3, 4, 6, 3], "norm": "group"},
        "resnet50_keras": {"block": BottleneckV1, "layers": [3, 4, 6, 3], "conv_bias": True, "norm_eps": 1.001e-5},
        "resnet101_keras": {"block": BottleneckV1, "layers": [3, 4, 23, 3], "conv_bias": True, "norm_eps": 1.001e-5},
        "resnet152_keras": {"block": BottleneckV1, "layers": [3, 8, 36, 3], "conv_bias": True, "norm_eps": 1.001e-5},
    }
    parts_name = "resnet"
    blocks: ClassVar[tuple[type[nn.Module], ...]] = (BasicBlock, Bottleneck, BottleneckV1)
    layer_names = ("layer1", "layer2", "layer3", "layer4")

    def __init__(
        self, block: type[BasicBlock] | type[Bottleneck], layers: Sequence[int], num_classes: int = 1000,
        zero_init_residual: bool = False, groups: int = 1, width_per_group: int = 64,
        replace_stride_with_dilation: Sequence[bool] | None = None, norm_layer: Norm | None = None,
        in_channels: int = 3, head: Any = None, name: str | None = None, norm: str = "batch", norm_eps: float = 1e-5,
        conv_bias: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        dilate = list(replace_stride_with_dilation or (False, False, False))
        if len(dilate) != 3:
            raise ValueError(f"replace_stride_with_dilation should be None or a 3-element tuple, got {dilate}")
        block = self.find_block(block)
        self._norm_layer = norm_layer or find_norm(norm, norm_eps)
        self.inplanes, self.dilation, self.groups, self.base_width = 64, 1, groups, width_per_group
        self.num_features = 512 * block.expansion
        self._make_stem(in_channels)
        self.layer1 = self._make_layer(block, 64, layers[0])
        self.layer2 = self._make_layer(block, 128, layers[1], 2, dilate[0])
        self.layer3 = self._make_layer(block, 256, layers[2], 2, dilate[1])
        self.layer4 = self._make_layer(block, 512, layers[3], 2, dilate[2])
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        if norm == "group_ws":
            standardise_weights(self)
        if conv_bias:
            add_biases(self)
        self._finish(
            name, num_classes, head, block=block, layers=list(layers), zero_init_residual=zero_init_residual,
            groups=groups, width_per_group=width_per_group, norm_layer=norm_layer, in_channels=in_channels,
            replace_stride_with_dilation=dilate if any(dilate) else None, norm=norm, norm_eps=norm_eps,
            conv_bias=conv_bias,
        )  # fmt: skip

    def _make_stem(self, in_channels: int) -> None:
        self.conv1: nn.Module = nn.Conv2d(in_channels, self.inplanes, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = self._norm_layer(self.inplanes)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)

    def _make_layer(
        self, block: type[BasicBlock] | type[Bottleneck], planes: int, blocks: int, stride: int = 1,
        dilate: bool = False,
    ) -> nn.Sequential:  # fmt: skip
        """`blocks` blocks in a row; the first one changes the number of channels and, by its stride, the size."""
        norm, before = self._norm_layer, self.dilation
        if dilate:
            self.dilation *= stride
            stride = 1
        out, downsample = planes * block.expansion, None
        if stride != 1 or self.inplanes != out:
            downsample = self._make_shortcut(self.inplanes, out, stride)
        first = block(self.inplanes, planes, stride, downsample, self.groups, self.base_width, before, norm)
        self.inplanes = out
        rest = [
            block(out, planes, groups=self.groups, base_width=self.base_width, dilation=self.dilation, norm_layer=norm)
            for _ in range(1, blocks)
        ]
        return nn.Sequential(first, *rest)

    def _make_shortcut(self, in_planes: int, out_planes: int, stride: int) -> nn.Sequential:
        """What brings the input of a layer's first block to the shape of its output."""
        return nn.Sequential(conv1x1(in_planes, out_planes, stride), self._norm_layer(out_planes))

    def forward_stem(self, x: Tensor) -> Tensor:
        """Pictures to the input of layer1, a quarter of their height and width."""
        return self.maxpool(norm_act(self.bn1, self.relu, self.conv1(x)))


def add_biases(model: nn.Module) -> None:
    """Give every convolution in the model a bias, which starts as 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.bias is None:
            module.bias = nn.Parameter(ops.zeros(module.out_channels))


CIFAR_DEPTHS = (20, 32, 44, 56, 110)


class CifarResNet(ImageModel):
    """ResNet for small pictures (section 4.2): 6n + 2 layers, with n blocks in each of the three layers.

    shortcut: "A" (PadShortcut) or "B" (1x1 convolution and norm) where the shape changes, None for a plain network.
    The other arguments as in ResNet.
    """

    names: ClassVar = {
        **{f"resnet{depth}": {"depth": depth} for depth in CIFAR_DEPTHS},
        **{f"plain{depth}": {"depth": depth, "shortcut": None} for depth in CIFAR_DEPTHS},
    }
    parts_name = "cifar_resnet"
    blocks = (BasicBlock,)
    layer_names = ("layer1", "layer2", "layer3")

    def __init__(
        self, depth: int, num_classes: int = 10, shortcut: str | None = "A", zero_init_residual: bool = False,
        norm_layer: Norm | None = None, in_channels: int = 3, head: Any = None, name: str | None = None,
        norm: str = "batch",
    ) -> None:  # fmt: skip
        super().__init__()
        if (depth - 2) % 6 != 0 or depth < 8:
            raise ValueError(f"depth must be 6 n + 2, such as 20 or 32, not {depth}")
        if shortcut not in ("A", "B", None):
            raise ValueError(f"shortcut must be 'A', 'B' or None, not {shortcut!r}")
        blocks = (depth - 2) // 6
        self.shortcut, self._norm_layer = shortcut, norm_layer or find_norm(norm)
        self.num_features = 64
        self.conv1 = conv3x3(in_channels, 16)
        self.bn1 = self._norm_layer(16)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = self._make_layer(16, 16, blocks, 1)
        self.layer2 = self._make_layer(16, 32, blocks, 2)
        self.layer3 = self._make_layer(32, 64, blocks, 2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        if norm == "group_ws":
            standardise_weights(self)
        self._finish(
            name, num_classes, head, depth=depth, shortcut=shortcut, zero_init_residual=zero_init_residual,
            norm_layer=norm_layer, in_channels=in_channels, norm=norm,
        )  # fmt: skip

    def _make_layer(self, in_planes: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
        norm = self._norm_layer
        downsample: nn.Module | None = None
        if stride != 1 and self.shortcut == "A":
            downsample = PadShortcut(stride, planes - in_planes)
        elif stride != 1 and self.shortcut == "B":
            downsample = nn.Sequential(conv1x1(in_planes, planes, stride), norm(planes))
        block = PlainBlock if self.shortcut is None else BasicBlock
        first = block(in_planes, planes, stride, downsample, norm_layer=norm)
        return nn.Sequential(first, *(block(planes, planes, norm_layer=norm) for _ in range(1, blocks)))

    def forward_stem(self, x: Tensor) -> Tensor:
        """Pictures to the input of layer1, of the same height and width."""
        return norm_act(self.bn1, self.relu, self.conv1(x))
