"""Sizes, crops, flips, rotation. They take and give Pillow pictures or image tensors (..., C, H, W)."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minires.data.transforms import functional
from minires.data.transforms.compose import check_probability
from minires.data.transforms.pictures import PADDING_MODES, InterpolationMode, borders, interpolation_mode, pair
from minires.random import generator

CROP_ATTEMPTS = 10  # torchvision's number, for RandomResizedCrop and RandomErasing


class Resize:
    """The picture in the size (height, width), or with its shorter side `size` and its proportions kept.

    `antialias`: smooth before shrinking; for tensors, as Pillow always does.
    """

    def __init__(
        self, size: int | Sequence[int], interpolation: str | InterpolationMode = InterpolationMode.BILINEAR,
        max_size: int | None = None, antialias: bool | None = True,
    ) -> None:  # fmt: skip
        height_width = pair(size)
        self.size = size if isinstance(size, int) else list(size) if len(size) == 1 else height_width
        self.interpolation = interpolation_mode(interpolation)
        self.max_size = max_size
        self.antialias = antialias

    def __call__(self, img: Any) -> Any:
        return functional.resize(img, self.size, self.interpolation, self.max_size, self.antialias)

    def __repr__(self) -> str:
        detail = f"interpolation={self.interpolation}, max_size={self.max_size}, antialias={self.antialias}"
        return f"Resize(size={self.size}, {detail})"


class CenterCrop:
    """The middle part of the size (height, width), or `size` x `size`; smaller pictures are padded with black."""

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = pair(size)

    def __call__(self, img: Any) -> Any:
        return functional.center_crop(img, self.size)

    def __repr__(self) -> str:
        return f"CenterCrop(size={self.size})"


class Pad:
    """A border around the picture. See `functional.pad`."""

    def __init__(self, padding: int | Sequence[int], fill: Any = 0, padding_mode: str = "constant") -> None:
        borders(padding)  # raises early
        if padding_mode not in PADDING_MODES:
            raise ValueError(f"padding_mode must be one of {', '.join(PADDING_MODES)}, got {padding_mode!r}")
        self.padding, self.fill, self.padding_mode = padding, fill, padding_mode

    def __call__(self, img: Any) -> Any:
        return functional.pad(img, self.padding, self.fill, self.padding_mode)

    def __repr__(self) -> str:
        return f"Pad(padding={self.padding}, fill={self.fill}, padding_mode={self.padding_mode})"


class RandomCrop:
    """A part of the size (height, width) from a random place, every place equally likely, after an optional padding.

    Raises ValueError for a picture that is smaller, unless `pad_if_needed`.
    """

    def __init__(
        self, size: int | Sequence[int], padding: int | Sequence[int] | None = None, pad_if_needed: bool = False,
        fill: Any = 0, padding_mode: str = "constant",
    ) -> None:  # fmt: skip
        self.size = pair(size)
        self.padding, self.pad_if_needed = padding, pad_if_needed
        self.fill, self.padding_mode = fill, padding_mode

    @staticmethod
    def get_params(img: Any, output_size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Top, left, height and width of the part."""
        _, rows, columns = functional.get_dimensions(img)
        return RandomCrop.place((rows, columns), output_size)

    @staticmethod
    def place(size: tuple[int, int], output_size: tuple[int, int]) -> tuple[int, int, int, int]:
        """As `get_params`, for pictures of the size (height, width)."""
        (rows, columns), (height, width) = size, output_size
        if rows < height or columns < width:
            sizes = f"{output_size} is larger than input image size {(rows, columns)}"
            raise ValueError(f"Required crop size {sizes}")
        if (rows, columns) == (height, width):
            return 0, 0, height, width
        rng = generator()
        top = int(rng.integers(0, rows - height + 1))
        return top, int(rng.integers(0, columns - width + 1)), height, width

    def __call__(self, img: Any) -> Any:
        if self.padding is not None:
            img = functional.pad(img, self.padding, self.fill, self.padding_mode)
        height, width = self.size
        _, rows, columns = functional.get_dimensions(img)
        if self.pad_if_needed and columns < width:
            img = functional.pad(img, (width - columns, 0), self.fill, self.padding_mode)
        if self.pad_if_needed and rows < height:
            img = functional.pad(img, (0, height - rows), self.fill, self.padding_mode)
        return functional.crop(img, *self.get_params(img, self.size))

    def __repr__(self) -> str:
        return f"RandomCrop(size={self.size}, padding={self.padding})"


class RandomResizedCrop:
    """A part of random area and proportions, resized to `size` (Szegedy et al. 2015; the training crop of ImageNet).

    `scale`: range of the part's area as a fraction of the picture's; `ratio`: range of width / height, drawn evenly on
    a logarithmic scale. After ten parts that would not fit, the largest middle part with an allowed ratio is taken.
    """

    def __init__(
        self, size: int | Sequence[int], scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3.0 / 4.0, 4.0 / 3.0),
        interpolation: str | InterpolationMode = InterpolationMode.BILINEAR, antialias: bool | None = True,
    ) -> None:  # fmt: skip
        self.size = pair(size)
        for name, (low, high) in (("scale", tuple(scale)), ("ratio", tuple(ratio))):
            if not 0 < low <= high:
                raise ValueError(f"{name} must be (smallest, largest), both above 0, got {(low, high)}")
        self.scale, self.ratio = tuple(scale), tuple(ratio)
        self.interpolation = interpolation_mode(interpolation)
        self.antialias = antialias

    @staticmethod
    def get_params(img: Any, scale: Sequence[float], ratio: Sequence[float]) -> tuple[int, int, int, int]:
        """Top, left, height and width of the part."""
        _, height, width = functional.get_dimensions(img)
        return RandomResizedCrop.place((height, width), scale, ratio)

    @staticmethod
    def place(size: tuple[int, int], scale: Sequence[float], ratio: Sequence[float]) -> tuple[int, int, int, int]:
        """As `get_params`, for pictures of the size (height, width)."""
        height, width = size
        rng = generator()
        for _ in range(CROP_ATTEMPTS):
            part_width, part_height = random_rectangle(rng, width * height, scale, ratio)
            if 0 < part_width <= width and 0 < part_height <= height:
                top = int(rng.integers(0, height - part_height + 1))
                return top, int(rng.integers(0, width - part_width + 1)), part_height, part_width
        part_width, part_height = width, height
        if width / height < min(ratio):
            part_height = round(width / min(ratio))
        elif width / height > max(ratio):
            part_width = round(height * max(ratio))
        return (height - part_height) // 2, (width - part_width) // 2, part_height, part_width

    def __call__(self, img: Any) -> Any:
        top, left, height, width = self.get_params(img, self.scale, self.ratio)
        return functional.resized_crop(img, top, left, height, width, self.size, self.interpolation, self.antialias)

    def __repr__(self) -> str:
        scale, ratio = (tuple(round(value, 4) for value in values) for values in (self.scale, self.ratio))
        detail = f"scale={scale}, ratio={ratio}, interpolation={self.interpolation}, antialias={self.antialias}"
        return f"RandomResizedCrop(size={self.size}, {detail})"


def random_rectangle(
    rng: np.random.Generator, area: int, scale: Sequence[float], ratio: Sequence[float]
) -> tuple[int, int]:
    """(sqrt(a r), sqrt(a / r)), rounded: a drawn evenly from `scale` times `area`, log r evenly from log `ratio`."""
    target = area * rng.uniform(scale[0], scale[1])
    aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
    return round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))


class RandomHorizontalFlip:
    """Left and right exchanged, with the probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = check_probability(p)

    def __call__(self, img: Any) -> Any:
        return functional.hflip(img) if generator().random() < self.p else img

    def __repr__(self) -> str:
        return f"RandomHorizontalFlip(p={self.p})"


class RandomVerticalFlip:
    """Top and bottom exchanged, with the probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = check_probability(p)

    def __call__(self, img: Any) -> Any:
        return functional.vflip(img) if generator().random() < self.p else img

    def __repr__(self) -> str:
        return f"RandomVerticalFlip(p={self.p})"


class RandomRotation:
    """Turned by an angle drawn evenly from `degrees`: a range, or one number d for (-d, d)."""

    def __init__(
        self, degrees: float | Sequence[float],
        interpolation: str | InterpolationMode = InterpolationMode.NEAREST, expand: bool = False,
        center: Sequence[int] | None = None, fill: Any = 0,
    ) -> None:  # fmt: skip
        if isinstance(degrees, int | float):
            if degrees < 0:
                raise ValueError(f"degrees must not be negative where it is one number, got {degrees}")
            degrees = (-degrees, degrees)
        if len(degrees) != 2:
            raise ValueError(f"degrees must be one number or two, got {degrees!r}")
        self.degrees = [float(value) for value in degrees]
        self.interpolation = interpolation_mode(interpolation)
        self.expand, self.center, self.fill = expand, center, fill

    @staticmethod
    def get_params(degrees: Sequence[float]) -> float:
        """The angle."""
        return float(generator().uniform(degrees[0], degrees[1]))

    def __call__(self, img: Any) -> Any:
        angle = self.get_params(self.degrees)
        return functional.rotate(img, angle, self.interpolation, self.expand, self.center, self.fill)

    def __repr__(self) -> str:
        center = "" if self.center is None else f", center={self.center}"
        detail = f"interpolation={self.interpolation}, expand={self.expand}{center}, fill={self.fill}"
        return f"RandomRotation(degrees={self.degrees}, {detail})"
