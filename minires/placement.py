"""Where an operation runs: on the GPU that holds its tensors, which all lie on one device.

CuPy computes on the present GPU (`cuda.set_device`), wherever its arrays lie, and puts results there; PyTorch follows
the tensors. So every registered operation makes its tensors' GPU the present one while it runs. On machines without
GPUs, and before anybody has asked for one, that costs one comparison.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from minires import backend
from minires.autograd import Variable
from minires.backend import Array

# these take values from one device to another, or an index that may lie on the CPU
BETWEEN_DEVICES = frozenset(("convert", "getitem", "set_items", "new_tensor"))


def on_their_device(function: Callable[..., Any]) -> Callable[..., Any]:
    """The operation, run on the GPU that holds its tensors.

    Raises RuntimeError, as PyTorch does, where they lie on several devices; numbers without axes on the CPU may.
    """

    @functools.wraps(function)
    def call(*arguments: Any, **settings: Any) -> Any:
        if not backend.gpus_in_use:
            return function(*arguments, **settings)
        with _block(function.__name__, [*arguments, *settings.values()]):
            return function(*arguments, **settings)

    return call


def _block(name: str, arguments: list[Any]) -> contextlib.AbstractContextManager[Any]:
    arrays = list(_arrays(arguments))
    places = [backend.device_of(array) for array in arrays]
    if name not in BETWEEN_DEVICES:
        bound = [place for array, place in zip(arrays, places, strict=True) if array.ndim or place != backend.cpu]
        other = next((place for place in bound if place != bound[0]), None)
        if other is not None:
            raise RuntimeError(f"{name}: expected all tensors to be on the same device, but found {bound[0]} and "
                               f"{other}")  # fmt: skip
    on_gpu = [array for array, place in zip(arrays, places, strict=True) if place != backend.cpu]
    return backend.on_device_of(on_gpu[0]) if on_gpu else contextlib.nullcontext()


def _arrays(values: Any) -> Iterator[Array]:
    """The arrays of all tensors among the values, in lists and tuples too."""
    for value in values:
        if isinstance(value, Variable):
            yield value.array
        elif isinstance(value, list | tuple):
            yield from _arrays(value)
