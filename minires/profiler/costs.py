"""What a call costs at least: floating-point operations, and bytes that must pass between memory and processor.

Operations are those of the definition, one for a multiplication and one for an addition, whatever the algorithm: so a
Winograd convolution may appear faster than the processor can multiply. Bytes are those of every array that a call is
given or returns, each counted once: a kernel that reads its input three times shows a lower GB/s.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from minires.backend import memory_owner

Shape = tuple[int, ...]


def operations(kernel_name: str, arguments: Sequence[Any], result: Any) -> float:
    """Floating-point operations of one call of a kernel; 0 where they are not what takes the time."""
    if arguments and hasattr(arguments[0], "flops"):  # calls of a plan know what they cost
        return float(arguments[0].flops)
    count = OPERATIONS.get(kernel_name)
    return 0.0 if count is None else float(count(arguments, result))


def bytes_moved(arguments: Sequence[Any], result: Any) -> float:
    """Bytes of all different arrays among the arguments and in the result."""
    if arguments and hasattr(arguments[0], "flops"):
        return float(arguments[0].bytes)
    sizes = {(id(memory_owner(array)), array.shape): array.nbytes for array in _arrays((*arguments, result))}
    return float(sum(sizes.values()))


def shapes_of(arguments: Sequence[Any]) -> tuple[Shape, ...]:
    """The shapes of the arrays among the arguments."""
    return tuple(tuple(array.shape) for array in _arrays(arguments))


def _arrays(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _arrays(value)
        elif hasattr(value, "nbytes") and hasattr(value, "shape"):
            yield value


def _window(weight: Shape) -> int:
    """Multiplications for one number of a convolution's output: in_channels / groups * kh * kw."""
    return math.prod(weight[1:])


def _matmul(arguments: Sequence[Any], result: Any) -> int:
    return 2 * int(result.size) * int(arguments[0].shape[-1])


OPERATIONS: dict[str, Callable[[Sequence[Any], Any], int]] = {
    "matmul": _matmul,
    "conv2d_forward": lambda given, y: 2 * y.size * _window(given[1].shape),
    "conv2d_act_forward": lambda given, y: 2 * y.size * _window(given[1].shape),
    "conv1x1_norm_backward": lambda given, results: 4 * given[0].size * _window(given[2].shape),
    "conv1x1_norm_forward": lambda given, y: 2 * y.size * _window(given[1].shape),
    "conv2d_moments_forward": lambda given, results: 2 * results[0].size * _window(given[1].shape),
    "conv2d_input_gradient": lambda given, dx: 2 * given[0].size * _window(given[1].shape),
    "conv2d_gradients": lambda given, both: 4 * given[0].size * _window(given[2].shape),
    "conv2d_weight_gradient": lambda given, dw: 2 * given[0].size * _window(given[2]),
}
