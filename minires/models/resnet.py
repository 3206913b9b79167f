"""ResNets (He et al. 2016, "Deep residual learning for image recognition"), and the same networks without shortcuts.

Two families from the same parts:
    resnet18/34/50/101/152    for large pictures: 7x7 stem of stride 2, max-pooling, four layers (table 1 of the paper).
        Names, shapes and initial values are torchvision's, so that its weights load. "v1.5": in a Bottleneck the
        stride is on the 3x3 convolution, not on the first 1x1 as in the paper.
    resnet20/32/44/56/110     for CIFAR: 3x3 stem, three layers of 16, 32, 64 channels (section 4.2);
    plain20/...               the same depths without shortcuts, which the paper compares with.

A model knows its parts: `forward_features`, `forward_head`, `stages()`, `reset_head()`, and `config`, a dictionary for
JSON that `minires.models.create(**config)` rebuilds it from.
"""

from collections.abc import Callable, Sequence
from typing import Any

from minires import nn, ops
from minires.models.heads import build_head, describe_head
from minires.nn import init, norm_act
from minires.tensor import Tensor

Norm = Callable[[int], nn.Module]


def conv3x3(in_planes: int, out_planes: int, stride: int = 1, groups: int = 1, dilation: int = 1) -> nn.Conv2d:
    """3x3 convolution that keeps the size of the image (at stride 1); no bias, since a batch norm follows."""
    return nn.Conv2d(in_planes, out_planes, 3, stride, padding=dilation, dilation=dilation, groups=groups, bias=False)


def conv1x1(in_planes: int, out_planes: int, stride: int = 1) -> nn.Conv2d:
    """1x1 convolution: a matrix applied to the channels of every pixel."""
    return nn.Conv2d(in_planes, out_planes, 1, stride, bias=False)


class BasicBlock(nn.Module):
    """relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)), both convolutions 3x3.

    The shortcut is `downsample` where the shape changes, else x itself.
    """

    expansion = 1  # channels that come out, as a multiple of `planes`

    def __init__(
        self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None, groups: int = 1,
        base_width: int = 64, dilation: int = 1, norm_layer: Norm | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if groups != 1 or base_width != 64:
            raise ValueError("BasicBlock only supports groups=1 and base_width=64")
        if dilation > 1:
            raise NotImplementedError("Dilation > 1 not supported in BasicBlock")
        norm = norm_layer or nn.BatchNorm2d
        self.conv1 = conv3x3(inplanes, planes, stride)
        self.bn1 = norm(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(planes, planes)
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
        identity = x if self.downsample is None else self.downsample(x)
        out = norm_act(self.bn1, self.relu, self.conv1(x))
        out = norm_act(self.bn2, self.relu, self.conv2(out))
        return norm_act(self.bn3, self.relu, self.conv3(out), residual=identity)


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


class _ResNetBase(nn.Module):
    """What both families share: the way through the layers, the head, and the description of oneself."""

    layer_names: tuple[str, ...] = ()
    fc: nn.Module
    _options: dict[str, Any]

    def forward_features(self, x: Tensor) -> Tensor:
        """Pictures (N, in_channels, H, W) to the last feature map (N, num_features, h, w)."""
        x = self.forward_stem(x)
        for name in self.layer_names:
            x = getattr(self, name)(x)
        return x

    def forward_stem(self, x: Tensor) -> Tensor:
        """Pictures to the input of layer1."""
        raise NotImplementedError

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """A feature map to logits (N, num_classes); to the pooled features (N, num_features) if pre_logits."""
        x = ops.flatten(self.avgpool(x), 1)
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def stages(self) -> dict[str, list[nn.Module]]:
        """The modules that hold parameters, from the picture to the logits: "stem", "layer1", ..., "head"."""
        layers = {name: [getattr(self, name)] for name in self.layer_names}
        return {"stem": [self.conv1, self.bn1], **layers, "head": [self.fc]}

    def reset_head(self, head: int | nn.Module) -> None:
        """Replace the head: a new Linear with so many outputs, or a module that takes (N, num_features)."""
        if isinstance(head, nn.Module):
            self.fc = head
            return
        self.fc = nn.Linear(self.num_features, head).to(self.conv1.weight).train(self.training)

    @property
    def config(self) -> dict[str, Any]:
        """What `minires.models.create(**config)` needs to build this model: name, num_classes, other settings.

        A head that is not one Linear stands under "head" (see minires/models/heads.py). ValueError for a head or a
        norm_layer that cannot be written down.
        """
        if "norm_layer" in self._options:
            raise ValueError("config: a model with a norm_layer of your own cannot be written down")
        return {**self._options, **describe_head(self.fc, self.num_features)}

    def _finish(self, name: str, num_classes: int, head: Any, zero_init_residual: bool, **options: Any) -> None:
        """Make the head, draw initial values, and remember the settings, given as (value, default), that matter."""
        self.fc = nn.Linear(self.num_features, num_classes) if head is None else build_head(head)
        options["zero_init_residual"] = (zero_init_residual, False)
        self._options = {"name": name, **{key: value for key, (value, usual) in options.items() if value != usual}}
        self._initialise(zero_init_residual)

    def _initialise(self, zero_init_residual: bool) -> None:
        """He et al. 2015 for convolutions, 1 and 0 for norms; optionally 0 for the last norm of each block.

        With that 0 every block starts as the identity (Goyal et al. 2017, section 5.1).
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                init.ones_(module.weight)
                init.zeros_(module.bias)
        for module in self.modules() if zero_init_residual else ():
            if isinstance(module, BasicBlock | Bottleneck):
                init.zeros_((module.bn3 if isinstance(module, Bottleneck) else module.bn2).weight)


class ResNet(_ResNetBase):
    """ResNet for large pictures. `layers`: number of blocks in each of the four layers; the rest as in torchvision.

    replace_stride_with_dilation: for layers 2 to 4, whether a dilated convolution stands in for the stride.
    in_channels: 3 for colour pictures (torchvision has no other). head: see minires/models/heads.py.
    name: under which `create` finds the model; "resnet" names its parts in the config.
    """

    layer_names = ("layer1", "layer2", "layer3", "layer4")

    def __init__(
        self, block: type[BasicBlock] | type[Bottleneck], layers: Sequence[int], num_classes: int = 1000,
        zero_init_residual: bool = False, groups: int = 1, width_per_group: int = 64,
        replace_stride_with_dilation: Sequence[bool] | None = None, norm_layer: Norm | None = None,
        in_channels: int = 3, head: Any = None, name: str = "resnet",
    ) -> None:  # fmt: skip
        super().__init__()
        dilate = list(replace_stride_with_dilation or (False, False, False))
        if len(dilate) != 3:
            raise ValueError(f"replace_stride_with_dilation should be None or a 3-element tuple, got {dilate}")
        self._norm_layer = norm_layer or nn.BatchNorm2d
        self.inplanes, self.dilation, self.groups, self.base_width = 64, 1, groups, width_per_group
        self.num_features = 512 * block.expansion
        self.conv1 = nn.Conv2d(in_channels, self.inplanes, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = self._norm_layer(self.inplanes)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = self._make_layer(block, 64, layers[0])
        self.layer2 = self._make_layer(block, 128, layers[1], 2, dilate[0])
        self.layer3 = self._make_layer(block, 256, layers[2], 2, dilate[1])
        self.layer4 = self._make_layer(block, 512, layers[3], 2, dilate[2])
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        of_parts = name == "resnet"
        self._finish(
            name, num_classes, head, zero_init_residual,
            block=(block.__name__ if of_parts else None, None), layers=(list(layers) if of_parts else None, None),
            groups=(groups, 1), width_per_group=(width_per_group, 64), norm_layer=(norm_layer, None),
            replace_stride_with_dilation=(dilate, [False] * 3), in_channels=(in_channels, 3),
        )  # fmt: skip

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
            downsample = nn.Sequential(conv1x1(self.inplanes, out, stride), norm(out))
        first = block(self.inplanes, planes, stride, downsample, self.groups, self.base_width, before, norm)
        self.inplanes = out
        rest = [
            block(out, planes, groups=self.groups, base_width=self.base_width, dilation=self.dilation, norm_layer=norm)
            for _ in range(1, blocks)
        ]
        return nn.Sequential(first, *rest)

    def forward_stem(self, x: Tensor) -> Tensor:
        """Pictures to the input of layer1, a quarter of their height and width."""
        return self.maxpool(norm_act(self.bn1, self.relu, self.conv1(x)))


class CifarResNet(_ResNetBase):
    """ResNet for small pictures (section 4.2): 6n + 2 layers, with n blocks in each of the three layers.

    shortcut: "A" (PadShortcut) or "B" (1x1 convolution and norm) where the shape changes, None for a plain network.
    """

    layer_names = ("layer1", "layer2", "layer3")

    def __init__(
        self, depth: int, num_classes: int = 10, shortcut: str | None = "A", zero_init_residual: bool = False,
        norm_layer: Norm | None = None, in_channels: int = 3, head: Any = None, name: str = "cifar_resnet",
    ) -> None:  # fmt: skip
        super().__init__()
        if (depth - 2) % 6 != 0 or depth < 8:
            raise ValueError(f"depth must be 6 n + 2, such as 20 or 32, not {depth}")
        if shortcut not in ("A", "B", None):
            raise ValueError(f"shortcut must be 'A', 'B' or None, not {shortcut!r}")
        blocks = (depth - 2) // 6
        self.shortcut, self._norm_layer = shortcut, norm_layer or nn.BatchNorm2d
        self.num_features = 64
        self.conv1 = conv3x3(in_channels, 16)
        self.bn1 = self._norm_layer(16)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = self._make_layer(16, 16, blocks, 1)
        self.layer2 = self._make_layer(16, 32, blocks, 2)
        self.layer3 = self._make_layer(32, 64, blocks, 2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self._finish(
            name, num_classes, head, zero_init_residual, depth=(depth if name == "cifar_resnet" else None, None),
            shortcut=(shortcut, None if name.startswith("plain") else "A"), norm_layer=(norm_layer, None),
            in_channels=(in_channels, 3),
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
