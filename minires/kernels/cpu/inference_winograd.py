"""3x3 windows of stride 1 in a plan, by Winograd's algorithm (winograd.py has the mathematics, and the points).

What a plan adds: the filters are transformed once. The tiles of a block are gathered from the padded input by one copy,
each transform is one product by a constant matrix, and the bias costs nothing: it is the 37th value of every tile, with
weight 1 for each of the 16 results.
"""

import math
from functools import partial

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minires.kernels.cpu import winograd
from minires.kernels.cpu.inference_conv import Layer
from minires.kernels.cpu.inference_layout import Activation, Border, Call, Share, blocks
from minires.kernels.cpu.inference_memory import Workspace
from minires.kernels.cpu.inference_products import transform
from minires.kernels.cpu.small_products import split
from minires.kernels.cpu.windows import Geometry
from minires.kernels.cpu.winograd import apart, tiled, unfolded

OUTPUT, FILTER, INPUT = (np.kron(matrix, matrix) for matrix in winograd.transforms(winograd.POINTS))
TILE, SIDE = 4, 6
POINTS = SIDE * SIDE
BUDGET = 1 << 18  # values of a block's transformed tiles
TILES = 64  # a block has about as many tiles even where channels are many: the filters are read again for every block
CHANNELS = 64  # with fewer, lines are so short that copies and transforms cost more than they save


def suits(geometry: Geometry, groups: int, images: int, inputs: int, outputs: int) -> bool:
    """Whether the algorithm applies to a layer, and pays."""
    tiles = images * math.prod(-(-size // TILE) for size in geometry.output)
    return (
        geometry.kernel == (3, 3)
        and geometry.stride == geometry.dilation == (1, 1)
        and groups == 1
        and min(inputs, outputs) >= CHANNELS
        and max(inputs, outputs) <= 16 * tiles
    )


class Winograd(Layer):
    """F(4x4, 3x3)."""

    @property
    def border(self) -> Border:
        """The padding, and below and to the right what the last tiles reach beyond it."""
        (ph, pw), (oh, ow) = self.geometry.padding, self.geometry.output
        return Border(ph, pw, ph + -oh % TILE, pw + -ow % TILE)

    @property
    def matrix_shape(self) -> tuple[int, ...]:
        return POINTS, self.inputs, self.outputs

    def matrix(self) -> np.ndarray:
        """The filters at the 36 points: (36, C, O)."""
        flat = np.ascontiguousarray(self.filters).reshape(9, -1)
        return (self.constant(FILTER) @ flat).reshape(self.matrix_shape)

    def calls(
        self, x: Activation, y: Activation, residual: Activation | None, work: Workspace, share: Share
    ) -> list[Call]:
        n, oh, ow, _ = y.shape
        across, down = -(-ow // TILE), share.of(-(-oh // TILE))
        tiles = Geometry((SIDE, SIDE), (TILE, TILE), self.geometry.padding, (1, 1), (-(-oh // TILE), across))
        calls: list[Call] = []
        values = POINTS * max(self.inputs, self.outputs)
        for images, rows in blocks(n, down, across * values, max(BUDGET, TILES * values)):
            work.start()
            calls += self.block(x, y, residual, work, images, rows, tiles)
        return calls

    def block(
        self, x: Activation, y: Activation, residual: Activation | None, work: Workspace, images: slice, down: range,
        tiles: Geometry,
    ) -> list[Call]:  # fmt: skip
        """The tiles of some rows of tiles."""
        view = x.windows(images, down, tiles).transpose(3, 4, 0, 1, 2, 5)  # (6, 6, n, down, across, C)
        number = math.prod(view.shape[2:5])
        length = apart(number * max(self.inputs, self.outputs))
        first, second = (work.take((POINTS + 1, length), self.dtype) for _ in range(2))
        gathered = first[:POINTS, : number * self.inputs]
        at_points = second[:POINTS, : number * self.inputs]
        products = first[:, : number * self.outputs]
        results = second[: TILE**2, : number * self.outputs]
        calls: list[Call] = [partial(np.copyto, unfolded(gathered, view.shape), view)]
        calls += transform(self.constant(INPUT), gathered, at_points)
        calls += self.weights(None).product(tiled(at_points, self.inputs), tiled(products[:POINTS], self.outputs))
        if self.bias is None:
            calls += transform(self.constant(OUTPUT), products[:POINTS], results)
        else:
            with_bias = np.hstack([OUTPUT, np.ones((TILE**2, 1))])
            calls.append(partial(np.copyto, products[POINTS].reshape(number, -1), self.bias))
            calls += transform(self.constant(with_bias), products, results)
        return calls + self.placed(results, y, residual, images, down, view.shape[2:5])

    def placed(
        self, results: np.ndarray, y: Activation, residual: Activation | None, images: slice, down: range,
        tiles: tuple[int, ...],
    ) -> list[Call]:  # fmt: skip
        """The results of tiles to their places in y; ReLU before that, on long lines, unless a residual comes first."""
        n, rows, across = tiles
        calls: list[Call] = []
        if self.relu and residual is None:
            zeros = self.row("zeros", -(-1024 // self.outputs))
            whole = results.shape[1] // zeros.size * zeros.size
            parts = (split(results[:, :whole], 1, zeros.size), results[:, whole:])
            calls += [partial(np.maximum, part, zeros[: part.shape[-1]], out=part) for part in parts if part.size]
        bottom = min(TILE * down.stop, y.shape[1])
        target = y.inner[images, TILE * down.start : bottom]
        source = unfolded(results, (TILE, TILE, n, rows, across, self.outputs))
        calls += [partial(np.copyto, to, of) for to, of in _pairs(source, target)]
        if residual is not None:
            where = (images, slice(TILE * down.start, bottom), None)
            lines = y.lines(*where)
            calls.append(partial(np.add, lines, residual.lines(*where), out=lines))
            if self.relu:
                calls.append(partial(np.maximum, lines, self.row("zeros", y.shape[2]), out=lines))
        return calls

    def constant(self, matrix: np.ndarray) -> np.ndarray:
        return matrix.astype(self.dtype)


def _pairs(source: np.ndarray, target: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """(part of target, part of source) for source (4, 4, n, down, across, O).

    All tiles that lie inside at once, then the last row and column of tiles where they overhang.
    """
    _, height, width, _ = target.shape
    full_down, full_across = height // TILE, width // TILE
    pairs = []
    for rows, high, top in ((slice(0, full_down), TILE, 0), (slice(full_down, None), height % TILE, TILE * full_down)):
        for columns, wide, left in (
            (slice(0, full_across), TILE, 0), (slice(full_across, None), width % TILE, TILE * full_across),
        ):  # fmt: skip
            part = source[:high, :wide, :, rows, columns]
            if part.size:
                s = target.strides
                start = target[:, top:, left:]
                to = as_strided(start, part.shape, (s[1], s[2], s[0], TILE * s[1], TILE * s[2], s[3]))
                pairs.append((to, part))
    return pairs
