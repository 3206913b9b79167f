"""Transforms from pictures to tensors and of image tensors (C, H, W)."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from minires.data.transforms import functional
from minires.data.transforms.compose import check_probability
from minires.data.transforms.geometry import CROP_ATTEMPTS, random_rectangle
from minires.random import generator
from minires.tensor import Tensor


class ToTensor:
    """Pillow picture or array (H, W, C) to a float32 tensor (C, H, W); eight-bit values 0..255 become 0..1."""

    def __call__(self, pic: Image.Image | np.ndarray) -> Tensor:
        return functional.to_tensor(pic)

    def __repr__(self) -> str:
        return "ToTensor()"


class PixelValues:
    """Pillow picture to a float32 tensor (C, H, W) of its values 0..255, not scaled."""

    def __call__(self, pic: Image.Image) -> Tensor:
        return Tensor(functional.pil_to_tensor(pic).array.astype(np.float32))

    def __repr__(self) -> str:
        return "PixelValues()"


class ReverseChannels:
    """Channels of a tensor (..., C, H, W) in the opposite order: red, green, blue to blue, green, red and back."""

    def __call__(self, tensor: Tensor) -> Tensor:
        return Tensor(tensor.array[..., ::-1, :, :].copy(order="K"))

    def __repr__(self) -> str:
        return "ReverseChannels()"


class PILToTensor:
    """Pillow picture to a tensor (C, H, W) of the same type, not scaled."""

    def __call__(self, pic: Image.Image) -> Tensor:
        return functional.pil_to_tensor(pic)

    def __repr__(self) -> str:
        return "PILToTensor()"


class ToPILImage:
    """Tensor (C, H, W) or array (H, W, C) to a Pillow picture."""

    def __call__(self, pic: Tensor | np.ndarray) -> Image.Image:
        return functional.to_pil_image(pic)

    def __repr__(self) -> str:
        return "ToPILImage()"


class ConvertImageDtype:
    """Tensor of another type, its values scaled to that type's range."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = np.dtype(dtype)

    def __call__(self, image: Tensor) -> Tensor:
        return functional.convert_image_dtype(image, self.dtype)

    def __repr__(self) -> str:
        return "ConvertImageDtype()"


class Normalize:
    """(value - mean) / std, channel by channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> None:
        self.mean, self.std, self.inplace = mean, std, inplace

    def __call__(self, tensor: Tensor) -> Tensor:
        return functional.normalize(tensor, self.mean, self.std, self.inplace)

    def __repr__(self) -> str:
        return f"Normalize(mean={self.mean}, std={self.std})"


class LinearTransformation:
    """(flattened tensor - `mean_vector`) times `transformation_matrix` (D, D), D = C * H * W: whitening, say."""

    def __init__(self, transformation_matrix: Tensor, mean_vector: Tensor) -> None:
        rows, mean = transformation_matrix.shape, mean_vector.shape
        if len(rows) != 2 or rows[0] != rows[1] or mean != rows[:1]:
            raise ValueError(f"transformation_matrix should be square and mean_vector as long, got {rows} and {mean}")
        self.transformation_matrix, self.mean_vector = transformation_matrix, mean_vector

    def __call__(self, tensor: Tensor) -> Tensor:
        size = math.prod(tensor.shape[-3:])
        if size != len(self.mean_vector):
            raise ValueError("Input tensor and transformation matrix have incompatible shape: "
                             f"{tensor.shape[-3:]} are {size} values, not {len(self.mean_vector)}")  # fmt: skip
        rows = tensor.array.reshape(-1, size) - self.mean_vector.array
        return Tensor((rows @ self.transformation_matrix.array.astype(rows.dtype)).reshape(tensor.shape))

    def __repr__(self) -> str:
        matrix, mean = self.transformation_matrix.tolist(), self.mean_vector.tolist()
        return f"LinearTransformation(transformation_matrix={matrix}, mean_vector={mean})"


class RandomErasing:
    """A random rectangle replaced by `value`, with the probability `p` (Zhong et al. 2017, arXiv:1708.04896).

    `scale`: range of its area as a fraction of the picture's; `ratio`: range of height / width; `value`: a number, one
    number a channel, or "random" for standard normal noise. If none of ten rectangles fits, the image is left alone.
    """

    def __init__(
        self, p: float = 0.5, scale: Sequence[float] = (0.02, 0.33), ratio: Sequence[float] = (0.3, 3.3),
        value: Any = 0, inplace: bool = False,
    ) -> None:  # fmt: skip
        if isinstance(value, str) and value != "random":
            raise ValueError(f'value must be a number, one number a channel or "random", got {value!r}')
        if not 0 <= scale[0] <= scale[1] <= 1 or not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f"scale must be a range within 0..1 and ratio one above 0, got {scale} and {ratio}")
        self.p = check_probability(p)
        self.scale, self.ratio, self.value, self.inplace = scale, ratio, value, inplace

    def __call__(self, img: Tensor) -> Tensor:
        rng = generator()
        if rng.random() >= self.p:
            return img
        channels, height, width = img.shape[-3:]
        for _ in range(CROP_ATTEMPTS):
            h, w = random_rectangle(rng, height * width, self.scale, self.ratio)
            if not (0 < h < height and 0 < w < width):
                continue
            top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
            return functional.erase(img, top, left, h, w, self._replacement(rng, channels, h, w), self.inplace)
        return img

    def _replacement(self, rng: np.random.Generator, channels: int, height: int, width: int) -> Any:
        if self.value == "random":
            return rng.standard_normal((channels, height, width), dtype=np.float32)
        values = np.asarray(self.value, np.float32).reshape(-1)
        if values.size not in (1, channels):
            raise ValueError(f"value has {values.size} numbers, the image {channels} channels")
        return values[:, None, None]

    def __repr__(self) -> str:
        detail = f"ratio={self.ratio}, value={self.value}, inplace={self.inplace}"
        return f"RandomErasing(p={self.p}, scale={self.scale}, {detail})"
