"""Pictures seen through a grid of places: spatial transformers (Jaderberg et al. 2015).

Places are (x, y) from -1 to 1 across the picture. align_corners: -1 and 1 are the middles of the outer pixels, else
their outer edges.
"""

import math
from typing import Any

import numpy as np

from minires.autograd import Function, Node
from minires.backend import Array, array_module
from minires.ops.linalg import matmul
from minires.ops.memory import axis_order, new_array
from minires.tensor import Tensor, register

Weighing = tuple[list[Array], list[Array], list[Array]]  # places, weights and slopes of the taps along one axis


def _reflected(xp: Any, place: Array, low: float, high: float) -> tuple[Array, Array]:
    """(place mirrored at low and high until it is between them, its slope: 1 or -1)."""
    span = high - low
    if span == 0:
        return xp.zeros_like(place), xp.zeros_like(place)
    distance = xp.absolute(place - low)
    times, rest = xp.floor(distance / span), xp.fmod(distance, span)
    even = times % 2 == 0
    slope = xp.where(place < low, -1, 1) * xp.where(even, 1, -1)
    return xp.where(even, rest + low, high - rest), slope


def _within(xp: Any, place: Array, length: int, padding_mode: str, align_corners: bool) -> tuple[Array, Array]:
    """Places (in pixels) brought into the picture as `padding_mode` says, and the slope of doing so."""
    slope = xp.ones_like(place)
    if padding_mode == "zeros":
        return place, slope
    if padding_mode == "reflection":
        low, high = (0, length - 1) if align_corners else (-0.5, length - 0.5)
        place, slope = _reflected(xp, place, low, high)
    outside = (place <= 0) | (place >= length - 1)
    return xp.clip(place, 0, length - 1), xp.where(outside, 0, slope)


def _pixels(place: Array, length: int, align_corners: bool) -> tuple[Array, float]:
    """Places from -1 to 1 in pixels, and the slope."""
    if align_corners:
        return (place + 1) / 2 * (length - 1), (length - 1) / 2
    return ((place + 1) * length - 1) / 2, length / 2


def _cubic_weights(share: Array) -> tuple[list[Array], list[Array]]:
    """Keys's weights (a = -0.75) of the four places around, and their derivatives by the share."""
    a, weights, slopes = -0.75, [], []
    for offset in (-1, 0, 1, 2):
        signed = share - offset
        d, sign = abs(signed), (signed > 0) * 2 - 1
        if offset in (0, 1):
            weights.append(((a + 2) * d - (a + 3)) * d * d + 1)
            slopes.append((3 * (a + 2) * d - 2 * (a + 3)) * d * sign)
        else:
            weights.append(((a * d - 5 * a) * d + 8 * a) * d - 4 * a)
            slopes.append(((3 * a * d - 10 * a) * d + 8 * a) * sign)
    return weights, slopes


def _taps(xp: Any, place: Array, length: int, mode: str, padding_mode: str, align_corners: bool) -> Weighing:
    """For each place of the grid along one axis: pixels, their weights, and the weights' slopes by the place."""
    place, slope = _pixels(place, length, align_corners)
    if mode == "bicubic":
        first = xp.floor(place)
        weights, slopes = _cubic_weights(place - first)
        pixels = []
        for offset in (-1, 0, 1, 2):
            inside, _ = _within(xp, first + offset, length, padding_mode, align_corners)
            pixels.append(xp.rint(inside))
        return pixels, weights, [s * slope for s in slopes]
    place, bent = _within(xp, place, length, padding_mode, align_corners)
    if mode == "nearest":
        return [xp.rint(place)], [xp.ones_like(place)], [xp.zeros_like(place)]
    first = xp.floor(place)
    share, slope = place - first, slope * bent
    return [first, first + 1], [1 - share, share], [-slope, slope]


class GridSample(Function):
    """y[n, c, i, j] = sum over taps of u w x[n, c, row, column], with u the row's and w the column's weight.

    x (N, C, H, W), grid (N, OH, OW, 2), y (N, C, OH, OW). dx[n, c, row, column] += u w dy;
    dgrid = sum over c of dy sum over taps of (u dw, du w) x.  Taps outside the picture count as 0.
    """

    @staticmethod
    def forward(ctx: Node, x: Array, grid: Array, mode: str, padding_mode: str, align_corners: bool) -> Array:
        xp = array_module(x)
        height, width = x.shape[2:]
        columns = _taps(xp, grid[..., 0], width, mode, padding_mode, align_corners)
        rows = _taps(xp, grid[..., 1], height, mode, padding_mode, align_corners)
        picture = xp.arange(len(x))[:, None, None]
        ctx.order, ctx.shape, ctx.taps = axis_order(x), x.shape, []
        y = xp.zeros((len(x), *grid.shape[1:3], x.shape[1]), x.dtype)
        for row, u, du in zip(*rows, strict=True):
            for column, w, dw in zip(*columns, strict=True):
                seen = (row >= 0) & (row < height) & (column >= 0) & (column < width)
                at = (picture, slice(None), xp.where(seen, row, 0).astype(int), xp.where(seen, column, 0).astype(int))
                weight = xp.where(seen, u * w, 0).astype(x.dtype)
                values = x[at]
                y += values * weight[..., None]
                slopes = (xp.where(seen, u * dw, 0), xp.where(seen, du * w, 0)) if ctx.needs_input_grad[1] else None
                ctx.taps.append((at, weight, values if slopes else None, slopes))
        return y.transpose(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        xp, last = array_module(grad), grad.transpose(0, 2, 3, 1)
        dx = new_array(grad, ctx.shape, ctx.order) if ctx.needs_input_grad[0] else None
        dgrid = xp.zeros((*last.shape[:3], 2), grad.dtype) if ctx.needs_input_grad[1] else None
        for at, weight, values, slopes in ctx.taps:
            if dx is not None:
                xp.add.at(dx, at, last * weight[..., None])
            if dgrid is not None:
                along = (last * values).sum(-1)
                dgrid[..., 0] += along * slopes[0]
                dgrid[..., 1] += along * slopes[1]
        return dx, dgrid, None, None, None


MODES = ("bilinear", "nearest", "bicubic")
PADDING_MODES = ("zeros", "border", "reflection")


@register
def grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Tensor:
    """input (N, C, H, W) at the places grid (N, OH, OW, 2), each (x, y) from -1 to 1: (N, C, OH, OW).

    mode: "bilinear", "nearest" or "bicubic". padding_mode: what lies outside: "zeros", "border" (the nearest pixel) or
    "reflection". align_corners: None is False (PyTorch warns). Volumes (5 axes) are not supported.
    """
    if mode not in MODES:
        raise ValueError(f"nn.functional.grid_sample(): expected mode to be one of {MODES}, but got: {mode!r}")
    if padding_mode not in PADDING_MODES:
        raise ValueError(f"nn.functional.grid_sample(): expected padding_mode to be one of {PADDING_MODES}, but got: "
                         f"{padding_mode!r}")  # fmt: skip
    if input.ndim == 5:
        raise NotImplementedError("grid_sample: volumes, input of 5 axes, are not supported")
    if input.ndim != 4 or grid.ndim != 4 or grid.shape[-1] != 2 or grid.shape[0] != input.shape[0]:
        raise RuntimeError(f"grid_sample(): expected input (N, C, H, W) and grid (N, OH, OW, 2), got {input.shape} and "
                           f"{grid.shape}")  # fmt: skip
    if input.dtype != grid.dtype:
        raise RuntimeError(f"grid_sample(): expected input and grid to have same dtype, but input has {input.dtype} "
                           f"and grid has {grid.dtype}")  # fmt: skip
    if min(input.shape[1:]) < 1:
        raise RuntimeError(f"grid_sample(): expected input to have non-empty spatial dimensions, got {input.shape}")
    return GridSample.apply(input, grid, mode, padding_mode, bool(align_corners))


@register
def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """The grid (N, H, W, 2) for `grid_sample` that moves pictures of size (N, C, H, W) by matrices theta (N, 2, 3).

    Place (x, y) of the result looks at theta (x, y, 1). align_corners: None is False. Volumes are not supported.
    """
    size = tuple(size)
    if len(size) == 5:
        raise NotImplementedError("affine_grid: volumes, a size of 5 lengths, are not supported")
    if len(size) != 4:
        raise NotImplementedError(f"affine_grid only supports a size of 4 lengths, got {size}")
    if theta.ndim != 3 or theta.shape[1:] != (2, 3):
        raise ValueError(f"Expected a batch of 2D affine matrices of shape Nx2x3 for size {size}. Got {theta.shape}.")
    if min(size) < 1:
        raise ValueError(f"Expected non-zero, positive output size. Got {size}")
    xp = array_module(theta.array)

    def places(length: int) -> np.ndarray:
        whole = np.linspace(-1, 1, length) if length > 1 else np.zeros(1)
        return whole if align_corners else whole * (length - 1) / length

    columns, rows = np.meshgrid(places(size[3]), places(size[2]))
    base = np.stack([columns, rows, np.ones_like(rows)], -1).reshape(1, math.prod(size[2:]), 3)
    moved = matmul(Tensor(xp.asarray(base, theta.dtype)), theta.transpose(1, 2))
    return moved.reshape(size[0], size[2], size[3], 2)
