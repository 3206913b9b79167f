"""Diagonals and triangles of matrices, which are the last two axes unless said otherwise."""

from typing import Any

import numpy as np

from minires.autograd import Function, Node
from minires.backend import Array, array_module, int64, move
from minires.ops.dims import axis_of
from minires.ops.memory import axis_order, new_array, own_places
from minires.ops.pointwise import kept_where
from minires.ops.reduce import sum
from minires.tensor import Tensor, register


def _writable_diagonal(x: Array, offset: int, first: int, second: int) -> Array:
    """The diagonal as a view; NumPy marks it as read-only, although its elements are x's own."""
    y = x.diagonal(offset, first, second)
    if isinstance(x, np.ndarray) and x.flags.writeable:
        y.flags.writeable = True
    return y


class Diagonal(Function):
    """y[..., i] = x[i, i + offset] of two axes, which go, as a view;  dx = dy on the diagonal, 0 elsewhere."""

    @staticmethod
    def forward(ctx: Node, x: Array, offset: int, first: int, second: int) -> Array:
        ctx.shape, ctx.order, ctx.places = x.shape, axis_order(x), (offset, first, second)
        return _writable_diagonal(x, *ctx.places)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        dx = new_array(grad, ctx.shape, ctx.order)
        _writable_diagonal(dx, *ctx.places)[...] = grad
        return dx, None, None, None


class DiagonalEmbed(Function):
    """y[i, i + offset] = x[..., i] in two new axes, 0 elsewhere;  dx = the diagonal of dy."""

    @staticmethod
    def forward(ctx: Node, x: Array, offset: int, first: int, second: int) -> Array:
        ctx.places = offset, first, second
        side = x.shape[-1] + abs(offset)
        shape = list(x.shape[:-1])
        for axis in sorted((first, second)):
            shape.insert(axis, side)
        y = array_module(x).zeros(shape, x.dtype)
        _writable_diagonal(y, *ctx.places)[...] = x
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        return grad.diagonal(*ctx.places), None, None, None


class Triangle(Function):
    """y = x on and below the diagonal number k (on and above, for the upper one), 0 elsewhere;  dx = dy likewise."""

    @staticmethod
    def forward(ctx: Node, x: Array, k: int, upper: bool) -> Array:
        rows, columns = own_places(x, x.shape[-2:])
        ctx.mask = columns - rows >= k if upper else columns - rows <= k
        return kept_where(ctx.mask, x)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        return kept_where(ctx.mask, grad), None, None


# ------------------------------------------------------------------------------------------- the functions users call


@register
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of two axes, as a view with it as the last axis; `offset` above 0 is right of the main one."""
    return Diagonal.apply(input, offset, *_two_axes(input.ndim, dim1, dim2))


def _two_axes(ndim: int, dim1: int, dim2: int) -> tuple[int, int]:
    first, second = axis_of(dim1, ndim), axis_of(dim2, ndim)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical: {dim1} and {dim2}")
    return first, second


@register
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices, in two new axes, with the last axis of the input on a diagonal and zeros elsewhere."""
    return DiagonalEmbed.apply(input, offset, *_two_axes(input.ndim + 1, dim1, dim2))


@register
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix; or the matrix with a vector on its diagonal. RuntimeError for more axes."""
    if input.ndim == 1:
        return DiagonalEmbed.apply(input, diagonal, 0, 1)
    if input.ndim != 2:
        raise RuntimeError(f"diag(): supports 1D or 2D tensors, got {input.ndim} axes")
    return Diagonal.apply(input, diagonal, 0, 1).clone()


@register
def trace(input: Tensor) -> Tensor:
    """The sum of a matrix's diagonal."""
    if input.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, got {input.ndim} axes")
    return sum(Diagonal.apply(input, 0, 0, 1))


@register
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The elements on and below a diagonal, zeros above."""
    return Triangle.apply(_matrices(input, "tril"), diagonal, False)


@register
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The elements on and above a diagonal, zeros below."""
    return Triangle.apply(_matrices(input, "triu"), diagonal, True)


def _matrices(input: Tensor, name: str) -> Tensor:
    if input.ndim < 2:
        raise RuntimeError(f"{name}: the input must have at least 2 axes, got {input.ndim}")
    return input


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = int64, device: Any = None) -> Tensor:
    """(2, count): rows and columns of the elements on and below a diagonal."""
    return Tensor(move(np.stack(np.tril_indices(row, offset, col)).astype(dtype), device or "cpu"))


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = int64, device: Any = None) -> Tensor:
    """(2, count): rows and columns of the elements on and above a diagonal."""
    return Tensor(move(np.stack(np.triu_indices(row, offset, col)).astype(dtype), device or "cpu"))
