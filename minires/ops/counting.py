"""Counting and looking up: which elements there are, where, and how many of each. None of it has a derivative."""

from typing import Any

import numpy as np

from minires.backend import array_module, boolean, int32, int64, is_floating
from minires.ops.dims import axes_of, axis_of
from minires.tensor import Tensor, register


@register
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The indices of the elements other than 0: (count, axes), or a tuple of one vector for each axis."""
    found = array_module(input.array).nonzero(input.array if input.ndim else input.array.reshape(1))
    if as_tuple:
        return tuple(Tensor(places) for places in found)
    return Tensor(array_module(input.array).stack(found, axis=1)[:, : input.ndim])


@register
def argwhere(input: Tensor) -> Tensor:
    """The indices of the elements other than 0: (count, axes)."""
    return nonzero(input)


@register
def count_nonzero(input: Tensor, dim: Any = None) -> Tensor:
    """How many elements along `dim` are other than 0."""
    xp = array_module(input.array)
    return Tensor(xp.asarray((input.array != 0).sum(axis=axes_of(dim, input.ndim)), dtype=int64))


@register
def unique(
    input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
    dim: int | None = None,
) -> Any:  # fmt: skip
    """The different elements (slices along `dim`) in rising order, whether `sorted` or not.

    return_inverse: also which of them stands at each place. return_counts: also how often each occurs.
    """
    axis = None if dim is None else axis_of(dim, input.ndim)
    values, inverse, counts = np.unique(input.array, return_inverse=True, return_counts=True, axis=axis)
    inverse = inverse.reshape(input.shape if axis is None else -1)
    results = [values, *([inverse] if return_inverse else []), *([counts] if return_counts else [])]
    return Tensor(values) if len(results) == 1 else tuple(Tensor(array) for array in results)


@register
def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The elements (slices along `dim`) in their order, each run of equal ones once; inverse, counts as in `unique`."""
    xp = array_module(input.array)
    rows = input.array.reshape(-1) if dim is None else xp.moveaxis(input.array, axis_of(dim, input.ndim), 0)
    starts = xp.ones(len(rows), bool)
    starts[1:] = (rows[1:] != rows[:-1]).reshape(max(len(rows) - 1, 0), -1).any(axis=1)
    places = xp.flatnonzero(starts)
    results = [rows[places] if dim is None else xp.moveaxis(rows[places], 0, axis_of(dim, input.ndim))]
    if return_inverse:
        results.append((xp.cumsum(starts) - 1).reshape(input.shape if dim is None else -1))
    if return_counts:
        results.append(xp.diff(xp.concatenate([places, xp.asarray([len(rows)])])))
    return Tensor(results[0]) if len(results) == 1 else tuple(Tensor(array) for array in results)


@register
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each whole number from 0 to the largest occurs in a vector; or the sums of the weights."""
    if input.ndim != 1 or input.dtype.kind not in "iu" or (input.numel() and input.array.min() < 0):
        raise RuntimeError(f"bincount: expected a vector of whole numbers from 0 up, got {input.dtype}, {input.shape}")
    if weights is not None and weights.shape != input.shape:
        raise RuntimeError(f"bincount: the weights have shape {weights.shape}, the input {input.shape}")
    if minlength < 0:
        raise RuntimeError(f"bincount: minlength should be >= 0, got {minlength}")
    if weights is None:
        return Tensor(np.bincount(input.array, minlength=minlength))
    counts = np.bincount(input.array, weights.array, minlength)
    return Tensor(counts.astype(weights.dtype) if is_floating(weights.dtype) else counts)


@register
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many elements fall into each of `bins` equal parts of [min, max], as real numbers; others do not count.

    min and max both 0: from the smallest element to the largest.
    """
    if not is_floating(input.dtype):
        raise RuntimeError(f"histc: the input must hold real numbers, got {input.dtype}")
    if bins <= 0:
        raise RuntimeError(f"histc: bins must be > 0, got {bins}")
    if min > max:
        raise RuntimeError(f"histc: max must be larger than min, got {min} and {max}")
    low, high = min, max
    if low == high == 0 and input.numel():
        low, high = input.array.min().item(), input.array.max().item()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RuntimeError(f"histc: the range from {low} to {high} is not finite")
    if low == high:
        low, high = low - 1, high + 1
    flat = input.array.reshape(-1)
    return Tensor(np.histogram(flat[~np.isnan(flat)], bins, (low, high))[0].astype(input.dtype))


@register
def searchsorted(
    sorted_sequence: Tensor, input: Any, *, out_int32: bool = False, right: bool = False, side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Where each value of `input` would have to stand in a vector in rising order; behind equals if `right`.

    Several vectors (..., n) have their own values (..., m) each. side: "left" or "right", another way to say `right`.
    sorter: the order that sorts the vectors, if they are not sorted. out_int32: int32 in place of int64.
    """
    if side not in (None, "left", "right") or (side == "left" and right):
        raise RuntimeError(f"searchsorted: side can only be 'left' or 'right' (not left if right), got {side!r}")
    xp = array_module(sorted_sequence.array)
    rows, values = sorted_sequence.array, input.array if isinstance(input, Tensor) else xp.asarray(input)
    if sorter is not None:
        if sorter.shape != rows.shape or sorter.dtype != int64:
            raise RuntimeError(f"searchsorted: sorter must be int64 of shape {rows.shape}, got {sorter.dtype}, "
                               f"{sorter.shape}")  # fmt: skip
        rows = xp.take_along_axis(rows, sorter.array, -1)
    which, dtype = "right" if right or side == "right" else "left", int32 if out_int32 else int64
    if rows.ndim == 1:
        return Tensor(xp.asarray(xp.searchsorted(rows, values, which), dtype))
    if not rows.ndim or rows.shape[:-1] != values.shape[:-1]:
        raise RuntimeError(f"searchsorted: vectors of shape {rows.shape} and values of shape {values.shape} do not fit")
    found = xp.empty(values.shape, dtype)
    for place in np.ndindex(*rows.shape[:-1]):
        found[place] = xp.searchsorted(rows[place], values[place], which)
    return Tensor(found)


@register
def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """The number of the part of the line, cut at `boundaries`, in which each value lies; see `searchsorted`."""
    if boundaries.ndim != 1:
        raise RuntimeError(f"bucketize: boundaries must be a vector, got shape {boundaries.shape}")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


@register
def isin(elements: Tensor, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Whether each element is one of `test_elements` (is none of them, if `invert`)."""
    xp = array_module(elements.array)
    tested = test_elements.array if isinstance(test_elements, Tensor) else xp.asarray(test_elements)
    return Tensor(xp.asarray(xp.isin(elements.array, tested, assume_unique, invert), dtype=boolean))


@register
def one_hot(input: Tensor, num_classes: int = -1) -> Tensor:
    """(..., num_classes) of zeros with a one at the place that each number of the input (int64) names.

    num_classes: one more than the largest number, for -1. RuntimeError for numbers below 0 or too large.
    """
    if input.dtype != int64:
        raise RuntimeError(f"one_hot is only applicable to index tensors of type int64, got {input.dtype}")
    if not input.numel() and num_classes <= 0:
        raise RuntimeError("one_hot: cannot infer the number of classes from an empty tensor")
    low, high = (int(input.array.min()), int(input.array.max())) if input.numel() else (0, -1)
    if num_classes == 0 or num_classes < -1:
        raise RuntimeError(f"one_hot: num_classes should be positive, got {num_classes}")
    if low < 0:
        raise RuntimeError(f"one_hot: class values must be non-negative, got {low}")
    count = high + 1 if num_classes == -1 else num_classes
    if high >= count:
        raise RuntimeError(f"one_hot: the class {high} is not smaller than num_classes={count}")
    xp = array_module(input.array)
    return Tensor((input.array[..., None] == xp.arange(count)).astype(int64))
