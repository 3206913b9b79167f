"""Made pictures with several figures on them, and which pixels belong to which: for dense prediction."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from minires.data.datasets.base import AnnotatedPictures, Joint
from minires.data.shapes.figures import FIGURES
from minires.data.shapes.rendering import draw_figure, light
from minires.data.transforms.v2.targets import Mask
from minires.random import philox

_FINER = 3  # figures are drawn this many times as large, then reduced: smooth edges


class ShapeScenes(AnnotatedPictures):
    """`samples` pictures of side x side, RGB, each with one to four figures; sample i is (picture, Mask (H, W)).

    The mask says 0 for the background and k for a pixel of the figure classes[k]. Sample i is drawn from (seed,
    "scenes", i): the same whoever asks, in whatever order. figures: which may occur, names of minires's plain figures;
    transforms: joint ones, as in SegmentationFolder. ValueError for an unknown figure and a side below 16.
    """

    def __init__(
        self, samples: int = 1000, seed: int = 0, side: int = 64,
        figures: Sequence[str] = ("disc", "square", "star", "cross"), transforms: Joint | None = None,
    ) -> None:  # fmt: skip
        super().__init__("", transforms, None, None)
        unknown = [name for name in figures if name not in FIGURES]
        if samples < 1 or side < 16 or unknown or not figures:
            raise ValueError(f"at least 1 sample of a side of at least 16 is needed, and figures of "
                             f"{', '.join(FIGURES)}; got {samples}, {side} and {tuple(figures)}")  # fmt: skip
        self.samples_count, self.seed, self.side = samples, seed, side
        self.classes = ["background", *figures]

    def __len__(self) -> int:
        return self.samples_count

    def sample_name(self, index: int) -> str:
        """Which picture it is, for messages."""
        return f"scene {index}"

    def load(self, index: int) -> tuple[Any, Any]:
        """Picture and mask of a sample, untouched."""
        if not 0 <= index < len(self):
            raise IndexError(f"the index {index} is out of range for a data set of {len(self)} samples")
        random = philox(self.seed, "scenes", index)
        pixels = np.broadcast_to(random.uniform(0, 1, 3), (self.side, self.side, 3)).copy()
        mask = np.zeros((self.side, self.side), np.int64)
        for _ in range(random.integers(1, 5)):
            kind = int(random.integers(1, len(self.classes)))
            ink = self._ink(self.classes[kind], random)
            colour = _other_colour(pixels[self.side // 2, self.side // 2], random)
            pixels += ink[:, :, None] * (colour - pixels)
            mask[ink > 0.5] = kind
        pixels = light(pixels, random) + random.uniform(0, 0.06) * random.standard_normal(pixels.shape)
        return Image.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)), Mask(mask)

    def _ink(self, name: str, random: np.random.Generator) -> np.ndarray:
        """Coverage 0..1 (side, side) of one figure, turned, made smaller and put somewhere in the picture."""
        large = self.side * _FINER
        drawn = draw_figure(FIGURES[name](random), large)
        scale, angle = random.uniform(0.3, 0.6), random.uniform(0, 2 * math.pi)
        cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
        x, y = random.uniform(0.2, 0.8, 2) * large
        place = (cos, sin, large / 2 - cos * x - sin * y, -sin, cos, large / 2 + sin * x - cos * y)
        placed = drawn.transform(drawn.size, Image.Transform.AFFINE, place, Image.Resampling.BILINEAR)
        return np.asarray(placed.reduce(_FINER), np.float64) / 255


def _other_colour(other: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A colour (3,) that differs from `other` by 0.35 or more in one of red, green and blue."""
    colour = random.uniform(0, 1, 3)
    channel = random.integers(3)
    if abs(colour - other).max() < 0.35:
        colour[channel] = other[channel] + (0.5 if other[channel] < 0.5 else -0.5)
    return colour
