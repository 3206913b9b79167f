"""Convolution and pooling of volumes (N, C, D, H, W), said in terms of pictures: there is no arithmetic of its own.

The slices of a volume along D are pictures. A convolution is the sum, over the planes of its windows, of convolutions
of pictures; the largest or average value of a box is that of a column of D whose elements are those of rectangles.
Slower than an operation of its own would be: each plane reads the whole volume.
"""

import functools
from collections.abc import Callable
from typing import Any

from minires.backend import array_module
from minires.ops.conv_transpose import conv_transpose2d, numbers
from minires.ops.index import gather
from minires.ops.padding import pad
from minires.ops.pooling import adaptive_max_pool2d
from minires.ops.scatter import index_add
from minires.ops.shape import reshape, squeeze, transpose, unsqueeze
from minires.ops.window import adaptive_avg_pool2d, avg_pool2d, conv2d, max_pool2d
from minires.tensor import Tensor, register

Numbers = tuple[int, ...]


def _as_volumes(input: Tensor, name: str) -> tuple[Tensor, bool]:
    """(volumes (N, C, D, H, W), whether there was one alone, without N)."""
    if input.ndim not in (4, 5):
        raise RuntimeError(f"{name}: expected (N, C, D, H, W) or (C, D, H, W), got shape {input.shape}")
    return (input, False) if input.ndim == 5 else (unsqueeze(input, 0), True)


def _of_slices(volumes: Tensor, compute: Callable[[Tensor], Any]) -> Any:
    """compute(pictures (N D, C, H, W)) as volumes again; where it gives two tensors, both of them."""
    batch, channels, depth = volumes.shape[:3]
    pictures = reshape(transpose(volumes, 1, 2), batch * depth, channels, *volumes.shape[3:])
    found = compute(pictures)

    def back(result: Tensor) -> Tensor:
        return transpose(reshape(result, batch, depth, *result.shape[1:]), 1, 2)

    return tuple(back(result) for result in found) if isinstance(found, tuple) else back(found)


def _of_columns(volumes: Tensor, compute: Callable[[Tensor], Any]) -> Any:
    """compute(pictures (N, C, D, H W)), which changes D alone, as volumes again."""
    batch, channels, _, height, width = volumes.shape
    found = compute(reshape(volumes, batch, channels, -1, height * width))

    def back(result: Tensor) -> Tensor:
        return reshape(result, batch, channels, -1, height, width)

    return tuple(back(result) for result in found) if isinstance(found, tuple) else back(found)


def _alone(result: Any, single: bool) -> Any:
    if isinstance(result, tuple):
        return tuple(_alone(part, single) for part in result)
    return squeeze(result, 0) if single else result


@register
def conv3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Correlate volumes (N, C, D, H, W) with windows (O, C / groups, KD, KH, KW) and add a bias (O,); see `conv2d`."""
    volumes, single = _as_volumes(input, "conv3d")
    if weight.ndim != 5:
        raise RuntimeError(f"conv3d: expected a weight (O, C / groups, KD, KH, KW), got shape {weight.shape}")
    step, reach, planes = numbers(stride, 3, "stride"), numbers(dilation, 3, "dilation"), weight.shape[2]
    extent, around = reach[0] * (planes - 1), padding
    if padding == "same" and step != (1, 1, 1):
        raise RuntimeError("conv3d: padding='same' is not supported for strided convolutions")
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise RuntimeError(f"conv3d: padding must be numbers, 'same' or 'valid', got {padding!r}")
        sides = (extent // 2, extent - extent // 2) if padding == "same" else (0, 0)
    else:
        first, *rest = numbers(padding, 3, "padding")
        sides, around = (first, first), tuple(rest)
    if min(sides) < 0 or step[0] < 1 or volumes.shape[2] + sum(sides) <= extent:
        raise RuntimeError(f"conv3d: a window of depth {planes} does not fit into {volumes.shape[2]} slices with "
                           f"padding {padding}, stride {stride}, dilation {dilation}")  # fmt: skip
    volumes = pad(volumes, (0, 0, 0, 0, *sides)) if any(sides) else volumes
    count = (volumes.shape[2] - extent - 1) // step[0] + 1
    total: Any = None

    def correlate(pictures: Tensor, plane: int) -> Tensor:
        own = bias if plane == 0 else None
        return conv2d(pictures, weight[:, :, plane], own, step[1:], around, reach[1:], groups)

    for plane in range(planes):
        start = plane * reach[0]
        slices = volumes[:, :, start : start + (count - 1) * step[0] + 1 : step[0]]
        part = _of_slices(slices, functools.partial(correlate, plane=plane))
        total = part if total is None else total + part
    return _alone(total, single)


@register
def conv_transpose3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """Spread volumes (N, C, D, H, W) over windows (C, O / groups, KD, KH, KW), add a bias; see `conv_transpose2d`."""
    volumes, single = _as_volumes(input, "conv_transpose3d")
    if weight.ndim != 5:
        raise RuntimeError(f"conv_transpose3d: expected a weight (C, O / groups, KD, KH, KW), got {weight.shape}")
    step, around, more, reach = (
        numbers(value, 3, name) for value, name in ((stride, "stride"), (padding, "padding"),
                                                    (output_padding, "output_padding"), (dilation, "dilation"))
    )  # fmt: skip
    if more[0] >= max(step[0], reach[0]):
        raise RuntimeError(f"output padding must be smaller than either stride or dilation, got {output_padding}")
    depth, planes = volumes.shape[2], weight.shape[2]
    count = (depth - 1) * step[0] - 2 * around[0] + reach[0] * (planes - 1) + more[0] + 1
    if count < 1:
        raise RuntimeError(f"conv_transpose3d: no slices are left of {depth} with padding {padding}")
    total: Any = None

    def spread(pictures: Tensor, plane: int) -> Tensor:
        window = weight[:, :, plane]
        return conv_transpose2d(pictures, window, None, step[1:], around[1:], more[1:], groups, reach[1:])

    for plane in range(planes):
        part = _of_slices(volumes, functools.partial(spread, plane=plane))
        if total is None:
            xp = array_module(part.array)
            total = Tensor(xp.zeros((*part.shape[:2], count, *part.shape[3:]), part.dtype))
        places = [depth_in * step[0] + plane * reach[0] - around[0] for depth_in in range(depth)]
        inside = [number for number, place in enumerate(places) if 0 <= place < count]
        if inside:
            targets = Tensor(xp.asarray([places[number] for number in inside]))
            total = index_add(total, 2, targets, part[:, :, inside[0] : inside[-1] + 1])
    return _alone(total if bias is None else total + bias.reshape(-1, 1, 1, 1), single)


@register
def max_pool3d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest value of each box; see `max_pool2d`. return_indices: also their places, (d H + h) W + w."""
    volumes, single = _as_volumes(input, "max_pool3d")
    kernel, around, reach = (
        numbers(value, 3, name) for value, name in ((kernel_size, "kernel_size"), (padding, "padding"),
                                                    (dilation, "dilation"))
    )  # fmt: skip
    step = kernel if stride is None or stride == [] else numbers(stride, 3, "stride")
    values, flat = _of_slices(
        volumes, lambda x: max_pool2d(x, kernel[1:], step[1:], around[1:], reach[1:], ceil_mode, True)
    )
    return _with_places(values, flat, volumes, return_indices, single, lambda x: max_pool2d(
        x, (kernel[0], 1), (step[0], 1), (around[0], 0), (reach[0], 1), ceil_mode, True))  # fmt: skip


def _with_places(
    values: Tensor, flat: Tensor, volumes: Tensor, wanted: bool, single: bool, along: Callable[[Tensor], Any]
) -> Any:
    """The largest of each column, and if wanted the places in the volume of what was the largest of its rectangle."""
    found, places = _of_columns(values, along)
    if not wanted:
        return _alone(found, single)
    batch, channels, _, height, width = values.shape
    chosen = gather(reshape(flat, batch, channels, -1), 2, reshape(places, batch, channels, -1))
    area = volumes.shape[3] * volumes.shape[4]
    indices = reshape(chosen, *places.shape) + (places // (height * width)) * area
    return _alone((found, indices), single)


@register
def avg_pool3d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The average of each box; see `avg_pool2d`."""
    volumes, single = _as_volumes(input, "avg_pool3d")
    kernel, around = numbers(kernel_size, 3, "kernel_size"), numbers(padding, 3, "padding")
    step = kernel if stride is None or stride == [] else numbers(stride, 3, "stride")
    if divisor_override == 0:
        raise RuntimeError("avg_pool3d: divisor must be not zero")
    settings = ceil_mode, count_include_pad, None if divisor_override is None else 1
    found = _of_slices(volumes, lambda x: avg_pool2d(x, kernel[1:], step[1:], around[1:], *settings))
    found = _of_columns(found, lambda x: avg_pool2d(x, (kernel[0], 1), (step[0], 1), (around[0], 0), *settings))
    return _alone(found if divisor_override is None else found / divisor_override, single)


def _sizes(output_size: Any) -> tuple[int | None, ...]:
    return (output_size,) * 3 if isinstance(output_size, int) or output_size is None else tuple(output_size)


@register
def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """Averages over output_size = (OD, OH, OW) boxes, a number for all; None keeps that length."""
    volumes, single = _as_volumes(input, "adaptive_avg_pool3d")
    depth, *rest = _sizes(output_size)
    found = _of_slices(volumes, lambda x: adaptive_avg_pool2d(x, tuple(rest)))
    return _alone(_of_columns(found, lambda x: adaptive_avg_pool2d(x, (depth, None))), single)


@register
def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The largest values of output_size = (OD, OH, OW) boxes; return_indices: also their places, (d H + h) W + w."""
    volumes, single = _as_volumes(input, "adaptive_max_pool3d")
    depth, *rest = _sizes(output_size)
    values, flat = _of_slices(volumes, lambda x: adaptive_max_pool2d(x, tuple(rest), True))
    return _with_places(values, flat, volumes, return_indices, single,
                        lambda x: adaptive_max_pool2d(x, (depth, None), True))  # fmt: skip
