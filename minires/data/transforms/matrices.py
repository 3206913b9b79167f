"""The matrices of affine and perspective warps, in torchvision's and Pillow's convention.

Coordinates are continuous: the pixel in column x covers x to x + 1, its middle is x + 0.5. A warp goes backwards: a
matrix says where in the old picture the pixel at a place of the new one comes from.
"""

import math
from collections.abc import Sequence

import numpy as np

Point = Sequence[float]


def affine_matrix(
    center: Point, angle: float, translate: Point, scale: float, shear: Point, inverted: bool = True
) -> list[float]:
    """[a, b, c, d, e, f]: (x, y) to (a x + b y + c, d x + e y + f); new to old, or old to new with `inverted=False`.

    Old to new: about `center`, sheared by `shear` (degrees along x and y), scaled, turned clockwise by `angle` degrees,
    then moved by `translate`.
    """
    turn, along_x, along_y = (math.radians(value) for value in (angle, *shear))
    a = math.cos(turn - along_y) / math.cos(along_y)
    b = -math.cos(turn - along_y) * math.tan(along_x) / math.cos(along_y) - math.sin(turn)
    c = math.sin(turn - along_y) / math.cos(along_y)
    d = -math.sin(turn - along_y) * math.tan(along_x) / math.cos(along_y) + math.cos(turn)
    (cx, cy), (tx, ty) = center, translate
    if inverted:  # the determinant of (a b, c d) is 1
        p, q, r, s = (value / scale for value in (d, -b, -c, a))
        x, y = -cx - tx, -cy - ty
        return [p, q, p * x + q * y + cx, r, s, r * x + s * y + cy]
    p, q, r, s = (value * scale for value in (a, b, c, d))
    return [p, q, p * -cx + q * -cy + cx + tx, r, s, r * -cx + s * -cy + cy + ty]


def rotated_size(matrix: Sequence[float], width: int, height: int) -> tuple[int, int]:
    """(width, height) that holds the whole of a turned picture; `matrix` is about the picture's middle."""
    corners = np.array([[x * width / 2, y * height / 2] for x in (-1, 1) for y in (-1, 1)], np.float32)
    a, b, c, d, e, f = matrix
    moved = corners @ np.array([[a, d], [b, e]], np.float32) + np.array([c, f], np.float32)
    middle = np.array([width / 2, height / 2], np.float32)
    least, most = (
        np.trunc((values + middle) / np.float32(1e-4)) * np.float32(1e-4) for values in (moved.min(0), moved.max(0))
    )
    size = np.ceil(most) - np.floor(least)
    return int(size[0]), int(size[1])


def perspective_coefficients(startpoints: Sequence[Point], endpoints: Sequence[Point]) -> list[float]:
    """[a, ..., h]: new (x, y) to old ((a x + b y + c) / w, (d x + e y + f) / w), w = g x + h y + 1.

    They take the four `endpoints` to the four `startpoints`. ValueError for another number of points, and for
    `endpoints` of which three lie on a line.
    """
    if len(startpoints) != 4 or len(endpoints) != 4:
        raise ValueError(f"Please provide exactly four corners, got {len(startpoints)} startpoints and "
                         f"{len(endpoints)} endpoints.")  # fmt: skip
    rows, values = [], []
    for (x, y), (u, v) in zip(endpoints, startpoints, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    try:
        solution = np.linalg.solve(np.array(rows, np.float64), np.array(values, np.float64))
    except np.linalg.LinAlgError:
        raise ValueError(f"no perspective takes a picture to the corners {list(endpoints)}") from None
    return [float(value) for value in solution.astype(np.float32)]
