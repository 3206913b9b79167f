"""Conv1d and Conv3d, and transposed convolutions: the layers around the functions of these names."""

import math
from typing import Any

from minires.nn import functional as F
from minires.nn import init
from minires.nn.allocate import empty
from minires.nn.conv import PADDING_MODES, padded
from minires.nn.module import Module
from minires.nn.parameter import Parameter
from minires.tensor import Tensor


def _numbers(value: Any, axes: int, name: str) -> tuple[int, ...]:
    """As many numbers as axes, from one or as many. ValueError naming the argument."""
    values = (value,) * axes if isinstance(value, int) else tuple(value)
    if len(values) != axes or not all(isinstance(number, int) for number in values):
        raise ValueError(f"{name} must be a number or {axes}, got {value!r}")
    return values


class _Convolution(Module):
    """What these layers share: settings as tuples, weight and bias, how they begin, and their text."""

    axes: int
    transposed = False
    weight: Parameter
    bias: Parameter | None

    def _prepare(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
        groups: int, bias: bool, padding_mode: str, device: Any, dtype: Any,
    ) -> None:  # fmt: skip
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups != 0:
            raise ValueError("out_channels must be divisible by groups")
        if padding_mode not in PADDING_MODES:
            raise ValueError(f"padding_mode must be one of {PADDING_MODES}, but got padding_mode={padding_mode!r}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = (_numbers(value, self.axes, name) for value, name in
                                         ((kernel_size, "kernel_size"), (stride, "stride")))  # fmt: skip
        self.padding = padding if isinstance(padding, str) else _numbers(padding, self.axes, "padding")
        self.dilation, self.padding_mode = _numbers(dilation, self.axes, "dilation"), padding_mode
        first, second = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        shape = (first, second // groups, *self.kernel_size)
        self.weight = Parameter(empty(shape, device, dtype, channels_last=True))
        self.register_parameter("bias", Parameter(empty((out_channels,), device, dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight and bias uniform on [-k, k], k = 1 / sqrt(weight.shape[1] * the window's size), as in PyTorch."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        ones, zeros = (1,) * self.axes, (0,) * self.axes
        output_padding = getattr(self, "output_padding", zeros)
        for name, value, usual in (("padding", self.padding, zeros), ("dilation", self.dilation, ones),
                                   ("output_padding", output_padding, zeros), ("groups", self.groups, 1),
                                   ("bias", self.bias is not None, True),
                                   ("padding_mode", self.padding_mode, "zeros")):  # fmt: skip
            if value != usual:
                text += f", {name}={value}"
        return text


class Conv1d(_Convolution):
    """Cross-correlation of rows with learnt windows: x (N, in_channels, L), weight (out, in / groups, K), bias (out,).

    Arguments as Conv2d's.
    """

    axes = 1

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros",
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(f"Invalid padding string {padding!r}, should be one of {{'same', 'valid'}}")
        if padding == "same" and set(_numbers(stride, self.axes, "stride")) != {1}:
            raise ValueError("padding='same' is not supported for strided convolutions")
        self._prepare(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode,
                      device, dtype)  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        input, padding = padded(input, self.padding, self.kernel_size, self.dilation, self.padding_mode)
        return F.conv1d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class Conv3d(Conv1d):
    """Cross-correlation of volumes (N, in_channels, D, H, W) with windows (out, in / groups, KD, KH, KW)."""

    axes = 3

    def forward(self, input: Tensor) -> Tensor:
        input, padding = padded(input, self.padding, self.kernel_size, self.dilation, self.padding_mode)
        return F.conv3d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class _ConvTranspose(_Convolution):
    """Spreads each x over a learnt window; weight (in_channels, out_channels / groups, ...), bias (out_channels,).

    padding: places cut off all around; output_padding: places that are left at the end after all. padding_mode:
    "zeros" only, ValueError for any other. See functional.conv_transpose2d.
    """

    transposed = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        output_padding: Any = 0, groups: int = 1, bias: bool = True, dilation: Any = 1, padding_mode: str = "zeros",
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        self.output_padding = _numbers(output_padding, self.axes, "output_padding")
        self._prepare(in_channels, out_channels, kernel_size, stride, _numbers(padding, self.axes, "padding"), dilation,
                      groups, bias, padding_mode, device, dtype)  # fmt: skip

    def _extra(self, input: Tensor, output_size: Any) -> tuple[int, ...]:
        """output_padding, or what it takes to come to the lengths output_size (or to the whole shape that ends so)."""
        if output_size is None:
            return self.output_padding
        wanted = tuple(output_size)[-self.axes :]
        extra = []
        for axis, length in enumerate(wanted):
            least = (input.shape[axis - self.axes] - 1) * self.stride[axis] - 2 * self.padding[axis]
            least += self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
            most = least + self.stride[axis] - 1
            if not least <= length <= most:
                raise ValueError(f"requested an output size of {wanted}, but axis {axis} can only be from {least} to "
                                 f"{most} for an input of {input.shape}")  # fmt: skip
            extra.append(length - least)
        return tuple(extra)


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution of rows (N, in_channels, L); the rest as ConvTranspose2d."""

    axes = 1

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        return F.conv_transpose1d(input, self.weight, self.bias, self.stride, self.padding,
                                  self._extra(input, output_size), self.groups, self.dilation)  # fmt: skip


class ConvTranspose2d(_ConvTranspose):
    """Transposed convolution of pictures (N, in_channels, H, W): spreads each x over a learnt window."""

    axes = 2

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        return F.conv_transpose2d(input, self.weight, self.bias, self.stride, self.padding,
                                  self._extra(input, output_size), self.groups, self.dilation)  # fmt: skip


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution of volumes (N, in_channels, D, H, W); the rest as ConvTranspose2d."""

    axes = 3

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        return F.conv_transpose3d(input, self.weight, self.bias, self.stride, self.padding,
                                  self._extra(input, output_size), self.groups, self.dilation)  # fmt: skip
