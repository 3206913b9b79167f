"""Boxes, moved as the pixels of their image are. All of it in XYXY and float, then back to the boxes' own form.

A warped box is the smallest upright box around the warped corners, as in torchvision: what lies in the old box lies in
the new one. Then it is cut off at the edge of the canvas.
"""

from collections.abc import Sequence

import numpy as np

from minires.data.transforms.matrices import affine_matrix, perspective_coefficients, rotated_size
from minires.data.transforms.tensor_geometry import _places
from minires.data.transforms.v2.targets import FORMATS, BoundingBoxes

Size = tuple[int, int]


def to_xyxy(boxes: np.ndarray, form: str) -> np.ndarray:
    """(N, 4) in one of FORMATS to left, top, right, bottom, in floats."""
    values = boxes.astype(boxes.dtype if boxes.dtype.kind == "f" else np.float64)
    if form == "XYXY":
        return values
    first, size = values[:, :2], values[:, 2:]
    start = first if form == "XYWH" else first - size / 2
    return np.concatenate([start, start + size], 1)


def from_xyxy(boxes: np.ndarray, form: str) -> np.ndarray:
    """Inverse of `to_xyxy`."""
    if form == "XYXY":
        return boxes
    start, size = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    return np.concatenate([start if form == "XYWH" else start + size / 2, size], 1)


def convert_bounding_box_format(boxes: BoundingBoxes, new_format: str) -> BoundingBoxes:
    """The same boxes in another of FORMATS."""
    form = str(new_format).upper()
    if form not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {new_format!r}")
    return _like(boxes, to_xyxy(boxes.array, boxes.format), boxes.canvas_size, form)


def _like(boxes: BoundingBoxes, xyxy: np.ndarray, canvas_size: Size, form: str | None = None) -> BoundingBoxes:
    """New boxes in the old ones' form and type; whole numbers are rounded."""
    form = form or boxes.format
    values = from_xyxy(xyxy, form)
    values = np.round(values) if boxes.dtype.kind in "iu" else values
    return BoundingBoxes(values.astype(boxes.dtype), format=form, canvas_size=canvas_size)


def _clamped(boxes: BoundingBoxes, xyxy: np.ndarray, canvas_size: Size) -> BoundingBoxes:
    height, width = canvas_size
    return _like(boxes, xyxy.clip(0, np.array([width, height, width, height], xyxy.dtype)), canvas_size)


def clamp_bounding_boxes(boxes: BoundingBoxes) -> BoundingBoxes:
    """Cut off at the edge of the canvas."""
    return _clamped(boxes, to_xyxy(boxes.array, boxes.format), boxes.canvas_size)


def hflip(boxes: BoundingBoxes) -> BoundingBoxes:
    """Left and right exchanged."""
    xyxy, width = to_xyxy(boxes.array, boxes.format), boxes.canvas_size[1]
    xyxy[:, [0, 2]] = width - xyxy[:, [2, 0]]
    return _like(boxes, xyxy, boxes.canvas_size)


def vflip(boxes: BoundingBoxes) -> BoundingBoxes:
    """Top and bottom exchanged."""
    xyxy, height = to_xyxy(boxes.array, boxes.format), boxes.canvas_size[0]
    xyxy[:, [1, 3]] = height - xyxy[:, [3, 1]]
    return _like(boxes, xyxy, boxes.canvas_size)


def crop(boxes: BoundingBoxes, top: int, left: int, height: int, width: int) -> BoundingBoxes:
    """Moved with the part and cut off at its edge; a box outside becomes one without area."""
    xyxy = to_xyxy(boxes.array, boxes.format) - np.array([left, top, left, top])
    return _clamped(boxes, xyxy, (height, width))


def pad(boxes: BoundingBoxes, left: int, top: int, right: int, bottom: int) -> BoundingBoxes:
    """Moved by the new border."""
    height, width = boxes.canvas_size
    xyxy = to_xyxy(boxes.array, boxes.format) + np.array([left, top, left, top])
    return _like(boxes, xyxy, (height + top + bottom, width + left + right))


def resize(boxes: BoundingBoxes, height: int, width: int) -> BoundingBoxes:
    """Scaled to the new canvas."""
    rows, columns = boxes.canvas_size
    xyxy = to_xyxy(boxes.array, boxes.format)
    return _like(
        boxes, xyxy * (np.array([width, height, width, height]) / [columns, rows, columns, rows]), (height, width)
    )


# ------------------------------------------------------------------------------------------------------------- warps


def affine(
    boxes: BoundingBoxes, angle: float, translate: Sequence[float], scale: float, shear: Sequence[float],
    center: Sequence[float] | None = None,
) -> BoundingBoxes:  # fmt: skip
    """As `functional.affine` moves the image."""
    middle = _middle(boxes) if center is None else center
    matrix = np.reshape(affine_matrix(middle, angle, translate, scale, shear, inverted=False), (2, 3))
    return _clamped(boxes, _around(_corners(boxes) @ matrix[:, :2].T + matrix[:, 2]), boxes.canvas_size)


def rotate(
    boxes: BoundingBoxes, angle: float, expand: bool = False, center: Sequence[float] | None = None
) -> BoundingBoxes:
    """As `functional.rotate` turns the image, counter-clockwise; `expand`: the canvas grows, about its own middle."""
    if not expand:
        return affine(boxes, -angle, (0, 0), 1.0, (0, 0), center)
    height, width = boxes.canvas_size
    about_zero = affine_matrix((0, 0), -angle, (0, 0), 1.0, (0, 0))
    new_width, new_height = rotated_size(about_zero, width, height)
    move = (new_width - width) / 2, (new_height - height) / 2
    matrix = np.reshape(affine_matrix(_middle(boxes), -angle, move, 1.0, (0, 0), inverted=False), (2, 3))
    moved = _around(_corners(boxes) @ matrix[:, :2].T + matrix[:, 2])
    return _clamped(boxes, moved, (new_height, new_width))


def perspective(
    boxes: BoundingBoxes, startpoints: Sequence[Sequence[float]], endpoints: Sequence[Sequence[float]]
) -> BoundingBoxes:
    """As `functional.perspective` slants the image."""
    backward = np.append(perspective_coefficients(startpoints, endpoints), 1.0).reshape(3, 3)
    corners = _corners(boxes)
    moved = np.concatenate([corners, np.ones_like(corners[..., :1])], -1) @ np.linalg.inv(backward).T
    return _clamped(boxes, _around(moved[..., :2] / moved[..., 2:]), boxes.canvas_size)


def elastic(boxes: BoundingBoxes, displacement: np.ndarray) -> BoundingBoxes:
    """As `functional.elastic_transform` bends the image: the box around all pixels that came from within the old one.

    torchvision moves the four corners instead, which is rougher. A box of which no pixel is left has no area.
    """
    height, width = boxes.canvas_size
    x = (_places(width)[None, :] + displacement[0, ..., 0] + 1) * width / 2
    y = (_places(height)[:, None] + displacement[0, ..., 1] + 1) * height / 2
    found = np.zeros((len(boxes), 4))
    for place, (left, top, right, bottom) in enumerate(to_xyxy(boxes.array, boxes.format)):
        inside = (left <= x) & (x < right) & (top <= y) & (y < bottom)
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        if len(rows):
            found[place] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return _like(boxes, found, boxes.canvas_size)


def _middle(boxes: BoundingBoxes) -> tuple[float, float]:
    return boxes.canvas_size[1] * 0.5, boxes.canvas_size[0] * 0.5


def _corners(boxes: BoundingBoxes) -> np.ndarray:
    """(N, 4, 2): the corners (x, y)."""
    return to_xyxy(boxes.array, boxes.format).astype(np.float64)[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)


def _around(points: np.ndarray) -> np.ndarray:
    """(N, P, 2) points to (N, 4): the upright box around each row's."""
    return np.concatenate([points.min(1), points.max(1)], 1)
