"""A convolution of a plan, with what follows it: weights laid out once, then calls of NumPy on arrays that are known.

    y = relu(conv(x) + bias + residual)

1x1 windows are a product of the matrix of places with the weights. Other windows are laid out as the rows of a matrix
first (im2col, see columns.py), a block at a time; 3x3 windows of stride 1 go by Winograd (inference_winograd.py, and
inference_strips.py for few channels). Each block is finished (bias, residual, ReLU) while it is in the cache.
"""

import math
from collections.abc import Iterator
from functools import partial

import numpy as np

from minires.kernels.cpu.inference_layout import Activation, Border, Call, Share, blocks
from minires.kernels.cpu.inference_memory import Workspace
from minires.kernels.cpu.inference_products import Weights
from minires.kernels.cpu.windows import Geometry

BLOCK = 1 << 17  # values of a block, on its wider side
PLACES = 392  # a block has about as many even where channels are many: the weights are read again for every block
FEW_PLACES = 128  # up to here threads divide the output's channels, so that each reads its own weights only
NARROW = 16  # up to so many output channels, two windows are taken together: products of few columns are slow


class Layer:
    """weight (O, C, KH, KW), bias (O,) or None, of the type the plan computes in."""

    divides_outputs = True  # whether threads may have some of the output's channels each

    def __init__(self, weight: np.ndarray, bias: np.ndarray | None, geometry: Geometry, relu: bool) -> None:
        self.bias, self.geometry, self.relu = bias, geometry, relu
        self.outputs, self.inputs = weight.shape[:2]
        self.dtype = weight.dtype
        self.laid_out: dict[tuple[int, int] | None, Weights] = {}
        self.rows: dict[tuple[str, int], np.ndarray] = {}
        self.filters = weight.transpose(2, 3, 1, 0)  # (KH, KW, C, O)

    @property
    def border(self) -> Border:
        """The zeros that the input must have around it."""
        ph, pw = self.geometry.padding
        return Border(ph, pw, ph, pw)

    @property
    def bytes(self) -> int:
        return sum(weights.bytes for weights in self.laid_out.values()) + sum(row.nbytes for row in self.rows.values())

    def calls(
        self, x: Activation, y: Activation, residual: Activation | None, work: Workspace, share: Share
    ) -> list[Call]:
        """The share's part of the layer, for all images of x."""
        raise NotImplementedError

    def parts(self, y: Activation, values_a_row: int, share: Share) -> Iterator[tuple[slice, range, slice | None]]:
        """(images, rows, output channels or None for all): the blocks of the share."""
        n, oh, ow, _ = y.shape
        channels, rows = None, range(oh)
        divisible = self.divides_outputs and self.outputs % (32 * share.count) == 0
        if share.count > 1 and n * oh * ow <= FEW_PLACES and divisible:
            part = share.of(self.outputs, 32)
            channels = slice(part.start, part.stop)
        elif share.count > 1:
            rows = share.of(oh)
        for images, some in blocks(n, rows, values_a_row, max(BLOCK, PLACES * values_a_row // ow)):
            yield images, some, channels

    def weights(self, channels: slice | None) -> Weights:
        """The matrix (K, O), or those columns of it."""
        key = None if channels is None else (channels.start, channels.stop)
        if key not in self.laid_out:
            shape = self.matrix_shape if key is None else (*self.matrix_shape[:-1], key[1] - key[0])
            self.laid_out[key] = Weights(shape, lambda: self.matrix()[..., channels or slice(None)])
        return self.laid_out[key]

    @property
    def matrix_shape(self) -> tuple[int, ...]:
        return math.prod(self.filters.shape[:3]), self.outputs

    def matrix(self) -> np.ndarray:
        """(KH KW C, O): a row for each value of a window."""
        return self.filters.reshape(self.matrix_shape)

    def finish(
        self, product: np.ndarray, y: Activation, residual: Activation | None, images: slice, rows: range,
        channels: slice | None,
    ) -> list[Call]:  # fmt: skip
        """Calls for y = relu(product + bias + residual) on a block; product holds it, in place or elsewhere."""
        where = (images, slice(rows.start, rows.stop), channels)
        target = y.lines(*where)
        values = product.reshape(target.shape)
        repeats = 1 if channels is not None else y.shape[2]
        steps: list[tuple[np.ufunc, np.ndarray]] = []
        if self.bias is not None:
            steps.append((np.add, self.row("bias", repeats)[channels or slice(None)]))
        if residual is not None:
            steps.append((np.add, residual.lines(*where)))
        if self.relu:
            steps.append((np.maximum, self.row("zeros", repeats)[channels or slice(None)]))
        calls: list[Call] = []
        for number, (function, operand) in enumerate(steps):
            calls.append(partial(function, values, operand, out=target if number + 1 == len(steps) else values))
        if not steps and not np.shares_memory(values, target):
            calls.append(partial(np.copyto, target, values))
        return calls

    def row(self, what: str, repeats: int) -> np.ndarray:
        """The bias, or zeros, for a line of so many places. (np.maximum is slower with the number 0.)"""
        if (what, repeats) not in self.rows:
            values = self.bias if what == "bias" and self.bias is not None else np.zeros(self.outputs, self.dtype)
            self.rows[what, repeats] = np.tile(values, repeats)
        return self.rows[what, repeats]


class Pointwise(Layer):
    """1x1 windows without padding."""

    def calls(
        self, x: Activation, y: Activation, residual: Activation | None, work: Workspace, share: Share
    ) -> list[Call]:
        calls: list[Call] = []
        for images, rows, channels in self.parts(y, y.shape[2] * max(self.inputs, self.outputs), share):
            work.start()
            left = x.matrix(images, slice(rows.start, rows.stop)) if self.geometry.stride == (1, 1) else None
            if left is None:
                view = x.windows(images, rows, self.geometry)[:, :, :, 0, 0]
                copy = work.take(view.shape, self.dtype)
                calls.append(partial(np.copyto, copy, view))
                left = copy.reshape(-1, self.inputs)
            calls += multiplied(self, left, y, residual, work, images, rows, channels)
        return calls


class Columns(Layer):
    """Windows of any kind by im2col: the row of a matrix for each window, or for two neighbouring ones.

    Two windows of 16 channels in one row make half as many rows, a third longer, and a product of 32 columns: the
    weights of the second window stand beside those of the first, moved by a place, with zeros where it does not reach.
    """

    @property
    def joined(self) -> int:
        geometry = self.geometry
        return 2 if self.outputs <= NARROW and geometry.output[1] % 2 == 0 and geometry.dilation == (1, 1) else 1

    @property
    def matrix_shape(self) -> tuple[int, ...]:
        """(KH columns C, joined O)."""
        kh, kw, c, o = self.filters.shape
        return kh * (kw + (self.joined - 1) * self.geometry.stride[1]) * c, self.joined * o

    def matrix(self) -> np.ndarray:
        kh, kw, c, o = self.filters.shape
        shift = self.geometry.stride[1]
        whole = np.zeros((kh, kw + (self.joined - 1) * shift, c, self.joined, o), self.dtype)
        for number in range(self.joined):
            whole[:, number * shift : number * shift + kw, :, number] = self.filters
        return whole.reshape(self.matrix_shape)

    def calls(
        self, x: Activation, y: Activation, residual: Activation | None, work: Workspace, share: Share
    ) -> list[Call]:
        calls: list[Call] = []
        length = self.matrix_shape[0]
        for images, rows, channels in self.parts(y, y.shape[2] // self.joined * length, share):
            work.start()
            view = x.windows(images, rows, self.geometry, self.joined)
            columns = work.take(view.shape, self.dtype)
            if self.geometry.dilation[1] == 1:  # the columns of a window's row lie side by side: longer runs to copy
                calls.append(partial(np.copyto, _runs(columns), _runs(view)))
            else:
                calls.append(partial(np.copyto, columns, view))
            calls += multiplied(self, columns.reshape(-1, length), y, residual, work, images, rows, channels)
        return calls


def _runs(windows: np.ndarray) -> np.ndarray:
    """(n, rows, places, KH, columns, C) as (n, rows, places, KH, columns C)."""
    *shape, columns, c = windows.shape
    return np.lib.stride_tricks.as_strided(windows, (*shape, columns * c), (*windows.strides[:-2], windows.strides[-1]))


def multiplied(
    layer: Layer, left: np.ndarray, y: Activation, residual: Activation | None, work: Workspace, images: slice,
    rows: range, channels: slice | None,
) -> list[Call]:  # fmt: skip
    """left times the layer's weights, finished: into y directly, or by way of working memory where y has gaps."""
    weights = layer.weights(channels)
    out = y.matrix(images, slice(rows.start, rows.stop)) if channels is None else None
    if out is None:
        out = work.take((len(left), weights.shape[1]), layer.dtype)
    out = out.reshape(len(left), weights.shape[1])
    return weights.product(left, out) + layer.finish(out, y, residual, images, rows, channels)
