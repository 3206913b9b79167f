"""Squeeze and excitation (Hu et al. 2018): channels weighed by what the whole picture holds."""

from collections.abc import Callable

from minires.nn.activation import ReLU, Sigmoid
from minires.nn.conv import Conv2d
from minires.nn.module import Module
from minires.nn.pooling import AdaptiveAvgPool2d
from minires.tensor import Tensor


class SqueezeExcitation(Module):
    """y = x * scale_activation(fc2(activation(fc1(mean of each channel)))), fc1 and fc2 being 1x1 convolutions.

    x (N, input_channels, H, W); squeeze_channels: between the two. Name, arguments and keys are those of
    torchvision.ops.SqueezeExcitation.
    """

    def __init__(
        self, input_channels: int, squeeze_channels: int, activation: Callable[..., Module] = ReLU,
        scale_activation: Callable[..., Module] = Sigmoid,
    ) -> None:  # fmt: skip
        super().__init__()
        self.avgpool = AdaptiveAvgPool2d(1)
        self.fc1 = Conv2d(input_channels, squeeze_channels, 1)
        self.fc2 = Conv2d(squeeze_channels, input_channels, 1)
        self.activation = activation()
        self.scale_activation = scale_activation()

    def forward(self, input: Tensor) -> Tensor:
        scale = self.avgpool(input)
        scale = self.fc2(self.activation(self.fc1(scale)))
        return self.scale_activation(scale) * input
