"""Products, and running products and differences, along one axis."""

from typing import Any

from minires.autograd import Function, Node
from minires.backend import Array, array_module, int64, is_floating
from minires.ops.dims import axis_of
from minires.ops.elementwise import sub
from minires.ops.index import getitem
from minires.ops.shape import cat, reshape
from minires.tensor import Tensor, register


class Product(Function):
    """y = x_1 x_2 ... x_m along an axis;  dx_i = dy times the product of all others, which is right for zeros, too.

    The others are those before i, times those behind: two running products, one from each end.
    """

    @staticmethod
    def forward(ctx: Node, x: Array, axis: int, keepdim: bool) -> Array:
        ctx.axis, ctx.keepdim = axis, keepdim
        ctx.save_for_backward(x)
        return array_module(x).asarray(x.prod(axis=axis, keepdims=keepdim, dtype=x.dtype))

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        (x,) = ctx.saved_arrays
        xp, axis = array_module(x), ctx.axis
        behind = xp.flip(products_before(xp.flip(x, axis), axis), axis)
        full = grad if ctx.keepdim else xp.expand_dims(grad, axis)
        return full * products_before(x, axis) * behind, None, None


class CumulativeProduct(Function):
    """y_k = x_1 ... x_k along an axis;  dx_i = (x_1 ... x_(i-1)) r_i with r_i = dy_i + x_(i+1) r_(i+1), from the end.

    For y_k holds x_i as a factor where k >= i, and r_i is the sum of dy_k x_(i+1) ... x_k over these k.
    """

    @staticmethod
    def forward(ctx: Node, x: Array, axis: int) -> Array:
        ctx.axis = axis
        ctx.save_for_backward(x)
        return x.cumprod(axis=axis, dtype=x.dtype)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        (x,) = ctx.saved_arrays
        rest = grad.copy()
        factors, sums = (array_module(x).moveaxis(array, ctx.axis, 0) for array in (x, rest))
        for place in range(len(factors) - 2, -1, -1):
            sums[place] += factors[place + 1] * sums[place + 1]
        return rest * products_before(x, ctx.axis), None


def products_before(x: Array, axis: int) -> Array:
    """For each place the product of all that stand before it along the axis; 1 for the first."""
    xp = array_module(x)
    shifted = xp.roll(x, 1, axis)
    shifted[(slice(None),) * axis + (slice(0, 1),)] = 1
    return shifted.cumprod(axis=axis, dtype=x.dtype)


# ------------------------------------------------------------------------------------------- the functions users call


@register
def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The product of all elements, or along one axis; integers and booleans as int64 unless `dtype` says otherwise."""
    if dtype is None and not is_floating(input.dtype):
        dtype = int64
    input = input if dtype is None else input.to(dtype)
    if dim is None or not input.ndim:
        return Product.apply(reshape(input, -1), 0, False)
    return Product.apply(input, axis_of(dim, input.ndim), keepdim)


@register
def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Running products along an axis; integers as int64."""
    if dtype is None and not is_floating(input.dtype):
        dtype = int64
    input = input if dtype is None else input.to(dtype)
    axis = axis_of(dim, input.ndim)
    return CumulativeProduct.apply(input, axis) if input.ndim else input.clone()


@register
def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """Each element minus the one before it along an axis, `n` times over; prepend and append are joined on first."""
    if not input.ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"diff: order must be non-negative, got {n}")
    axis = axis_of(dim, input.ndim)
    if n == 0:
        return input.clone()
    parts = [part for part in (prepend, input, append) if part is not None]
    input = cat(parts, axis) if len(parts) > 1 else input
    before = (slice(None),) * axis
    for _ in range(n):
        later, earlier = getitem(input, (*before, slice(1, None))), getitem(input, (*before, slice(0, -1)))
        input = later != earlier if input.dtype.kind == "b" else sub(later, earlier)
    return input
