"""Copies of a model's weights and buffers, and their way back into the model."""

from collections.abc import Iterator, Mapping
from typing import Any

from minires.backend import Array, device_of, move, on_device_of


def _tensors(model: Any) -> Iterator[tuple[str, Any]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def copy_weights(model: Any) -> dict[str, Array]:
    """Copies of all parameters and buffers by name, in their memory order."""
    return {name: tensor.array.copy(order="K") for name, tensor in _tensors(model)}


def copy_buffers(model: Any) -> dict[str, Array]:
    """Copies of all buffers (batch norm's running statistics) by name."""
    return {name: buffer.array.copy(order="K") for name, buffer in model.named_buffers()}


def restore_weights(model: Any, arrays: Mapping[str, Array]) -> None:
    """Write `arrays`, from whatever device, into the parameters and buffers of the same names, in place."""
    own = dict(_tensors(model))
    for name, array in arrays.items():
        with on_device_of(own[name].array):
            own[name].array[...] = move(array, device_of(own[name].array))
        own[name].bump_version()
