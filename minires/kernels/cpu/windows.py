"""Sliding windows over channels-last images: cutting out blocks, seeing the windows, adding back onto their places.

The images are (N, H, W, C) here. A block is some images and some rows of the *output*; the part of the input that its
windows meet is cut out with zeros (or another filling) where it reaches into the padding.
"""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minires.kernels.cpu.buffers import scratch
from minires.kernels.shapes import Pair, reach, taps


class Geometry(NamedTuple):
    """How windows lie on an image; pairs are (vertical, horizontal)."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    output: Pair


class Block(NamedTuple):
    """Images [first, last) and output rows [top, bottom)."""

    first: int
    last: int
    top: int
    bottom: int

    @property
    def place(self) -> tuple[slice, slice]:
        return slice(self.first, self.last), slice(self.top, self.bottom)

    @property
    def shape(self) -> Pair:
        return self.last - self.first, self.bottom - self.top


def blocks_of(images: int, rows: int, values_a_row: int, budget: int) -> list[Block]:
    """Blocks of about `budget` values: several whole images each, or, where one image is larger, some of its rows."""
    rows_a_block = max(1, budget // max(1, values_a_row))
    if rows_a_block >= rows:
        step = max(1, rows_a_block // max(1, rows))
        return [Block(first, min(first + step, images), 0, rows) for first in range(0, images, step)]
    return [
        Block(image, image + 1, top, min(top + rows_a_block, rows))
        for image in range(images)
        for top in range(0, rows, rows_a_block)
    ]


def input_rows(block: Block, geometry: Geometry) -> Pair:
    """First and last + 1 row of the image that the block's windows meet; outside of it where they meet the padding."""
    start = block.top * geometry.stride[0] - geometry.padding[0]
    count = reach(block.bottom - block.top, geometry.kernel[0], geometry.stride[0], geometry.dilation[0])
    return start, start + count


def input_columns(geometry: Geometry) -> Pair:
    """First and last + 1 column that the windows meet."""
    count = reach(geometry.output[1], geometry.kernel[1], geometry.stride[1], geometry.dilation[1])
    return -geometry.padding[1], count - geometry.padding[1]


def inside(start: int, stop: int, size: int) -> tuple[slice, slice]:
    """The part of [start, stop) that lies within [0, size): as places of the image and as places of the cut."""
    first = min(max(start, 0), size)
    last = max(min(stop, size), first)
    return slice(first, last), slice(first - start, last - start)


def cut(x: np.ndarray, block: Block, geometry: Geometry, fill: float = 0) -> np.ndarray:
    """The part (n, rows, columns, C) of x that the block's windows meet: a view if that is all image, else scratch."""
    top, bottom = input_rows(block, geometry)
    left, right = input_columns(geometry)
    if top >= 0 and left >= 0 and bottom <= x.shape[1] and right <= x.shape[2]:
        return x[block.first : block.last, top:bottom, left:right]
    place = scratch("cut", (block.last - block.first, bottom - top, right - left, x.shape[3]), x.dtype)
    rows, to_rows = inside(top, bottom, x.shape[1])
    columns, to_columns = inside(left, right, x.shape[2])
    place[:, : to_rows.start] = fill
    place[:, to_rows.stop :] = fill
    place[:, to_rows, : to_columns.start] = fill
    place[:, to_rows, to_columns.stop :] = fill
    place[:, to_rows, to_columns] = x[block.first : block.last, rows, columns]
    return place


def windows(part: np.ndarray, rows: int, geometry: Geometry) -> np.ndarray:
    """A view (n, rows, OW, KH, KW, C) of a cut: [n, i, j] is the window at place (i, j)."""
    image, row, column, channel = part.strides
    (sh, sw), (dh, dw) = geometry.stride, geometry.dilation
    shape = (part.shape[0], rows, geometry.output[1], *geometry.kernel, part.shape[3])
    return as_strided(part, shape, (image, sh * row, sw * column, dh * row, dw * column, channel), writeable=False)


def tap_views(part: np.ndarray, rows: int, geometry: Geometry) -> list[np.ndarray]:
    """For each place (kh, kw) of the window, row by row, the view (n, rows, OW, C) of what it meets in the cut."""
    return [
        part[
            :,
            taps(kh * geometry.dilation[0], rows, geometry.stride[0]),
            taps(kw * geometry.dilation[1], geometry.output[1], geometry.stride[1]),
        ]
        for kh in range(geometry.kernel[0])
        for kw in range(geometry.kernel[1])
    ]


def add_to_taps(part: np.ndarray, rows: int, geometry: Geometry, columns: np.ndarray) -> None:
    """Scatter: add columns (n, rows, OW, KH KW, C) onto the places of the cut that they came from."""
    for number, view in enumerate(tap_views(part, rows, geometry)):
        view += columns[:, :, :, number]
