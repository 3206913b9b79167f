"""Pictures made larger or smaller. Every method here works along one axis at a time, by a table of taps.

The result at place i of an axis is a sum of a few places of the input, y[i] = sum over t of w[i, t] x[place[i, t]].
The method is in the table alone (`resampling_taps`), the arithmetic is the same for all; and the gradient is that
arithmetic with the table turned round: dx[j] = sum of w[i, t] dy[i] over all i and t with place[i, t] = j.

Source: the conventions are PyTorch's (aten/src/ATen/native/UpSample.h); the cubic is Keys 1981, "Cubic convolution
interpolation for digital image processing", with a = -0.75, and -0.5 with antialias, as in Pillow.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.autograd import Function, Node
from minires.backend import Array, array_module, is_floating, uint8
from minires.kernels.cuda.adapters import pictures as on_gpu
from minires.ops.memory import axis_order
from minires.ops.pooling import adaptive_avg_pool1d
from minires.ops.window import adaptive_avg_pool2d
from minires.tensor import Tensor, register


@dataclass(frozen=True)
class Taps:
    """places (OUT, T) of the input and weights (OUT, T) for each place of the output along one axis.

    length: of the input's axis.
    """

    places: np.ndarray
    weights: np.ndarray
    length: int

    def turned(self) -> "Taps":
        """The table of the gradient: for each place of the input, the outputs it went to, and its weight in each."""
        out, count = self.places.shape
        target, source, weight = self.places.reshape(-1), np.repeat(np.arange(out), count), self.weights.reshape(-1)
        used = weight != 0
        target, source, weight = target[used], source[used], weight[used]
        order = np.argsort(target, kind="stable")
        target, source, weight = target[order], source[order], weight[order]
        first = np.searchsorted(target, np.arange(self.length))
        column = np.arange(target.size) - first[target]
        widest = int(column.max(initial=-1)) + 1
        places, weights = np.zeros((self.length, widest), np.int64), np.zeros((self.length, widest))
        places[target, column], weights[target, column] = source, weight
        return Taps(places, weights, out)


def apply_taps(x: Array, taps: Taps, axis: int) -> Array:
    """The sum over the taps, along one axis, in x's own type; the result lies in memory as x does."""
    xp, order = array_module(x), axis_order(x)
    x, axis = x.transpose(order), order.index(axis)
    shape = (len(taps.places), *(1 for _ in x.shape[axis + 1 :]))
    total: Any = None
    if taps.places.shape[1] == 0:
        total = xp.take(x, xp.zeros(len(taps.places), int), axis) * 0
    for number in range(taps.places.shape[1]):
        part = xp.take(x, xp.asarray(taps.places[:, number]), axis)
        weight = taps.weights[:, number]
        if not (weight == 1).all():
            part *= xp.asarray(weight.reshape(shape), x.dtype)
        total = part if total is None else total + part
    return total.transpose([order.index(place) for place in range(len(order))])


class Resample(Function):
    """y[i] = sum over t of w[i, t] x[place[i, t]], along each given axis in turn;  dx: the same with tables turned.

    bilinear: the new height and width where the tables are those of plain bilinear resizing, for which GPUs have a
    kernel.
    """

    @staticmethod
    def forward(
        ctx: Node, x: Array, tables: tuple[tuple[int, Taps], ...], bilinear: tuple[int, int] | None = None
    ) -> Array:
        ctx.tables = tables
        if bilinear is not None and not isinstance(x, np.ndarray) and on_gpu.fits(x):
            return on_gpu.bilinear_resize(x, bilinear)
        for axis, taps in tables:
            x = apply_taps(x, taps, axis)
        return x

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        for axis, taps in reversed(ctx.tables):
            grad = apply_taps(grad, taps.turned(), axis)
        return grad, None, None


def resample_bytes(x: Array, tables: list[tuple[int, Taps]]) -> Array:
    """The same for pictures of bytes, in whole numbers, as PyTorch has it (and, with more bits, Pillow).

    Along the last axis first. The weights are rounded to 16 bits, sign included, and each sum to a byte.
    """
    for axis, taps in reversed(tables):
        weights = taps.weights.copy()
        for left in range(weights.shape[1] - 1):  # one place that occurs twice, at the border, has one weight
            twice = taps.places[:, left] == taps.places[:, left + 1]
            weights[twice, left + 1] += weights[twice, left]
            weights[twice, left] = 0
        bits = next(bits for bits in range(23) if bits == 22 or int(0.5 + weights.max() * 2 ** (bits + 1)) >= 2**15)
        whole = np.trunc(weights * 2**bits + np.copysign(0.5, weights)).astype(np.int32)
        sums = apply_taps(x.astype(np.int32), Taps(taps.places, whole, taps.length), axis)
        x = (sums + 2 ** (bits - 1) >> bits).clip(0, 255).astype(uint8)
    return x.copy() if not tables else x


# ------------------------------------------------------------------------------------------------ the tables of taps


def cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys's weight of a place at this distance, 0 from 2 on."""
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d < 1, near, np.where(d < 2, far, 0))


def triangle(distance: np.ndarray) -> np.ndarray:
    """The weight of a place in linear interpolation: 1 - distance, 0 from 1 on."""
    return np.maximum(1 - np.abs(distance), 0)


FILTERS: dict[str, tuple[float, Callable[[np.ndarray], np.ndarray]]] = {
    "linear": (1.0, triangle),
    "cubic": (2.0, lambda distance: cubic(distance, -0.5)),
}


def resampling_taps(
    kind: str, length: int, out: int, factor: float | None, align_corners: bool, antialias: bool, dtype: Any
) -> Taps:
    """The table of one axis. kind: "nearest", "nearest-exact", "linear" or "cubic".

    factor: the scale factor that the user gave and that stays as it is; else the scale is length / out. The arithmetic
    of coordinates is in `dtype` (nearest: always float32), as in PyTorch, so that roundings fall alike.
    """
    place = np.arange(out)
    real = np.float32 if kind.startswith("nearest") else np.dtype(dtype).type
    if align_corners:
        scale = real(length - 1) / real(out - 1) if out > 1 else real(0)
    else:
        scale = real(1 / factor) if factor is not None else real(length) / real(out)
    if out == length and (antialias or kind in ("nearest", "linear")):
        return Taps(place[:, None], np.ones((out, 1)), length)  # whatever the factor, as in PyTorch
    if kind.startswith("nearest"):
        shift = np.float32(0.5 if kind == "nearest-exact" else 0)
        chosen = np.floor((place.astype(real) + shift) * scale).astype(np.int64)
        return Taps(np.minimum(chosen, length - 1)[:, None], np.ones((out, 1)), length)
    if antialias:
        return _wide_taps(kind, length, place.astype(real), scale)
    centre = place.astype(real) * scale if align_corners else (place.astype(real) + real(0.5)) * scale - real(0.5)
    if kind == "linear":
        centre = np.maximum(centre, 0)
        first = np.minimum(np.floor(centre).astype(np.int64), length - 1)
        share = np.clip(centre - first, 0, 1)
        places = np.stack([first, np.minimum(first + 1, length - 1)], 1)
        return Taps(places, np.stack([1 - share, share], 1), length)
    first = np.floor(centre).astype(np.int64)
    places = first[:, None] + np.arange(-1, 3)
    return Taps(places.clip(0, length - 1), cubic(centre[:, None] - places, -0.75), length)


def _wide_taps(kind: str, length: int, place: np.ndarray, scale: Any) -> Taps:
    """Antialias: where the picture shrinks, the filter is as much wider, and its weights are made to sum to 1."""
    reach, weigh = FILTERS[kind]
    width = max(scale, 1.0)
    centre, support = scale * (place + place.dtype.type(0.5)), reach * width
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + support + 0.5).astype(np.int64), length)
    places = first[:, None] + np.arange(int((last - first).max(initial=1)))
    weights = weigh((places - centre[:, None] + 0.5) / width) * (places < last[:, None])
    return Taps(places.clip(0, length - 1), weights / weights.sum(1, keepdims=True), length)


# ------------------------------------------------------------------------------------------- the functions users call

KINDS = {  # mode: (how along an axis, numbers of axes of the input that it is for)
    "nearest": ("nearest", (3, 4, 5)), "nearest-exact": ("nearest-exact", (3, 4, 5)), "linear": ("linear", (3,)),
    "bilinear": ("linear", (4,)), "trilinear": ("linear", (5,)), "bicubic": ("cubic", (4,)), "area": ("area", (3, 4)),
}  # fmt: skip


@register
def interpolate(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Tensor:  # fmt: skip
    """(N, C, L), (N, C, H, W) or (N, C, D, H, W) with other lengths of the axes from the third on.

    size: the new lengths, or scale_factor: what to multiply the old ones by (rounded down); a number for all axes, or
    one for each. mode: "nearest", "nearest-exact", "linear" (3 axes), "bilinear", "bicubic" (4), "trilinear" (5),
    "area" (adaptive averages, 3 and 4 axes). align_corners: the outer places stay where they are, instead of the outer
    edges. recompute_scale_factor: scale by the ratio of lengths instead of scale_factor itself. antialias: for bilinear
    and bicubic, a filter as wide as the shrinking asks for, as Pillow has it.
    ValueError for arguments that do not go together, NotImplementedError for a mode and a number of axes that do not.
    """
    if mode not in KINDS or input.ndim not in KINDS[mode][1]:
        raise NotImplementedError(f"interpolate: mode={mode!r} is not for input of {input.ndim} axes; there are "
                                  f"{ {name: axes for name, (_, axes) in KINDS.items()} }")  # fmt: skip
    kind = KINDS[mode][0]
    if kind not in ("linear", "cubic") and align_corners is not None:
        raise ValueError("align_corners option can only be set with the interpolating modes: linear | bilinear | "
                         "bicubic | trilinear")  # fmt: skip
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError("Anti-alias option is restricted to bilinear and bicubic modes and requires a 4-D tensor")
    if not is_floating(input.dtype) and input.dtype != uint8:
        raise RuntimeError(f"interpolate is for real numbers, got {input.dtype}")
    lengths, factors = _new_lengths(input, size, scale_factor, recompute_scale_factor)
    if min(lengths) < 1 or min(input.shape[1:]) < 1:
        raise RuntimeError(f"Input and output sizes should be greater than 0, but got input {input.shape} and "
                           f"output {lengths}")  # fmt: skip
    if kind == "area":
        return adaptive_avg_pool1d(input, lengths) if input.ndim == 3 else adaptive_avg_pool2d(input, lengths)
    tables = []
    for axis, (length, factor) in enumerate(zip(lengths, factors, strict=True), 2):
        if length != input.shape[axis] or factor not in (None, 1.0):
            real = input.dtype if is_floating(input.dtype) else np.float64
            taps = resampling_taps(kind, input.shape[axis], length, factor, bool(align_corners), antialias, real)
            tables.append((axis, taps))
    if input.dtype == uint8 and not kind.startswith("nearest"):
        return Tensor(resample_bytes(input.array, tables))
    if not tables:
        return input.clone()
    exact = all(factor is None or old * factor == new
                for old, new, factor in zip(input.shape[2:], lengths, factors, strict=True))  # fmt: skip
    plain = mode == "bilinear" and not align_corners and not antialias and exact
    return Resample.apply(input, tuple(tables), lengths if plain else None)


def _new_lengths(
    input: Tensor, size: Any, scale_factor: Any, recompute: bool | None
) -> tuple[tuple[int, ...], tuple[float | None, ...]]:
    """The new lengths of the axes from the third on, and the factors that stay as given, or None."""
    axes = input.ndim - 2

    def for_each(value: Any, name: str) -> tuple[Any, ...]:
        values = tuple(value) if isinstance(value, list | tuple) else (value,) * axes
        if len(values) != axes:
            raise ValueError(f"Input and {name} must have the same number of spatial dimensions, but got input with "
                             f"spatial dimensions of {list(input.shape[2:])} and {name} {value}.")  # fmt: skip
        return values

    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    if size is not None:
        if recompute:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        return tuple(int(length) for length in for_each(size, "size")), (None,) * axes
    factors = tuple(float(factor) for factor in for_each(scale_factor, "scale_factor"))
    lengths = tuple(math.floor(n * factor) for n, factor in zip(input.shape[2:], factors, strict=True))
    return lengths, (None,) * axes if recompute else factors


@register
def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Tensor:
    """The old name of `interpolate`."""
    return interpolate(input, size, scale_factor, mode, align_corners)


@register
def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """An old name of `interpolate(mode="nearest")`."""
    return interpolate(input, size, scale_factor)


@register
def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """An old name of `interpolate(mode="bilinear", align_corners=True)`."""
    return interpolate(input, size, scale_factor, "bilinear", True)
