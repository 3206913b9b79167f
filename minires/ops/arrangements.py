"""Ways to join, to cut and to lift tensors that are said in terms of those before them."""

import itertools
from collections.abc import Sequence
from typing import Any

from minires.backend import array_module
from minires.ops.diagonal import diag
from minires.ops.dims import axis_of
from minires.ops.index import getitem, sort
from minires.ops.rearrange import hstack, meshgrid
from minires.ops.shape import cat, flatten, reshape, stack
from minires.tensor import Tensor, register


@register
def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Side by side, vectors as columns."""
    return hstack([reshape(x, x.numel(), 1) if x.ndim <= 1 else x for x in tensors])


@register
def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """One behind the other along a third axis."""
    if not tensors:
        raise RuntimeError("dstack expects a non-empty list of Tensors")
    return cat([atleast_3d(x) for x in tensors], 2)


def _at_least(tensors: tuple[Any, ...], shape_of: Any) -> Any:
    many = len(tensors) != 1 or not isinstance(tensors[0], Tensor)
    given = tensors[0] if len(tensors) == 1 and many else tensors
    lifted = tuple(reshape(x, shape_of(tuple(x.shape))) for x in given)
    return lifted if many else lifted[0]


@register
def atleast_1d(*tensors: Any) -> Any:
    """With at least one axis; several tensors give a tuple."""
    return _at_least(tensors, lambda shape: shape or (1,))


@register
def atleast_2d(*tensors: Any) -> Any:
    """With at least two axes, a vector as a row; several tensors give a tuple."""
    return _at_least(tensors, lambda shape: (1,) * (2 - len(shape)) + shape)


@register
def atleast_3d(*tensors: Any) -> Any:
    """With at least three axes, a vector (n) as (1, n, 1), a matrix as (m, n, 1); several tensors give a tuple."""
    lift = {0: (1, 1, 1), 1: (1, -1, 1)}
    return _at_least(tensors, lambda shape: lift.get(len(shape), (*shape, 1) if len(shape) == 2 else shape))


@register
def block_diag(*tensors: Tensor) -> Tensor:
    """Matrices along the diagonal of a large one, zeros elsewhere; vectors count as rows."""
    blocks = [atleast_2d(x) for x in tensors]
    if any(block.ndim > 2 for block in blocks):
        raise RuntimeError("block_diag: expected tensors with at most 2 axes")
    width = sum(block.shape[1] for block in blocks)
    rows, left = [], 0
    for block in blocks:
        height, own = block.shape
        sides = [block.new_zeros(height, left), block, block.new_zeros(height, width - left - own)]
        rows.append(cat(sides, 1))
        left += own
    return cat(rows, 0)


@register
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """The matrix with all elements of `input` on a diagonal."""
    return diag(flatten(input), offset)


@register
def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Cut at the given places along `dim`; or into so many parts of nearly equal length, the longer ones first."""
    axis = axis_of(dim, input.ndim)
    if not input.ndim:
        raise RuntimeError("tensor_split expected at least a 1-dimensional tensor, but got one without axes")
    length = input.shape[axis]
    places = indices_or_sections.tolist() if isinstance(indices_or_sections, Tensor) else indices_or_sections
    if isinstance(places, int):
        if places < 1:
            raise RuntimeError(f"number of sections must be larger than 0, got {places}")
        each, more = divmod(length, places)
        places = list(itertools.accumulate([each + 1] * more + [each] * (places - more)))[:-1]
    front = (slice(None),) * axis
    bounds = [None, *places, None]
    return tuple(getitem(input, (*front, slice(*pair))) for pair in itertools.pairwise(bounds))


def _split_along(input: Tensor, indices_or_sections: Any, axis: int, name: str) -> tuple[Tensor, ...]:
    if isinstance(indices_or_sections, int) and input.shape[axis] % max(indices_or_sections, 1):
        raise RuntimeError(f"{name} attempted to split along dimension {axis}, but its length {input.shape[axis]} is "
                           f"not divisible by {indices_or_sections}")  # fmt: skip
    return tensor_split(input, indices_or_sections, axis)


@register
def hsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Cut along the second axis (a vector: along its only one), into equal parts or at the given places."""
    if not input.ndim:
        raise RuntimeError("hsplit requires a tensor with at least 1 dimension")
    return _split_along(input, indices_or_sections, min(1, input.ndim - 1), "hsplit")


@register
def vsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Cut along the first axis of at least two, into equal parts or at the given places."""
    if input.ndim < 2:
        raise RuntimeError("vsplit requires a tensor with at least 2 dimension")
    return _split_along(input, indices_or_sections, 0, "vsplit")


@register
def cartesian_prod(*tensors: Tensor) -> Tensor:
    """Every way to take one element of each vector, one a row, as itertools.product orders them."""
    if len(tensors) == 1:
        return tensors[0]
    return stack([flatten(x) for x in meshgrid(*tensors, indexing="ij")], -1)


@register
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """Every way to take r elements of a vector, one a row, as itertools.combinations orders them."""
    if input.ndim != 1 or r < 0:
        raise RuntimeError(f"combinations: expected a vector and r from 0 up, got shape {input.shape} and r={r}")
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = list(choose(range(input.numel()), r))
    xp = array_module(input.array)
    return getitem(input, Tensor(xp.asarray(rows, int).reshape(len(rows), r)))


@register
def msort(input: Tensor) -> Tensor:
    """Sorted along the first axis."""
    return sort(input, 0).values


@register
def rsub(input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """other - alpha input."""
    return other - (input if alpha == 1 else input * alpha)


@register
def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """The powers x^(N-1), ..., x, 1 of each element as a row (the other way round, if `increasing`); N: x's length."""
    count = x.numel() if N is None else N
    if x.ndim != 1 or count < 0:
        raise RuntimeError(f"vander: expected a vector and N from 0 up, got shape {x.shape} and N={count}")
    powers = Tensor(array_module(x.array).arange(count))
    return x.unsqueeze(1) ** (powers if increasing else powers.flip(0))
