"""Placing by an index where what is there and all that comes are joined: scatter_reduce; and slices put into a copy."""

from typing import Any

from minires.autograd import Function, Node
from minires.backend import Array, array_module, is_floating
from minires.ops.broadcast import sum_to_shape
from minires.ops.diagonal import diagonal
from minires.ops.dims import axis_of
from minires.ops.index import Steps, _inner, _kept, _places, _steps, set_items
from minires.ops.pointwise import kept_where
from minires.ops.scatter import _checked, _corner
from minires.tensor import Tensor, register

Pair = tuple[Array, Array]
START = {"sum": 0, "mean": 0, "prod": 1, "amax": -float("inf"), "amin": float("inf")}
JOIN = {"sum": "add", "mean": "add", "prod": "multiply", "amax": "maximum", "amin": "minimum"}


class ScatterReduce(Function):
    """y = x, each y[k] joined with all src[i] whose index[i] = k (for one axis); without x[k] itself, if asked for.

    sum: dx = dy, dsrc[i] = dy[index[i]].  mean: the same with dy over the number joined.  amax, amin: dy shared evenly
    among those that equal y.  prod: dy times the product of the others, of x and of src.
    """

    @staticmethod
    def forward(ctx: Node, x: Array, src: Array, index: Array, axis: int, reduce: str, include_self: bool) -> Array:
        xp, places = array_module(x), _places(index, axis)
        ctx.axis, ctx.reduce, ctx.include_self, ctx.src_shape = axis, reduce, include_self, src.shape
        values, y = src[_corner(index)], x.copy(order="K")
        if not include_self:
            y[places] = _start(xp, reduce, x.dtype)
        getattr(xp, JOIN[reduce]).at(y, places, values)
        if reduce == "mean":
            counts = _counts(xp, x.shape, places, include_self, x.dtype)
            y = y / counts if is_floating(x.dtype) else y // counts
        ctx.save_for_backward(x, values, index, y)
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        x, values, index, y = ctx.saved_arrays
        xp, places = array_module(grad), _places(index, ctx.axis)
        own = xp.ones(x.shape, bool)  # where x itself was joined
        if not ctx.include_self:
            own[places] = False
        dx, dvalues = GRADIENTS[ctx.reduce](xp, grad, x, values, y, places, own)
        dsrc = xp.zeros(ctx.src_shape, grad.dtype)
        dsrc[_corner(index)] = dvalues
        return kept_where(own, dx), dsrc, None, None, None, None


def _start(xp: Any, reduce: str, dtype: Any) -> Any:
    """What joining begins with where x is left out."""
    if reduce in ("amax", "amin") and dtype.kind in "iu":
        return getattr(xp.iinfo(dtype), "min" if reduce == "amax" else "max")
    return START[reduce]


def _counts(xp: Any, shape: tuple[int, ...], places: Any, include_self: bool, dtype: Any) -> Array:
    counts = xp.full(shape, int(include_self), dtype)
    xp.add.at(counts, places, 1)
    return xp.maximum(counts, 1)


def _of_sum(xp: Any, grad: Array, x: Array, values: Array, y: Array, places: Any, own: Array) -> Pair:
    return grad, grad[places]


def _of_mean(xp: Any, grad: Array, x: Array, values: Array, y: Array, places: Any, own: Array) -> Pair:
    counts = own.astype(grad.dtype)
    xp.add.at(counts, places, 1)
    share = grad / xp.maximum(counts, 1)
    return share, share[places]


def _of_extreme(xp: Any, grad: Array, x: Array, values: Array, y: Array, places: Any, own: Array) -> Pair:
    winners, winning = (x == y) & own, values == y[places]
    counts = winners.astype(grad.dtype)
    xp.add.at(counts, places, winning.astype(grad.dtype))
    share = grad / counts  # where y is NaN nobody wins, and the gradient is NaN, as in PyTorch
    return winners * share, winning * share[places]


def _of_prod(xp: Any, grad: Array, x: Array, values: Array, y: Array, places: Any, own: Array) -> Pair:
    factor = xp.where(own, x, xp.ones((), x.dtype))  # the factor that x itself is
    zeros = (factor == 0).astype(int)
    xp.add.at(zeros, places, (values == 0).astype(int))
    rest = xp.where(factor == 0, xp.ones((), x.dtype), factor)  # the product of all that is not 0
    xp.multiply.at(rest, places, xp.where(values == 0, xp.ones((), x.dtype), values))

    def others(factors: Array, count: Array, product: Array) -> Array:
        """The product of all but this factor: 0 as soon as another one is."""
        alone = xp.where(factors == 0, product, product / xp.where(factors == 0, xp.ones((), x.dtype), factors))
        return xp.where(count - (factors == 0) == 0, alone, xp.zeros((), x.dtype))

    return grad * others(factor, zeros, rest), grad[places] * others(values, zeros[places], rest[places])


GRADIENTS: dict[str, Any] = {
    "sum": _of_sum, "mean": _of_mean, "prod": _of_prod, "amax": _of_extreme, "amin": _of_extreme,
}  # fmt: skip


class IndexPutAdd(Function):
    """y = x but y[index] += values, all of them where a place is named twice;  dx = dy, dvalues = dy[index]."""

    @staticmethod
    def forward(ctx: Node, x: Array, values: Array, steps: Steps) -> Array:
        ctx.steps, ctx.shape = _kept(ctx, steps), values.shape
        y = x.copy(order="K")
        array_module(x).add.at(_inner(y, steps), steps[-1], values)
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        picked = array_module(grad).asarray(_inner(grad, ctx.steps)[ctx.steps[-1]])
        return grad, sum_to_shape(picked, ctx.shape), None


# ------------------------------------------------------------------------------------------- the functions users call


@register
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """A copy of `input` with src[i, j] joined to [index[i, j], j] (for dim=0): "sum", "prod", "mean", "amax", "amin".

    include_self: whether the element of `input` counts, too. index: int64, no longer than `src`.
    """
    if reduce not in JOIN:
        raise RuntimeError(f"scatter_reduce(): reduce must be one of {', '.join(JOIN)}, got {reduce!r}")
    axis = _checked(input, dim, index, src, "scatter_reduce")
    return ScatterReduce.apply(input, src, index.array, axis, reduce, include_self)


@register
def index_put(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of `input` with `values` at input[indices], a tuple of tensors; added to what is there if `accumulate`."""
    if values.dtype != input.dtype:
        raise RuntimeError(f"index_put: input is {input.dtype}, values {values.dtype}: they must be of one type")
    if not accumulate:
        return set_items(input, tuple(indices), values)
    try:
        return IndexPutAdd.apply(input, values, _steps(tuple(indices), input.ndim))
    except ValueError as error:
        raise RuntimeError(f"index_put: {error}") from error


@register
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy of `input` with `src` as the slice number `index` along `dim`."""
    return _put(input, (slice(None),) * axis_of(dim, input.ndim) + (index,), src, "select_scatter")


@register
def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """A copy of `input` with `src` as its slices start:end:step along `dim`."""
    place = (slice(None),) * axis_of(dim, input.ndim) + (slice(start, end, step),)
    return _put(input, place, src, "slice_scatter")


def _put(input: Tensor, place: Any, src: Tensor, name: str) -> Tensor:
    wanted = input.detach()[place].shape
    if src.shape != wanted:
        raise RuntimeError(f"{name}: expected src to have a size equal to the slice of self, {wanted}, got {src.shape}")
    return set_items(input, place, src)


@register
def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A copy of `input` with `src` on a diagonal: see `diagonal`."""
    numbers = Tensor(array_module(input.array).arange(input.numel()).reshape(input.shape))
    places = diagonal(numbers, offset, dim1, dim2)
    if src.shape != places.shape:
        raise RuntimeError(f"diagonal_scatter: expected src of shape {places.shape}, got {src.shape}")
    return set_items(input.reshape(-1), places.reshape(-1), src.reshape(-1)).reshape(input.shape)
