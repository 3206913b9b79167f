"""Products and distances made of those in products.py: inner, Kronecker and cross products, addmv, cdist, dist."""

from typing import Any

from minires.ops.dims import axis_of
from minires.ops.elementwise import add, mul, sub
from minires.ops.moments import norm
from minires.ops.pointwise import need_tensors
from minires.ops.products import dot, mv, outer, tensordot
from minires.ops.rearrange import roll
from minires.ops.reduce import sum
from minires.ops.shape import reshape, unsqueeze
from minires.tensor import Tensor, register


@register
def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sums of products along the last axis of both; with a number, the product."""
    if not input.ndim or not other.ndim:
        return mul(input, other)
    if input.shape[-1] != other.shape[-1]:
        raise RuntimeError(f"inner() the last dimension must match on both input tensors but got shapes "
                           f"{input.shape} and {other.shape}")  # fmt: skip
    return tensordot(input, other, ([-1], [-1]))


@register
def vdot(input: Tensor, other: Tensor) -> Tensor:
    """The sum of the products of two vectors' elements: `dot`, for real numbers."""
    return dot(input, other)


@register
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta input + alpha mat vec."""
    product = mul(mv(mat, vec), alpha)
    return product if beta == 0 else add(mul(input, beta), product)


@register
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta input + alpha times the matrix of all products of two vectors' elements."""
    product = mul(outer(vec1, vec2), alpha)
    return product if beta == 0 else add(mul(input, beta), product)


@register
def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product: each element of `input` replaced by itself times all of `other`."""
    need_tensors("kron", input, other)
    axes = max(input.ndim, other.ndim)
    one, two = ((1,) * (axes - x.ndim) + tuple(x.shape) for x in (input, other))
    first = reshape(input, [n for length in one for n in (length, 1)])
    second = reshape(other, [n for length in two for n in (1, length)])
    return reshape(mul(first, second), [a * b for a, b in zip(one, two, strict=True)])


@register
def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The cross product of vectors of length 3 along `dim` (the first axis of that length, if None)."""
    if dim is None:
        threes = [axis for axis, length in enumerate(input.shape) if length == 3]
        if not threes:
            raise RuntimeError(f"cross: no dimension of size 3 in input of shape {input.shape}")
        dim = threes[0]
    axis = axis_of(dim, input.ndim)
    if input.ndim != other.ndim or input.shape[axis] != 3 or other.shape[axis] != 3:
        raise RuntimeError(f"cross: inputs must have as many axes and length 3 along {dim}, got {input.shape} and "
                           f"{other.shape}")  # fmt: skip
    return sub(mul(roll(input, -1, axis), roll(other, -2, axis)), mul(roll(input, -2, axis), roll(other, -1, axis)))


@register
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Sums of products along `dim`; the other axes are broadcast."""
    return sum(mul(x, y), dim)


@register
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The p-norm of input - other."""
    return norm(sub(input, other), p)


@register
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: Any = None) -> Tensor:
    """The p-norm distances of all rows of x1 (..., P, M) from all rows of x2 (..., R, M): (..., P, R).

    compute_mode names a way of computing in PyTorch; here every way gives the differences' norm.
    """
    if x1.ndim < 2 or x2.ndim < 2 or x1.shape[-1] != x2.shape[-1]:
        raise RuntimeError(f"cdist: x1 and x2 must be matrices with as many columns, got {x1.shape} and {x2.shape}")
    if p < 0:
        raise RuntimeError(f"cdist only supports non-negative p values, got {p}")
    return norm(sub(unsqueeze(x1, -2), unsqueeze(x2, -3)), p, -1)
