"""Transforms of colour. They take and give Pillow pictures or image tensors (..., C, H, W)."""

from collections.abc import Sequence
from typing import Any

from minires.data.transforms import functional
from minires.random import generator

Range = tuple[float, float]


class ColorJitter:
    """Brightness, contrast, saturation and hue changed by random factors, in a random order.

    Each of the first three: a number x for factors drawn evenly from (max(0, 1 - x), 1 + x), or a range. `hue`: a
    number x in 0..0.5 for (-x, x), or a range within (-0.5, 0.5). What is 0 is left alone.
    """

    def __init__(
        self, brightness: float | Sequence[float] = 0, contrast: float | Sequence[float] = 0,
        saturation: float | Sequence[float] = 0, hue: float | Sequence[float] = 0,
    ) -> None:  # fmt: skip
        self.brightness = _factor_range("brightness", brightness)
        self.contrast = _factor_range("contrast", contrast)
        self.saturation = _factor_range("saturation", saturation)
        self.hue = _factor_range("hue", hue, middle=0.0, lowest=-0.5, highest=0.5)

    def __call__(self, img: Any) -> Any:
        steps = (
            (functional.adjust_brightness, self.brightness),
            (functional.adjust_contrast, self.contrast),
            (functional.adjust_saturation, self.saturation),
            (functional.adjust_hue, self.hue),
        )
        rng = generator()
        order = rng.permutation(len(steps))
        factors = [None if limits is None else float(rng.uniform(*limits)) for _, limits in steps]
        for step in order:
            factor = factors[step]
            if factor is not None:
                img = steps[step][0](img, factor)
        return img

    def __repr__(self) -> str:
        names = ("brightness", "contrast", "saturation", "hue")
        return f"ColorJitter({', '.join(f'{name}={getattr(self, name)}' for name in names)})"


def _factor_range(
    name: str, value: float | Sequence[float], middle: float = 1.0, lowest: float = 0.0, highest: float = float("inf")
) -> Range | None:
    """(smallest, largest) factor, or None where nothing is to be changed."""
    if isinstance(value, int | float):
        if value < 0:
            raise ValueError(f"{name} must not be negative where it is one number, got {value}")
        low, high = middle - value, middle + value
        if name != "hue":
            low = max(low, 0.0)
    elif len(value) == 2:
        low, high = float(value[0]), float(value[1])
    else:
        raise ValueError(f"{name} must be one number or two, got {value!r}")
    if not lowest <= low <= high <= highest:
        raise ValueError(f"{name} must lie in ({lowest}, {highest}), got {(low, high)}")
    return None if low == high == middle else (low, high)


class Grayscale:
    """Grey, in one channel or the same in three."""

    def __init__(self, num_output_channels: int = 1) -> None:
        if num_output_channels not in (1, 3):
            raise ValueError(f"num_output_channels must be 1 or 3, got {num_output_channels}")
        self.num_output_channels = num_output_channels

    def __call__(self, img: Any) -> Any:
        return functional.to_grayscale(img, self.num_output_channels)

    def __repr__(self) -> str:
        return f"Grayscale(num_output_channels={self.num_output_channels})"
