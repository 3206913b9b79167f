"""Axis arguments: PyTorch calls an axis `dim` and counts it from either end."""

import functools
from collections.abc import Callable, Iterable
from typing import Any


def axis_of(dim: int, ndim: int) -> int:
    """`dim` counted from the front. IndexError if there is no such axis; a number alone counts as having one axis."""
    axes = max(ndim, 1)
    if not -axes <= dim < axes:
        raise IndexError(f"dimension out of range (expected to be in [{-axes}, {axes - 1}], but got {dim})")
    return dim % axes


def axes_of(dim: Any, ndim: int) -> tuple[int, ...]:
    """The axes that a `dim` argument names: a number, several, or all of them for None or none at all.

    IndexError for an axis that does not exist, RuntimeError for one that is named twice.
    """
    if dim is None:
        return tuple(range(ndim))
    dims = tuple(dim) if isinstance(dim, Iterable) else (dim,)
    axes = tuple(axis_of(axis, ndim) for axis in dims)
    if len(set(axes)) != len(axes):
        raise RuntimeError(f"an axis appears twice in dim={dim}")
    return axes if axes and ndim else tuple(range(ndim))


def shape_of(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    """The shape in `f(2, 3)` or `f((2, 3))`."""
    if len(sizes) == 1 and isinstance(sizes[0], Iterable):
        sizes = tuple(sizes[0])
    return tuple(int(size) for size in sizes)


def also_by_name(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator of `f(input, *sizes)`: the sizes may also come as an argument of one of these names, `f(x, size=s)`."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(input: Any, *sizes: Any, **named: Any) -> Any:
            if not named:
                return function(input, *sizes)
            name, value = named.popitem()
            if sizes or named or name not in names:
                raise TypeError(f"{function.__name__}() got an unexpected keyword argument {name!r}")
            return function(input, value)

        return call

    return decorate
