"""Random warps, and crops of several parts. They take and give Pillow pictures or image tensors (..., C, H, W)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minires.data.transforms import functional
from minires.data.transforms.compose import check_probability
from minires.data.transforms.pictures import InterpolationMode, interpolation_mode, pair
from minires.data.transforms.tensor_colour import gaussian
from minires.random import generator
from minires.tensor import Tensor

Numbers = float | Sequence[float]


def angle_range(name: str, value: Numbers, lengths: tuple[int, ...] = (2,)) -> list[float]:
    """A range: of one number x from -x to x, else the numbers given. ValueError for a negative one or other lengths."""
    if isinstance(value, int | float):
        if value < 0:
            raise ValueError(f"If {name} is a single number, it must be positive, got {value}")
        return [-float(value), float(value)]
    if len(value) not in lengths:
        raise ValueError(f"{name} must be one number or {' or '.join(map(str, lengths))} of them, got {value!r}")
    return [float(number) for number in value]


class RandomAffine:
    """Turned, moved, scaled and sheared by random amounts.

    `degrees`, `shear`: ranges of angles, or one number x for (-x, x); `shear` of four numbers also along y.
    `translate`: largest moves as fractions of width and height; `scale`: range of factors; None: left as it is.
    """

    def __init__(
        self, degrees: Numbers, translate: Sequence[float] | None = None, scale: Sequence[float] | None = None,
        shear: Numbers | None = None, interpolation: Any = InterpolationMode.NEAREST, fill: Any = 0,
        center: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        self.degrees = angle_range("degrees", degrees)
        if translate is not None and (len(translate) != 2 or not all(0 <= part <= 1 for part in translate)):
            raise ValueError(f"translate must be two numbers between 0 and 1, got {translate!r}")
        if scale is not None and (len(scale) != 2 or not 0 < scale[0] <= scale[1]):
            raise ValueError(f"scale must be a range of positive numbers, got {scale!r}")
        self.translate, self.scale = translate, scale
        self.shear = None if shear is None else angle_range("shear", shear, (2, 4))
        self.interpolation, self.fill, self.center = interpolation_mode(interpolation), fill, center

    @staticmethod
    def get_params(
        degrees: Sequence[float], translate: Sequence[float] | None, scale_ranges: Sequence[float] | None,
        shears: Sequence[float] | None, img_size: Sequence[int],
    ) -> tuple[float, tuple[int, int], float, tuple[float, float]]:  # fmt: skip
        """Angle, move (x, y) in pixels, factor and angles of shearing, for a picture of `img_size` (width, height)."""
        rng = generator()
        angle = float(rng.uniform(degrees[0], degrees[1]))
        move = (0, 0)
        if translate is not None:
            most = [part * size for part, size in zip(translate, img_size, strict=True)]
            move = round(rng.uniform(-most[0], most[0])), round(rng.uniform(-most[1], most[1]))
        factor = 1.0 if scale_ranges is None else float(rng.uniform(scale_ranges[0], scale_ranges[1]))
        along_x = along_y = 0.0
        if shears is not None:
            along_x = float(rng.uniform(shears[0], shears[1]))
            along_y = float(rng.uniform(shears[2], shears[3])) if len(shears) == 4 else 0.0
        return angle, move, factor, (along_x, along_y)

    def __call__(self, img: Any) -> Any:
        size = functional.get_image_size(img)
        angle, move, factor, shear = self.get_params(self.degrees, self.translate, self.scale, self.shear, size)
        return functional.affine(img, angle, move, factor, shear, self.interpolation, self.fill, self.center)

    def __repr__(self) -> str:
        parts = [f"degrees={self.degrees}"]
        parts += [f"{name}={getattr(self, name)}" for name in ("translate", "scale", "shear")
                  if getattr(self, name) is not None]  # fmt: skip
        if self.interpolation != InterpolationMode.NEAREST:
            parts.append(f"interpolation={self.interpolation}")
        if self.fill != 0:
            parts.append(f"fill={self.fill}")
        if self.center is not None:
            parts.append(f"center={self.center}")
        return f"RandomAffine({', '.join(parts)})"


class RandomPerspective:
    """With the probability `p` seen at a slant: each corner moved inwards by up to half of `distortion_scale`."""

    def __init__(
        self, distortion_scale: float = 0.5, p: float = 0.5, interpolation: Any = InterpolationMode.BILINEAR,
        fill: Any = 0,
    ) -> None:  # fmt: skip
        if not 0 <= distortion_scale <= 1:
            raise ValueError(f"distortion_scale must lie between 0 and 1, got {distortion_scale}")
        self.distortion_scale, self.p = distortion_scale, check_probability(p)
        self.interpolation, self.fill = interpolation_mode(interpolation), fill

    @staticmethod
    def get_params(width: int, height: int, distortion_scale: float) -> tuple[list[list[int]], list[list[int]]]:
        """The corners as they are, and where they go: (x, y), clockwise from the upper left."""
        rng = generator()
        across, down = int(distortion_scale * (width // 2)), int(distortion_scale * (height // 2))

        def near(x: int, y: int) -> list[int]:
            moved = [int(rng.integers(0, across + 1)), int(rng.integers(0, down + 1))]
            return [x - moved[0] if x else moved[0], y - moved[1] if y else moved[1]]

        corners = [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]
        return corners, [near(x, y) for x, y in corners]

    def __call__(self, img: Any) -> Any:
        if generator().random() >= self.p:
            return img
        width, height = functional.get_image_size(img)
        start, end = self.get_params(width, height, self.distortion_scale)
        return functional.perspective(img, start, end, self.interpolation, self.fill)

    def __repr__(self) -> str:
        return f"RandomPerspective(p={self.p})"


class ElasticTransform:
    """Bent as if seen through water: a random field, smoothed by a Gaussian of `sigma`, moves pixels by about `alpha`.

    `alpha`, `sigma`: one number, or one along x and one along y (Simard et al. 2003, "Best practices for convolutional
    neural networks applied to visual document analysis").
    """

    def __init__(
        self, alpha: Numbers = 50.0, sigma: Numbers = 5.0, interpolation: Any = InterpolationMode.BILINEAR,
        fill: Any = 0,
    ) -> None:  # fmt: skip
        self.alpha, self.sigma = _two("alpha", alpha), _two("sigma", sigma)
        self.interpolation, self.fill = interpolation_mode(interpolation), fill

    @staticmethod
    def get_params(alpha: Sequence[float], sigma: Sequence[float], size: Sequence[int]) -> Tensor:
        """A field (1, H, W, 2) of moves along x and y for a picture of `size` (height, width)."""
        rng, (height, width) = generator(), size
        field = np.empty((1, height, width, 2), np.float32)
        for axis, length in enumerate((width, height)):
            moves = rng.uniform(-1, 1, (height, width)).astype(np.float32)
            field[0, ..., axis] = _smooth(moves, sigma, sigma[axis]) * np.float32(alpha[axis] / length)
        return Tensor(field)

    def __call__(self, img: Any) -> Any:
        _, height, width = functional.get_dimensions(img)
        moves = self.get_params(self.alpha, self.sigma, (height, width))
        return functional.elastic_transform(img, moves, self.interpolation, self.fill)

    def __repr__(self) -> str:
        detail = f"interpolation={self.interpolation}, fill={self.fill}"
        return f"ElasticTransform(alpha={self.alpha}, sigma={self.sigma}, {detail})"


def _smooth(moves: np.ndarray, sigma: Sequence[float], own: float) -> np.ndarray:
    """Blurred by torchvision's kernel, of 8 sigma + 1 pixels; unlike there, also where the picture is smaller."""
    if own <= 0:
        return moves
    size = int(8 * own + 1) // 2 * 2 + 1
    for axis, spread in ((1, sigma[0]), (0, sigma[1])):
        if spread > 0:
            widths = [(size // 2, size // 2) if place == axis else (0, 0) for place in (0, 1)]
            padded = np.pad(moves, widths, "reflect" if moves.shape[axis] > 1 else "edge")
            weights = gaussian(size, spread, moves.dtype)
            moves = np.apply_along_axis(np.convolve, axis, padded, weights, "valid")
    return moves


def _two(name: str, value: Numbers) -> list[float]:
    numbers = [float(value)] * 2 if isinstance(value, int | float) else [float(number) for number in value]
    numbers = numbers * 2 if len(numbers) == 1 else numbers
    if len(numbers) != 2 or min(numbers) < 0:
        raise ValueError(f"{name} must be one or two numbers, none negative, got {value!r}")
    return numbers


class FiveCrop:
    """A tuple of five parts of `size`: the corners (upper left and right, lower left and right) and the middle."""

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = pair(size)

    def __call__(self, img: Any) -> tuple[Any, ...]:
        return functional.five_crop(img, self.size)

    def __repr__(self) -> str:
        return f"FiveCrop(size={self.size})"


class TenCrop:
    """A tuple of ten parts: FiveCrop of the picture and of its mirror image (upside down with `vertical_flip`)."""

    def __init__(self, size: int | Sequence[int], vertical_flip: bool = False) -> None:
        self.size, self.vertical_flip = pair(size), vertical_flip

    def __call__(self, img: Any) -> tuple[Any, ...]:
        return functional.ten_crop(img, self.size, self.vertical_flip)

    def __repr__(self) -> str:
        return f"TenCrop(size={self.size}, vertical_flip={self.vertical_flip})"
