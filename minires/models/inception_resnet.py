"""Inception-ResNet-v2 (Szegedy et al. 2017, "Inception-v4, Inception-ResNet and the impact of residual connections").

Convolutions of several sizes side by side ("branches"), whose results are concatenated, brought to the right number of
channels by a 1x1 convolution, scaled down and added to the input (section 3.3: without the scale, training dies).
Figures 16 to 19 of the paper show the blocks. The network here is the one whose weights were published: twice as many
blocks and a simpler stem than in figures 3 and 15. Names of layers and structure are timm's. Pictures of 299 x 299, at
least 75 x 75.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from minires import nn, ops
from minires.models.base import ImageModel
from minires.models.norms import Norm, find_norm, standardise_weights
from minires.nn import norm_act
from minires.tensor import Tensor


class ConvNorm(nn.Module):
    """relu(bn(conv(x))); the convolution has no bias."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: int = 1, padding: Any = 0,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        self.bn = norm(out_channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return norm_act(self.bn, self.relu, self.conv(x))


class Branches(nn.Module):
    """Several rows of layers that take the same input; their channels are concatenated."""

    def __init__(self, *rows: list[nn.Module]) -> None:
        super().__init__()
        self.branches = len(rows)
        for number, row in enumerate(rows):
            self.add_module(f"branch{number}", row[0] if len(row) == 1 else nn.Sequential(*row))

    def forward(self, x: Tensor) -> Tensor:
        return ops.cat([getattr(self, f"branch{number}")(x) for number in range(self.branches)], 1)


class ScaledResidual(Branches):
    """relu(x + scale * conv2d(branches(x))); without the relu if not wanted."""

    def __init__(self, channels: int, inside: int, scale: float, *rows: list[nn.Module], relu: bool = True) -> None:
        super().__init__(*rows)
        self.scale = scale
        self.conv2d = nn.Conv2d(inside, channels, 1)
        self.relu = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.conv2d(super().forward(x)) * self.scale + x)

    def extra_repr(self) -> str:
        return f"scale={self.scale}"


Conv = Callable[..., nn.Module]


def mixed_5b(conv: Conv) -> Branches:
    """192 channels to 320."""
    return Branches(
        [conv(192, 96, 1)],
        [conv(192, 48, 1), conv(48, 64, 5, padding=2)],
        [conv(192, 64, 1), conv(64, 96, 3, padding=1), conv(96, 96, 3, padding=1)],
        [nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False), conv(192, 64, 1)],
    )


def block35(conv: Conv) -> ScaledResidual:
    """Inception-ResNet-A, for maps of 35 x 35 (figure 16)."""
    return ScaledResidual(
        320, 128, 0.17,
        [conv(320, 32, 1)],
        [conv(320, 32, 1), conv(32, 32, 3, padding=1)],
        [conv(320, 32, 1), conv(32, 48, 3, padding=1), conv(48, 64, 3, padding=1)],
    )  # fmt: skip


def mixed_6a(conv: Conv) -> Branches:
    """Reduction-A: half the height and width, 320 channels to 1088 (figure 7)."""
    return Branches(
        [conv(320, 384, 3, 2)],
        [conv(320, 256, 1), conv(256, 256, 3, padding=1), conv(256, 384, 3, 2)],
        [nn.MaxPool2d(3, stride=2)],
    )


def block17(conv: Conv) -> ScaledResidual:
    """Inception-ResNet-B, for maps of 17 x 17 (figure 17): a 7x7 window as 1x7 and 7x1."""
    return ScaledResidual(
        1088, 384, 0.10,
        [conv(1088, 192, 1)],
        [conv(1088, 128, 1), conv(128, 160, (1, 7), padding=(0, 3)), conv(160, 192, (7, 1), padding=(3, 0))],
    )  # fmt: skip


def mixed_7a(conv: Conv) -> Branches:
    """Reduction-B: half the height and width, 1088 channels to 2080 (figure 18)."""
    return Branches(
        [conv(1088, 256, 1), conv(256, 384, 3, 2)],
        [conv(1088, 256, 1), conv(256, 288, 3, 2)],
        [conv(1088, 256, 1), conv(256, 288, 3, padding=1), conv(288, 320, 3, 2)],
        [nn.MaxPool2d(3, stride=2)],
    )


def block8(conv: Conv, scale: float = 0.20, relu: bool = True) -> ScaledResidual:
    """Inception-ResNet-C, for maps of 8 x 8 (figure 19): a 3x3 window as 1x3 and 3x1."""
    return ScaledResidual(
        2080, 448, scale,
        [conv(2080, 192, 1)],
        [conv(2080, 192, 1), conv(192, 224, (1, 3), padding=(0, 1)), conv(224, 256, (3, 1), padding=(1, 0))],
        relu=relu,
    )  # fmt: skip


class InceptionResNetV2(ImageModel):
    """The whole network; batch norms have eps 0.001, as in TensorFlow.

    layers: how many blocks of 35, of 17 and of 8 there are; after the last comes one block of 8 more, without its ReLU
    and its scale. The other arguments as in ResNet.
    """

    names: ClassVar = {"inception_resnet_v2": {}}
    parts_name = "inception_resnet_v2"
    head_name = "classif"

    def __init__(
        self, layers: Sequence[int] = (10, 20, 9), num_classes: int = 1000, in_channels: int = 3, head: Any = None,
        name: str | None = None, norm: str = "batch",
    ) -> None:  # fmt: skip
        super().__init__()
        conv = functools.partial(ConvNorm, norm=find_norm(norm, eps=1e-3))
        self.num_features = 1536
        self.conv2d_1a = conv(in_channels, 32, 3, 2)
        self.conv2d_2a = conv(32, 32, 3)
        self.conv2d_2b = conv(32, 64, 3, padding=1)
        self.maxpool_3a = nn.MaxPool2d(3, stride=2)
        self.conv2d_3b = conv(64, 80, 1)
        self.conv2d_4a = conv(80, 192, 3)
        self.maxpool_5a = nn.MaxPool2d(3, stride=2)
        self.mixed_5b = mixed_5b(conv)
        self.repeat = nn.Sequential(*(block35(conv) for _ in range(layers[0])))
        self.mixed_6a = mixed_6a(conv)
        self.repeat_1 = nn.Sequential(*(block17(conv) for _ in range(layers[1])))
        self.mixed_7a = mixed_7a(conv)
        self.repeat_2 = nn.Sequential(*(block8(conv) for _ in range(layers[2])))
        self.block8 = block8(conv, scale=1.0, relu=False)
        self.conv2d_7b = conv(2080, self.num_features, 1)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        if norm == "group_ws":
            standardise_weights(self)
        self._finish(name, num_classes, head, layers=tuple(layers), in_channels=in_channels, norm=norm)

    def forward_features(self, x: Tensor) -> Tensor:
        """Pictures (N, in_channels, H, W) to the last feature map (N, 1536, h, w)."""
        x = self.maxpool_3a(self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(x))))
        x = self.maxpool_5a(self.conv2d_4a(self.conv2d_3b(x)))
        x = self.repeat(self.mixed_5b(x))
        x = self.repeat_1(self.mixed_6a(x))
        x = self.block8(self.repeat_2(self.mixed_7a(x)))
        return self.conv2d_7b(x)

    def feature_names(self) -> list[str]:
        """The layers whose outputs are the feature maps: the last one of each size."""
        return ["conv2d_2b", "conv2d_4a", "repeat", "repeat_1", "conv2d_7b"]

    def stages(self) -> dict[str, list[nn.Module]]:
        """The modules that hold parameters; layers begin where the maps become smaller."""
        stem: list[nn.Module] = [self.conv2d_1a, self.conv2d_2a, self.conv2d_2b, self.conv2d_3b, self.conv2d_4a]
        return {
            "stem": stem, "layer1": [self.mixed_5b, self.repeat], "layer2": [self.mixed_6a, self.repeat_1],
            "layer3": [self.mixed_7a, self.repeat_2, self.block8, self.conv2d_7b], "head": [self.classif],
        }  # fmt: skip
