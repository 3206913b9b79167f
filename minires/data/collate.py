"""From single samples to one batch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minires.tensor import Tensor


def collate(samples: Sequence[Any], names: Sequence[str] | None = None) -> Any:
    """One batch from samples that are all tuples, (image, target) as a rule: each place becomes one tensor.

    Images (C, H, W) are copied once, into memory of the order (N, H, W, C) under the logical shape (N, C, H, W).
    Integers become int64, floats float32, other arrays are stacked; texts stay a list. `names` says where the samples
    come from. Raises ValueError naming the first image of another shape, TypeError for what is no array or number.
    """
    first = samples[0]
    if not isinstance(first, tuple | list):
        return collate_column(samples, names)
    return tuple(collate_column(column, names) for column in zip(*samples, strict=True))


def collate_column(values: Sequence[Any], names: Sequence[str] | None = None) -> Any:
    """One tensor from the same place of all samples."""
    first = values[0]
    if isinstance(first, str):
        return list(values)
    if isinstance(first, bool | int | np.integer):
        return Tensor(np.array(values, np.int64))
    if isinstance(first, float | np.floating):
        return Tensor(np.array(values, np.float32))
    if isinstance(first, tuple) and all(isinstance(value, float | int) for value in first):
        return Tensor(np.array(values, np.float32))
    if not isinstance(first, Tensor | np.ndarray):
        raise TypeError(f"cannot make a batch of {type(first).__name__}: end the data set's transform with ToTensor()")
    arrays = [value.array if isinstance(value, Tensor) else value for value in values]
    for place, array in enumerate(arrays):
        if array.shape != arrays[0].shape:
            culprit = names[place] if names else f"sample {place} of the batch"
            raise ValueError(
                f"the images of a batch have different shapes, {arrays[0].shape} and {array.shape} ({culprit}): "
                "resize or crop them to one size"
            )
    if first.ndim != 3:
        return Tensor(np.stack(arrays))
    channels, height, width = arrays[0].shape
    batch = np.empty((len(arrays), height, width, channels), arrays[0].dtype)
    for place, array in enumerate(arrays):
        batch[place] = array.transpose(1, 2, 0)
    return Tensor(batch.transpose(0, 3, 1, 2))


def each_tensor(batch: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The batch with function(tensor) in place of its tensors, in lists, tuples and dictionaries too."""
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, dict):
        return {key: each_tensor(value, function) for key, value in batch.items()}
    if not isinstance(batch, list | tuple):
        return batch
    parts = [each_tensor(part, function) for part in batch]
    return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)


def default_collate(batch: Sequence[Any]) -> Any:
    """One batch from samples of any nesting, with PyTorch's types: for DataLoader(collate_fn=default_collate).

    Tensors and arrays are stacked; floats become float64, integers int64, bools bool; texts and bytes stay as they are;
    a dictionary of each key's batch, a named tuple of each field's, a list of each place's come of such samples.
    Raises RuntimeError for samples of unequal length or keys, TypeError for anything else, None included.
    """
    first = batch[0]
    if isinstance(first, Tensor | np.ndarray):
        return collate_column(batch)
    if isinstance(first, str | bytes):
        return batch
    for kind, dtype in _NUMBERS:
        if isinstance(first, kind):
            return Tensor(np.array(batch, first.dtype if isinstance(first, np.generic) else dtype))
    if isinstance(first, Mapping):
        if any(not isinstance(sample, Mapping) or sample.keys() != first.keys() for sample in batch):
            raise RuntimeError("each sample of a batch should have the same keys")
        return {key: default_collate([sample[key] for sample in batch]) for key in first}
    if isinstance(first, Sequence):
        if any(not isinstance(sample, Sequence) or len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        columns = [default_collate(column) for column in zip(*batch, strict=True)]
        return type(first)(*columns) if hasattr(first, "_fields") else columns
    raise TypeError(
        "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
        f"found {type(first).__name__}"
    )


_NUMBERS = (
    ((bool, np.bool_), np.bool_),
    ((int, np.integer), np.int64),
    ((float, np.floating), np.float64),
)
