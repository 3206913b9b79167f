"""Operations that only move elements: new shapes, exchanged axes, repetition, joining and cutting.

None of them computes: the gradient goes back the way that the elements came. Where NumPy gives a view, so do they.
"""

from collections.abc import Sequence
from typing import Any

from minires.autograd import Function, Node
from minires.backend import Array, array_module, channels_last, contiguous_format, preserve_format
from minires.number_types import common_type
from minires.ops.broadcast import sum_to_shape
from minires.ops.dims import also_by_name, axes_of, axis_of, shape_of
from minires.tensor import Tensor, register


class Reshape(Function):
    """The same elements, read in the order of the axes, in another shape;  dx = dy in x's shape."""

    @staticmethod
    def forward(ctx: Node, x: Array, shape: tuple[int, ...]) -> Array:
        ctx.shape = x.shape
        return x.reshape(shape)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        return grad.reshape(ctx.shape), None


class Permute(Function):
    """y's axis i is x's axis order[i];  dx = dy with the axes put back."""

    @staticmethod
    def forward(ctx: Node, x: Array, order: tuple[int, ...]) -> Array:
        ctx.order = order
        return x.transpose(order)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        return grad.transpose([ctx.order.index(axis) for axis in range(grad.ndim)]), None


class Expand(Function):
    """Axes of length 1 repeated, as a view;  dx = dy summed over the repeats."""

    @staticmethod
    def forward(ctx: Node, x: Array, shape: tuple[int, ...]) -> Array:
        ctx.shape = x.shape
        return array_module(x).broadcast_to(x, shape)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        return sum_to_shape(grad, ctx.shape), None


class Copy(Function):
    """y = x in memory of its own, in the order of the axes ("C"), of x's memory ("K"), or channels last;  dx = dy."""

    @staticmethod
    def forward(ctx: Node, x: Array, order: str) -> Array:
        if order == "channels last":
            return x.transpose(0, 2, 3, 1).copy(order="C").transpose(0, 3, 1, 2)
        return x.copy(order=order)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        return grad, None


class Flip(Function):
    """The elements in reversed order along some axes;  dx = dy reversed again."""

    @staticmethod
    def forward(ctx: Node, x: Array, axes: tuple[int, ...]) -> Array:
        ctx.axes = axes
        return array_module(x).flip(x, axes).copy(order="K")

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        return array_module(grad).flip(grad, ctx.axes), None


class Concatenate(Function):
    """Arrays one behind the other along an axis;  each dx is its part of dy."""

    @staticmethod
    def forward(ctx: Node, *arrays: Array, axis: int) -> Array:
        ctx.axis, ctx.lengths = axis, [array.shape[axis] for array in arrays]
        return array_module(arrays[0]).concatenate(arrays, axis=axis)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        parts, start = [], 0
        for needed, length in zip(ctx.needs_input_grad, ctx.lengths, strict=True):
            part = (slice(None),) * ctx.axis + (slice(start, start + length),)
            parts.append(grad[part] if needed else None)
            start += length
        return tuple(parts)


# ------------------------------------------------------------------------------------------- the functions users call


@register
@also_by_name("shape", "size")
def reshape(input: Tensor, *shape: Any) -> Tensor:
    """The same elements in another shape; one length may be -1, which is then worked out. A view where possible.

    `Tensor.view` is the same; other than in PyTorch it copies where memory does not allow a view.
    RuntimeError if the number of elements differs.
    """
    wanted = shape_of(shape)
    fixed = 1
    for length in wanted:
        fixed *= 1 if length == -1 else length
    unknown = wanted.count(-1)
    total = input.numel()
    if any(length < -1 for length in wanted) or unknown > 1:
        raise RuntimeError(f"invalid shape {wanted}: at most one length may be -1, none less")
    if unknown and fixed == 0:
        raise RuntimeError(f"cannot reshape {total} elements into {wanted}: the length -1 could be anything")
    if (unknown and total % fixed) or (not unknown and total != fixed):
        raise RuntimeError(f"shape {list(wanted)} is invalid for input of size {total}")
    return Reshape.apply(input, tuple(total // fixed if length == -1 else length for length in wanted))


@register
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes from start_dim to end_dim joined into one."""
    first, last = axis_of(start_dim, input.ndim), axis_of(end_dim, input.ndim)
    if first > last:
        raise RuntimeError(f"flatten() has invalid args: start_dim {start_dim} comes after end_dim {end_dim}")
    if input.ndim == 0:
        return Reshape.apply(input, (1,))
    joined = 1
    for length in input.shape[first : last + 1]:
        joined *= length
    return Reshape.apply(input, (*input.shape[:first], joined, *input.shape[last + 1 :]))


@register
def ravel(input: Tensor) -> Tensor:
    """All elements in one axis; a view where possible."""
    return Reshape.apply(input, (input.numel(),))


@register
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Without its axes of length 1, or without those named by `dim` that have length 1."""
    axes = () if dim is not None and not isinstance(dim, int) and not len(dim) else axes_of(dim, input.ndim)
    kept = tuple(length for axis, length in enumerate(input.shape) if length != 1 or axis not in axes)
    return Reshape.apply(input, kept)


@register
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a new axis of length 1 before the axis `dim`."""
    axis = axis_of(dim, input.ndim + 1)
    return Reshape.apply(input, (*input.shape[:axis], 1, *input.shape[axis:]))


@register
@also_by_name("dims")
def permute(input: Tensor, *dims: Any) -> Tensor:
    """The axes in another order, as a view: `permute(x, 0, 2, 1)`."""
    order = axes_of(shape_of(dims), input.ndim) if input.ndim else ()
    if len(order) != input.ndim:
        raise RuntimeError(f"permute: {len(order)} axes are given, the tensor has {input.ndim}")
    return Permute.apply(input, order)


@register
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two axes exchanged, as a view."""
    first, second = axis_of(dim0, input.ndim), axis_of(dim1, input.ndim)
    order = list(range(input.ndim))
    if order:
        order[first], order[second] = second, first
    return Permute.apply(input, tuple(order))


@register
def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """Two axes exchanged, as a view: `transpose` with NumPy's names for its arguments."""
    return transpose(input, axis0, axis1)


@register
def t(input: Tensor) -> Tensor:
    """A matrix with its axes exchanged; a vector stays as it is. RuntimeError for more axes."""
    if input.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with at most 2 axes, got {input.ndim}")
    return transpose(input, 0, 1) if input.ndim == 2 else input


@register
def matrix_transpose(input: Tensor) -> Tensor:
    """The last two axes exchanged."""
    if input.ndim < 2:
        raise RuntimeError(f"a tensor with {input.ndim} axes has no two to exchange")
    return transpose(input, -2, -1)


@register
@also_by_name("size")
def expand(input: Tensor, *sizes: Any) -> Tensor:
    """Axes of length 1 repeated to the given lengths, without copying; -1 keeps a length. New axes come in front."""
    wanted = shape_of(sizes)
    added = len(wanted) - input.ndim
    if added < 0 or -1 in wanted[:added]:
        raise RuntimeError(f"cannot expand the shape {input.shape} to {wanted}")
    own = (1,) * added + tuple(input.shape)
    shape = tuple(old if new == -1 else new for old, new in zip(own, wanted, strict=True))
    if any(old not in (1, new) for old, new in zip(own, shape, strict=True)):
        raise RuntimeError(
            f"the expanded shape {wanted} must match the existing lengths {input.shape} where they are not 1"
        )
    return Expand.apply(input, shape)


@register
def contiguous(input: Tensor, memory_format: Any = contiguous_format) -> Tensor:
    """With the elements in memory in the order of the axes: itself if they are, else a copy.

    memory_format: channels_last for (N, C, H, W) that lie in memory as (N, H, W, C), preserve_format for any order.
    """
    if memory_format is preserve_format or input.is_contiguous(memory_format):
        return input
    return Copy.apply(input, "channels last" if memory_format is channels_last else "C")


@register
def clone(input: Tensor, *, memory_format: Any = preserve_format) -> Tensor:
    """A copy in the same memory order, or in that of `memory_format`; the gradient flows through it."""
    if memory_format is preserve_format:
        return Copy.apply(input, "K")
    input.is_contiguous(memory_format)  # raises for what has no such format
    return Copy.apply(input, "channels last" if memory_format is channels_last else "C")


@register
@also_by_name("dims")
def flip(input: Tensor, *dims: Any) -> Tensor:
    """Reversed along the given axes."""
    named = shape_of(dims)
    return Flip.apply(input, axes_of(named, input.ndim) if named else ())


@register
def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors one behind the other along an axis. Other lengths must agree; types are promoted."""
    if not tensors:
        raise ValueError("expected a non-empty list of Tensors")
    for number, tensor in enumerate(tensors):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"cat: expected a Tensor as element {number}, but got {type(tensor).__name__}")
    if any(tensor.ndim == 0 for tensor in tensors):
        raise RuntimeError("zero-dimensional tensors cannot be concatenated: use stack")
    kept = list(tensors)
    if any(tensor.ndim > 1 for tensor in tensors):  # empty vectors may stand beside any shape, as in PyTorch
        kept = [tensor for tensor in tensors if tensor.shape != (0,)]
    axis = axis_of(dim, kept[0].ndim)
    rest = kept[0].shape[:axis] + kept[0].shape[axis + 1 :]
    for number, tensor in enumerate(kept):
        if tensor.ndim != kept[0].ndim or tensor.shape[:axis] + tensor.shape[axis + 1 :] != rest:
            raise RuntimeError(
                f"sizes of tensors must match except in dimension {axis}: tensor {number} has shape {tensor.shape}, "
                f"the first {kept[0].shape}"
            )
    dtype = common_type(tensor.array for tensor in tensors)
    return Concatenate.apply(*(tensor.to(dtype) for tensor in kept), axis=axis)


@register
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors, all of one shape, along a new axis."""
    if not tensors:
        raise RuntimeError("stack expects a non-empty list of Tensors")
    for tensor in tensors:
        if tensor.shape != tensors[0].shape:
            raise RuntimeError(f"stack expects each tensor to be equal size, got {tensors[0].shape} and {tensor.shape}")
    axis = axis_of(dim, tensors[0].ndim + 1)
    return cat([unsqueeze(tensor, axis) for tensor in tensors], axis)


@register
def split(
    tensor: Tensor, split_size_or_sections: Any = None, dim: int = 0, *, split_size: Any = None
) -> tuple[Tensor, ...]:
    """Parts along an axis, as views: of a given length (the last may be shorter), or of the given lengths.

    split_size: the name that the length or lengths have in the method, `x.split(split_size=2)`.
    """
    split_size_or_sections = split_size if split_size_or_sections is None else split_size_or_sections
    axis = axis_of(dim, tensor.ndim)
    length = tensor.shape[axis]
    if isinstance(split_size_or_sections, int):
        size = split_size_or_sections
        if size < 0 or (size == 0 and length):
            raise RuntimeError(f"split expects split_size to be positive, got {size}")
        lengths = [min(size, length - start) for start in range(0, length, size)] if length else [0]
    else:
        lengths = list(split_size_or_sections)
        if sum(lengths) != length or min(lengths, default=0) < 0:
            raise RuntimeError(f"split expects split_sizes to sum exactly to {length}, got {lengths}")
    parts, start = [], 0
    for size in lengths:
        parts.append(tensor[(slice(None),) * axis + (slice(start, start + size),)])
        start += size
    return tuple(parts)


@register
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` parts of equal length along an axis (the last may be shorter), as views."""
    if chunks < 1:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got {chunks}")
    length = input.shape[axis_of(dim, input.ndim)]
    return split(input, max(-(-length // chunks), 1), dim)
