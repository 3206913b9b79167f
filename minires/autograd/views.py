"""In-place changes through a view: what is written into `y[0]` becomes a part of y's own history.

A view shares memory with the tensor that it looks at, so that writing into it changes both. In the graph the larger
tensor then becomes the result of `ViewWritten`, and the view a part of that (see `refresh` in graph.py).
"""

from typing import Any, NamedTuple

import numpy as np

from minires.autograd.graph import Function, Node, Variable, refresh
from minires.autograd.modes import _mode
from minires.backend import Array, array_module


class Region(NamedTuple):
    """The elements of a view within the memory of its base, both as NumPy describes arrays: sizes in bytes."""

    base_shape: tuple[int, ...]
    base_strides: tuple[int, ...]
    base_start: int  # of the base's first element, from its lowest address
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    start: int  # of the view's first element, from the base's lowest address


def region_of(view: Array, base: Array) -> Region:
    """Where `view` lies within `base`."""
    before = sum(-step * (n - 1) for step, n in zip(base.strides, base.shape, strict=True) if step < 0)
    start = _address(view) - _address(base) + before
    return Region(base.shape, base.strides, before, view.shape, view.strides, start)


def _address(array: Array) -> int:
    return array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr


def _within(memory: Array, start: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    """The array of these strides in flat memory whose first element is at the byte `start`."""
    return array_module(memory).lib.stride_tricks.as_strided(memory[start // memory.itemsize :], shape, strides)


class ViewWritten(Function):
    """y = x, but for the elements of a view of it, which hold `values`;  dx = dy with 0 there, dvalues = dy there.

    The values are in x's memory already. For the gradient the region is found in a copy of dy with x's strides.
    """

    @staticmethod
    def forward(ctx: Node, x: Array, values: Array, region: Region) -> Array:
        ctx.region = region
        return x

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        region: Region = ctx.region
        reach = sum(abs(step) * (n - 1) for step, n in zip(region.base_strides, region.base_shape, strict=True))
        memory = array_module(grad).zeros(reach // grad.itemsize + 1, grad.dtype)
        dx = _within(memory, region.base_start, region.base_shape, region.base_strides)
        dx[...] = grad
        part = _within(memory, region.start, region.shape, region.strides)
        dvalues = part.copy()
        part[...] = 0
        return dx, dvalues, None


def write_through(view: Any, base: Variable, alias: Variable, result: Variable) -> None:
    """Make `base` the tensor into which `result` was written where `view` looks; `alias` is the base before that."""
    written = ViewWritten.apply(alias, result, region_of(view.array, base.array))
    base.requires_grad, base.node, base.output_index = True, written.node, written.output_index
    refresh(view)


def note_written(tensor: Any, old: Any, result: Any) -> None:
    """Tell the tape, if there is one, that `tensor` will hold `result`: up to now it was `old`, which gets a copy.

    A tape tells tensors apart by what they are, not by when they were used. So on the lines so far `old` stands for
    the tensor, and the tensor for the result. Others that look into the same memory change as well, nobody knows to
    what: on the lines so far they too are replaced by copies, so that whoever is used later is no known tensor.
    """
    if _mode.tape is None or result is old:
        return
    memory, known = tensor.array, {id(result): tensor, id(tensor): old, id(old): old}
    old.array = memory.copy(order="K")
    for line in _mode.tape:
        for value in (*line.arguments, *line.results):
            if isinstance(value, Variable) and id(value) not in known and _overlap(value.array, memory):
                known[id(value)] = value.make_result(value.array.copy(order="K"))
    _mode.tape[:] = [
        line._replace(arguments=tuple(known.get(id(value), value) for value in line.arguments),
                      results=tuple(known.get(id(value), value) for value in line.results))
        for line in _mode.tape
    ]  # fmt: skip


def _overlap(one: Array, two: Array) -> bool:
    return isinstance(one, np.ndarray) and isinstance(two, np.ndarray) and np.may_share_memory(one, two)
