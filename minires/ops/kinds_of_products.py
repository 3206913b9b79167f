"""Products and distances made of those in products.py: inner, Kronecker and cross products, addmv, cdist, dist."""

from typing import Any

from minires.backend import array_module, is_floating
from minires.ops.dims import axis_of
from minires.ops.elementwise import mul, sub
from minires.ops.moments import norm
from minires.ops.pointwise import need_tensors
from minires.ops.products import dot, einsum, mv, outer, tensordot, weighted_sum
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
    return weighted_sum(input, mv(mat, vec), beta, alpha)


@register
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta input + alpha times the matrix of all products of two vectors' elements.

    RuntimeError for real factors among whole numbers.
    """
    product = outer(vec1, vec2)
    if not is_floating(product.dtype) and (isinstance(beta, float) or isinstance(alpha, float)):
        raise RuntimeError("addr: for whole numbers, beta and alpha must not be real ones")
    return weighted_sum(input, product, beta, alpha)


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


@register
def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The p-norm distances of all pairs of rows of a matrix: 0 and 1, 0 and 2, ..., 1 and 2, ..."""
    if input.ndim != 2 or not is_floating(input.dtype):
        raise RuntimeError(f"pdist only supports matrices of real numbers, got {input.shape}, {input.dtype}")
    if p < 0:
        raise RuntimeError(f"pdist only supports non-negative p values, got {p}")
    first, second = (Tensor(places) for places in array_module(input.array).triu_indices(len(input), 1))
    return norm(sub(input[first], input[second]), p, -1)


@register
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y[k] = sum over i, j of a[i] weight[k, i, j] b[j] + bias[k]: a (..., I), b (..., J), weight (K, I, J)."""
    if input1.shape[:-1] != input2.shape[:-1] or weight.shape[1:] != (input1.shape[-1], input2.shape[-1]):
        raise RuntimeError(f"bilinear: inputs of shapes {input1.shape} and {input2.shape} and a weight of shape "
                           f"{weight.shape} do not fit")  # fmt: skip
    found = einsum("...i,kij,...j->...k", input1, weight, input2)
    return found if bias is None else found + bias
