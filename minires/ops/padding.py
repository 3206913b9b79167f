"""Padding: elements added around the last axes, of a constant, or taken from the tensor itself.

constant    0 0 | a b c | 0 0      reflect     c b | a b c | b a
replicate   a a | a b c | c c      circular    b c | a b c | a b
"""

from collections.abc import Callable, Sequence

import numpy as np

from minires.autograd import Function, Node
from minires.backend import Array, array_module
from minires.ops.memory import axis_order, new_array
from minires.tensor import Tensor, register

Widths = tuple[tuple[int, int], ...]


class Pad(Function):
    """x with `before` and `after` elements of a constant around each axis (cut off, if negative);  dx = dy's middle."""

    @staticmethod
    def forward(ctx: Node, x: Array, widths: Widths, value: float) -> Array:
        ctx.widths, ctx.shape, ctx.order = widths, x.shape, axis_order(x)
        shape = tuple(length + before + after for length, (before, after) in zip(x.shape, widths, strict=True))
        y = new_array(x, shape, ctx.order, value)
        y[_inside(widths, shape)] = x[_inside(_negated(widths), x.shape)]
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        dx = new_array(grad, ctx.shape, ctx.order)
        dx[_inside(_negated(ctx.widths), ctx.shape)] = grad[_inside(ctx.widths, grad.shape)]
        return dx, None, None


def _negated(widths: Widths) -> Widths:
    return tuple((-before, -after) for before, after in widths)


def _inside(widths: Widths, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The part of an array of this shape that lies inside positive widths; negative ones cut nothing off."""
    return tuple(
        slice(max(before, 0), length - max(after, 0)) for (before, after), length in zip(widths, shape, strict=True)
    )


SOURCES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "reflect": lambda place, length: length - 1 - abs(length - 1 - abs(place)),
    "replicate": lambda place, length: place.clip(0, length - 1),
    "circular": lambda place, length: place % length,
}


class PadFromInside(Function):
    """y[i] = x[source(i - before)] along each axis;  dx[source(i - before)] += dy[i]: every copy gives back its part.

    Axis by axis: a corner is the copy of a copy.
    """

    @staticmethod
    def forward(ctx: Node, x: Array, widths: Widths, mode: str) -> Array:
        ctx.lengths, ctx.sources = x.shape, []
        for axis, (before, after) in enumerate(widths):
            if before or after:
                source = SOURCES[mode](np.arange(-before, x.shape[axis] + after), x.shape[axis])
                ctx.sources.append((axis, before, source))
                x = x[(slice(None),) * axis + (array_module(x).asarray(source),)]
        return x

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        for axis, before, source in reversed(ctx.sources):
            length, ahead = ctx.lengths[axis], (slice(None),) * axis
            first, last = max(before, 0), min(before + length, len(source))  # where dx lies within dy
            shape = (*grad.shape[:axis], length, *grad.shape[axis + 1 :])
            dx = new_array(grad, shape, axis_order(grad))
            dx[(*ahead, slice(first - before, last - before))] = grad[(*ahead, slice(first, last))]
            for place in (*range(first), *range(last, len(source))):
                dx[(*ahead, int(source[place]))] += grad[(*ahead, place)]
            grad = dx
        return grad, None, None


@register
def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Elements added around the last axes: pad = (left, right, top, bottom, ...), from the last axis backwards.

    Negative numbers cut elements off. mode: "constant", filled with `value` (0); "reflect" (the border not repeated),
    "replicate" (the border repeated) or "circular" (from the other end), for the last one, two or three axes.
    RuntimeError for widths that do not fit; NotImplementedError for another mode.
    """
    if mode != "constant" and mode not in SOURCES:
        raise NotImplementedError(f"pad: mode={mode!r} is not supported, only constant, {', '.join(SOURCES)} are")
    if len(pad) % 2 or len(pad) // 2 > input.ndim:
        raise RuntimeError(f"pad must have two numbers for each of at most {input.ndim} axes, got {tuple(pad)}")
    pairs = [(int(pad[place]), int(pad[place + 1])) for place in range(0, len(pad), 2)]
    widths = (*((0, 0),) * (input.ndim - len(pairs)), *reversed(pairs))
    if any(length + before + after < 0 for length, (before, after) in zip(input.shape, widths, strict=True)):
        raise RuntimeError(f"pad={tuple(pad)} cuts off more than there is of the shape {input.shape}")
    if mode == "constant":
        return Pad.apply(input, widths, 0 if value is None else value)
    if value:
        raise ValueError(f"pad: mode={mode!r} doesn't take in value argument")
    if not 1 <= len(pairs) <= 3 or input.ndim not in (len(pairs) + 1, len(pairs) + 2):
        raise NotImplementedError(f"pad: mode={mode!r} pads one to three axes behind channels and perhaps a batch, "
                                  f"got pad={tuple(pad)} for shape {input.shape}")  # fmt: skip
    _must_reach(input.shape, widths, mode, pad)
    if mode == "circular" and min(pad) < 0:  # what is cut off does not come in again at the other end
        input = Pad.apply(input, tuple((min(before, 0), min(after, 0)) for before, after in widths), 0)
        widths = tuple((max(before, 0), max(after, 0)) for before, after in widths)
    return PadFromInside.apply(input, widths, mode)


def _must_reach(shape: tuple[int, ...], widths: Widths, mode: str, pad: Sequence[int]) -> None:
    """RuntimeError where there is too little inside to take the border from."""
    for length, pair in zip(shape, widths, strict=True):
        longest = {"reflect": length - 1, "circular": length}.get(mode, max(pair) if length else 0)
        if pair != (0, 0) and max(pair) > longest:
            raise RuntimeError(f"pad={tuple(pad)}: {mode} can add at most {longest} elements to {length}")
