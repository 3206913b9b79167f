"""What the transforms do to one Pillow picture, as plain functions that give the same pixels as torchvision's."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps


class InterpolationMode(StrEnum):
    """Names of the ways to compute pixels between pixels (torchvision's enum)."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"
    NEAREST_EXACT = "nearest-exact"  # as Pillow's NEAREST; PyTorch's own "nearest" for tensors is half a pixel off


_RESAMPLING = {mode: Image.Resampling[mode.name.removesuffix("_EXACT")] for mode in InterpolationMode}
PADDING_MODES = ("constant", "edge", "reflect", "symmetric")


def interpolation_mode(value: "str | int | InterpolationMode") -> InterpolationMode:
    """The mode for its name ("bilinear") or Pillow's number. Raises ValueError that lists the names."""
    if isinstance(value, int):
        return InterpolationMode(Image.Resampling(value).name.lower())
    if value not in list(InterpolationMode):
        raise ValueError(f"interpolation must be one of {', '.join(InterpolationMode)}, got {value!r}")
    return InterpolationMode(value)


def pair(size: int | Sequence[int], name: str = "size") -> tuple[int, int]:
    """(height, width) from one number, or one or two of them. Raises ValueError for anything else."""
    values = (size, size) if isinstance(size, int) else tuple(size)
    values = values * 2 if len(values) == 1 else values
    if len(values) != 2 or any(not isinstance(value, int) or value < 1 for value in values):
        raise ValueError(f"{name} must be one or two positive integers (height, width), got {size!r}")
    return values


# ---------------------------------------------------------------------------------------------------------- geometry


def resize(
    img: Image.Image,
    size: int | Sequence[int],
    interpolation: "str | InterpolationMode" = InterpolationMode.BILINEAR,
    max_size: int | None = None,
    antialias: bool | None = True,
) -> Image.Image:
    """`size` = (height, width), or one number for the shorter side; the longer one is then int(size * long / short).

    `max_size` bounds the longer side. Pillow widens its filter when it makes a picture smaller: `antialias` is for
    tensors, and only accepted here.
    """
    check_picture(img)
    if isinstance(size, int) or len(size) == 1:
        shorter = size if isinstance(size, int) else size[0]
        width, height = _size_by_shorter_side(img.size, shorter, max_size)
    else:
        if max_size is not None:
            raise ValueError("max_size needs a size of one number, the shorter side")
        height, width = size
    if (width, height) == img.size:
        return img
    return img.resize((width, height), _RESAMPLING[interpolation_mode(interpolation)])


def _size_by_shorter_side(old: tuple[int, int], shorter: int, max_size: int | None) -> tuple[int, int]:
    width, height = old
    short, long = (width, height) if width <= height else (height, width)
    new_short, new_long = shorter, int(shorter * long / short)
    if max_size is not None:
        if max_size <= shorter:
            raise ValueError(f"max_size = {max_size} must be greater than the size {shorter} of the shorter side")
        if new_long > max_size:
            new_short, new_long = int(max_size * new_short / new_long), max_size
    return (new_short, new_long) if width <= height else (new_long, new_short)


def crop(img: Image.Image, top: int, left: int, height: int, width: int) -> Image.Image:
    """The part of `height` x `width` pixels whose upper left corner is (top, left); black beyond the edge."""
    check_picture(img)
    return img.crop((left, top, left + width, top + height))


def center_crop(img: Image.Image, output_size: int | Sequence[int]) -> Image.Image:
    """The middle part; a smaller picture is padded with black first, the odd pixel right and below.

    The corner is int(round(difference / 2)), Python's rounding to even, as torchvision has it.
    """
    check_picture(img)
    height, width = pair(output_size, "output_size")
    if width > img.width or height > img.height:
        wider, taller = max(width - img.width, 0), max(height - img.height, 0)
        img = pad(img, (wider // 2, taller // 2, (wider + 1) // 2, (taller + 1) // 2))
    top, left = round((img.height - height) / 2.0), round((img.width - width) / 2.0)
    return img if img.size == (width, height) else crop(img, top, left, height, width)


def resized_crop(
    img: Image.Image, top: int, left: int, height: int, width: int, size: int | Sequence[int],
    interpolation: "str | InterpolationMode" = InterpolationMode.BILINEAR, antialias: bool | None = True,
) -> Image.Image:  # fmt: skip
    """`crop`, then `resize`."""
    return resize(crop(img, top, left, height, width), size, interpolation)


def pad(img: Image.Image, padding: int | Sequence[int], fill: Any = 0, padding_mode: str = "constant") -> Image.Image:
    """Border added around: `padding` = all sides, (left and right, top and bottom) or (left, top, right, bottom).

    `padding_mode`: "constant" (`fill`: a number, or one a channel), "edge", "reflect" (123 -> 2 1 2 3 2... without the
    edge pixel twice) or "symmetric" (edge pixel twice).
    """
    check_picture(img)
    left, top, right, bottom = borders(padding)
    if padding_mode not in PADDING_MODES:
        raise ValueError(f"padding_mode must be one of {', '.join(PADDING_MODES)}, got {padding_mode!r}")
    if padding_mode == "constant":
        return ImageOps.expand(img, (left, top, right, bottom), fill=fill_colour(fill, img))
    pixels = np.asarray(img)
    widths = ((top, bottom), (left, right)) + ((0, 0),) * (pixels.ndim - 2)
    return Image.fromarray(np.pad(pixels, widths, mode=padding_mode))  # type: ignore[call-overload]


def borders(padding: int | Sequence[int]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) from one, two or four non-negative numbers."""
    values = (padding,) if isinstance(padding, int) else tuple(padding)
    if len(values) not in (1, 2, 4) or any(not isinstance(value, int) or value < 0 for value in values):
        raise ValueError(f"padding must be one, two or four non-negative integers, got {padding!r}")
    left, top, right, bottom = values if len(values) == 4 else (values * 4 if len(values) == 1 else values * 2)
    return left, top, right, bottom


def fill_colour(fill: Any, img: Image.Image) -> Any:
    """A colour for all channels from one number or one number a channel."""
    channels = len(img.getbands())
    if fill is None:
        fill = 0
    if isinstance(fill, int | float):
        return int(fill) if channels == 1 else (int(fill),) * channels
    if len(fill) != channels:
        raise ValueError(f"fill has {len(fill)} values, the picture {channels} channels")
    return int(fill[0]) if channels == 1 else tuple(int(value) for value in fill)


def hflip(img: Image.Image) -> Image.Image:
    """Left and right exchanged."""
    check_picture(img)
    return img.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def vflip(img: Image.Image) -> Image.Image:
    """Top and bottom exchanged."""
    check_picture(img)
    return img.transpose(Image.Transpose.FLIP_TOP_BOTTOM)


def rotate(
    img: Image.Image, angle: float, interpolation: "str | InterpolationMode" = InterpolationMode.NEAREST,
    expand: bool = False, center: Sequence[int] | None = None, fill: Any = 0,
) -> Image.Image:  # fmt: skip
    """Turned counter-clockwise by `angle` degrees around `center` (x, y; default the middle)."""
    check_picture(img)
    middle = None if center is None else (float(center[0]), float(center[1]))
    return img.rotate(angle, _RESAMPLING[interpolation_mode(interpolation)], expand, middle,
                      fillcolor=fill_colour(fill, img))  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ colour


def adjust_brightness(img: Image.Image, brightness_factor: float) -> Image.Image:
    """0 gives black, 1 the picture, 2 twice as bright."""
    check_picture(img)
    return ImageEnhance.Brightness(img).enhance(brightness_factor)


def adjust_contrast(img: Image.Image, contrast_factor: float) -> Image.Image:
    """0 gives the mean grey, 1 the picture."""
    check_picture(img)
    return ImageEnhance.Contrast(img).enhance(contrast_factor)


def adjust_saturation(img: Image.Image, saturation_factor: float) -> Image.Image:
    """0 gives the grey picture, 1 the picture."""
    check_picture(img)
    return ImageEnhance.Color(img).enhance(saturation_factor)


def adjust_hue(img: Image.Image, hue_factor: float) -> Image.Image:
    """The hue turned by `hue_factor` (-0.5..0.5; 0.5 is half around the colour circle); a grey picture stays."""
    check_picture(img)
    if not -0.5 <= hue_factor <= 0.5:
        raise ValueError(f"hue_factor must lie between -0.5 and 0.5, got {hue_factor}")
    if img.mode in ("L", "1", "I", "F"):
        return img
    hue, saturation, value = img.convert("HSV").split()
    turned = (np.asarray(hue).astype(np.int64) + int(hue_factor * 255)) % 256
    return Image.merge("HSV", (Image.fromarray(turned.astype(np.uint8)), saturation, value)).convert(img.mode)


def to_grayscale(img: Image.Image, num_output_channels: int = 1) -> Image.Image:
    """Grey, in one channel or the same in three."""
    check_picture(img)
    if num_output_channels not in (1, 3):
        raise ValueError(f"num_output_channels must be 1 or 3, got {num_output_channels}")
    grey = img.convert("L")
    return grey if num_output_channels == 1 else Image.merge("RGB", (grey, grey, grey))


def check_picture(img: Any) -> None:
    if not isinstance(img, Image.Image):
        raise TypeError(f"expected a Pillow picture (put this before ToTensor), got {type(img).__name__}")
