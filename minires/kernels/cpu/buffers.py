"""Working memory that is used again: a new large array costs the system a page fault for every 4 kB of it."""

import math
import threading

import numpy as np

_local = threading.local()


def scratch(name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array of this thread's own with arbitrary content, valid until this thread asks for `name` again.

    The memory grows to the largest size asked for and is freed when the thread ends. Never hand it to a caller.
    """
    kept: dict[str, np.ndarray] = _local.__dict__
    size = math.prod(shape) * dtype.itemsize
    memory = kept.get(name)
    if memory is None or memory.size < size:
        memory = kept[name] = np.empty(size, np.uint8)
    return memory[:size].view(dtype).reshape(shape)
