"""Memory for parameters and buffers."""

from typing import Any

import numpy as np

from minires import backend
from minires.backend import Array, move


def empty(shape: tuple[int, ...], device: Any = None, dtype: Any = None, channels_last: bool = False) -> Array:
    """An array of this shape with arbitrary values, on the CPU and of the default type unless said otherwise.

    channels_last: a weight (out, in, kh, kw) that lies in memory as (out, kh, kw, in), which the kernels like best.
    """
    dtype = backend.default_dtype if dtype is None else np.dtype(dtype)
    if channels_last:
        out, *inner, last = shape[0], *shape[2:], shape[1]
        array = np.empty((out, *inner, last), dtype).transpose(0, len(shape) - 1, *range(1, len(shape) - 1))
    else:
        array = np.empty(shape, dtype)
    return array if device is None else move(array, device)
