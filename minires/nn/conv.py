"""Conv2d: the layer around ops.conv2d; and the same with standardised weights."""

import math
from typing import Any

from minires import ops
from minires.nn import init
from minires.nn.allocate import empty
from minires.nn.module import Module
from minires.nn.parameter import Parameter
from minires.tensor import Tensor

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


def padded(
    input: Tensor, padding: Any, kernel_size: tuple[int, ...], dilation: tuple[int, ...], mode: str
) -> tuple[Tensor, Any]:
    """The input with the padding of a convolution that is not of zeros, and what padding is left to do (0).

    padding: a number for each axis, "valid" or "same"; where that is odd, the extra place comes after the picture.
    """
    if mode == "zeros" or padding == "valid":
        return input, padding
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, kernel_size, strict=True)]
        around = [(width // 2, width - width // 2) for width in total]
    else:
        around = [(width, width) for width in padding]
    return ops.pad(input, tuple(width for sides in reversed(around) for width in sides), mode=mode), 0


def pair(value: Any, name: str) -> tuple[int, int]:
    """(value, value) for a number, a tuple for two numbers. ValueError naming the argument for anything else."""
    if isinstance(value, int):
        return value, value
    values = tuple(value)
    if len(values) != 2 or not all(isinstance(number, int) for number in values):
        raise ValueError(f"{name} must be a number or two, got {value!r}")
    return values


class Conv2d(Module):
    """Cross-correlation of images with learnt windows, plus a bias a channel.

    x (N, in_channels, H, W), weight (out_channels, in_channels / groups, kh, kw), bias (out_channels).
    padding: a number, a pair, "valid" (none) or "same" (as much as keeps H and W; stride 1 only; where that is odd,
    the extra row and column come after the image). Weight and bias start uniform on [-k, k] with
    k = 1 / sqrt(in_channels / groups * kh * kw), as in PyTorch. The weight lies in memory channels-last.
    padding_mode: "zeros", "reflect", "replicate" or "circular" (see functional.pad), ValueError for any other.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros",
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups != 0:
            raise ValueError("out_channels must be divisible by groups")
        if padding_mode not in PADDING_MODES:
            raise ValueError(f"padding_mode must be one of {PADDING_MODES}, but got padding_mode={padding_mode!r}")
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(f"Invalid padding string {padding!r}, should be one of {{'same', 'valid'}}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = pair(kernel_size, "kernel_size"), pair(stride, "stride")
        self.padding = padding if isinstance(padding, str) else pair(padding, "padding")
        self.dilation, self.padding_mode = pair(dilation, "dilation"), padding_mode
        if padding == "same" and self.stride != (1, 1):
            raise ValueError("padding='same' is not supported for strided convolutions")
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = Parameter(empty(shape, device, dtype, channels_last=True))
        self.register_parameter("bias", Parameter(empty((out_channels,), device, dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # variance 1 / (3 fan_in): uniform on [-k, k]
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0
            init.uniform_(self.bias, -bound, bound)

    def padded(self, input: Tensor) -> tuple[Tensor, Any]:
        """(input, padding) for the operation, which knows zeros only: any other padding is done here."""
        return padded(input, self.padding, self.kernel_size, self.dilation, self.padding_mode)

    def forward(self, input: Tensor) -> Tensor:
        input, padding = self.padded(input)
        return ops.conv2d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0, 0):
            text += f", padding={self.padding}"
        if self.dilation != (1, 1):
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        return text if self.padding_mode == "zeros" else text + f", padding_mode={self.padding_mode}"


class StdConv2d(Conv2d):
    """Conv2d with weight standardisation (Qiao et al. 2019): each window has mean 0 and variance 1.

    Each output channel's window is used as (w - mean) / sqrt(variance + eps), of all its in_channels / groups * kh * kw
    values. Meant for group norm, which then does as well as batch norm. Not in PyTorch; timm's has this name and eps.
    """

    def __init__(self, *arguments: Any, eps: float = 1e-6, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.eps = eps

    def standardised(self) -> Tensor:
        """The weight as it is used: one window is to group norm what a picture is to a layer."""
        return ops.group_norm(self.weight, 1, eps=self.eps)

    def forward(self, input: Tensor) -> Tensor:
        weight = self.standardised()
        input, padding = self.padded(input)
        return ops.conv2d(input, weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, eps={self.eps}"
