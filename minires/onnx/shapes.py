"""Operations that only move elements, in ONNX: shapes, order of axes, padding, picking out by numbers and slices."""

from collections.abc import Callable
from typing import Any

from minires.onnx.graph import Graph, refuse
from minires.onnx.tracing import ANY
from minires.ops import index, padding, shape
from minires.tensor import Tensor

FIRST, LAST = -(1 << 63), (1 << 63) - 1  # for Slice: as far as it goes


def _reshape(graph: Graph, x: Tensor, lengths: tuple[int, ...]) -> str:
    """ANY is -1, which Reshape works out."""
    if 0 in lengths:
        raise refuse(f"a shape with an axis of length 0, {lengths}")  # to Reshape 0 means: as it was
    return graph.node("Reshape", graph.name(x), graph.constant(list(lengths)))


def _expand(graph: Graph, x: Tensor, lengths: tuple[int, ...]) -> str:
    """A length that follows from the input is x's own: 1 keeps it. An axis that is repeated so often is refused."""
    own = (1,) * (len(lengths) - x.ndim) + tuple(x.shape)
    if any(length == ANY and before == 1 for length, before in zip(lengths, own, strict=True)):
        raise refuse("an axis that is repeated as often as there are pictures in the batch, or pixels in a picture")
    return graph.node("Expand", graph.name(x), graph.constant([1 if n == ANY else n for n in lengths]))


def _permute(graph: Graph, x: Tensor, order: tuple[int, ...]) -> str:
    return graph.node("Transpose", graph.name(x), perm=order)


def _flip(graph: Graph, x: Tensor, axes: tuple[int, ...]) -> str:
    return _sliced(graph, graph.name(x), [(axis, slice(None, None, -1)) for axis in axes])


def _concatenate(graph: Graph, *tensors: Tensor, axis: int) -> str:
    return graph.node("Concat", *(graph.name(tensor) for tensor in tensors), axis=axis)


def _pad(graph: Graph, x: Tensor, widths: tuple[tuple[int, int], ...], value: float) -> str:
    before, after = zip(*widths, strict=True)
    return graph.node("Pad", graph.name(x), graph.constant([*before, *after]), graph.name(value))


def _pad_from_inside(graph: Graph, x: Tensor, widths: tuple[tuple[int, int], ...], mode: str) -> str:
    """Mirrored, or the outermost repeated; what goes round the end needs a newer operator set."""
    kinds = {"reflect": "reflect", "replicate": "edge"}
    if mode not in kinds:
        raise refuse(f"padding with mode={mode!r}")
    before, after = zip(*widths, strict=True)
    return graph.node("Pad", graph.name(x), graph.constant([*before, *after]), mode=kinds[mode])


def _getitem(graph: Graph, x: Tensor, steps: tuple[tuple[Any, ...], ...]) -> str:
    """Each step in three: slices, then numbers (whose axes go), then new axes."""
    name, rank = graph.name(x), x.ndim
    for step in steps:
        slices, picked, added, rank = _sorted_out(step, rank)
        name = _sliced(graph, name, slices)
        for axis, number in reversed(picked):
            name = graph.node("Gather", name, graph.constant(number), axis=axis)
        if added:
            name = graph.node("Unsqueeze", name, graph.constant(added))
    return name


def _sorted_out(
    step: tuple[Any, ...], rank: int
) -> tuple[list[tuple[int, slice]], list[tuple[int, int]], list[int], int]:
    """(axis, slice) and (axis, number) for the axes of the input, the new axes and the rank of the result."""
    if not all(isinstance(part, slice | None) or part is ... or type(part) is int for part in step):
        raise refuse("an index that holds an array")
    named = sum(part is not None and part is not ... for part in step)
    parts = list(step)
    place = parts.index(...) if ... in parts else len(parts)
    parts[place : place + 1] = [slice(None)] * (rank - named)
    slices, picked, added, axis, result = [], [], [], 0, 0
    for part in parts:
        if part is None:
            added.append(result)
        elif isinstance(part, slice):
            slices.append((axis, part))
        else:
            picked.append((axis, part))
        axis += part is not None
        result += not isinstance(part, int)
    return slices, picked, added, result


def _sliced(graph: Graph, name: str, slices: list[tuple[int, slice]]) -> str:
    """One Slice node for the axes of which not all is kept."""
    real = [(axis, part) for axis, part in slices if part != slice(None)]
    if not real:
        return name
    steps = [1 if part.step is None else part.step for _, part in real]
    ends = [(0, LAST) if step > 0 else (LAST, FIRST) for step in steps]
    starts = [end[0] if part.start is None else part.start for (_, part), end in zip(real, ends, strict=True)]
    stops = [end[1] if part.stop is None else part.stop for (_, part), end in zip(real, ends, strict=True)]
    axes = [axis for axis, _ in real]
    return graph.node("Slice", name, *(graph.constant(values) for values in (starts, stops, axes, steps)))


TABLE: dict[Any, Callable[..., str]] = {
    shape.Reshape: _reshape, shape.Expand: _expand, shape.Permute: _permute, shape.Flip: _flip,
    shape.Concatenate: _concatenate, padding.Pad: _pad,
    padding.PadFromInside: _pad_from_inside, index.GetItem: _getitem,
    shape.Copy: lambda graph, x, order: graph.name(x),
}  # fmt: skip
