"""What is left of reductions: quantiles and the most common element; sums that pass over NaN; two results at once."""

from typing import Any, NamedTuple

from minires.backend import array_module, int64, is_floating
from minires.ops.choice import lerp, masked_fill, where
from minires.ops.dims import axes_of, axis_of
from minires.ops.elementwise import div
from minires.ops.index import ValuesAndIndices, argsort, gather, median, sort, taken_from
from minires.ops.linalg import matmul
from minires.ops.moments import norm, std, var
from minires.ops.pointwise import real
from minires.ops.reduce import amax, amin, mean, need_real, sum
from minires.ops.shape import permute, reshape, squeeze, unsqueeze
from minires.tensor import Tensor, register

INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


class Extremes(NamedTuple):
    """What `aminmax` returns."""

    min: Tensor
    max: Tensor


@register
def quantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """What the share q (a number from 0 to 1, or a vector of them: then a new first axis) of the elements lies below.

    interpolation: what to do between two elements: "linear", "lower", "higher", "midpoint", "nearest". NaN where there
    is one among the elements.
    """
    return _quantile(input, q, dim, keepdim, interpolation, "quantile")


@register
def nanquantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """`quantile` of those elements that are not NaN."""
    return _quantile(input, q, dim, keepdim, interpolation, "nanquantile")


def _quantile(input: Tensor, q: Any, dim: int | None, keepdim: bool, interpolation: str, name: str) -> Tensor:
    need_real(input, name)
    if interpolation not in INTERPOLATIONS:
        raise RuntimeError(f"{name}() interpolation must be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}")
    xp = array_module(input.array)
    if isinstance(q, Tensor) and (q.dtype != input.dtype or q.ndim > 1):
        raise RuntimeError(f"{name}() q must be a number or a vector of {input.dtype}, got {q.dtype}, {q.shape}")
    shares = q if isinstance(q, Tensor) else Tensor(xp.asarray(q, input.dtype))
    if not input.numel() or ((shares.array < 0) | (shares.array > 1)).any():
        raise RuntimeError(f"{name}() takes an input that is not empty, and q from 0 to 1")
    axis = axis_of(dim, input.ndim) if dim is not None else 0
    lengths = [1] * input.ndim if dim is None else list(input.shape)
    if input.ndim:
        lengths[axis] = 1
    rows = reshape(input, 1, -1) if dim is None or not input.ndim else input.transpose(axis, -1)
    ranks = _ranks(rows, shares.reshape(-1), name == "nanquantile")
    low, high, weight = _neighbours(xp, ranks, interpolation)
    ordered = sort(rows, -1).values
    below, above = gather(ordered, rows.ndim - 1, Tensor(low)), gather(ordered, rows.ndim - 1, Tensor(high))
    found = lerp(below, above, weight)  # (..., numbers of q)
    found = permute(found, (found.ndim - 1, *range(found.ndim - 1)))  # (q, ...) without the axis, its neighbour moved
    kept = reshape(found if dim is None else _put_back(found, axis, input.ndim), (shares.numel(), *lengths))
    if not keepdim:
        kept = reshape(kept, shares.numel()) if dim is None or not input.ndim else squeeze(kept, axis + 1)
    return kept if shares.ndim else kept[0]


def _put_back(found: Tensor, axis: int, ndim: int) -> Tensor:
    """The last axis stood at `axis` while `axis` was last: (q, ..., last, ...) with an axis of 1 at the end, undone."""
    return unsqueeze(found, -1).transpose(axis + 1, -1) if ndim else found


def _ranks(rows: Tensor, shares: Tensor, ignore: bool) -> Tensor:
    """Places (real numbers) among the sorted elements of each row, where NaN stand last; with NaN, that of a NaN."""
    xp, length = array_module(rows.array), rows.shape[-1]
    nans = xp.isnan(rows.array).sum(axis=-1, keepdims=True)
    counted = length - nans if ignore else xp.full_like(nans, length)
    ranks = shares * Tensor(xp.maximum(counted - 1, 0).astype(rows.dtype))
    return ranks if ignore else masked_fill(ranks, Tensor(nans > 0), length - 1)


def _neighbours(xp: Any, given: Tensor, interpolation: str) -> tuple[Any, Any, Tensor]:
    """(place below, place above, weight of the one above, which alone has a gradient)."""
    ranks = given.array
    if interpolation in ("lower", "higher", "nearest"):
        rounding = {"lower": xp.floor, "higher": xp.ceil, "nearest": xp.rint}[interpolation]
        place = rounding(ranks).astype(int64)
        return place, place, Tensor(xp.zeros_like(ranks))
    low = xp.floor(ranks)
    weight = given - Tensor(low) if interpolation == "linear" else Tensor(xp.full_like(ranks, 0.5))
    return low.astype(int64), xp.ceil(ranks).astype(int64), weight


@register
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> ValuesAndIndices:
    """(the most common value along `dim`, the last place where it stands); of several as common the smallest."""
    axis = axis_of(dim, input.ndim)
    if not input.ndim:
        return ValuesAndIndices(input.clone(), Tensor(array_module(input.array).zeros((), int64)))
    if not input.shape[axis]:
        raise IndexError(f"mode(): expected reduction dim {dim} to have non-zero size")
    xp = array_module(input.array)
    rows = xp.moveaxis(input.array, axis, -1)
    equal = rows[..., :, None] == rows[..., None, :]
    counts = equal.sum(axis=-1)
    common = counts == counts.max(axis=-1, keepdims=True)
    order = xp.argsort(rows, axis=-1, kind="stable")
    first = xp.take_along_axis(common, order, -1).argmax(axis=-1)[..., None]  # the first common one among the sorted
    smallest = xp.take_along_axis(rows, xp.take_along_axis(order, first, -1), -1)
    last = rows.shape[-1] - 1 - xp.flip(rows == smallest, -1).argmax(axis=-1)
    indices = Tensor(xp.expand_dims(last, axis))
    values = gather(input, axis, indices)
    if keepdim:
        return ValuesAndIndices(values, indices)
    return ValuesAndIndices(squeeze(values, axis), squeeze(indices, axis))


@register
def nansum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum of the elements that are not NaN."""
    if not is_floating(input.dtype):
        return sum(input, dim, keepdim, dtype=dtype)
    return sum(masked_fill(input, _nan(input), 0.0), dim, keepdim, dtype=dtype)


@register
def nanmean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean of the elements that are not NaN; NaN of none."""
    need_real(input, "nanmean")
    counted = (~_nan(input).array).sum(axis=axes_of(dim, input.ndim), keepdims=keepdim)
    total = nansum(input, dim, keepdim, dtype=dtype)
    return div(total, Tensor(array_module(input.array).asarray(counted, total.dtype)))


def _nan(input: Tensor) -> Tensor:
    return Tensor(array_module(input.array).isnan(input.array))


@register
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Extremes:
    """(the smallest, the largest) of all elements or along `dim`; ties share the gradient evenly."""
    if not input.numel() and dim is None:
        raise RuntimeError("aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity")
    dims = () if dim is None else dim
    return Extremes(amin(input, dims, keepdim), amax(input, dims, keepdim))


@register
def std_mean(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = 1
) -> tuple[Tensor, Tensor]:
    """(`std`, `mean`)."""
    dims = None if isinstance(dim, bool) else dim
    return std(input, dim, unbiased, keepdim, correction=correction), mean(input, dims, keepdim)


@register
def var_mean(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = 1
) -> tuple[Tensor, Tensor]:
    """(`var`, `mean`)."""
    dims = None if isinstance(dim, bool) else dim
    return var(input, dim, unbiased, keepdim, correction=correction), mean(input, dims, keepdim)


@register
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """`median` of the elements that are not NaN; NaN where there are none."""
    if dim is None:
        return nanmedian(input.reshape(-1), 0).values if input.numel() else median(input)
    if not input.ndim or not is_floating(input.dtype) or not input.numel():
        return median(input, dim, keepdim)
    axis = axis_of(dim, input.ndim)
    counts = (~_nan(input).array).sum(axis=axis, keepdims=True)
    places = Tensor((array_module(input.array).maximum(counts, 1) - 1) // 2)
    return taken_from(input, axis, gather(argsort(input, axis), axis, places), keepdim)


@register
def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
) -> Tensor:
    """The covariances (n, n) of n variables, the rows of a matrix whose columns are observations; a vector is one.

    correction: what is taken from the number of observations to divide by. fweights: how often each observation counts
    (whole numbers); aweights: how much it weighs.
    """
    if input.ndim > 2 or input.dtype.kind == "b":
        raise RuntimeError(f"cov: expected a matrix or a vector of numbers, got shape {input.shape}, {input.dtype}")
    rows = real(input.reshape(1, -1) if input.ndim < 2 else input)
    weights = aweights if fweights is None else fweights if aweights is None else fweights * aweights
    if weights is None:
        centred, total = rows - rows.mean(1, True), rows.shape[1]
        return matmul(centred, centred.t()) / max(total - correction, 0)
    total = weights.sum()
    centred = rows - (rows * weights).sum(1, True) / total
    less = correction if aweights is None else correction * (weights * aweights).sum() / total
    return matmul(centred * weights, centred.t()) / (total - less).clamp(min=0)


@register
def corrcoef(input: Tensor) -> Tensor:
    """Pearson's correlations (n, n) of n variables, the rows of a matrix whose columns are observations."""
    found = cov(input)
    deviations = found.diagonal().sqrt()
    shares = (found / deviations.unsqueeze(1) / deviations.unsqueeze(0)).clamp(-1, 1)
    return shares if input.ndim == 2 else shares.reshape(())


@register
def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """Each slice along `dim` whose p-norm is above maxnorm scaled down to it."""
    axis = axis_of(dim, input.ndim)
    if input.ndim < 2 or p <= 0 or maxnorm < 0:
        raise RuntimeError(f"renorm: expected at least 2 axes, p above 0 and maxnorm from 0 up, got {input.shape}, "
                           f"{p}, {maxnorm}")  # fmt: skip
    lengths = norm(input, p, tuple(other for other in range(input.ndim) if other != axis), True)
    return input * where(lengths > maxnorm, maxnorm / (lengths + 1e-7), Tensor(lengths.array * 0 + 1))
