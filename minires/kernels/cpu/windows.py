"""Sliding windows over channels-last images: cutting out blocks, seeing the windows, adding back onto their places.

The images are (N, H, W, C) here. A block is some images and some rows of the *output*; the part of the input that its
windows meet is copied into scratch memory with zeros (or another filling) around it where it reaches into the padding.
"""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minires.kernels.cpu import parallel
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
    """Blocks of up to `budget` values: several whole images each, or some rows of one where images are large or few."""
    rows_a_block = max(1, budget // max(1, values_a_row))
    if rows_a_block >= rows and images > 1:
        groups = parallel.ranges(images, rows_a_block // max(1, rows))
        return [Block(group.start, group.stop, 0, rows) for group in groups]
    parts = parallel.ranges(rows, rows_a_block)
    return [Block(image, image + 1, part.start, part.stop) for image in range(images) for part in parts]


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


class Cut(NamedTuple):
    """Scratch memory for the blocks of one shape and place within the image."""

    whole: np.ndarray  # (n, rows, columns, C)
    image: np.ndarray  # the view of it that the image fills
    rows: slice  # the rows and columns of the image that fill it
    columns: slice
    borders: list[np.ndarray]  # the views of it that are padding
    windows: np.ndarray


class Cuts:
    """The parts of images x (N, H, W, C) that the windows of one block after the other meet; for one thread.

    Two of them at work at once in one thread need two names for their scratch memory.
    Most blocks of a batch have one shape: their views are made once, and the borders filled once. What `windows` and
    `taps` return is valid until the next block is asked for, and is not to be written to.
    """

    def __init__(self, x: np.ndarray, geometry: Geometry, fill: float = 0, name: str = "cut") -> None:
        self.x, self.geometry, self.fill, self.name = x, geometry, fill, name
        rows = input_rows(Block(0, 1, 0, geometry.output[0]), geometry)
        self.left, self.right = input_columns(geometry)
        self.is_padded = min(rows[0], self.left) < 0 or rows[1] > x.shape[1] or self.right > x.shape[2]
        self.made: dict[tuple[int, ...], Cut] = {}
        self.current: Cut | None = None
        self.all_windows = None if self.is_padded else windows(x, geometry.output[0], geometry)

    def windows(self, block: Block) -> np.ndarray:
        """(n, rows, OW, KH, KW, C): [n, i, j] is the window at place (i, j) of the block."""
        if self.all_windows is not None:
            return self.all_windows[block.place]
        return self._filled(block).windows

    def taps(self, block: Block) -> list[np.ndarray]:
        """For each place (kh, kw) of the window, row by row, what it meets: (n, rows, OW, C)."""
        view = self.windows(block)
        return [view[:, :, :, kh, kw] for kh in range(view.shape[3]) for kw in range(view.shape[4])]

    def _filled(self, block: Block) -> Cut:
        key = (block.last - block.first, block.top, block.bottom)
        cut = self.made.get(key) or self.made.setdefault(key, self._make(block))
        if cut is not self.current:
            for border in cut.borders:
                border[...] = self.fill
            self.current = cut
        np.copyto(cut.image, self.x[block.first : block.last, cut.rows, cut.columns])
        return cut

    def _make(self, block: Block) -> Cut:
        top, bottom = input_rows(block, self.geometry)
        shape = (block.last - block.first, bottom - top, self.right - self.left, self.x.shape[3])
        whole = scratch(self.name, shape, self.x.dtype)
        rows, to_rows = inside(top, bottom, self.x.shape[1])
        columns, to_columns = inside(self.left, self.right, self.x.shape[2])
        borders = [
            whole[:, : to_rows.start],
            whole[:, to_rows.stop :],
            whole[:, to_rows, : to_columns.start],
            whole[:, to_rows, to_columns.stop :],
        ]
        view = windows(whole, block.bottom - block.top, self.geometry)
        return Cut(whole, whole[:, to_rows, to_columns], rows, columns, borders, view)


def windows(part: np.ndarray, rows: int, geometry: Geometry) -> np.ndarray:
    """A view (n, rows, OW, KH, KW, C) of padded images (n, H, W, C): [n, i, j] is the window at place (i, j)."""
    image, row, column, channel = part.strides
    (sh, sw), (dh, dw) = geometry.stride, geometry.dilation
    shape = (part.shape[0], rows, geometry.output[1], *geometry.kernel, part.shape[3])
    return as_strided(part, shape, (image, sh * row, sw * column, dh * row, dw * column, channel), writeable=False)


def tap_views(part: np.ndarray, rows: int, geometry: Geometry) -> list[np.ndarray]:
    """For each place (kh, kw) of the window, row by row, the writeable view (n, rows, OW, C) of what it meets."""
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
    """Scatter: add columns (n, rows, OW, KH KW, C) onto the places of the padded images that they came from."""
    for number, view in enumerate(tap_views(part, rows, geometry)):
        view += columns[:, :, :, number]
