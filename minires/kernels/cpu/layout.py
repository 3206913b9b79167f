"""Between the framework's shape (N, C, H, W) and the memory's order, channels last (N, H, W, C).

Channels last makes a 1x1 convolution one matrix product, and gives every other kernel long runs of neighbouring values.
"""

import math

import numpy as np

WIDE = 1024


def channels_last(x: np.ndarray) -> np.ndarray:
    """x (N, C, ...) as a C-contiguous array (N, ..., C): a view of x where its memory is in that order, else a copy."""
    return np.ascontiguousarray(x.transpose(0, *range(2, x.ndim), 1))


def channels_second(y: np.ndarray) -> np.ndarray:
    """The way back: (N, ..., C) seen as (N, C, ...), without a copy."""
    return y.transpose(0, y.ndim - 1, *range(1, y.ndim - 1))


def rows_of(x: np.ndarray) -> np.ndarray:
    """x (N, C, ...) as a matrix (values a channel, C), contiguous: a view where possible, else a copy."""
    last = channels_last(x)
    return last.reshape(math.prod(last.shape[:-1]), last.shape[-1])


def widening(rows: int, columns: int) -> int:
    """How many rows to lay side by side, so that one vector operation runs over about `WIDE` values. Divides `rows`."""
    factor = 1
    while columns and 2 * factor * columns <= WIDE and rows % (2 * factor) == 0 and rows:
        factor *= 2
    return factor


def widened(matrix: np.ndarray, factor: int) -> np.ndarray:
    """(M, C) seen as (M / factor, factor C)."""
    return matrix.reshape(matrix.shape[0] // factor, matrix.shape[1] * factor)


def copy_runs(out: np.ndarray, source: np.ndarray) -> None:
    """out[...] = source, of one shape and type, the last axis of both in unbroken runs of memory if possible.

    A run is then copied as a single item of so many bytes, which takes half of the time of a loop over its values.
    """
    run = out.shape[-1] * out.itemsize
    if out.size and source.strides[-1] == out.strides[-1] == out.itemsize:
        item = np.dtype((np.void, run))
        out, source = out.view(item), source.view(item)
    np.copyto(out, source)
