"""Rectified linear unit, a block of memory at a time."""

import functools
from collections.abc import Sequence

import numpy as np

from minires.kernels.cpu import parallel
from minires.kernels.cpu.buffers import scratch
from minires.kernels.cpu.layout import channels_last, channels_second

__all__ = ["relu_backward", "relu_forward"]

BUDGET = 1 << 16  # values a block: its few arrays stay in the cache between one pass and the next


def in_memory_order(x: np.ndarray) -> np.ndarray:
    """x as a C-contiguous array: images (N, C, H, W) as (N, H, W, C), others as they are."""
    return channels_last(x) if x.ndim == 4 else np.asarray(x, order="C")


def in_framework_order(y: np.ndarray) -> np.ndarray:
    return channels_second(y) if y.ndim == 4 else y


@functools.lru_cache(maxsize=32)
def _row(number: int, dtype: np.dtype, length: int) -> np.ndarray:
    return np.full(length, number, dtype)


def row_of(number: int, part: np.ndarray) -> np.ndarray:
    """That number as often as one-dimensional `part` has values: NumPy works faster on two rows than with a number."""
    return _row(number, part.dtype, 1 << max(0, part.size - 1).bit_length())[: part.size]


def keep_where_positive(grad: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    """out = grad where y > 0 or y is NaN, else 0; y is a result of ReLU, so that it has neither negatives nor -0.

    All three are contiguous, one-dimensional, and do not share memory. np.where takes ten times as long, and a product
    with a mask would make NaN of an infinite gradient. But seen as an integer without sign, only y = 0 is 0, and the
    smaller of that integer and 1 is what the integer that grad is may be multiplied with.
    """
    integer = np.dtype(f"u{grad.dtype.itemsize}")
    bits, result = y.view(integer), out.view(integer)
    np.minimum(bits, row_of(1, bits), out=result)
    np.multiply(result, grad.view(integer), out=result)


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
            np.maximum(flat[block], row_of(0, flat[block]), out=result[block])

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
