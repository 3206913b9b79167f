"""More ways to move elements, most of them said in terms of shape.py: repeating, rolling, taking apart, joining."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from minires.autograd import Function, Node
from minires.backend import Array, array_module, device_of, move
from minires.ops.broadcast import common_shape
from minires.ops.dims import also_by_name, axes_of, axis_of, shape_of
from minires.ops.index import getitem
from minires.ops.scatter import index_select
from minires.ops.shape import cat, expand, flip, permute, reshape, transpose, unsqueeze
from minires.tensor import Tensor, register


class Roll(Function):
    """y[i] = x[i - shift] along some axes, what leaves at one end comes in at the other;  dx[i] = dy[i + shift]."""

    @staticmethod
    def forward(ctx: Node, x: Array, shifts: tuple[int, ...], axes: tuple[int, ...]) -> Array:
        ctx.shifts, ctx.axes = shifts, axes
        return array_module(x).roll(x, shifts, axes)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        return array_module(grad).roll(grad, tuple(-shift for shift in ctx.shifts), ctx.axes), None, None


# ------------------------------------------------------------------------------------------- the functions users call


@register
def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Moved by `shifts` places along `dims`, around the end; the flattened tensor, without `dims`."""
    shifts = tuple(shifts) if isinstance(shifts, Iterable) else (shifts,)
    if dims is None:
        if len(shifts) != 1:
            raise RuntimeError(f"roll: without dims one shift is expected, got {shifts}")
        return reshape(Roll.apply(reshape(input, -1), shifts, (0,)), input.shape)
    dims = tuple(dims) if isinstance(dims, Iterable) else (dims,)
    if len(shifts) != len(dims):
        raise RuntimeError(f"roll: shifts and dims must align, got {shifts} and {dims}")
    if not input.ndim and dims:
        raise IndexError(f"roll: dims={dims} of a tensor without axes")
    return Roll.apply(input, shifts, tuple(axis_of(dim, input.ndim) for dim in dims))


@register
@also_by_name("repeats")
def repeat(input: Tensor, *repeats: Any) -> Tensor:
    """The whole tensor so many times along each axis; new axes come in front. RuntimeError for too few numbers."""
    counts = shape_of(repeats)
    if len(counts) < input.ndim:
        raise RuntimeError(f"repeat: {len(counts)} numbers of repetitions for a tensor with {input.ndim} axes")
    if any(count < 0 for count in counts):
        raise RuntimeError(f"repeat: trying to repeat a negative number of times: {counts}")
    own = (1,) * (len(counts) - input.ndim) + tuple(input.shape)
    apart = expand(reshape(input, [n for length in own for n in (1, length)]),
                   [n for pair in zip(counts, own, strict=True) for n in pair])  # fmt: skip
    return reshape(apart, [count * length for count, length in zip(counts, own, strict=True)])


@register
@also_by_name("dims")
def tile(input: Tensor, *dims: Any) -> Tensor:
    """As `repeat`; where there are fewer numbers than axes, they count for the last axes."""
    counts = shape_of(dims)
    return repeat(input, (1,) * (input.ndim - len(counts)) + counts)


@register
def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each element (or slice along `dim`) `repeats` times in a row: one number for all, or a vector of numbers.

    `repeat_interleave(repeats)` repeats the numbers 0, 1, 2, ... output_size: the length of the result, if known.
    """
    if repeats is None:
        input, repeats = Tensor(array_module(input.array).arange(input.numel())), input
    if dim is None:
        input, dim = reshape(input, -1), 0
    axis = axis_of(dim, input.ndim)
    counts = move(repeats.array, "cpu") if isinstance(repeats, Tensor) else np.asarray(repeats)
    if counts.ndim > 1 or (counts.size and counts.min() < 0) or counts.size not in (1, input.shape[axis]):
        raise RuntimeError(f"repeat_interleave: repeats must be one number from 0 up, or {input.shape[axis]} of them")
    places = np.repeat(np.arange(input.shape[axis]), counts)
    if output_size not in (None, len(places)):
        raise RuntimeError(f"repeat_interleave: output_size is {output_size}, but the result has length {len(places)}")
    return index_select(input, axis, Tensor(move(places, device_of(input.array))))


@register
def broadcast_to(input: Tensor, size: Any) -> Tensor:
    """Expanded to the shape `size`, without copying."""
    return expand(input, size)


@register
def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All expanded to their common shape."""
    shape = common_shape(*(tensor.shape for tensor in tensors))
    return tuple(expand(tensor, shape) for tensor in tensors)


@register
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """The axes `source` moved to the places `destination`; the others keep their order."""
    both = [tuple(dims) if isinstance(dims, Iterable) else (dims,) for dims in (source, destination)]
    if len(both[0]) != len(both[1]):
        raise RuntimeError(f"movedim: source and destination must have the same number of axes, got {both}")
    moved, places = (axes_of(dims, input.ndim) if dims else () for dims in both)
    order = [axis for axis in range(input.ndim) if axis not in moved]
    for place, axis in sorted(zip(places, moved, strict=True)):
        order.insert(place, axis)
    return permute(input, order) if input.ndim else input


@register
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along an axis, as views without it."""
    if not input.ndim:
        raise IndexError("unbind: a tensor without axes cannot be taken apart")
    axis = axis_of(dim, input.ndim)
    return tuple(getitem(input, (slice(None),) * axis + (number,)) for number in range(input.shape[axis]))


@register
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The slice number `index` along an axis, as a view without it."""
    return getitem(input, (slice(None),) * axis_of(dim, input.ndim) + (index,))


@register
def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """`length` slices from number `start` on along an axis, as a view."""
    if not input.ndim:
        raise RuntimeError("narrow() cannot be applied to a tensor without axes")
    axis = axis_of(dim, input.ndim)
    size = input.shape[axis]
    if length < 0:
        raise RuntimeError(f"narrow(): length must be non-negative, got {length}")
    if not -size <= start <= size:
        raise IndexError(f"narrow(): start must be between {-size} and {size}, got {start}")
    first = start % size if start < 0 else start
    if first + length > size:
        raise RuntimeError(f"narrow(): start ({first}) + length ({length}) exceeds dimension size ({size})")
    return getitem(input, (slice(None),) * axis + (slice(first, first + length),))


@register
def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """The axis `dim` split into several of these lengths, one of which may be -1."""
    axis = axis_of(dim, input.ndim)
    known = math.prod(size for size in sizes if size != -1)
    length = input.shape[axis]
    fits = length == known if -1 not in sizes else known > 0 and length % known == 0
    if not fits or list(sizes).count(-1) > 1:
        raise RuntimeError(
            f"unflatten: the sizes {tuple(sizes)} do not multiply up to {length}, the length of axis {axis}"
        )
    lengths = [length // known if size == -1 else size for size in sizes]
    return reshape(input, (*input.shape[:axis], *lengths, *input.shape[axis + 1 :]))


@register
def fliplr(input: Tensor) -> Tensor:
    """Reversed along the second axis. RuntimeError for a tensor with fewer than two."""
    if input.ndim < 2:
        raise RuntimeError(f"fliplr: the input must have at least 2 axes, got {input.ndim}")
    return flip(input, 1)


@register
def flipud(input: Tensor) -> Tensor:
    """Reversed along the first axis."""
    if input.ndim < 1:
        raise RuntimeError("flipud: the input must have at least 1 axis")
    return flip(input, 0)


@register
def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Turned by k times 90 degrees in the plane of two axes, from the first towards the second."""
    if len(dims) != 2 or input.ndim < 2:
        raise RuntimeError(f"rot90: expected two of at least two axes, got dims={tuple(dims)} for {input.ndim} axes")
    first, second = axes_of(dims, input.ndim)
    turns = k % 4
    if turns == 0:
        return input.clone()
    if turns == 2:
        return flip(input, first, second)
    return transpose(flip(input, second if turns == 1 else first), first, second)


@register
def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Side by side: along the second axis, or the only one."""
    tensors = [reshape(tensor, 1) if tensor.ndim == 0 else tensor for tensor in tensors]
    return cat(tensors, 0 if tensors and tensors[0].ndim == 1 else 1)


@register
def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """One below the other: along the first axis; vectors count as rows."""
    return cat([reshape(tensor, 1, -1) if tensor.ndim < 2 else tensor for tensor in tensors], 0)


@register
def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """From vectors the coordinates of a grid: result k varies along axis k. indexing="xy" exchanges the first two."""
    vectors = list(tensors[0]) if len(tensors) == 1 and not isinstance(tensors[0], Tensor) else list(tensors)
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f"meshgrid: indexing must be one of 'xy' or 'ij', got {indexing!r}")
    if not vectors or any(vector.ndim > 1 for vector in vectors):
        raise RuntimeError("meshgrid expects at least one tensor, each with at most one axis")
    vectors = [reshape(vector, 1) if vector.ndim == 0 else vector for vector in vectors]
    shape = [vector.shape[0] for vector in vectors]
    grids = []
    for axis, vector in enumerate(vectors):
        for place in range(len(vectors)):
            vector = vector if place == axis else unsqueeze(vector, place)
        grids.append(expand(vector, shape))
    if indexing == "xy" and len(vectors) > 1:
        grids = [transpose(grid, 0, 1) for grid in grids]
    return tuple(grids)
