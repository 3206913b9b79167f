"""Random sizes for detection and segmentation, with torchvision.transforms.v2's names, arguments and laws.

Liu et al. 2016, "SSD" (zooming out); Ghiasi et al. 2021, "Simple copy-paste" (scale jitter).
"""

from collections.abc import Sequence
from typing import Any

from minires.data.transforms import functional
from minires.data.transforms.pictures import InterpolationMode, interpolation_mode
from minires.data.transforms.v2 import boxes as moved
from minires.data.transforms.v2.joint import Joint
from minires.data.transforms.v2.targets import BoundingBoxes
from minires.random import generator


class _Resized(Joint):
    """To a size (height, width) that is drawn."""

    antialias: bool | None = True

    def warp(self, img: Any, drawn: Any, interpolation: Any, fill: Any) -> Any:
        return functional.resize(img, drawn, interpolation, antialias=self.antialias)

    def boxes(self, boxes: BoundingBoxes, drawn: Any) -> BoundingBoxes:
        return moved.resize(boxes, *drawn)


class ScaleJitter(_Resized):
    """As large as fits into `target_size` (height, width), times a factor that is uniform on `scale_range`."""

    def __init__(
        self, target_size: Sequence[int], scale_range: Sequence[float] = (0.1, 2.0),
        interpolation: str | InterpolationMode = InterpolationMode.BILINEAR, antialias: bool | None = True,
    ) -> None:  # fmt: skip
        if len(target_size) != 2 or not 0 < scale_range[0] <= scale_range[1]:
            raise ValueError(f"expected a height and a width, and a range above 0, got {target_size} and {scale_range}")
        self.target_size, self.scale_range = tuple(target_size), tuple(scale_range)
        self.interpolation, self.antialias = interpolation_mode(interpolation), antialias

    def draw(self, height: int, width: int) -> Any:
        low, high = self.scale_range
        fitting = min(self.target_size[0] / height, self.target_size[1] / width)
        factor = fitting * (low + generator().random() * (high - low))
        return max(int(height * factor), 1), max(int(width * factor), 1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(target_size={self.target_size}, scale_range={self.scale_range})"


class RandomShortestSize(_Resized):
    """The shorter side becomes one of `min_size`, but the longer one at most `max_size`, if given."""

    def __init__(
        self, min_size: int | Sequence[int], max_size: int | None = None,
        interpolation: str | InterpolationMode = InterpolationMode.BILINEAR, antialias: bool | None = True,
    ) -> None:  # fmt: skip
        self.min_size, self.max_size = [min_size] if isinstance(min_size, int) else list(min_size), max_size
        if not self.min_size or min(self.min_size) < 1:
            raise ValueError(f"min_size must be one or several numbers from 1 up, got {min_size}")
        self.interpolation, self.antialias = interpolation_mode(interpolation), antialias

    def draw(self, height: int, width: int) -> Any:
        factor = self.min_size[int(generator().integers(len(self.min_size)))] / min(height, width)
        if self.max_size is not None:
            factor = min(factor, self.max_size / max(height, width))
        return int(height * factor), int(width * factor)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(min_size={self.min_size}, max_size={self.max_size})"


class RandomZoomOut(Joint):
    """With the probability `p`, somewhere on a canvas `fill` whose sides are longer by a factor from `side_range`."""

    def __init__(self, fill: Any = 0, side_range: Sequence[float] = (1.0, 4.0), p: float = 0.5) -> None:
        if side_range[0] < 1.0 or side_range[0] > side_range[1]:
            raise ValueError(f"Invalid side range provided {side_range}.")
        if not 0 <= p <= 1:
            raise ValueError(f"p must be from 0 to 1, got {p}")
        self.fill, self.side_range, self.p = fill, tuple(side_range), p

    def draw(self, height: int, width: int) -> Any:
        """Borders left, top, right, bottom."""
        random = generator()
        if random.random() >= self.p:
            return None
        low, high = self.side_range
        factor = low + random.random() * (high - low)
        rows, columns = int(height * factor), int(width * factor)
        left, top = (int((more - own) * random.random()) for more, own in ((columns, width), (rows, height)))
        return left, top, columns - left - width, rows - top - height

    def warp(self, img: Any, drawn: Any, interpolation: Any, fill: Any) -> Any:
        return functional.pad(img, drawn, fill, "constant")

    def boxes(self, boxes: BoundingBoxes, drawn: Any) -> BoundingBoxes:
        return moved.pad(boxes, *drawn)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(fill={self.fill}, side_range={self.side_range}, p={self.p})"
