"""Convolution with one input channel and one output channel a group: nothing to sum over but the window's places."""

import math
from collections.abc import Sequence

import numpy as np

from minires.kernels.cpu import parallel
from minires.kernels.cpu.buffers import scratch
from minires.kernels.cpu.windows import Block, Cuts, Geometry, blocks_of, tap_views

BUDGET = 1 << 16  # values of the output a block


def per_tap(filters: np.ndarray) -> np.ndarray:
    """filters (C, KH, KW, 1) as (KH KW, C), so that each place of the window has its row of channels."""
    return np.ascontiguousarray(filters.reshape(filters.shape[0], -1).T)


def forward(x: np.ndarray, filters: np.ndarray, bias: np.ndarray | None, geometry: Geometry, y: np.ndarray) -> None:
    """x (N, H, W, C), filters (C, KH, KW, 1); fills y (N, OH, OW, C)."""
    weights = per_tap(filters)

    def work(blocks: Sequence[Block]) -> None:
        cuts = Cuts(x, geometry)
        for block in blocks:
            part = y[block.place]
            term = scratch("term", part.shape, y.dtype)
            part[...] = 0 if bias is None else bias
            for view, row in zip(cuts.taps(block), weights, strict=True):
                part += np.multiply(view, row, out=term)

    parallel.over(blocks_of(y.shape[0], y.shape[1], y.shape[2] * y.shape[3], BUDGET), work)


def input_gradient(grad: np.ndarray, filters: np.ndarray, geometry: Geometry, dx: np.ndarray) -> None:
    """grad (N, OH, OW, C); fills dx (N, H, W, C). Whole images at a time, since neighbouring rows overlap."""
    weights = per_tap(filters)
    height, width = dx.shape[1:3]
    (ph, pw), (oh, _) = geometry.padding, geometry.output

    def work(images: Sequence[int]) -> None:
        for image in images:
            padded = scratch("padded", (1, height + 2 * ph, width + 2 * pw, dx.shape[3]), dx.dtype)
            term = scratch("term", grad[image : image + 1].shape, dx.dtype)
            padded[...] = 0
            for view, row in zip(tap_views(padded, oh, geometry), weights, strict=True):
                view += np.multiply(grad[image : image + 1], row, out=term)
            dx[image] = padded[0, ph : ph + height, pw : pw + width]

    parallel.over(range(len(dx)), work)


def weight_gradient(grad: np.ndarray, x: np.ndarray, geometry: Geometry) -> np.ndarray:
    """dweight (C, KH KW)."""
    channels = grad.shape[3]

    def work(blocks: Sequence[Block]) -> np.ndarray:
        cuts, total = Cuts(x, geometry), np.zeros((math.prod(geometry.kernel), channels), grad.dtype)
        for block in blocks:
            part = grad[block.place]
            for number, view in enumerate(cuts.taps(block)):
                total[number] += np.einsum("nhwc,nhwc->c", part, view)
        return total

    blocks = blocks_of(grad.shape[0], grad.shape[1], grad.shape[2] * channels, BUDGET)
    return np.ascontiguousarray(parallel.added(parallel.over(blocks, work)).T)
