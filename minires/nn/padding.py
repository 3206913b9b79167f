"""Padding as a layer."""

from typing import Any

from minires import ops
from minires.nn.module import Module
from minires.tensor import Tensor


class ConstantPad2d(Module):
    """x (N, C, H, W) with rows and columns of `value` around it: (left, right, top, bottom), or one number for all."""

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__()
        self.padding = (padding,) * 4 if isinstance(padding, int) else tuple(padding)
        if len(self.padding) != 4:
            raise ValueError(f"padding must be a number or (left, right, top, bottom), got {padding!r}")
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return ops.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"
