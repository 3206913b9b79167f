"""Activations of a plan: channels-last images with a border of zeros around them, where the next layer pads.

A convolution that pads wants zeros around its input. If its input is written into the middle of a larger array whose
border is zero, nothing has to be copied for that later.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minires.kernels.cpu.windows import Geometry

Call = partial[Any]  # one NumPy function with all its arguments: a plan is a list of these


@dataclass(frozen=True)
class Share:
    """Which part of a step is this thread's: the index-th of `count`."""

    index: int
    count: int

    def of(self, length: int, unit: int = 1) -> range:
        """Its part of range(length), which is cut at multiples of `unit`."""
        units = -(-length // unit)
        edges = [min(length, units * k // self.count * unit) for k in (self.index, self.index + 1)]
        return range(*edges)


ALONE = Share(0, 1)


class Border(NamedTuple):
    """Rows and columns of zeros around an image."""

    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0

    def joined(self, other: "Border") -> "Border":
        return Border(*map(max, self, other))


class Activation:
    """Images (N, H, W, C) in the middle of `whole` (N, top + H + bottom, left + W + right, C), which is contiguous."""

    def __init__(self, whole: np.ndarray, border: Border) -> None:
        self.whole, self.border = whole, border
        top, left, bottom, right = border
        self.inner = whole[:, top : whole.shape[1] - bottom, left : whole.shape[2] - right]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.inner.shape

    def images(self, part: slice) -> "Activation":
        return Activation(self.whole[part], self.border)

    def zeros(self) -> list[np.ndarray]:
        """The parts of `whole` that are border."""
        (top, left, bottom, right), whole = self.border, self.whole
        rows = slice(top, whole.shape[1] - bottom)
        parts = [whole[:, :top], whole[:, whole.shape[1] - bottom :], whole[:, rows, :left]]
        return [part for part in (*parts, whole[:, rows, whole.shape[2] - right :]) if part.size]

    def lines(self, images: slice, rows: slice, channels: slice | None = None) -> np.ndarray:
        """(n, rows, W C): NumPy goes fastest along long lines. With some of the channels (n, rows, W, c)."""
        part = self.inner[images, rows]
        if channels is not None:
            return part[..., channels]
        n, h, w, c = part.shape
        return as_strided(part, (n, h, w * c), (*part.strides[:2], part.strides[3]))

    def matrix(self, images: slice, rows: slice) -> np.ndarray | None:
        """(places, C) if they lie in memory without gaps, else None."""
        part = self.inner[images, rows]
        return part.reshape(math.prod(part.shape[:3]), part.shape[3]) if part.flags.c_contiguous else None

    def windows(self, images: slice, rows: range, geometry: Geometry, joined: int = 1) -> np.ndarray:
        """What the windows of those output rows meet: (n, rows, OW / joined, KH, columns, C).

        joined: so many neighbouring windows are seen as a wider one. Padding must lie within the border.
        """
        (kh, kw), (sh, sw), (ph, pw), (dh, dw), (_, ow) = geometry
        top, left = self.border.top - ph, self.border.left - pw
        start = self.whole[images, top + sh * rows.start :, left:]
        n, row, column, c = start.strides
        columns = kw + (joined - 1) * sw
        shape = (start.shape[0], len(rows), ow // joined, kh, columns, start.shape[3])
        return as_strided(start, shape, (n, sh * row, joined * sw * column, dh * row, dw * column, c))


def blocks(images: int, rows: range, values_a_row: int, budget: int) -> list[tuple[slice, range]]:
    """(images, rows) of up to `budget` values: several whole images, or rows of one; of about equal sizes."""
    if not rows:
        return []
    many = max(1, budget // max(1, values_a_row))
    if many >= 2 * len(rows):
        return [(slice(p.start, p.stop), rows) for p in _evenly(range(images), many // len(rows))]
    return [(slice(image, image + 1), part) for image in range(images) for part in _evenly(rows, many)]


def _evenly(whole: range, most: int) -> list[range]:
    count = -(-len(whole) // most)
    edges = [whole.start + len(whole) * k // count for k in range(count + 1)]
    return [range(edges[k], edges[k + 1]) for k in range(count)]
