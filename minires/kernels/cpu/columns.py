"""Convolution by im2col: the windows of a block of the image are laid out as the rows of a matrix, then multiplied.

The matrix of a block, (places, KH KW C), is made in working memory that stays in the cache and is used again; the
matrix of a whole batch would be KH KW times as large as the batch itself. Source: Chellapilla, Puri and Simard, High
Performance Convolutional Neural Networks for Document Processing, 2006.

Images are (N, H, W, C) and filters (O, KH, KW, C/G) throughout.
"""

import math
from collections.abc import Sequence

import numpy as np

from minires.kernels.cpu import parallel
from minires.kernels.cpu.buffers import scratch
from minires.kernels.cpu.windows import Block, Geometry, add_to_taps, blocks_of, cut, windows
from minires.kernels.shapes import Pair

BUDGET = 1 << 17  # values of a block's matrix


def channel_groups(inputs: int, outputs: int, groups: int) -> list[tuple[slice, slice]]:
    """For each group its input channels and its output channels."""
    i, o = inputs // groups, outputs // groups
    return [(slice(g * i, (g + 1) * i), slice(g * o, (g + 1) * o)) for g in range(groups)]


def filter_matrix(filters: np.ndarray) -> np.ndarray:
    """(O, KH, KW, C) as (O, KH KW C), contiguous."""
    return np.ascontiguousarray(filters).reshape(filters.shape[0], math.prod(filters.shape[1:]))


def im2col(x: np.ndarray, block: Block, geometry: Geometry) -> np.ndarray:
    """(places of the block, KH KW C) in scratch memory: each row holds what one window meets."""
    view = windows(cut(x, block, geometry), block.shape[1], geometry)
    matrix = scratch("im2col", view.shape, x.dtype)
    np.copyto(matrix, view)
    return matrix.reshape(math.prod(view.shape[:3]), math.prod(view.shape[3:]))


def rows_of_block(y: np.ndarray, block: Block) -> np.ndarray:
    """The block's part of y (N, OH, OW, O) as a contiguous matrix (places, O): a view, or a copy in scratch memory."""
    part = y[block.place]
    if not part.flags.c_contiguous:
        copy = scratch("rows", part.shape, y.dtype)
        np.copyto(copy, part)
        part = copy
    return part.reshape(math.prod(part.shape[:3]), part.shape[3])


def column_blocks(images: int, geometry: Geometry, channels: int) -> list[Block]:
    values_a_row = geometry.output[1] * math.prod(geometry.kernel) * max(1, channels)
    return blocks_of(images, geometry.output[0], values_a_row, BUDGET)


def forward(
    x: np.ndarray, filters: np.ndarray, bias: np.ndarray | None, geometry: Geometry, groups: int, y: np.ndarray
) -> None:
    """Fills y (N, OH, OW, O)."""
    for ins, outs in channel_groups(x.shape[3], y.shape[3], groups):
        correlate(x[..., ins], filter_matrix(filters[outs]), geometry, y[..., outs])
    if bias is not None:
        y += bias


def correlate(x: np.ndarray, matrix: np.ndarray, geometry: Geometry, y: np.ndarray) -> None:
    """y = im2col(x) matrix^T, block by block; matrix (O, KH KW C)."""
    right = matrix.T

    def work(blocks: Sequence[Block]) -> None:
        for block in blocks:
            left, part = im2col(x, block, geometry), y[block.place]
            if part.flags.c_contiguous:
                np.matmul(left, right, out=part.reshape(left.shape[0], y.shape[3]))
            else:
                part[...] = (left @ right).reshape(part.shape)

    parallel.over(column_blocks(len(y), geometry, x.shape[3]), work)


def input_gradient(grad: np.ndarray, filters: np.ndarray, geometry: Geometry, groups: int, dx: np.ndarray) -> None:
    """Fills dx (N, H, W, C)."""
    for ins, outs in channel_groups(dx.shape[3], grad.shape[3], groups):
        back = transposed_geometry(geometry, (dx.shape[1], dx.shape[2]))
        if back is not None:
            flipped = filters[outs, ::-1, ::-1].transpose(3, 1, 2, 0)
            correlate(grad[..., outs], filter_matrix(flipped), back, dx[..., ins])
        else:
            scatter(grad[..., outs], filter_matrix(filters[outs]), geometry, dx[..., ins])


def transposed_geometry(geometry: Geometry, image: Pair) -> Geometry | None:
    """With stride 1 the gradient is itself a convolution: of grad, padded by d (k - 1) - p, with the flipped filters.

    None where the stride is larger, or the padding reaches beyond the window.
    """
    (kh, kw), (dh, dw) = geometry.kernel, geometry.dilation
    padding = (dh * (kh - 1) - geometry.padding[0], dw * (kw - 1) - geometry.padding[1])
    if geometry.stride != (1, 1) or min(padding) < 0:
        return None
    return Geometry(geometry.kernel, (1, 1), padding, geometry.dilation, image)


def scatter(grad: np.ndarray, matrix: np.ndarray, geometry: Geometry, dx: np.ndarray) -> None:
    """col2im: grad matrix gives each window's share, which is added onto the places that the window met.

    Neighbouring rows of windows overlap, so that one image stays with one thread.
    """
    height, width, channels = dx.shape[1:]
    (ph, pw), ow = geometry.padding, geometry.output[1]

    def work(images: Sequence[int]) -> None:
        for image in images:
            padded = scratch("padded", (1, height + 2 * ph, width + 2 * pw, channels), dx.dtype)
            padded[...] = 0
            for block in column_blocks(1, geometry, channels):
                rows = rows_of_block(grad[image : image + 1], block)
                shares = scratch("im2col", (rows.shape[0], matrix.shape[1]), dx.dtype)
                np.matmul(rows, matrix, out=shares)
                met = padded[:, block.top * geometry.stride[0] :]
                by_tap = shares.reshape(1, block.shape[1], ow, math.prod(geometry.kernel), channels)
                add_to_taps(met, block.shape[1], geometry, by_tap)
            dx[image] = padded[0, ph : ph + height, pw : pw + width]

    parallel.over(range(len(dx)), work)


def weight_gradient(grad: np.ndarray, x: np.ndarray, geometry: Geometry, groups: int) -> np.ndarray:
    """dweight (O, KH KW C/G) = sum over blocks of grad^T im2col(x)."""
    outputs, inputs = grad.shape[3], x.shape[3] // groups
    dweight = np.empty((outputs, math.prod(geometry.kernel) * inputs), grad.dtype)
    for ins, outs in channel_groups(x.shape[3], outputs, groups):
        dweight[outs] = summed_products(grad[..., outs], x[..., ins], geometry)
    return dweight


def summed_products(grad: np.ndarray, x: np.ndarray, geometry: Geometry) -> np.ndarray:
    """grad^T im2col(x) over all places, each thread's blocks first, then over the threads."""

    def work(blocks: Sequence[Block]) -> np.ndarray:
        total = np.zeros((grad.shape[3], math.prod(geometry.kernel) * x.shape[3]), grad.dtype)
        for block in blocks:
            total += rows_of_block(grad, block).T @ im2col(x, block, geometry)
        return total

    first, *others = parallel.over(column_blocks(len(grad), geometry, x.shape[3]), work)
    for other in others:
        first += other
    return first
