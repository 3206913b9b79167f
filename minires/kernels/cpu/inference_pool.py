"""Pooling in a plan. Without gradients nobody asks which place of a window won, so that the maximum needs no indices.

The maximum over a window is that over its columns of the maxima over its rows: kh + kw - 2 comparisons a place instead
of kh kw - 1. Padding is never read: a place of the window that lies outside is left out for the windows it concerns.
"""

from functools import partial

import numpy as np

from minires.kernels.cpu.inference_layout import Activation, Call, Share, blocks
from minires.kernels.cpu.inference_memory import Workspace
from minires.kernels.cpu.windows import Geometry

BLOCK = 1 << 17  # values of a block of the input


def max_pool(x: Activation, y: Activation, geometry: Geometry, work: Workspace, share: Share) -> list[Call]:
    """Calls for y = the largest of each window."""
    calls: list[Call] = []
    (_, _, width, channels), (stride, _) = x.shape, geometry.stride
    for images, rows in blocks(len(x.inner), share.of(y.shape[1]), width * channels * stride, BLOCK):
        work.start()
        image = x.inner[images]
        tall = work.take((image.shape[0], len(rows), width, channels), x.whole.dtype)
        calls += _along(image, tall, 1, rows, geometry)
        calls += _along(tall, y.inner[images, rows.start : rows.stop], 2, range(y.shape[2]), geometry)
    return calls


def _along(source: np.ndarray, target: np.ndarray, axis: int, outputs: range, geometry: Geometry) -> list[Call]:
    """Calls for target = the maxima of source along one axis (1 or 2), for those outputs."""
    kernel, stride, padding, dilation = (pair[axis - 1] for pair in geometry[:4])
    size = source.shape[axis]
    taps = []  # for each place of the window: the outputs for which it lies inside
    for place in range(kernel):
        offset = place * dilation - padding
        first = max(outputs.start, -(offset // stride))
        taps.append((range(first, min(outputs.stop, (size - 1 - offset) // stride + 1)), offset))
    taps.sort(key=lambda tap: -len(tap[0]))
    calls: list[Call] = []
    if taps[0][0] != outputs:
        calls.append(partial(target.fill, -np.inf))
    for number, (reached, offset) in enumerate(tap for tap in taps if len(tap[0])):
        to = _part(target, axis, reached.start - outputs.start, len(reached), 1)
        of = _part(source, axis, reached.start * stride + offset, len(reached), stride)
        calls.append(partial(np.copyto, to, of) if number == 0 and not calls else partial(np.maximum, to, of, out=to))
    return _first_two_joined(calls)


def _part(array: np.ndarray, axis: int, start: int, count: int, stride: int) -> np.ndarray:
    where = slice(start, start + (count - 1) * stride + 1, stride)
    return array[:, where] if axis == 1 else array[:, :, where]


def _first_two_joined(calls: list[Call]) -> list[Call]:
    """copy a; maximum with b -> maximum of a and b, where both reach all outputs."""
    if len(calls) < 2 or calls[0].func is not np.copyto or calls[1].func is not np.maximum:
        return calls
    (to, first), (other_to, second) = calls[0].args, calls[1].args
    if to.shape != other_to.shape:
        return calls
    return [partial(np.maximum, first, second, out=to), *calls[2:]]


def mean(x: Activation, y: Activation, work: Workspace, share: Share) -> list[Call]:
    """Calls for y (N, 1, 1, C) = the average over all places."""
    part = share.of(x.shape[3], 16)
    channels = slice(part.start, part.stop)
    target = y.inner[:, 0, 0, channels]
    factor = x.whole.dtype.type(1 / (x.shape[1] * x.shape[2]))
    work.start()
    rows = work.take((x.shape[0], x.shape[2], len(part)), x.whole.dtype)
    return [
        partial(np.add.reduce, x.inner[..., channels], 1, None, rows),  # in two steps: sums stay short, and exact
        partial(np.add.reduce, rows, 1, None, target),
        partial(np.multiply, target, factor, out=target),
    ]


def once(call: Call, share: Share) -> list[Call]:
    """A step that is not divided: the first thread does it."""
    return [call] if share.index == 0 else []
