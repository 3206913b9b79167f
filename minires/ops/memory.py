"""The memory order of arrays: how a new array is made to lie in memory as another one does.

Pictures are (N, C, H, W) by shape and (N, H, W, C) in memory. Whatever is computed from them should keep that order,
since arithmetic on arrays of different orders has to jump about in memory.
"""

from typing import Any

from minires.backend import Array, array_module, float32


def axis_order(array: Array) -> tuple[int, ...]:
    """The axes of `array` from the slowest in memory (the largest stride) to the fastest."""
    return tuple(sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis])))


def new_array(like: Array, shape: tuple[int, ...], order: tuple[int, ...], fill: Any = 0) -> Array:
    """An array of the library and type of `like`, filled with a number, its axes in memory by `order`."""
    xp = array_module(like)
    flat = xp.full([shape[axis] for axis in order], fill, like.dtype)
    return flat.transpose([order.index(axis) for axis in range(len(shape))])


def own_places(like: Array, shape: tuple[int, ...]) -> list[Array]:
    """For each axis of `shape` the place along it, an array that broadcasts to `shape`, in the library of `like`."""
    xp = array_module(like)
    return [xp.arange(n).reshape(-1, *[1] * (len(shape) - 1 - axis)) for axis, n in enumerate(shape)]


def at_least_float32(x: Array) -> Array:
    """float16 as float32, whose sums it has no room for; all else as it is."""
    return x if x.dtype.itemsize >= float32.itemsize else x.astype(float32)
