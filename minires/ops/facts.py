"""What can be asked about tensors as functions: the answers are no tensors."""

from typing import Any

import numpy as np

from minires import backend
from minires.tensor import Tensor


def is_tensor(obj: Any) -> bool:
    """Whether `obj` is a Tensor."""
    return isinstance(obj, Tensor)


def is_floating_point(input: Tensor) -> bool:
    """Whether the elements are real numbers."""
    return input.is_floating_point()


def numel(input: Tensor) -> int:
    """Number of elements."""
    return input.numel()


def result_type(tensor1: Any, tensor2: Any) -> np.dtype:
    """The type of the result of arithmetic on two tensors, or a tensor and a number."""
    first, second = (value.array if isinstance(value, Tensor) else value for value in (tensor1, tensor2))
    return backend.result_type(first, second)


def is_complex(input: Tensor) -> bool:
    """Whether the elements are complex numbers: never."""
    return input.is_complex()


def is_nonzero(input: Tensor) -> bool:
    """Whether the only element is not 0. RuntimeError if there are more."""
    return input.is_nonzero()


def is_signed(input: Tensor) -> bool:
    """Whether the elements can be negative."""
    return input.is_signed()


def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape."""
    return input.is_same_size(other)
