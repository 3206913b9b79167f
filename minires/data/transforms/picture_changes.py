"""More of what the transforms do to one Pillow picture: warps, tones and blur, with torchvision's pixels."""

from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image, ImageEnhance, ImageOps

from minires.data.transforms import tensor_colour, tensor_geometry
from minires.data.transforms.matrices import affine_matrix, perspective_coefficients
from minires.data.transforms.pictures import _RESAMPLING, check_picture, fill_colour, interpolation_mode
from minires.data.transforms.pixels import pil_to_tensor, to_pil_image
from minires.data.transforms.policies import colours, posterized
from minires.tensor import Tensor

Picture = Image.Image


def affine(
    img: Picture, angle: float, translate: Sequence[float], scale: float, shear: Sequence[float],
    interpolation: Any = "nearest", fill: Any = 0, center: Sequence[float] | None = None,
) -> Picture:  # fmt: skip
    """See `functional.affine`."""
    check_picture(img)
    middle = (img.width * 0.5, img.height * 0.5) if center is None else center
    return _warped(
        img, Image.Transform.AFFINE, affine_matrix(middle, angle, translate, scale, shear), interpolation, fill
    )


def perspective(
    img: Picture, startpoints: Sequence[Sequence[float]], endpoints: Sequence[Sequence[float]],
    interpolation: Any = "bilinear", fill: Any = 0,
) -> Picture:  # fmt: skip
    """See `functional.perspective`."""
    check_picture(img)
    coefficients = perspective_coefficients(startpoints, endpoints)
    return _warped(img, Image.Transform.PERSPECTIVE, coefficients, interpolation, fill)


def _warped(img: Picture, kind: Image.Transform, numbers: Sequence[float], interpolation: Any, fill: Any) -> Picture:
    mode = _RESAMPLING[interpolation_mode(interpolation)]
    return img.transform(img.size, kind, numbers, mode, fillcolor=fill_colour(fill, img))


def _as_tensor(img: Picture, change: Callable[[Tensor], Tensor]) -> Picture:
    """What `change` does to the picture's tensor (C, H, W) of bytes, as a picture; torchvision has it so, too."""
    return to_pil_image(change(pil_to_tensor(img)))


def elastic_transform(img: Picture, displacement: Tensor, interpolation: Any = "bilinear", fill: Any = None) -> Picture:
    """See `functional.elastic_transform`."""
    return _as_tensor(img, lambda x: tensor_geometry.elastic_transform(x, displacement, interpolation, fill))


def gaussian_blur(img: Picture, kernel_size: Sequence[int], sigma: Sequence[float]) -> Picture:
    """See `functional.gaussian_blur`."""
    return _as_tensor(img, lambda x: tensor_colour.gaussian_blur(x, kernel_size, sigma))


def invert(img: Picture) -> Picture:
    """White minus the picture."""
    check_picture(img)
    return colours(img, ImageOps.invert)


def posterize(img: Picture, bits: int) -> Picture:
    """Only the `bits` highest bits of each value."""
    check_picture(img)
    return posterized(img, bits)


def solarize(img: Picture, threshold: float) -> Picture:
    """Values from `threshold` on inverted."""
    check_picture(img)
    return colours(img, lambda part: ImageOps.solarize(part, threshold))  # type: ignore[arg-type]


def adjust_sharpness(img: Picture, sharpness_factor: float) -> Picture:
    """0 gives a smoothed picture, 1 the picture, 2 a sharpened one."""
    check_picture(img)
    return colours(img, lambda part: ImageEnhance.Sharpness(part).enhance(sharpness_factor))


def autocontrast(img: Picture) -> Picture:
    """Each channel stretched from black to white; a channel of one value stays."""
    check_picture(img)
    return colours(img, ImageOps.autocontrast)


def equalize(img: Picture) -> Picture:
    """Each channel's values spread so that all are about equally frequent."""
    check_picture(img)
    return colours(img, ImageOps.equalize)
