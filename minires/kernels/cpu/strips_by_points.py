"""`strips` for few places and many channels: the threads share the six points, and with them the filters.

Three phases, each shared among the threads: images are laid out at the points, multiplied there, put together again.
"""

from collections.abc import Sequence

import numpy as np

from minires.kernels.cpu import parallel
from minires.kernels.cpu.buffers import scratch
from minires.kernels.cpu.strip_transforms import INPUT, OUTPUT, evaluated, im2col, interpolated, strips_of
from minires.kernels.cpu.windows import Block
from minires.kernels.cpu.winograd import SIDE, WINDOW
from minires.kernels.shapes import Pair


def image_blocks(images: int, output: Pair) -> list[tuple[Block, slice]]:
    """For each thread some images, and the places that they are in the matrices of all."""
    rows = strips_of(output[0])
    each = rows * output[1]
    groups = parallel.ranges(images, -(-images // parallel.current_threads()))
    return [(Block(g.start, g.stop, 0, rows), slice(g.start * each, g.stop * each)) for g in groups]


def laid_out(x: np.ndarray, padding: Pair, output: Pair) -> np.ndarray:
    """The im2col matrices (6, places, 3 C) of images x (N, H, W, C) at the points, in scratch memory."""
    places = len(x) * strips_of(output[0]) * output[1]
    matrices = scratch("all im2col", (SIDE, places, WINDOW * x.shape[3]), x.dtype)

    def work(blocks: Sequence[tuple[Block, slice]]) -> None:
        for block, part in blocks:
            rows = evaluated(INPUT, x, block, padding, "at the points")
            im2col(rows, output[1], x.shape[3], matrices[:, part])

    parallel.over(image_blocks(len(x), output), work)
    return matrices


def multiplied(left: np.ndarray, right: np.ndarray, out: np.ndarray) -> np.ndarray:
    """out = left right at each of the points."""

    def work(points: Sequence[int]) -> None:
        for point in points:
            np.matmul(left[point], right[point], out=out[point])

    parallel.over(range(SIDE), work)
    return out


def put_together(products: np.ndarray, y: np.ndarray) -> None:
    """Write A^T products (6, places, O) to y (N, OH, OW, O)."""

    def work(blocks: Sequence[tuple[Block, slice]]) -> None:
        for block, part in blocks:
            interpolated(products[:, part], block, y)

    parallel.over(image_blocks(len(y), (y.shape[1], y.shape[2])), work)


def correlate(left: np.ndarray, right: np.ndarray, y: np.ndarray) -> None:
    """Fill y (N, OH, OW, O) from what `laid_out` gave and the filters at the points (6, 3 C, O)."""
    products = scratch("all products", (*left.shape[:2], y.shape[3]), y.dtype)
    put_together(multiplied(left, right, products), y)


def filter_gradient(left: np.ndarray, x: np.ndarray) -> np.ndarray:
    """left^T (A x) (6, 3 O, C) from what `laid_out` gave of grad, and the images x (N, H, W, C)."""
    image, channels = (x.shape[1], x.shape[2]), x.shape[3]
    values = scratch("all products", (SIDE, len(x), strips_of(image[0]), image[1] * channels), x.dtype)

    def work(blocks: Sequence[tuple[Block, slice]]) -> None:
        for block, _ in blocks:
            evaluated(OUTPUT.T, x, block, (0, 0), "", values[:, block.first : block.last])

    parallel.over(image_blocks(len(x), image), work)
    right = values.reshape(*left.shape[:2], channels)
    return multiplied(left.transpose(0, 2, 1), right, np.empty((SIDE, left.shape[2], channels), x.dtype))
