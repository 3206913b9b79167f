"""torchvision.transforms.functional's names: the transforms as plain functions of one picture or image tensor.

Pillow pictures and tensors (..., C, H, W) both go in, and come out as what they were. The two differ as in torchvision:
Pillow computes in bytes, tensors in floats.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

from minires.data.transforms import picture_changes, pictures, tensor_colour, tensor_geometry
from minires.data.transforms.pictures import InterpolationMode, check_picture, pair
from minires.data.transforms.pixels import (
    convert_image_dtype,
    erase,
    normalize,
    pil_to_tensor,
    to_pil_image,
    to_tensor,
)
from minires.tensor import Tensor


def _either(on_picture: Callable[..., Any], on_tensor: Callable[..., Any]) -> Callable[..., Any]:
    """One function for both; its text is that for pictures."""

    @functools.wraps(on_picture)
    def function(img: Any, *args: Any, **named: Any) -> Any:
        if not isinstance(img, Tensor | Image.Image):
            raise TypeError(f"expected a Pillow picture or an image tensor (..., C, H, W), got {type(img).__name__}")
        return (on_tensor if isinstance(img, Tensor) else on_picture)(img, *args, **named)

    function.__module__ = __name__  # where pickle finds it again
    return function


hflip = _either(pictures.hflip, tensor_geometry.hflip)
vflip = _either(pictures.vflip, tensor_geometry.vflip)
crop = _either(pictures.crop, tensor_geometry.crop)
center_crop = _either(pictures.center_crop, tensor_geometry.center_crop)
resized_crop = _either(pictures.resized_crop, tensor_geometry.resized_crop)
resize = _either(pictures.resize, tensor_geometry.resize)
pad = _either(pictures.pad, tensor_geometry.pad)
rotate = _either(pictures.rotate, tensor_geometry.rotate)
adjust_brightness = _either(pictures.adjust_brightness, tensor_colour.adjust_brightness)
adjust_contrast = _either(pictures.adjust_contrast, tensor_colour.adjust_contrast)
adjust_saturation = _either(pictures.adjust_saturation, tensor_colour.adjust_saturation)
adjust_hue = _either(pictures.adjust_hue, tensor_colour.adjust_hue)
adjust_sharpness = _either(picture_changes.adjust_sharpness, tensor_colour.adjust_sharpness)
to_grayscale = _either(pictures.to_grayscale, tensor_colour.to_grayscale)
rgb_to_grayscale = to_grayscale
invert = _either(picture_changes.invert, tensor_colour.invert)
posterize = _either(picture_changes.posterize, tensor_colour.posterize)
solarize = _either(picture_changes.solarize, tensor_colour.solarize)
autocontrast = _either(picture_changes.autocontrast, tensor_colour.autocontrast)
equalize = _either(picture_changes.equalize, tensor_colour.equalize)
_affine = _either(picture_changes.affine, tensor_geometry.affine)
_perspective = _either(picture_changes.perspective, tensor_geometry.perspective)
_elastic = _either(picture_changes.elastic_transform, tensor_geometry.elastic_transform)
_blur = _either(picture_changes.gaussian_blur, tensor_colour.gaussian_blur)


def get_dimensions(img: Any) -> list[int]:
    """[channels, height, width]."""
    if isinstance(img, Tensor):
        if img.ndim < 2:
            raise TypeError(f"expected an image tensor (..., H, W), got the shape {img.shape}")
        return [1 if img.ndim == 2 else img.shape[-3], *img.shape[-2:]]
    check_picture(img)
    return [len(img.getbands()), img.height, img.width]


def get_image_size(img: Any) -> list[int]:
    """[width, height]."""
    return get_dimensions(img)[:0:-1]


def affine(
    img: Any, angle: float, translate: Sequence[float], scale: float, shear: float | Sequence[float],
    interpolation: Any = InterpolationMode.NEAREST, fill: Any = None, center: Sequence[float] | None = None,
) -> Any:  # fmt: skip
    """Sheared by `shear` (degrees: one number along x, or along x and y), scaled by `scale`, turned clockwise by
    `angle` degrees, all about `center` (x, y; default the middle), and moved by `translate` (x, y) pixels.

    The size stays. `fill`: what comes in from outside; a number or one a channel, black by default.
    """
    both = (float(shear), 0.0) if isinstance(shear, int | float) else tuple(shear) * (2 if len(shear) == 1 else 1)
    if len(both) != 2 or len(translate) != 2:
        raise ValueError(f"shear and translate are two numbers each, got {shear} and {translate}")
    if scale <= 0:
        raise ValueError(f"scale should be positive, got {scale}")
    return _affine(img, float(angle), translate, float(scale), both, interpolation, fill, center)


def perspective(
    img: Any, startpoints: Sequence[Sequence[float]], endpoints: Sequence[Sequence[float]],
    interpolation: Any = InterpolationMode.BILINEAR, fill: Any = None,
) -> Any:  # fmt: skip
    """Seen at a slant: the four `startpoints` (x, y), clockwise from the upper left, come to lie at the `endpoints`."""
    return _perspective(img, startpoints, endpoints, interpolation, fill)


def elastic_transform(
    img: Any, displacement: Tensor, interpolation: Any = InterpolationMode.BILINEAR, fill: Any = None
) -> Any:
    """Every pixel from a place of its own: `displacement` (1, H, W, 2) is added, in halves of width and height."""
    return _elastic(img, displacement, interpolation, fill)


def gaussian_blur(img: Any, kernel_size: int | Sequence[int], sigma: float | Sequence[float] | None = None) -> Any:
    """Smoothed by a Gaussian of `kernel_size` (columns, rows) pixels, odd numbers, and `sigma` (along x, along y).

    One number stands for both; `sigma` is 0.3 * ((kernel_size - 1) / 2 - 1) + 0.8 by default. Edges are mirrored.
    """
    sizes = pair(kernel_size, "kernel_size")
    if any(size % 2 == 0 for size in sizes):
        raise ValueError(f"kernel_size should have odd and positive integers. Got {kernel_size}")
    if sigma is None:
        sigma = [0.3 * ((size - 1) * 0.5 - 1) + 0.8 for size in sizes]
    spreads = (float(sigma),) * 2 if isinstance(sigma, int | float) else tuple(sigma) * (2 if len(sigma) == 1 else 1)
    if len(spreads) != 2 or not all(spread > 0 for spread in spreads):
        raise ValueError(f"sigma should be one or two positive numbers. Got {sigma}")
    return _blur(img, sizes, spreads)


def five_crop(img: Any, size: int | Sequence[int]) -> tuple[Any, Any, Any, Any, Any]:
    """The four corners (upper left, upper right, lower left, lower right) and the middle, each of `size`."""
    height, width = pair(size)
    _, rows, columns = get_dimensions(img)
    if width > columns or height > rows:
        raise ValueError(f"Requested crop size {(height, width)} is bigger than input size {(rows, columns)}")
    corners = [(top, left) for top in (0, rows - height) for left in (0, columns - width)]
    first, second, third, fourth = (crop(img, top, left, height, width) for top, left in corners)
    return first, second, third, fourth, center_crop(img, (height, width))


def ten_crop(img: Any, size: int | Sequence[int], vertical_flip: bool = False) -> tuple[Any, ...]:
    """`five_crop` of the image and of its mirror image (upside down with `vertical_flip`)."""
    return *five_crop(img, size), *five_crop((vflip if vertical_flip else hflip)(img), size)


__all__ = [
    "InterpolationMode",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "adjust_sharpness",
    "affine",
    "autocontrast",
    "center_crop",
    "convert_image_dtype",
    "crop",
    "elastic_transform",
    "equalize",
    "erase",
    "five_crop",
    "gaussian_blur",
    "get_dimensions",
    "get_image_size",
    "hflip",
    "invert",
    "normalize",
    "pad",
    "perspective",
    "pil_to_tensor",
    "posterize",
    "resize",
    "resized_crop",
    "rgb_to_grayscale",
    "rotate",
    "solarize",
    "ten_crop",
    "to_grayscale",
    "to_pil_image",
    "to_tensor",
    "vflip",
]
