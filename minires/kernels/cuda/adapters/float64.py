"""float64 on a GPU where no hand-written kernel and no expression computes it: on the CPU, and back again.

For checks of derivatives and comparisons, not for speed: the first time a kernel does so a RuntimeWarning says so.
"""

import warnings
from collections.abc import Callable
from typing import Any

from minires import backend
from minires.kernels.cuda.adapters import conv, group_norm, moments, norm, pool

ON_THE_CPU = frozenset(
    name for family in (conv, pool, norm, group_norm, moments) for name in family.__all__
) | {"cross_entropy_forward", "cross_entropy_backward"}  # fmt: skip
_told: set[str] = set()


def through_cpu(name: str, kernel: Callable[..., Any], array: Any, *arguments: Any, **named: Any) -> Any:
    """kernel(array, ...) of the CPU for arrays on a GPU; its results are on the first array's device."""
    if name not in _told:
        _told.add(name)
        warnings.warn(f"{name} in float64 is computed on the CPU: the GPU's kernels are for float32 and narrower",
                      RuntimeWarning, stacklevel=3)  # fmt: skip
    device = backend.device_of(array)
    given = [_moved(value, "cpu") for value in (array, *arguments)]
    return _moved(kernel(*given, **{key: _moved(value, "cpu") for key, value in named.items()}), device)


def _moved(value: Any, device: Any) -> Any:
    """Arrays, in tuples too, on the device; all else as it is."""
    if isinstance(value, tuple):
        return tuple(_moved(part, device) for part in value)
    return backend.move(value, device) if hasattr(value, "dtype") and hasattr(value, "strides") else value
