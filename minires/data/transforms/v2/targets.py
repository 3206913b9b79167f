"""What transforms of several things at once tell apart: an image, a mask, boxes."""

from typing import Any

import numpy as np

from minires.tensor import Tensor

FORMATS = ("XYXY", "XYWH", "CXCYWH")


class Image(Tensor):
    """An image (..., C, H, W) as a tensor; a Pillow picture counts as an image without this."""


class Mask(Tensor):
    """A mask (..., H, W): whole numbers or booleans, moved as images are, but never blended and never recoloured."""


class BoundingBoxes(Tensor):
    """Boxes (N, 4) on a canvas of `canvas_size` (height, width).

    `format`: "XYXY" (left, top, right, bottom), "XYWH" (left, top, width, height) or "CXCYWH" (middle, width, height).
    Coordinates are continuous: a box around the pixel in column 3 alone is from x = 3 to x = 4.
    Raises ValueError for other shapes and formats. Arithmetic on boxes gives a plain tensor.
    """

    def __init__(self, data: Any, *, format: str, canvas_size: tuple[int, int]) -> None:
        super().__init__(np.asarray(data, np.float32) if isinstance(data, list | tuple) else data)
        if self.ndim == 1 and self.shape[0] in (0, 4):
            self.array = self.array.reshape(-1, 4)
        if self.ndim != 2 or self.shape[1] != 4:
            raise ValueError(f"boxes have the shape (N, 4), got {self.shape}")
        if str(format).upper() not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
        if len(canvas_size) != 2:
            raise ValueError(f"canvas_size is (height, width), got {canvas_size!r}")
        self.format, self.canvas_size = str(format).upper(), (int(canvas_size[0]), int(canvas_size[1]))

    def __reduce__(self) -> Any:
        return _boxes, (self.array, self.format, self.canvas_size)

    def __repr__(self) -> str:
        return f"BoundingBoxes({self.array.tolist()}, format={self.format}, canvas_size={self.canvas_size})"


def _boxes(array: np.ndarray, form: str, canvas_size: tuple[int, int]) -> BoundingBoxes:
    return BoundingBoxes(array, format=form, canvas_size=canvas_size)
