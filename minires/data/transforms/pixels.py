"""Between pictures and tensors, and image tensors (C, H, W), with torchvision's numerics.

A tensor made here has the logical shape (C, H, W) over memory of the order (H, W, C), so that a batch comes out
channels-last without being copied twice.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from minires.backend import on_device_of
from minires.data.transforms.pictures import check_picture
from minires.kernels.cuda.adapters import pictures as on_gpu
from minires.tensor import Tensor


def to_tensor(pic: Image.Image | np.ndarray) -> Tensor:
    """Pixels as a float32 tensor (C, H, W); eight-bit values are divided by 255, others only cast, as in torchvision.

    `pic`: a Pillow picture, or an array (H, W) or (H, W, C); float64 arrays keep their type.
    """
    if isinstance(pic, Image.Image):
        scale_by = 1 if pic.mode == "1" else 255
        pixels = _pixels(pic)
    elif isinstance(pic, np.ndarray):
        if pic.ndim not in (2, 3):
            raise ValueError(f"expected an array of 2 or 3 axes (H, W, C), got the shape {pic.shape}")
        scale_by = 255
        pixels = pic if pic.ndim == 3 else pic[:, :, None]
    else:
        raise TypeError(f"expected a Pillow picture or a NumPy array, got {type(pic).__name__}")
    if pixels.dtype in (np.uint8, np.bool_):
        pixels = np.divide(pixels, np.float32(scale_by), dtype=np.float32)
    return Tensor(pixels.transpose(2, 0, 1))


def pil_to_tensor(pic: Image.Image) -> Tensor:
    """Pixels as a tensor (C, H, W) of the picture's own type (uint8), not scaled."""
    check_picture(pic)
    return Tensor(np.array(_pixels(pic)).transpose(2, 0, 1))


def to_pil_image(pic: Tensor | np.ndarray) -> Image.Image:
    """Picture from a tensor (C, H, W) (floats 0..1 are cut to eight bits as torchvision does) or an array (H, W, C)."""
    if isinstance(pic, Tensor):
        array = np.moveaxis(pic.detach().numpy(), 0, -1)
        array = (array * 255).astype(np.uint8) if array.dtype.kind == "f" else array
    else:
        array = pic if pic.ndim == 3 else pic[:, :, None]
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise ValueError(f"cannot make a picture of {array.dtype} values of the shape (H, W, C) = {array.shape}")
    return Image.fromarray(np.ascontiguousarray(array[:, :, 0] if array.shape[2] == 1 else array))


def convert_image_dtype(image: Tensor, dtype: Any = np.float32) -> Tensor:
    """Values scaled to the range of the new type: integers 0..max, floats 0..1 (torchvision's formulas)."""
    old, new = image.array.dtype, np.dtype(dtype)
    values = image.array
    if old == new:
        return image
    if old.kind == "f":
        if new.kind == "f":
            return Tensor(values.astype(new))
        if (old, new) in ((np.float32, np.int32), (np.float32, np.int64), (np.float64, np.int64)):
            raise RuntimeError(f"the cast from {old} to {new} cannot be performed safely")
        return Tensor((values * old.type(np.iinfo(new).max + 1 - 1e-3)).astype(new))
    old_max = np.iinfo(old).max
    if new.kind == "f":
        return Tensor(values.astype(new) / new.type(old_max))
    new_max = np.iinfo(new).max
    if old_max > new_max:
        return Tensor((values // ((old_max + 1) // (new_max + 1))).astype(new))
    return Tensor(values.astype(new) * new.type((new_max + 1) // (old_max + 1)))


def normalize(tensor: Tensor, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> Tensor:
    """(value - mean of its channel) / std of its channel, for a float tensor (..., C, H, W)."""
    if not isinstance(tensor, Tensor) or tensor.array.dtype.kind != "f":
        raise TypeError(f"expected a tensor of floats (put ToTensor before Normalize), got {describe(tensor)}")
    array = tensor.array
    if array.ndim < 3:
        raise ValueError(f"expected a tensor image of shape (..., C, H, W), got {array.shape}")
    channels = array.shape[-3]
    means, stds = _of_channels(mean, std, channels, array.dtype)
    rows = last = np.moveaxis(array, -3, -1)  # (..., H, W, C)
    if last.flags.c_contiguous:  # one long row of W * C values is far quicker for NumPy than many short ones of C
        width = last.shape[-2]
        rows = last.reshape(-1, width * channels)
        means, stds = (np.tile(np.broadcast_to(values, channels), width) for values in (means, stds))
    result = np.subtract(rows, means, out=rows if inplace else None)
    result /= stds
    if inplace:
        tensor.bump_version()
        return tensor
    return Tensor(np.moveaxis(result.reshape(last.shape), -1, -3))


def normalize_bytes(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """What ToTensor and Normalize make of bytes, for a batch (N, C, H, W) of uint8; on a GPU in one launch.

    float32, on a GPU stored channels last. TypeError for another type, ValueError for other axes and as `normalize`.
    """
    if images.dtype != np.uint8:
        raise TypeError(f"expected a batch of bytes (uint8), got {images.dtype}")
    if images.ndim != 4:
        raise ValueError(f"expected a batch of shape (N, C, H, W), got {images.shape}")
    if not images.is_cuda:
        return normalize(convert_image_dtype(images), mean, std)
    channels = images.shape[1]
    numbers = _of_channels(mean, std, channels, np.dtype(np.float32))
    with on_device_of(images.array):
        return Tensor(on_gpu.normalise_images(images.array, *(np.broadcast_to(n, channels) for n in numbers)))


def _of_channels(
    mean: Sequence[float], std: Sequence[float], channels: int, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Both as arrays of one number, or one a channel. ValueError for another number of them, and for a std of 0."""
    means, stds = (np.asarray(values, dtype).reshape(-1) for values in (mean, std))
    if not (stds != 0).all():
        raise ValueError(f"std {tuple(std)} has a zero: division by zero")
    for name, values in (("mean", means), ("std", stds)):
        if values.size not in (1, channels):
            raise ValueError(f"{name} has {values.size} values, the image {channels} channels")
    return means, stds


def erase(img: Tensor, i: int, j: int, h: int, w: int, v: Any, inplace: bool = False) -> Tensor:
    """The rectangle of `h` x `w` pixels from row `i`, column `j` replaced by `v` (a number or an array (C, h, w))."""
    if not isinstance(img, Tensor):
        raise TypeError(f"expected an image tensor (put ToTensor before RandomErasing), got {describe(img)}")
    result = img.array if inplace else img.array.copy(order="K")
    result[..., i : i + h, j : j + w] = v
    if inplace:
        img.bump_version()
        return img
    return Tensor(result)


def _pixels(img: Image.Image) -> np.ndarray:
    """Pixels as an array (H, W, C)."""
    array = np.asarray(img)
    return array[:, :, None] if array.ndim == 2 else array


def describe(value: Any) -> str:
    return f"a tensor of {value.array.dtype}" if isinstance(value, Tensor) else type(value).__name__
