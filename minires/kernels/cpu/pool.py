"""Pooling over channels-last images, one place of the window at a time. The formulas stand in reference/pool.py."""

from collections.abc import Callable, Sequence

import numpy as np

from minires.kernels.cpu import parallel
from minires.kernels.cpu.activation import keep_bits
from minires.kernels.cpu.buffers import scratch
from minires.kernels.cpu.layout import channels_last, channels_second
from minires.kernels.cpu.sums import sum_over
from minires.kernels.cpu.windows import Block, Cuts, Geometry, blocks_of, tap_views
from minires.kernels.reference.pool import divisors, frame, winner_type
from minires.kernels.shapes import Pair, adaptive_windows, pooling_sizes

__all__ = [
    "adaptive_avg_pool2d_backward",
    "adaptive_avg_pool2d_forward",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "max_pool2d_backward",
    "max_pool2d_forward",
]

BUDGET = 1 << 16  # values of the output a block


def blocks_like(y: np.ndarray) -> list[Block]:
    """Blocks of an output (N, OH, OW, C)."""
    return blocks_of(y.shape[0], y.shape[1], y.shape[2] * y.shape[3], BUDGET)


def first_places(image: Pair, geometry: Geometry) -> np.ndarray:
    """(OH, OW): the number within its window of the first place that lies on the image; 0 where none does."""

    def first(axis: int) -> tuple[np.ndarray, np.ndarray]:
        starts = np.arange(geometry.output[axis]) * geometry.stride[axis] - geometry.padding[axis]
        number = -(np.minimum(starts, 0) // geometry.dilation[axis])
        place = starts + number * geometry.dilation[axis]
        return number, (number < geometry.kernel[axis]) & (place < image[axis])

    (row, row_exists), (column, column_exists) = first(0), first(1)
    number = row[:, None] * geometry.kernel[1] + column[None, :]
    return np.where(row_exists[:, None] & column_exists[None, :], number, 0)


def max_pool2d_forward(
    x: np.ndarray, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[np.ndarray, np.ndarray]:
    """As the reference; y and winner are stored channels last."""
    image = (x.shape[2], x.shape[3])
    size = pooling_sizes(image, kernel_size, stride, padding, dilation, ceil_mode)
    geometry = Geometry(kernel_size, stride, padding, dilation, size)
    images = x.transpose(0, 2, 3, 1)
    y = np.empty((x.shape[0], *size, x.shape[1]), x.dtype)
    winner = np.empty(y.shape, winner_type(kernel_size))
    start = first_places(image, geometry).astype(winner.dtype)[None, :, :, None]

    def work(blocks: Sequence[Block]) -> None:
        cuts = Cuts(images, geometry, -np.inf)
        for block in blocks:
            views = cuts.taps(block)
            best, won = y[block.place], winner[block.place]
            won[...] = start[:, block.place[1]]
            run_of_maxima(views, best, won, watch_nan=False)
            if np.isnan(best.max(initial=-np.inf)):
                won[...] = start[:, block.place[1]]
                run_of_maxima(views, best, won, watch_nan=True)

    parallel.over(blocks_like(y), work)
    return channels_second(y), channels_second(winner)


def run_of_maxima(views: list[np.ndarray], best: np.ndarray, won: np.ndarray, watch_nan: bool) -> None:
    """best = the maximum of the views; won = the number of the view it came from.

    Numbers grow, so that "the winner is now number n where better" is a maximum too. `won` comes in holding each
    window's first place on the image. NaN wins only if `watch_nan`, which costs as much again.
    """
    best[...] = views[0]  # which is nobody's better: the walk begins at the second
    better = scratch("better", best.shape, np.dtype(bool))
    number_if_better = scratch("number", won.shape, won.dtype)
    for number, view in enumerate(views[1:], 1):
        np.greater(view, best, out=better)
        if watch_nan:
            better |= np.isnan(view)
        np.maximum(best, view, out=best)
        np.multiply(better.view(np.uint8), won.dtype.type(number), out=number_if_better)
        np.maximum(won, number_if_better, out=won)


def max_pool2d_backward(
    grad: np.ndarray,
    winner: np.ndarray,
    input_shape: tuple[int, int, int, int],
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> np.ndarray:
    """As the reference; dx is stored channels last."""
    geometry = Geometry(kernel_size, stride, padding, dilation, (grad.shape[2], grad.shape[3]))
    upstream, winners = channels_last(grad), channels_last(winner)

    def add_shares(image: int, views: list[np.ndarray]) -> None:
        here = upstream[image]
        share = scratch("share", here.shape, grad.dtype)
        lost = scratch("lost", here.shape, np.dtype(bool))
        for number, view in enumerate(views):
            np.not_equal(winners[image], winners.dtype.type(number), out=lost)
            keep_bits(here, lost, share)
            view += share

    return spread_back(input_shape, geometry, grad.dtype, add_shares)


def spread_back(
    input_shape: tuple[int, int, int, int],
    geometry: Geometry,
    dtype: np.dtype,
    add_shares: Callable[[int, list[np.ndarray]], None],
) -> np.ndarray:
    """dx (N, C, H, W): `add_shares(image, views)` adds to the views of what each place of the window meets.

    Neighbouring windows overlap, so that one image stays with one thread.
    """
    batch, channels, height, width = input_shape
    (top, bottom), (left, right) = frame(
        (height, width), geometry.output, geometry.kernel, geometry.stride, geometry.padding, geometry.dilation
    )
    dx = np.empty((batch, height, width, channels), dtype)

    def work(images: Sequence[int]) -> None:
        for image in images:
            padded = scratch("padded", (1, height + top + bottom, width + left + right, channels), dtype)
            padded[...] = 0
            add_shares(image, tap_views(padded, geometry.output[0], geometry))
            dx[image] = padded[0, top : top + height, left : left + width]

    parallel.over(range(batch), work)
    return channels_second(dx)


def avg_pool2d_forward(
    x: np.ndarray,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> np.ndarray:
    """As the reference; y is stored channels last."""
    image = (x.shape[2], x.shape[3])
    size = pooling_sizes(image, kernel_size, stride, padding, (1, 1), ceil_mode)
    geometry = Geometry(kernel_size, stride, padding, (1, 1), size)
    images = x.transpose(0, 2, 3, 1)
    y = np.empty((x.shape[0], *size, x.shape[1]), x.dtype)
    count = divisors(image, size, kernel_size, stride, padding, count_include_pad, divisor_override)
    factor = (1 / count).astype(x.dtype)[None, :, :, None]

    def work(blocks: Sequence[Block]) -> None:
        cuts = Cuts(images, geometry)
        for block in blocks:
            total = y[block.place]
            first, *others = cuts.taps(block)
            total[...] = first
            for view in others:
                total += view
            total *= factor[:, block.place[1]]

    parallel.over(blocks_like(y), work)
    return channels_second(y)


def avg_pool2d_backward(
    grad: np.ndarray,
    input_shape: tuple[int, int, int, int],
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> np.ndarray:
    """As the reference; dx is stored channels last."""
    image, size = (input_shape[2], input_shape[3]), (grad.shape[2], grad.shape[3])
    geometry = Geometry(kernel_size, stride, padding, (1, 1), size)
    upstream = channels_last(grad)
    count = divisors(image, size, kernel_size, stride, padding, count_include_pad, divisor_override)
    factor = (1 / count).astype(grad.dtype)[:, :, None]

    def add_shares(number: int, views: list[np.ndarray]) -> None:
        share = np.multiply(upstream[number], factor, out=scratch("share", upstream[number].shape, grad.dtype))
        for view in views:
            view += share

    return spread_back(input_shape, geometry, grad.dtype, add_shares)


def adaptive_avg_pool2d_forward(x: np.ndarray, output_size: Pair) -> np.ndarray:
    """As the reference; y is stored channels last."""
    images = x.transpose(0, 2, 3, 1)
    y = np.empty((x.shape[0], *output_size, x.shape[1]), x.dtype)
    for i, rows in enumerate(adaptive_windows(x.shape[2], output_size[0])):
        for j, columns in enumerate(adaptive_windows(x.shape[3], output_size[1])):
            window = images[:, rows, columns]
            y[:, i, j] = sum_over(window, (1, 2), False) / (window.shape[1] * window.shape[2])
    return channels_second(y)


def adaptive_avg_pool2d_backward(grad: np.ndarray, input_shape: tuple[int, int, int, int]) -> np.ndarray:
    """As the reference; dx is stored channels last."""
    batch, channels, height, width = input_shape
    upstream = grad.transpose(0, 2, 3, 1)
    dx = np.zeros((batch, height, width, channels), grad.dtype)
    for i, rows in enumerate(adaptive_windows(height, grad.shape[2])):
        for j, columns in enumerate(adaptive_windows(width, grad.shape[3])):
            places = (rows.stop - rows.start) * (columns.stop - columns.start)
            dx[:, rows, columns] += (upstream[:, i, j] / places)[:, None, None, :]
    return channels_second(dx)
