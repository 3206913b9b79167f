"""Rectified linear unit, a block of memory at a time."""

from collections.abc import Sequence

import numpy as np

from minires.kernels.cpu import parallel
from minires.kernels.cpu.buffers import scratch
from minires.kernels.cpu.layout import channels_last, channels_second

__all__ = ["relu_backward", "relu_forward"]

BUDGET = 1 << 16  # values a block: its few arrays stay in the cache between one pass and the next
ZEROS = {dtype: np.zeros(BUDGET, dtype) for dtype in (np.dtype(np.float32), np.dtype(np.float64))}


def in_memory_order(x: np.ndarray) -> np.ndarray:
    """x as a C-contiguous array: images (N, C, H, W) as (N, H, W, C), others as they are."""
    return channels_last(x) if x.ndim == 4 else np.asarray(x, order="C")


def in_framework_order(y: np.ndarray) -> np.ndarray:
    return channels_second(y) if y.ndim == 4 else y


def zeros_like(part: np.ndarray) -> np.ndarray:
    """As many zeros as `part` (at most BUDGET) has values: NumPy compares two rows faster than a row and a number."""
    return ZEROS[part.dtype][: part.size] if part.dtype in ZEROS else np.zeros_like(part)


def keep_where_positive(grad: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    """out = grad where y > 0 or y is NaN, else 0; all three contiguous and one-dimensional; out may be grad.

    np.where takes ten times as long, and a product with the mask would make NaN of an infinite gradient. So the mask
    is spread to all bits of an integer as wide as the numbers, and the numbers' bits are kept or not.
    """
    cut_off = np.less_equal(y, 0, out=scratch("cut off", y.shape, np.dtype(bool)))
    keep_bits(grad, cut_off, out)


def keep_bits(grad: np.ndarray, cut_off: np.ndarray, out: np.ndarray) -> None:
    """out = 0 where `cut_off`, else grad. Writes into `cut_off`."""
    integer = np.dtype(f"i{grad.dtype.itemsize}")
    narrow = cut_off.view(np.int8)
    narrow -= 1  # 0 where cut off, else -1: all bits
    mask = scratch("mask", grad.shape, integer)
    np.copyto(mask, narrow)
    np.bitwise_and(mask, grad.view(integer), out=out.view(integer))


def relu_forward(x: np.ndarray) -> np.ndarray:
    """As the reference; images are stored channels last."""
    source = in_memory_order(x)
    y = np.empty_like(source)
    flat, result = source.reshape(-1), y.reshape(-1)

    def work(blocks: Sequence[slice]) -> None:
        for block in blocks:
            np.maximum(flat[block], zeros_like(flat[block]), out=result[block])

    parallel.over(parallel.ranges(flat.size, BUDGET), work)
    return in_framework_order(y)


def relu_backward(grad: np.ndarray, y: np.ndarray) -> np.ndarray:
    """As the reference; images are stored channels last."""
    upstream, output = in_memory_order(grad), in_memory_order(y)
    dx = np.empty_like(upstream)
    flat_grad, flat_y, flat_dx = upstream.reshape(-1), output.reshape(-1), dx.reshape(-1)

    def work(blocks: Sequence[slice]) -> None:
        for block in blocks:
            keep_where_positive(flat_grad[block], flat_y[block], flat_dx[block])

    parallel.over(parallel.ranges(flat_grad.size, BUDGET), work)
    return in_framework_order(dx)
