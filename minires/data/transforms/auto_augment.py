"""AutoAugment and AugMix, made of the operations of policies.py, with torchvision's strengths.

Cubuk et al. 2019, "AutoAugment: learning augmentation policies from data": 25 pairs of operations, found by a search.
Hendrycks et al. 2020, "AugMix: a simple data processing method to improve robustness and uncertainty": the picture
mixed with several differently changed copies.
"""

from enum import StrEnum
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from minires.data.transforms.pictures import check_picture
from minires.data.transforms.policies import Ranges, Warping, _ranges, colours
from minires.random import generator

Picture = Image.Image
_BINS = 10
_COLOURS = ("Brightness", "Color", "Contrast", "Sharpness")


class AutoAugmentPolicy(StrEnum):
    """The data that a policy was found on."""

    IMAGENET = "imagenet"
    CIFAR10 = "cifar10"
    SVHN = "svhn"


# A pair: two operations, each with its probability and the bin of its strength out of ten, where it has one.
_PAIRS = {
    "imagenet": """
        Posterize 0.4 8, Rotate 0.6 9; Solarize 0.6 5, AutoContrast 0.6; Equalize 0.8, Equalize 0.6;
        Posterize 0.6 7, Posterize 0.6 6; Equalize 0.4, Solarize 0.2 4; Equalize 0.4, Rotate 0.8 8;
        Solarize 0.6 3, Equalize 0.6; Posterize 0.8 5, Equalize 1; Rotate 0.2 3, Solarize 0.6 8;
        Equalize 0.6, Posterize 0.4 6; Rotate 0.8 8, Color 0.4 0; Rotate 0.4 9, Equalize 0.6;
        Equalize 0, Equalize 0.8; Invert 0.6, Equalize 1; Color 0.6 4, Contrast 1 8;
        Rotate 0.8 8, Color 1 2; Color 0.8 8, Solarize 0.8 7; Sharpness 0.4 7, Invert 0.6;
        ShearX 0.6 5, Equalize 1; Color 0.4 0, Equalize 0.6; Equalize 0.4, Solarize 0.2 4;
        Solarize 0.6 5, AutoContrast 0.6; Invert 0.6, Equalize 1; Color 0.6 4, Contrast 1 8;
        Equalize 0.8, Equalize 0.6
    """,
    "cifar10": """
        Invert 0.1, Contrast 0.2 6; Rotate 0.7 2, TranslateX 0.3 9; Sharpness 0.8 1, Sharpness 0.9 3;
        ShearY 0.5 8, TranslateY 0.7 9; AutoContrast 0.5, Equalize 0.9; ShearY 0.2 7, Posterize 0.3 7;
        Color 0.4 3, Brightness 0.6 7; Sharpness 0.3 9, Brightness 0.7 9; Equalize 0.6, Equalize 0.5;
        Contrast 0.6 7, Sharpness 0.6 5; Color 0.7 7, TranslateX 0.5 8; Equalize 0.3, AutoContrast 0.4;
        TranslateY 0.4 3, Sharpness 0.2 6; Brightness 0.9 6, Color 0.2 8; Solarize 0.5 2, Invert 0;
        Equalize 0.2, AutoContrast 0.6; Equalize 0.2, Equalize 0.6; Color 0.9 9, Equalize 0.6;
        AutoContrast 0.8, Solarize 0.2 8; Brightness 0.1 3, Color 0.7 0; Solarize 0.4 5, AutoContrast 0.9;
        TranslateY 0.9 9, TranslateY 0.7 9; AutoContrast 0.9, Solarize 0.8 3; Equalize 0.8, Invert 0.1;
        TranslateY 0.7 9, AutoContrast 0.9
    """,
    "svhn": """
        ShearX 0.9 4, Invert 0.2; ShearY 0.9 8, Invert 0.7; Equalize 0.6, Solarize 0.6 6;
        Invert 0.9, Equalize 0.6; Equalize 0.6, Rotate 0.9 3; ShearX 0.9 4, AutoContrast 0.8;
        ShearY 0.9 8, Invert 0.4; ShearY 0.9 5, Solarize 0.2 6; Invert 0.9, AutoContrast 0.8;
        Equalize 0.6, Rotate 0.9 3; ShearX 0.9 4, Solarize 0.3 3; ShearY 0.8 8, Invert 0.7;
        Equalize 0.9, TranslateY 0.6 6; Invert 0.9, Equalize 0.6; Contrast 0.3 3, Rotate 0.8 4;
        Invert 0.8, TranslateY 0 2; ShearY 0.7 6, Solarize 0.4 8; Invert 0.6, Rotate 0.8 4;
        ShearY 0.3 7, TranslateX 0.9 3; ShearX 0.1 6, Invert 0.6; Solarize 0.7 2, TranslateY 0.6 7;
        ShearY 0.8 4, Invert 0.8; ShearX 0.7 9, TranslateY 0.8 3; ShearY 0.8 5, AutoContrast 0.7;
        ShearX 0.7 2, Invert 0.1
    """,
}


def _read(text: str) -> list[list[tuple[str, float, int | None]]]:
    pairs = []
    for pair in text.split(";"):
        words = [operation.split() for operation in pair.split(",")]
        pairs.append([(word[0], float(word[1]), int(word[2]) if len(word) > 2 else None) for word in words])
    return pairs


class AutoAugment(Warping):
    """One of a policy's 25 pairs of operations, each operation with its own probability and strength."""

    def __init__(
        self, policy: AutoAugmentPolicy | str = AutoAugmentPolicy.IMAGENET, interpolation: Any = "nearest",
        fill: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(interpolation, fill)
        if policy not in list(AutoAugmentPolicy):
            raise ValueError(f"policy must be one of {', '.join(AutoAugmentPolicy)}, got {policy!r}")
        self.policy = AutoAugmentPolicy(policy)
        self.policies = _read(_PAIRS[self.policy])

    def __call__(self, img: Picture) -> Picture:
        check_picture(img)
        rng, shift = generator(), 150.0 / 331.0
        ranges = _ranges(0.3, shift * img.width, shift * img.height, 30.0, 0.9, 4.0, _BINS)
        pair = self.policies[int(rng.integers(len(self.policies)))]
        for name, probability, place in pair:
            chance, turned = rng.random(), rng.random() < 0.5
            if chance <= probability:
                strengths, signed = ranges.get(name, (np.zeros(_BINS), False))
                value = 0.0 if place is None else float(strengths[place])
                img = self.operate(name, img, -value if signed and turned else value)
        return img

    def operate(self, name: str, img: Picture, strength: float) -> Picture:
        """One operation of the table, or Invert, which the other policies do not have."""
        return colours(img, ImageOps.invert) if name == "Invert" else super().operate(name, img, strength)

    def __repr__(self) -> str:
        return f"AutoAugment(policy=AutoAugmentPolicy.{self.policy.name}{self._words()})"


class AugMix(Warping):
    """The picture mixed with `mixture_width` copies, each changed by a chain of 1 to 3 (or `chain_depth`) operations.

    `severity`: strengths are drawn from the lowest so many of ten bins; `alpha`: of the Dirichlet distributions that
    the shares of the mixture are drawn from; `all_ops`: also brightness, colour, contrast and sharpness.
    """

    def __init__(
        self, severity: int = 3, mixture_width: int = 3, chain_depth: int = -1, alpha: float = 1.0,
        all_ops: bool = True, interpolation: Any = "bilinear", fill: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(interpolation, fill)
        if not 1 <= severity <= _BINS:
            raise ValueError(f"The severity must be between [1, {_BINS}]. Got {severity} instead.")
        if mixture_width < 1 or not alpha > 0:
            raise ValueError(f"mixture_width must be at least 1 and alpha above 0, got {mixture_width} and {alpha}")
        self.severity, self.mixture_width, self.chain_depth = severity, mixture_width, chain_depth
        self.alpha, self.all_ops = alpha, all_ops

    def _table(self, img: Picture) -> Ranges:
        ranges = _ranges(0.3, img.width / 3, img.height / 3, 30.0, 0.9, 4.0, _BINS)
        ranges["Posterize"] = (ranges["Posterize"][0] - 4, False)
        left_out = ("Identity",) if self.all_ops else ("Identity", *_COLOURS)
        return {name: entry for name, entry in ranges.items() if name not in left_out}

    def __call__(self, img: Picture) -> Picture:
        check_picture(img)
        rng, ranges = generator(), self._table(img)
        own, changed = rng.dirichlet([self.alpha] * 2)
        shares = rng.dirichlet([self.alpha] * self.mixture_width) * changed
        mixture = np.float32(own) * np.asarray(img, np.float32)
        for share in shares:
            copy = img
            for _ in range(self.chain_depth if self.chain_depth > 0 else int(rng.integers(1, 4))):
                copy = self._change(rng, ranges, copy)
            mixture += np.float32(share) * np.asarray(copy, np.float32)
        return Image.fromarray(mixture.clip(0, 255).astype(np.uint8))

    def _change(self, rng: np.random.Generator, ranges: Ranges, img: Picture) -> Picture:
        name = list(ranges)[int(rng.integers(len(ranges)))]
        strengths, signed = ranges[name]
        value = float(strengths[int(rng.integers(self.severity))])
        return self.operate(name, img, -value if signed and rng.random() < 0.5 else value)

    def __repr__(self) -> str:
        names = ("severity", "mixture_width", "chain_depth", "alpha", "all_ops")
        return f"AugMix({', '.join(f'{name}={getattr(self, name)}' for name in names)}{self._words('bilinear')})"
