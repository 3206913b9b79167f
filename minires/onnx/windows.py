"""Convolution and pooling in ONNX.

ONNX has `ceil_mode`, too, but versions and programs disagree about windows that overhang. So the zeros that they reach
over are written as padding at the end: as many as the size of the pictures needs or, where that is not known, as many
as any size needs (one less than the stride: rounded down, the number of windows is then what it was rounded up).
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from minires.kernels.shapes import Pair, adaptive_windows, average_counts, pooling_sizes, reach, span
from minires.onnx.graph import Graph, refuse
from minires.ops import conv_act, window
from minires.tensor import Tensor


def _conv(
    graph: Graph, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, dilation: Pair,
    groups: int,
) -> str:  # fmt: skip
    return graph.node("Conv", graph.name(x), graph.name(weight), graph.name(bias), kernel_shape=weight.shape[2:],
                      strides=stride, pads=(*padding, *padding), dilations=dilation, group=groups)  # fmt: skip


def _conv_act(
    graph: Graph, x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, relu: bool, *geometry: Any
) -> str:
    return finished(graph, _conv(graph, x, weight, bias, *geometry), residual, relu)


def finished(graph: Graph, y: str, residual: Tensor | None, relu: bool) -> str:
    """y + residual, then ReLU, where they are wanted."""
    if residual is not None:
        y = graph.node("Add", y, graph.name(residual))
    return graph.node("Relu", y) if relu else y


def pads(
    graph: Graph, x: Tensor, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> list[int]:
    """[top, left, bottom, right]; with ceil_mode as much at the end as the last windows need."""
    if graph.dynamic_size:
        return [*padding, *(_end(*axis, ceil_mode) for axis in zip(kernel, stride, padding, dilation, strict=True))]
    output = pooling_sizes(x.shape[2:], kernel, stride, padding, dilation, ceil_mode)
    needed = [
        reach(count, *axis) for count, axis in zip(output, zip(kernel, stride, dilation, strict=True), strict=True)
    ]
    ends = [max(end, total - size - end) for end, total, size in zip(padding, needed, x.shape[2:], strict=True)]
    if any(end >= size for end, size in zip(ends, kernel, strict=True)):
        raise refuse(f"a pooling window of {kernel} with padding {padding} that lies in the padding altogether")
    return [*padding, *ends]


def _end(kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """Padding at the end for pictures of any size. Refused: where some sizes have a last window that sees nothing."""
    if not ceil_mode:
        return padding
    if padding + stride > span(kernel, dilation):
        window = f"a pooling window of {kernel} with stride {stride}, padding {padding} and ceil_mode=True"
        raise refuse(f"for pictures of any size, {window}: whether the last one counts depends on the size",
                     "onnx.fixed_size")  # fmt: skip
    return padding + stride - 1


def _max_pool(
    graph: Graph, x: Tensor, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> str:  # fmt: skip
    around = pads(graph, x, kernel, stride, padding, dilation, ceil_mode)
    return graph.node("MaxPool", graph.name(x), kernel_shape=kernel, strides=stride, pads=around, dilations=dilation)


def _avg_pool(
    graph: Graph, x: Tensor, kernel: Pair, stride: Pair, padding: Pair, ceil_mode: bool, count_include_pad: bool,
    divisor_override: int | None,
) -> str:  # fmt: skip
    around = pads(graph, x, kernel, stride, padding, (1, 1), ceil_mode)
    overhangs = around[2:] != list(padding)
    if graph.dynamic_size and overhangs and count_include_pad and divisor_override is None:
        raise refuse("for pictures of any size, an average pooling with ceil_mode=True and count_include_pad=True",
                     "onnx.fixed_size")  # fmt: skip
    settings = {"kernel_shape": kernel, "strides": stride, "pads": around}
    if divisor_override is None and not (overhangs and count_include_pad):
        return graph.node("AveragePool", graph.name(x), count_include_pad=int(count_include_pad), **settings)
    y = graph.node("AveragePool", graph.name(x), count_include_pad=1, **settings)  # times kernel / count: see below
    counts = np.full((1, 1), divisor_override)
    if divisor_override is None:
        output = pooling_sizes(x.shape[2:], kernel, stride, padding, (1, 1), ceil_mode)
        axes = zip(x.shape[2:], output, kernel, stride, padding, strict=True)
        rows, columns = (average_counts(*axis, count_include_pad) for axis in axes)
        counts = np.outer(rows, columns)
    return graph.node("Mul", y, graph.constant((kernel[0] * kernel[1] / counts).astype(np.float32)))


def _adaptive_avg_pool(graph: Graph, x: Tensor, output_size: Pair) -> str:
    if tuple(output_size) == (1, 1):
        return graph.node("GlobalAveragePool", graph.name(x))
    if graph.dynamic_size:
        raise refuse(f"for pictures of any size, an adaptive pooling to {output_size}", "onnx.fixed_size")
    height, width = (_averages(size, count) for size, count in zip(x.shape[2:], output_size, strict=True))
    return graph.node("MatMul", graph.node("MatMul", graph.constant(height), graph.name(x)), graph.constant(width.T))


def _averages(size: int, count: int) -> np.ndarray:
    """The matrix (count, size) whose product with a column of pixels is the averages of the adaptive windows."""
    matrix = np.zeros((count, size), np.float32)
    for row, part in enumerate(adaptive_windows(size, count)):
        matrix[row, part] = 1 / (part.stop - part.start)
    return matrix


TABLE: dict[Any, Callable[..., str]] = {
    window.Conv2d: _conv, conv_act.Conv2dAct: _conv_act, window.MaxPool2d: _max_pool, window.AvgPool2d: _avg_pool,
    window.AdaptiveAvgPool2d: _adaptive_avg_pool,
}  # fmt: skip
