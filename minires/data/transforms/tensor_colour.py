"""Transforms of colour, for image tensors (..., C, H, W), C = 1 or 3: uint8 (0..255) or floats (0..1)."""

from collections.abc import Sequence

import numpy as np

from minires.data.transforms.pixels import convert_image_dtype
from minires.data.transforms.tensor_geometry import in_floats
from minires.tensor import Tensor

GREY = (0.2989, 0.587, 0.114)  # the weights of red, green and blue, torchvision's for tensors


def _bound(img: Tensor, channels: Sequence[int] = (1, 3)) -> float:
    """The value of white. TypeError for a tensor that is no image."""
    if img.ndim < 3 or img.shape[-3] not in channels:
        raise TypeError(f"expected an image tensor (..., C, H, W) with C = 1 or 3, got the shape {img.shape}")
    if img.dtype.kind == "b":
        raise TypeError("expected an image tensor of numbers, got booleans")
    return 1.0 if img.dtype.kind == "f" else float(np.iinfo(img.dtype).max)


def _blend(img: Tensor, other: np.ndarray | float, share: float, name: str) -> Tensor:
    """share * img + (1 - share) * other, within black and white."""
    if share < 0:
        raise ValueError(f"{name} ({share}) is not non-negative.")
    floats = img.array if img.dtype.kind == "f" else img.array.astype(np.float32)
    kind = floats.dtype.type
    mixed = kind(share) * floats + kind(1.0 - share) * np.asarray(other, floats.dtype)
    return Tensor(mixed.clip(0, _bound(img)).astype(img.dtype))


def _grey(img: Tensor) -> np.ndarray:
    """(..., 1, H, W), in the image's type."""
    if img.shape[-3] == 1:
        return img.array
    floats = img.array if img.dtype.kind == "f" else img.array.astype(np.float32)
    red, green, blue = (floats[..., channel, :, :] * floats.dtype.type(weight) for channel, weight in enumerate(GREY))
    return (red + green + blue).astype(img.dtype)[..., None, :, :]


def to_grayscale(img: Tensor, num_output_channels: int = 1) -> Tensor:
    """Grey, in one channel or the same in three."""
    _bound(img)
    if num_output_channels not in (1, 3):
        raise ValueError(f"num_output_channels must be 1 or 3, got {num_output_channels}")
    return Tensor(np.repeat(_grey(img), num_output_channels, -3))


def adjust_brightness(img: Tensor, brightness_factor: float) -> Tensor:
    """0 gives black, 1 the image, 2 twice as bright."""
    return _blend(img, 0.0, brightness_factor, "brightness_factor")


def adjust_contrast(img: Tensor, contrast_factor: float) -> Tensor:
    """0 gives the mean grey, 1 the image."""
    _bound(img)
    grey = _grey(img)
    mean = grey.mean((-3, -2, -1), keepdims=True, dtype=img.dtype if img.dtype.kind == "f" else np.float32)
    return _blend(img, mean, contrast_factor, "contrast_factor")


def adjust_saturation(img: Tensor, saturation_factor: float) -> Tensor:
    """0 gives the grey image, 1 the image."""
    _bound(img)
    return img if img.shape[-3] == 1 else _blend(img, _grey(img), saturation_factor, "saturation_factor")


def adjust_hue(img: Tensor, hue_factor: float) -> Tensor:
    """The hue turned by `hue_factor` (-0.5..0.5); a grey image stays."""
    if not -0.5 <= hue_factor <= 0.5:
        raise ValueError(f"hue_factor must lie between -0.5 and 0.5, got {hue_factor}")
    _bound(img)
    if img.shape[-3] == 1:
        return img
    hue, saturation, value = _hsv(np.moveaxis(convert_image_dtype(img, np.float32).array, -3, 0))
    turned = _rgb((hue + np.float32(hue_factor)) % 1, saturation, value)
    return convert_image_dtype(Tensor(np.stack(turned, -3)), img.dtype)


def _hsv(colours: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hue, saturation and value, each 0..1, of (3, ...) red, green, blue."""
    red, green = colours[0], colours[1]
    most, least = colours.max(0), colours.min(0)
    grey, spread = most == least, most - least
    below_red, below_green, below_blue = (most - colours) / np.where(grey, 1, spread)
    hue = np.where(most == red, below_blue - below_green,
                   np.where(most == green, 2 + below_red - below_blue, 4 + below_green - below_red))  # fmt: skip
    return np.fmod(hue / 6 + 1, 1).astype(red.dtype), spread / np.where(grey, 1, most), most


def _rgb(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> list[np.ndarray]:
    """Inverse of `_hsv`."""
    sector = np.floor(hue * 6)
    rest = hue * 6 - sector
    low = (value * (1 - saturation)).clip(0, 1)
    falling = (value * (1 - saturation * rest)).clip(0, 1)
    rising = (value * (1 - saturation * (1 - rest))).clip(0, 1)
    parts = {"v": value, "p": low, "q": falling, "t": rising}
    return [np.choose(sector.astype(np.int64) % 6, [parts[letter] for letter in letters])
            for letters in ("vqpptv", "tvvqpp", "pptvvq")]  # fmt: skip


def invert(img: Tensor) -> Tensor:
    """White minus the image."""
    return Tensor(img.dtype.type(_bound(img)) - img.array)


def posterize(img: Tensor, bits: int) -> Tensor:
    """Only the `bits` highest bits of each value (uint8)."""
    _bound(img)
    _only_bytes(img)
    return Tensor(img.array & np.uint8(256 - 2 ** (8 - bits)) if bits else np.zeros_like(img.array))


def solarize(img: Tensor, threshold: float) -> Tensor:
    """Values from `threshold` on inverted."""
    bound = _bound(img)
    if threshold > bound:
        raise TypeError(f"the threshold {threshold} is above white, {bound}")
    return Tensor(np.where(img.array >= threshold, img.dtype.type(bound) - img.array, img.array))


def adjust_sharpness(img: Tensor, sharpness_factor: float) -> Tensor:
    """0 gives a smoothed image, 1 the image, 2 a sharpened one; the outermost pixels stay."""
    _bound(img)
    if min(img.shape[-2:]) <= 2:
        return img
    array = img.array
    floats = array if array.dtype.kind == "f" else array.astype(np.float32)
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], floats.dtype) / floats.dtype.type(13)
    rows, columns = img.shape[-2] - 2, img.shape[-1] - 2
    smooth = sum(kernel[i, j] * floats[..., i : i + rows, j : j + columns] for i in range(3) for j in range(3))
    softened = array.copy()
    softened[..., 1:-1, 1:-1] = smooth if array.dtype.kind == "f" else np.round(smooth)
    return _blend(img, softened, sharpness_factor, "sharpness_factor")


def autocontrast(img: Tensor) -> Tensor:
    """Each channel stretched from black to white; a channel of one value stays."""
    bound = _bound(img)
    floats = img.array if img.dtype.kind == "f" else img.array.astype(np.float32)
    least, most = floats.min((-2, -1), keepdims=True), floats.max((-2, -1), keepdims=True)
    flat = most == least
    scale = np.where(flat, 1, floats.dtype.type(bound) / np.where(flat, 1, most - least))
    stretched = (floats - np.where(flat, 0, least)) * scale
    return Tensor(stretched.clip(0, bound).astype(img.dtype))


def equalize(img: Tensor) -> Tensor:
    """Each channel's values spread so that all are about equally frequent (uint8)."""
    _bound(img)
    _only_bytes(img)
    channels = img.array.reshape(-1, *img.shape[-2:])
    return Tensor(np.stack([_equalized(channel) for channel in channels]).reshape(img.shape))


def _equalized(channel: np.ndarray) -> np.ndarray:
    counts = np.bincount(channel.reshape(-1), minlength=256)
    step = counts[counts != 0][:-1].sum() // 255
    if step == 0:
        return channel
    table = (np.cumsum(counts) + step // 2) // step
    return np.concatenate([[0], table[:-1]]).clip(0, 255).astype(np.uint8)[channel]


def gaussian_blur(img: Tensor, kernel_size: Sequence[int], sigma: Sequence[float]) -> Tensor:
    """Smoothed by a Gaussian of `kernel_size` (columns, rows) pixels and `sigma` (along x, along y); mirrored edges."""
    across, down = kernel_size
    if across // 2 >= img.shape[-1] or down // 2 >= img.shape[-2]:
        raise ValueError(f"kernel_size {tuple(kernel_size)} is too large for an image of {img.shape[-2:]} pixels")

    def change(x: Tensor) -> Tensor:
        padded = np.pad(x.array, ((0, 0), (0, 0), (down // 2, down // 2), (across // 2, across // 2)), "reflect")
        rows, columns = x.shape[-2:]
        weights = [gaussian(size, spread, x.dtype) for size, spread in ((down, sigma[1]), (across, sigma[0]))]
        lines = sum(weight * padded[..., place : place + rows, :] for place, weight in enumerate(weights[0]))
        return Tensor(sum(weight * lines[..., place : place + columns] for place, weight in enumerate(weights[1])))

    return in_floats(img, change)


def gaussian(size: int, sigma: float, dtype: np.dtype) -> np.ndarray:
    """`size` weights that sum to 1."""
    places = np.linspace(-(size - 1) / 2, (size - 1) / 2, size)
    weights = np.exp(-0.5 * (places / sigma) ** 2)
    return (weights / weights.sum()).astype(dtype)


def _only_bytes(img: Tensor) -> None:
    if img.dtype != np.uint8:
        raise TypeError(f"Only uint8 image tensors are supported, but found {img.dtype}")
