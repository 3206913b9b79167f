"""Convolution by im2col: the windows of a block of the image are laid out as the rows of a matrix, then multiplied.

The matrix of a block, (places, KH KW C), is made in working memory that stays in the cache and is used again; the
matrix of a whole batch would be KH KW times as large as the batch itself. Source: Chellapilla, Puri and Simard, High
Performance Convolutional Neural Networks for Document Processing, 2006.

Images are (N, H, W, C) and filters (O, KH, KW, C/G) throughout.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minires.kernels.cpu import parallel
from minires.kernels.cpu.buffers import scratch
from minires.kernels.cpu.layout import copy_runs
from minires.kernels.cpu.small_products import NARROW, multiplied, summed_over_rows
from minires.kernels.cpu.windows import Block, Cuts, Geometry, add_to_taps, blocks_of
from minires.kernels.shapes import Pair

BUDGET = 1 << 19  # values of a block's matrix
PLACES = 512  # a block has about as many rows even where they are long: the filters are read again for every block


def channel_groups(inputs: int, outputs: int, groups: int) -> list[tuple[slice, slice]]:
    """For each group its input channels and its output channels."""
    i, o = inputs // groups, outputs // groups
    return [(slice(g * i, (g + 1) * i), slice(g * o, (g + 1) * o)) for g in range(groups)]


def as_matrix(filters: np.ndarray) -> np.ndarray:
    """(A, ..., B, C) as the matrix (A, rest) where that is how the layer's product reads its filters."""
    return np.ascontiguousarray(filters).reshape(filters.shape[0], math.prod(filters.shape[1:]))


def column_blocks(images: int, geometry: Geometry, channels: int) -> list[Block]:
    """Blocks of output rows whose matrix im2col(x) holds about BUDGET values, but at least about PLACES rows."""
    values_a_place = math.prod(geometry.kernel) * max(1, channels)
    budget = max(BUDGET, PLACES * values_a_place)
    return blocks_of(images, geometry.output[0], geometry.output[1] * values_a_place, budget)


def im2col(cuts: Cuts, block: Block) -> np.ndarray:
    """(places of the block, KH KW C) in scratch memory: each row holds what one window meets."""
    view = unbroken(cuts.windows(block))
    matrix = scratch("im2col", view.shape, view.dtype)
    copy_runs(matrix, view)
    return matrix.reshape(math.prod(view.shape[:3]), math.prod(view.shape[3:]))


def unbroken(windows: np.ndarray) -> np.ndarray:
    """Windows (n, rows, OW, KH, KW, C) as (n, rows, OW, KH, KW C) where a window's row is one run of memory."""
    *outer, column, value = windows.strides
    if value != windows.itemsize or column != windows.shape[5] * value:
        return windows
    return as_strided(windows, (*windows.shape[:4], windows.shape[4] * windows.shape[5]), (*outer, value))


def rows_of_block(y: np.ndarray, block: Block) -> np.ndarray:
    """The block's part of y (N, OH, OW, O) as a contiguous matrix (places, O): a view, or a copy in scratch memory."""
    part = y[block.place]
    if not part.flags.c_contiguous:
        copy = scratch("rows", part.shape, y.dtype)
        np.copyto(copy, part)
        part = copy
    return part.reshape(math.prod(part.shape[:3]), part.shape[3])


def forward(
    x: np.ndarray, filters: np.ndarray, bias: np.ndarray | None, geometry: Geometry, groups: int, y: np.ndarray
) -> None:
    """Fills y (N, OH, OW, O)."""
    for ins, outs in channel_groups(x.shape[3], y.shape[3], groups):
        part_of_bias = None if bias is None else bias[outs]
        right = as_matrix(filters[outs]).T
        right = np.ascontiguousarray(right) if right.shape[1] <= NARROW else right
        correlate(x[..., ins], right, part_of_bias, geometry, y[..., outs])


def correlate(x: np.ndarray, right: np.ndarray, bias: np.ndarray | None, geometry: Geometry, y: np.ndarray) -> None:
    """y = im2col(x) right (+ bias), block by block; right (KH KW C, O)."""

    def work(blocks: Sequence[Block]) -> None:
        cuts = Cuts(x, geometry)
        for block in blocks:
            left, part = im2col(cuts, block), y[block.place]
            if part.flags.c_contiguous:
                multiplied(left[None], right[None], part.reshape(1, left.shape[0], y.shape[3]))
            else:
                copy_runs(part, multiplied(left[None], right[None]).reshape(part.shape))
            if bias is not None:
                part += bias

    parallel.over(column_blocks(len(y), geometry, x.shape[3]), work)


def input_gradient(grad: np.ndarray, filters: np.ndarray, geometry: Geometry, groups: int, dx: np.ndarray) -> None:
    """Fills dx (N, H, W, C)."""
    back = transposed_geometry(geometry, (dx.shape[1], dx.shape[2]))
    for ins, outs in channel_groups(dx.shape[3], grad.shape[3], groups):
        if back is not None:
            flipped = filters[outs, ::-1, ::-1].transpose(1, 2, 0, 3)  # (KH, KW, O, C)
            right = np.ascontiguousarray(flipped).reshape(math.prod(flipped.shape[:3]), flipped.shape[3])
            correlate(grad[..., outs], right, None, back, dx[..., ins])
        elif geometry.dilation == (1, 1):
            by_phases(grad[..., outs], filters[outs], geometry, dx[..., ins])
        else:
            scatter(grad[..., outs], as_matrix(filters[outs]), geometry, dx[..., ins])


def transposed_geometry(geometry: Geometry, image: Pair) -> Geometry | None:
    """With stride 1 the gradient is itself a convolution: of grad, padded by d (k - 1) - p, with the flipped filters.

    None where the stride is larger, or the padding reaches beyond the window.
    """
    (kh, kw), (dh, dw) = geometry.kernel, geometry.dilation
    padding = (dh * (kh - 1) - geometry.padding[0], dw * (kw - 1) - geometry.padding[1])
    if geometry.stride != (1, 1) or min(padding) < 0:
        return None
    return Geometry(geometry.kernel, (1, 1), padding, geometry.dilation, image)


class Phase(NamedTuple):
    """Along one axis: the places of dx that meet the same of every `stride` places of the window, and those places."""

    first: int  # place of dx; the others follow at the stride
    places: int  # how many
    taps: slice  # places of the window, last to first
    length: int  # their number
    start: int  # place of grad, or of its padding, that the first one's windows begin at


def phases(size: int, kernel: int, stride: int, padding: int) -> list[Phase]:
    """dx[r] sums grad[i] w[k] over all r + padding = stride i + k, so that k = r + padding modulo the stride."""
    found = []
    for first in range(min(stride, size)):
        step, k = divmod(first + padding, stride)
        length = len(range(k, kernel, stride))
        taps = slice(k + stride * (length - 1), k - 1 if k else None, -stride) if length else slice(0, 0)
        found.append(Phase(first, len(range(first, size, stride)), taps, length, step - length + 1))
    return found


def by_phases(grad: np.ndarray, filters: np.ndarray, geometry: Geometry, dx: np.ndarray) -> None:
    """The places of dx that meet the same places of the window are a convolution of grad by these, with stride 1."""
    (sh, sw), (kh, kw), (ph, pw) = geometry.stride, geometry.kernel, geometry.padding
    for row in phases(dx.shape[1], kh, sh, ph):
        for column in phases(dx.shape[2], kw, sw, pw):
            target = dx[:, row.first :: sh, column.first :: sw]
            if not row.length or not column.length:
                target[...] = 0
                continue
            part = filters[:, row.taps, column.taps].transpose(1, 2, 0, 3)  # (taps, taps, O, C)
            right = np.ascontiguousarray(part).reshape(math.prod(part.shape[:3]), part.shape[3])
            seen = grad[:, max(row.start, 0) :, max(column.start, 0) :]
            padding = (max(-row.start, 0), max(-column.start, 0))
            around = Geometry((row.length, column.length), (1, 1), padding, (1, 1), (row.places, column.places))
            correlate(seen, right, None, around, target)


def scatter(grad: np.ndarray, matrix: np.ndarray, geometry: Geometry, dx: np.ndarray) -> None:
    """col2im: grad matrix gives each window's share, which is added onto the places that the window met.

    Windows overlap, so that a group of images stays with one thread; of large images some rows at a time.
    """
    height, width, channels = dx.shape[1:]
    (ph, pw), (oh, ow) = geometry.padding, geometry.output
    taps = math.prod(geometry.kernel)

    def work(groups: Sequence[slice]) -> None:
        for group in groups:
            images = group.stop - group.start
            padded = scratch("padded", (images, height + 2 * ph, width + 2 * pw, channels), dx.dtype)
            padded[...] = 0
            for part in parallel.ranges(oh, BUDGET // max(1, images * ow * taps * channels)):
                block = Block(0, images, part.start, part.stop)
                rows = rows_of_block(grad[group], block)
                shares = scratch("im2col", (rows.shape[0], matrix.shape[1]), dx.dtype)
                np.matmul(rows, matrix, out=shares)
                met = padded[:, block.top * geometry.stride[0] :]
                add_to_taps(met, block.shape[1], geometry, shares.reshape(*block.shape, ow, taps, channels))
            dx[group] = padded[:, ph : ph + height, pw : pw + width]

    parallel.over(parallel.ranges(len(dx), BUDGET // max(1, oh * ow * taps * channels)), work)


def weight_gradient(grad: np.ndarray, x: np.ndarray, geometry: Geometry, groups: int) -> np.ndarray:
    """dweight (O, KH KW C/G) = sum over blocks of grad^T im2col(x)."""
    outputs, inputs = grad.shape[3], x.shape[3] // groups
    dweight = np.empty((outputs, math.prod(geometry.kernel) * inputs), grad.dtype)
    for ins, outs in channel_groups(x.shape[3], outputs, groups):
        dweight[outs] = summed_products(x[..., ins], grad[..., outs], geometry).T
    return dweight


def summed_products(x: np.ndarray, grad: np.ndarray, geometry: Geometry) -> np.ndarray:
    """im2col(x)^T grad (KH KW C, O) over all places: each thread's blocks first, then over the threads."""
    shape = (math.prod(geometry.kernel) * x.shape[3], grad.shape[3])

    def work(blocks: Sequence[Block]) -> np.ndarray:
        cuts, total = Cuts(x, geometry), None
        for block in blocks:
            product = summed_over_rows(im2col(cuts, block)[None], rows_of_block(grad, block)[None])[0]
            total = product if total is None else np.add(total, product, out=total)
        return np.zeros(shape, grad.dtype) if total is None else total

    return parallel.added(parallel.over(column_blocks(len(grad), geometry, x.shape[3]), work))
