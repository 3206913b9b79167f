"""Transforms that move pixels, for image tensors (..., C, H, W), with the numbers of torchvision's for tensors.

They differ a little from those for Pillow pictures: a bilinear warp of a tensor fades into `fill` at the edge.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minires.data.transforms.matrices import affine_matrix, perspective_coefficients, rotated_size
from minires.data.transforms.pictures import PADDING_MODES, _size_by_shorter_side, borders, interpolation_mode, pair
from minires.ops.grid import grid_sample
from minires.ops.resizing import interpolate
from minires.tensor import Tensor

_RESIZING = ("nearest", "nearest-exact", "bilinear", "bicubic")


def _size(img: Tensor) -> tuple[int, int]:
    """(height, width)."""
    if img.ndim < 2:
        raise TypeError(f"expected an image tensor (..., H, W), got the shape {img.shape}")
    return img.shape[-2], img.shape[-1]


def in_floats(img: Tensor, change: Callable[[Tensor], Tensor], clip: bool = False) -> Tensor:
    """`change` applied to (N, C, H, W) in floats; whole numbers are rounded afterwards, and clipped if `clip`."""
    floating = img.dtype in (np.float32, np.float64)
    exact = np.float32 if img.array.itemsize <= 2 else np.float64  # holds all of the whole numbers
    values = np.ascontiguousarray(img.array if floating else img.array.astype(exact))
    result = change(Tensor(values.reshape(-1, *((1,) * (3 - img.ndim)), *img.shape[-3:]))).array
    result = result.reshape(*img.shape[:-2], *result.shape[-2:])
    if img.dtype.kind in "iu":
        result = np.round(result)
        if clip:
            limits = np.iinfo(img.dtype)
            result = result.clip(limits.min, limits.max)
    return Tensor(result.astype(img.dtype, copy=False))


def hflip(img: Tensor) -> Tensor:
    """Left and right exchanged."""
    return Tensor(np.ascontiguousarray(img.array[..., ::-1]))


def vflip(img: Tensor) -> Tensor:
    """Top and bottom exchanged."""
    return Tensor(np.ascontiguousarray(img.array[..., ::-1, :]))


def crop(img: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """The part whose upper left corner is (top, left); zeros beyond the edge."""
    rows, columns = _size(img)
    y, x = max(top, 0), max(left, 0)
    part = img.array[..., y : max(top + height, y), x : max(left + width, x)]
    if top >= 0 and left >= 0 and top + height <= rows and left + width <= columns:
        return Tensor(part.copy())
    result = np.zeros((*img.shape[:-2], height, width), img.dtype)
    result[..., y - top : y - top + part.shape[-2], x - left : x - left + part.shape[-1]] = part
    return Tensor(result)


def center_crop(img: Tensor, output_size: int | Sequence[int]) -> Tensor:
    """The middle part; a smaller image is padded with zeros first, the odd pixel right and below."""
    height, width = pair(output_size, "output_size")
    rows, columns = _size(img)
    if width > columns or height > rows:
        wider, taller = max(width - columns, 0), max(height - rows, 0)
        img = pad(img, (wider // 2, taller // 2, (wider + 1) // 2, (taller + 1) // 2))
        rows, columns = _size(img)
    return crop(img, round((rows - height) / 2.0), round((columns - width) / 2.0), height, width)


_NUMPY_MODES = {"constant": "constant", "edge": "edge", "reflect": "reflect", "symmetric": "symmetric"}


def pad(img: Tensor, padding: int | Sequence[int], fill: Any = 0, padding_mode: str = "constant") -> Tensor:
    """Border added around, as for pictures; `fill` is one number."""
    left, top, right, bottom = borders(padding)
    if padding_mode not in PADDING_MODES:
        raise ValueError(f"padding_mode must be one of {', '.join(PADDING_MODES)}, got {padding_mode!r}")
    widths = ((0, 0),) * (img.ndim - 2) + ((top, bottom), (left, right))
    if padding_mode != "constant":
        return Tensor(np.pad(img.array, widths, mode=_NUMPY_MODES[padding_mode]))  # type: ignore[call-overload]
    value = 0 if fill is None else fill
    if not isinstance(value, int | float):
        value = _one_number(value)
    return Tensor(np.pad(img.array, widths, constant_values=value))


def _one_number(fill: Sequence[float]) -> float:
    if len(set(fill)) != 1:
        raise TypeError(f"a tensor is padded with one number, got fill={fill!r}")
    return fill[0]


def resize(
    img: Tensor, size: int | Sequence[int], interpolation: Any = "bilinear", max_size: int | None = None,
    antialias: bool | None = True,
) -> Tensor:  # fmt: skip
    """`size` = (height, width) or the shorter side, as for pictures. `antialias=False`: no smoothing."""
    mode = str(interpolation_mode(interpolation))
    if mode not in _RESIZING:
        raise ValueError(f"a tensor is resized by {', '.join(_RESIZING)}, got {mode!r}")
    rows, columns = _size(img)
    if isinstance(size, int) or len(size) == 1:
        shorter = size if isinstance(size, int) else size[0]
        width, height = _size_by_shorter_side((columns, rows), shorter, max_size)
    elif max_size is not None:
        raise ValueError("max_size needs a size of one number, the shorter side")
    else:
        height, width = size
    if (height, width) == (rows, columns):
        return img
    smooth = bool(antialias) and mode in ("bilinear", "bicubic")
    return in_floats(
        img, lambda x: interpolate(x, (height, width), mode=mode, antialias=smooth), clip=mode == "bicubic"
    )


def resized_crop(
    img: Tensor, top: int, left: int, height: int, width: int, size: int | Sequence[int],
    interpolation: Any = "bilinear", antialias: bool | None = True,
) -> Tensor:  # fmt: skip
    """`crop`, then `resize`."""
    return resize(crop(img, top, left, height, width), size, interpolation, antialias=antialias)


# ------------------------------------------------------------------------------------------------------------- warps


def affine(
    img: Tensor, angle: float, translate: Sequence[float], scale: float, shear: Sequence[float],
    interpolation: Any = "nearest", fill: Any = None, center: Sequence[float] | None = None,
) -> Tensor:  # fmt: skip
    """See `functional.affine`."""
    matrix = affine_matrix(_from_middle(img, center), angle, translate, scale, shear)
    return sample(img, affine_places(matrix, *_size(img), *_size(img)), interpolation, fill)


def rotate(
    img: Tensor, angle: float, interpolation: Any = "nearest", expand: bool = False,
    center: Sequence[float] | None = None, fill: Any = None,
) -> Tensor:  # fmt: skip
    """See `functional.rotate`."""
    matrix = affine_matrix(_from_middle(img, center), -angle, (0, 0), 1.0, (0, 0))
    rows, columns = _size(img)
    width, height = rotated_size(matrix, columns, rows) if expand else (columns, rows)
    return sample(img, affine_places(matrix, rows, columns, height, width), interpolation, fill)


def perspective(
    img: Tensor, startpoints: Sequence[Sequence[float]], endpoints: Sequence[Sequence[float]],
    interpolation: Any = "bilinear", fill: Any = None,
) -> Tensor:  # fmt: skip
    """See `functional.perspective`."""
    a, b, c, d, e, f, g, h = perspective_coefficients(startpoints, endpoints)
    rows, columns = _size(img)
    x, y = np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
    weight = g * x + h * y + 1
    places = np.stack([(a * x + b * y + c) / (0.5 * columns * weight), (d * x + e * y + f) / (0.5 * rows * weight)], -1)
    return sample(img, places - 1, interpolation, fill)


def elastic_transform(img: Tensor, displacement: Tensor, interpolation: Any = "bilinear", fill: Any = None) -> Tensor:
    """Every pixel from a place of its own: `displacement` (1, H, W, 2) is added, in halves of width and height."""
    rows, columns = _size(img)
    if displacement.shape != (1, rows, columns, 2):
        raise ValueError(f"displacement must have the shape {(1, rows, columns, 2)}, got {displacement.shape}")
    x, y = np.meshgrid(_places(columns), _places(rows))
    return sample(img, np.stack([x, y], -1) + displacement.array[0], interpolation, fill)


def _places(length: int) -> np.ndarray:
    """Middles of the pixels, from -1 to 1 over the whole length."""
    return np.linspace((1 - length) / length, (length - 1) / length, length)


def _from_middle(img: Tensor, center: Sequence[float] | None) -> list[float]:
    rows, columns = _size(img)
    return [0.0, 0.0] if center is None else [center[0] - columns * 0.5, center[1] - rows * 0.5]


def affine_places(matrix: Sequence[float], rows: int, columns: int, height: int, width: int) -> np.ndarray:
    """Where each pixel (height, width) of the result lies in the image, from -1 to 1. `matrix`: about the middles."""
    x, y = np.meshgrid(np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2)
    a, b, c, d, e, f = matrix
    return np.stack([(a * x + b * y + c) / (0.5 * columns), (d * x + e * y + f) / (0.5 * rows)], -1)


def sample(img: Tensor, places: np.ndarray, interpolation: Any, fill: Any) -> Tensor:
    """The image at `places` (H', W', 2); beyond its edge `fill`: None for zeros, a number, or one a channel."""
    mode = str(interpolation_mode(interpolation)).removesuffix("-exact")
    if mode not in ("nearest", "bilinear"):
        raise ValueError(f"a tensor is warped by nearest or bilinear, got {mode!r}")

    def change(x: Tensor) -> Tensor:
        grid = Tensor(np.ascontiguousarray(np.broadcast_to(places.astype(x.dtype), (len(x), *places.shape))))
        if fill is None:
            return grid_sample(x, grid, mode, "zeros", False)
        colour = np.atleast_1d(np.asarray(fill, x.dtype))
        if colour.size not in (1, x.shape[1]):
            raise ValueError(f"fill has {colour.size} values, the image {x.shape[1]} channels")
        colour = colour[:, None, None]
        inside = np.ones((len(x), 1, *x.shape[2:]), x.dtype)
        both = grid_sample(Tensor(np.concatenate([x.array, inside], 1)), grid, mode, "zeros", False).array
        values, share = both[:, :-1], both[:, -1:]
        if mode == "nearest":
            return Tensor(np.where(share < 0.5, colour, values))
        return Tensor(values * share + (1 - share) * colour)

    return in_floats(img, change)
