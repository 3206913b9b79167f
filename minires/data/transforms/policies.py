"""RandAugment and TrivialAugmentWide: a few operations drawn from a table, with torchvision's ranges.

Cubuk et al. 2020, "RandAugment: practical automated data augmentation with a reduced search space": `num_ops`
operations a picture, all of one strength. Müller and Hutter 2021, "TrivialAugment: tuning-free yet state-of-the-art
data augmentation": one operation of a random strength, from wider ranges; nothing to tune.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from minires.data.transforms.pictures import _RESAMPLING, check_picture, fill_colour, interpolation_mode, rotate
from minires.random import generator

Picture = Image.Image
Ranges = dict[str, tuple[np.ndarray, bool]]  # operation -> its strength for each bin, and whether the sign is random

BINS = 31


def _shifted(img: Picture, matrix: tuple[float, ...], mode: str = "nearest", fill: Any = None) -> Picture:
    colour = fill_colour(fill, img)
    return img.transform(
        img.size, Image.Transform.AFFINE, matrix, _RESAMPLING[interpolation_mode(mode)], fillcolor=colour
    )


def _enhanced(kind: Any) -> Callable[[Picture, float], Picture]:
    return lambda img, strength: colours(img, lambda part: kind(part).enhance(1 + strength))


def colours(img: Picture, change: Callable[[Picture], Picture]) -> Picture:
    """The change applied to the colours; transparency stays."""
    if img.mode != "RGBA":
        return change(img)
    result = change(img.convert("RGB"))
    result.putalpha(img.getchannel("A"))
    return result


def posterized(img: Picture, bits: int) -> Picture:
    """The `bits` highest bits of each colour; 0 gives black, which Pillow's own function refuses."""
    return colours(
        img, lambda part: part.point([value & (256 - (1 << (8 - bits))) for value in range(256)] * len(part.mode))
    )


def _turned(img: Picture, degrees: float, mode: str = "nearest", fill: Any = None) -> Picture:
    return rotate(img, degrees, mode, fill=fill)


OPERATIONS: dict[str, Callable[..., Picture]] = {
    "Identity": lambda img, strength: img,
    "ShearX": lambda img, strength, *how: _shifted(img, (1, strength, 0, 0, 1, 0), *how),
    "ShearY": lambda img, strength, *how: _shifted(img, (1, 0, 0, strength, 1, 0), *how),
    "TranslateX": lambda img, strength, *how: _shifted(img, (1, 0, -int(strength), 0, 1, 0), *how),
    "TranslateY": lambda img, strength, *how: _shifted(img, (1, 0, 0, 0, 1, -int(strength)), *how),
    "Rotate": lambda img, strength, *how: _turned(img, strength, *how),
    "Brightness": _enhanced(ImageEnhance.Brightness),
    "Color": _enhanced(ImageEnhance.Color),
    "Contrast": _enhanced(ImageEnhance.Contrast),
    "Sharpness": _enhanced(ImageEnhance.Sharpness),
    "Posterize": lambda img, bits: posterized(img, int(bits)),
    "Solarize": lambda img, least: colours(img, lambda part: ImageOps.solarize(part, math.ceil(least))),
    "AutoContrast": lambda img, strength: colours(img, ImageOps.autocontrast),
    "Equalize": lambda img, strength: colours(img, ImageOps.equalize),
}


MOVES = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")


class Warping:
    """How the operations that move pixels do it. `interpolation`: between them; `fill`: from outside (None: black)."""

    def __init__(self, interpolation: Any, fill: Any) -> None:
        self.interpolation, self.fill = interpolation_mode(interpolation), fill

    def operate(self, name: str, img: Picture, strength: float) -> Picture:
        """One operation of the table."""
        return OPERATIONS[name](img, strength, *((self.interpolation, self.fill) if name in MOVES else ()))

    def _words(self, usual: str = "nearest") -> str:
        """What is not as usual, for the text."""
        mode = "" if self.interpolation == usual else f", interpolation={self.interpolation}"
        return mode + ("" if self.fill is None else f", fill={self.fill}")


def _ranges(
    shear: float, shift_x: float, shift_y: float, degrees: float, colour: float, bits: float, bins: int
) -> Ranges:  # fmt: skip
    def up_to(largest: float) -> np.ndarray:
        return np.linspace(0.0, largest, bins)

    return {
        "Identity": (up_to(0), False),
        "ShearX": (up_to(shear), True), "ShearY": (up_to(shear), True),
        "TranslateX": (up_to(shift_x), True), "TranslateY": (up_to(shift_y), True),
        "Rotate": (up_to(degrees), True),
        "Brightness": (up_to(colour), True), "Color": (up_to(colour), True),
        "Contrast": (up_to(colour), True), "Sharpness": (up_to(colour), True),
        "Posterize": (8 - np.round(up_to(bits)), False),
        "Solarize": (np.linspace(255.0, 0.0, bins), False),
        "AutoContrast": (up_to(0), False), "Equalize": (up_to(0), False),
    }  # fmt: skip


def _apply(how: Warping, img: Picture, ranges: Ranges, strength: int | None) -> Picture:
    """One operation drawn from the table; `strength` is the number of a bin, None for a random one."""
    rng = generator()
    name = list(ranges)[int(rng.integers(len(ranges)))]
    strengths, signed = ranges[name]
    value = float(strengths[int(rng.integers(len(strengths))) if strength is None else strength])
    if signed and rng.random() < 0.5:
        value = -value
    return how.operate(name, img, value)


class RandAugment(Warping):
    """`num_ops` operations, one after the other, of the strength `magnitude` out of `num_magnitude_bins`.

    `interpolation`, `fill`: of those that move pixels.
    """

    def __init__(
        self, num_ops: int = 2, magnitude: int = 9, num_magnitude_bins: int = BINS, interpolation: Any = "nearest",
        fill: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(interpolation, fill)
        if num_ops < 1 or not 0 <= magnitude < num_magnitude_bins:
            raise ValueError(f"num_ops is at least 1 and magnitude from 0 to {num_magnitude_bins - 1}, got "
                             f"{num_ops} and {magnitude}")  # fmt: skip
        self.num_ops, self.magnitude, self.num_magnitude_bins = num_ops, magnitude, num_magnitude_bins

    def __call__(self, img: Picture) -> Picture:
        check_picture(img)
        shift = 150.0 / 331.0
        ranges = _ranges(0.3, shift * img.width, shift * img.height, 30.0, 0.9, 4.0, self.num_magnitude_bins)
        for _ in range(self.num_ops):
            img = _apply(self, img, ranges, self.magnitude)
        return img

    def __repr__(self) -> str:
        return (f"RandAugment(num_ops={self.num_ops}, magnitude={self.magnitude}, "
                f"num_magnitude_bins={self.num_magnitude_bins}{self._words()})")  # fmt: skip


class TrivialAugmentWide(Warping):
    """One operation of a random strength out of `num_magnitude_bins`. The other arguments: see RandAugment."""

    def __init__(self, num_magnitude_bins: int = BINS, interpolation: Any = "nearest", fill: Any = None) -> None:
        super().__init__(interpolation, fill)
        if num_magnitude_bins < 2:
            raise ValueError(f"num_magnitude_bins must be at least 2, got {num_magnitude_bins}")
        self.num_magnitude_bins = num_magnitude_bins
        self._table = _ranges(0.99, 32.0, 32.0, 135.0, 0.99, 6.0, num_magnitude_bins)

    def __call__(self, img: Picture) -> Picture:
        check_picture(img)
        return _apply(self, img, self._table, None)

    def __repr__(self) -> str:
        return f"TrivialAugmentWide(num_magnitude_bins={self.num_magnitude_bins}{self._words()})"
