"""Convolution, + residual, ReLU, where the layer's outputs are still in the cache; the formula stands in reference/.

A 1x1 convolution finishes each block of rows as soon as its product is there. The others are computed by `conv` first,
and finished in place, so that no second large array is made.
"""

from collections.abc import Sequence

import numpy as np

from minires.kernels.cpu import parallel, pointwise
from minires.kernels.cpu.conv import conv2d_forward, images_last, is_pointwise
from minires.kernels.cpu.layout import channels_second, rows_of, widened, widening
from minires.kernels.cpu.windows import Geometry
from minires.kernels.shapes import Pair, convolution_sizes

__all__ = ["conv2d_act_forward"]

BUDGET = 1 << 16  # values a block, where there is nothing to do but to finish it


class Finish:
    """+ bias (or None), + residual (or None), ReLU: written onto blocks of the matrix (places, channels) that y is."""

    def __init__(self, y: np.ndarray, bias: np.ndarray | None, residual: np.ndarray | None, relu: bool) -> None:
        self.y, self.residual = y, None if residual is None else rows_of(residual)
        width = y.shape[1] * widening(1 << 20, y.shape[1])  # rows are laid side by side: see `widening`
        self.bias = None if bias is None else np.tile(bias.astype(y.dtype), width // max(1, y.shape[1]))
        self.zeros = np.zeros(width, y.dtype) if relu else None

    def __call__(self, rows: slice) -> None:
        part = self.y[rows]
        factor = widening(*part.shape)
        part = widened(part, factor)
        if self.bias is not None:
            part += self.bias[: part.shape[1]]
        if self.residual is not None:
            part += widened(self.residual[rows], factor)
        if self.zeros is not None:
            np.maximum(part, self.zeros[: part.shape[1]], out=part)


def conv2d_act_forward(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    residual: np.ndarray | None,
    relu: bool,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> np.ndarray:
    """As the reference; y is stored channels last."""
    kernel = (weight.shape[2], weight.shape[3])
    size = convolution_sizes((x.shape[2], x.shape[3]), kernel, stride, padding, dilation)
    geometry = Geometry(kernel, stride, padding, dilation, size)
    if not is_pointwise(geometry, groups):
        y = conv2d_forward(x, weight, bias, stride, padding, dilation, groups)
        finish_all(Finish(rows_of(y), None, residual, relu))
        return y
    y = np.empty((x.shape[0], *size, weight.shape[0]), x.dtype)
    filters = pointwise.matrix(images_last(weight.astype(x.dtype, copy=False)))
    left, right = pointwise.picked(images_last(x), geometry), filters.T
    matrix = pointwise.matrix(y)
    finish = Finish(matrix, bias, residual, relu)

    def work(blocks: Sequence[slice]) -> None:
        for rows in blocks:
            np.matmul(left[rows], right, out=matrix[rows])
            finish(rows)

    parallel.over(pointwise.row_blocks(len(left), *right.shape), work)
    return channels_second(y)


def finish_all(finish: Finish) -> None:
    """Finish a matrix that is complete."""

    def work(blocks: Sequence[slice]) -> None:
        for rows in blocks:
            finish(rows)

    rows, channels = finish.y.shape
    if rows and channels and (finish.residual is not None or finish.zeros is not None):
        parallel.over(parallel.ranges(rows, BUDGET // channels), work)
