"""Floor 0: the type in which several arrays meet, and numbers in a type that may not reach so far."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from minires.backend import Array, float32, is_floating


def common_type(arrays: Iterable[Array]) -> np.dtype:
    """The type in which several arrays, each with axes, meet, by PyTorch's rules: see `backend.result_type`."""
    dtypes = [array.dtype for array in arrays]
    real = [dtype for dtype in dtypes if is_floating(dtype)]
    if {dtype.name for dtype in real} >= {"float16", "bfloat16"}:  # neither holds the other
        real.append(float32)
    return np.result_type(*(real or dtypes))


def number_as(value: Any, dtype: np.dtype) -> np.ndarray:
    """A number as an array without axes. RuntimeError where the type does not reach so far."""
    try:
        return np.asarray(value, dtype)
    except OverflowError as error:
        raise RuntimeError(f"value {value} cannot be converted to type {dtype} without overflow") from error
