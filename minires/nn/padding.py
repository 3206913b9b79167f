"""Padding as layers: places added around the last axes, of a constant or taken from the input itself."""

from typing import Any

from minires import ops
from minires.nn.module import Module
from minires.tensor import Tensor


class _Pad(Module):
    """padding: (left, right), then (top, bottom), then (front, back), as far as there are axes; one number for all."""

    axes: int
    mode = "constant"
    value: float | None = None

    def __init__(self, padding: Any) -> None:
        super().__init__()
        count = 2 * self.axes
        self.padding = (padding,) * count if isinstance(padding, int) else tuple(padding)
        if len(self.padding) != count:
            names = ", ".join(("left", "right", "top", "bottom", "front", "back")[:count])
            raise ValueError(f"padding must be a number or ({names}), got {padding!r}")

    def forward(self, input: Tensor) -> Tensor:
        return ops.pad(input, self.padding, self.mode, self.value)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ConstantPad1d(_Pad):
    """Rows (N, C, L) with places of `value` around them."""

    axes = 1

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad2d(ConstantPad1d):
    """Pictures (N, C, H, W) with rows and columns of `value` around them: (left, right, top, bottom), or one number."""

    axes = 2


class ConstantPad3d(ConstantPad1d):
    """Volumes (N, C, D, H, W) with places of `value` around them."""

    axes = 3


class ZeroPad1d(_Pad):
    """Rows (N, C, L) with zeros around them."""

    axes, value = 1, 0.0


class ZeroPad2d(_Pad):
    """Pictures (N, C, H, W) with zeros around them."""

    axes, value = 2, 0.0


class ZeroPad3d(_Pad):
    """Volumes (N, C, D, H, W) with zeros around them."""

    axes, value = 3, 0.0


class ReflectionPad1d(_Pad):
    """Rows (N, C, L) mirrored at their borders, which are not repeated."""

    axes, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """Pictures (N, C, H, W) mirrored at their borders, which are not repeated."""

    axes, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """Volumes (N, C, D, H, W) mirrored at their borders, which are not repeated."""

    axes, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """Rows (N, C, L) with their borders repeated."""

    axes, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """Pictures (N, C, H, W) with their borders repeated."""

    axes, mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """Volumes (N, C, D, H, W) with their borders repeated."""

    axes, mode = 3, "replicate"


class CircularPad1d(_Pad):
    """Rows (N, C, L) as if they went round."""

    axes, mode = 1, "circular"


class CircularPad2d(_Pad):
    """Pictures (N, C, H, W) as if they went round."""

    axes, mode = 2, "circular"


class CircularPad3d(_Pad):
    """Volumes (N, C, D, H, W) as if they went round."""

    axes, mode = 3, "circular"
