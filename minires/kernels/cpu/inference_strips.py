"""3x3 windows of stride 1 with few channels in a plan: F(4, 3) down the columns, im2col along the rows (see strips.py).

What a plan adds to that: the filters are transformed once; a strip's six rows are multiplied where they lie, since the
input has its border of zeros; and the bias costs nothing: it is the seventh row of every strip, with weight 1 for each
of the four results.
"""

from functools import partial

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minires.kernels.cpu.inference_conv import Layer
from minires.kernels.cpu.inference_layout import Activation, Border, Call, Share, blocks
from minires.kernels.cpu.inference_memory import Workspace
from minires.kernels.cpu.layout import copy_runs
from minires.kernels.cpu.strip_transforms import FILTER, INPUT, OUTPUT, STRIP
from minires.kernels.cpu.windows import Geometry
from minires.kernels.cpu.winograd import SIDE, WINDOW, applies

BUDGET = 1 << 18  # values of a block's im2col matrices
CHANNELS = 8  # with fewer, runs of memory are so short that transforms and copies cost more than they save


def suits(geometry: Geometry, groups: int, inputs: int, outputs: int) -> bool:
    """Whether the algorithm applies to a layer, and pays where `inference_winograd` does not."""
    return applies(geometry, groups) and min(inputs, outputs) >= CHANNELS


class Strips(Layer):
    """F(4, 3) in one direction."""

    @property
    def border(self) -> Border:
        """The padding, and below what the last strip reaches beyond it."""
        ph, pw = self.geometry.padding
        return Border(ph, pw, ph + -self.geometry.output[0] % STRIP, pw)

    @property
    def matrix_shape(self) -> tuple[int, ...]:
        return SIDE, WINDOW * self.inputs, self.outputs

    def matrix(self) -> np.ndarray:
        """The filters' rows at the six points: (6, 3 C, O)."""
        flat = np.ascontiguousarray(self.filters).reshape(WINDOW, -1)
        return (FILTER.astype(self.dtype) @ flat).reshape(self.matrix_shape)

    def calls(
        self, x: Activation, y: Activation, residual: Activation | None, work: Workspace, share: Share
    ) -> list[Call]:
        n, oh, ow, _ = y.shape
        calls: list[Call] = []
        for images, down in blocks(n, share.of(-(-oh // STRIP)), ow * SIDE * WINDOW * self.inputs, BUDGET):
            work.start()
            calls += self.block(x, y, work, images, down)
            calls += self.finished(y, residual, images, slice(STRIP * down.start, min(STRIP * down.stop, oh)))
        return calls

    def block(self, x: Activation, y: Activation, work: Workspace, images: slice, down: range) -> list[Call]:
        """The convolution and its bias, for some strips."""
        (ph, pw), width = self.geometry.padding, y.shape[2]
        seen = strips(x.whole[images, x.border.top - ph :, x.border.left - pw :], down, SIDE, width + WINDOW - 1)
        n, number, _, length = seen.shape
        places = n * number * width
        at_points = work.take((SIDE, n, number, length), self.dtype)
        columns = work.take((SIDE, n, number, width, WINDOW * self.inputs), self.dtype)
        products = work.take((SIDE + 1, places, self.outputs), self.dtype)
        runs = (*at_points.strides[:3], self.inputs * self.dtype.itemsize, self.dtype.itemsize)
        calls: list[Call] = [
            partial(np.matmul, INPUT.astype(self.dtype), seen, at_points.transpose(1, 2, 0, 3)),
            partial(copy_runs, columns, as_strided(at_points, columns.shape, runs)),
            *self.weights(None).product(columns.reshape(SIDE, places, -1), products[:SIDE]),
        ]
        matrix = OUTPUT
        if self.bias is not None:
            calls.append(partial(np.copyto, products[SIDE], self.bias))
            matrix = np.hstack([OUTPUT, np.ones((STRIP, 1))])
        rows = products[: matrix.shape[1]].reshape(-1, n, number, width * self.outputs).transpose(1, 2, 0, 3)
        return calls + self.interpolated(matrix.astype(self.dtype), rows, y, images, down)

    def interpolated(
        self, matrix: np.ndarray, rows: np.ndarray, y: Activation, images: slice, down: range
    ) -> list[Call]:  # fmt: skip
        """matrix (4, 6 or 7) times rows (n, strips, 6 or 7, OW O), to the strips of y; the last one may overhang."""
        oh, ow = self.geometry.output
        whole, part = min(down.stop, oh // STRIP) - down.start, y.inner[images]
        calls: list[Call] = []
        if whole > 0:
            target = strips(part, range(down.start, down.start + whole), STRIP, ow)
            calls.append(partial(np.matmul, matrix, rows[:, :whole], target))
        if whole < len(down):
            target = strips(part, down[whole:], oh % STRIP, ow)
            calls.append(partial(np.matmul, matrix[: oh % STRIP], rows[:, whole:], target))
        return calls

    def finished(self, y: Activation, residual: Activation | None, images: slice, rows: slice) -> list[Call]:
        """The residual and ReLU."""
        lines, calls = y.lines(images, rows), []
        if residual is not None:
            calls.append(partial(np.add, lines, residual.lines(images, rows), out=lines))
        if self.relu:
            calls.append(partial(np.maximum, lines, self.row("zeros", y.shape[2]), out=lines))
        return calls


def strips(images: np.ndarray, down: range, rows: int, columns: int) -> np.ndarray:
    """Those strips of images (n, H, W, C) as (n, strips, rows, columns C), STRIP rows apart: a view."""
    start = images[:, STRIP * down.start :]
    n, row, _, value = start.strides
    shape = (len(images), len(down), rows, columns * images.shape[3])
    return as_strided(start, shape, (n, STRIP * row, row, value))
