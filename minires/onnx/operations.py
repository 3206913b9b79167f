"""The table: how each operation is written in ONNX. A writer gets the graph and what the operation's forward got.

It returns the name of the result. Sources: ONNX's operator documentation; formulas stand in minires/ops/.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from minires.nn.trace import Step
from minires.onnx import curves, shapes, windows
from minires.onnx.graph import Graph, refuse
from minires.onnx.tracing import varies
from minires.ops import activation, choice, elementwise, linalg, reduce
from minires.ops.batch_normalisation import BatchNormInference
from minires.ops.group_normalisation import GroupNorm
from minires.ops.moments import Norm2
from minires.ops.resizing import Resample, Taps
from minires.tensor import Tensor

Writer = Callable[..., str]


def simple(kind: str) -> Writer:
    """One node of this kind whose inputs are all the arguments."""
    return lambda graph, *arguments: graph.node(kind, *(graph.name(value) for value in arguments))


def along_axis(kind: str) -> Writer:
    """One node with an axis."""
    return lambda graph, x, axis: graph.node(kind, graph.name(x), axis=axis)


def reduction(kind: str) -> Writer:
    """Values along some axes made one."""

    def write(graph: Graph, x: Tensor, axes: tuple[int, ...], keepdim: bool) -> str:
        if not axes:  # for ONNX that would mean all of them
            return graph.name(x)
        return graph.node(kind, graph.name(x), graph.constant(list(axes)), keepdims=int(keepdim))

    return write


def _extreme(graph: Graph, x: Tensor, axes: tuple[int, ...], keepdim: bool, largest: bool) -> str:
    return reduction("ReduceMax" if largest else "ReduceMin")(graph, x, axes, keepdim)


def _extremum(graph: Graph, a: Any, b: Any, largest: bool) -> str:
    return graph.node("Max" if largest else "Min", graph.name(a), graph.name(b))


def _clamp(graph: Graph, x: Tensor, low: float | None, high: float | None) -> str:
    return graph.node("Clip", graph.name(x), graph.name(low), graph.name(high))


def _linear(graph: Graph, x: Tensor, weight: Tensor, bias: Tensor | None) -> str:
    if x.ndim == 2:
        return graph.node("Gemm", graph.name(x), graph.name(weight), graph.name(bias), transB=1)
    y = graph.node("MatMul", graph.name(x), graph.node("Transpose", graph.name(weight), perm=[1, 0]))
    return y if bias is None else graph.node("Add", y, graph.name(bias))


def _batch_norm(
    graph: Graph, x: Tensor, weight: Tensor | None, bias: Tensor | None, residual: Tensor | None, eps: float,
    relu: bool, running_mean: Tensor, running_var: Tensor,
) -> str:  # fmt: skip
    channels = x.shape[1]
    scale = graph.constant(np.ones(channels, np.float32)) if weight is None else graph.name(weight)
    shift = graph.constant(np.zeros(channels, np.float32)) if bias is None else graph.name(bias)
    statistics = graph.name(running_mean), graph.name(running_var)
    y = graph.node("BatchNormalization", graph.name(x), scale, shift, *statistics, epsilon=eps)
    return windows.finished(graph, y, residual, relu)


def _group_norm(
    graph: Graph, x: Tensor, weight: Tensor | None, bias: Tensor | None, groups: int, eps: float
) -> str:  # fmt: skip
    """By its parts: a group laid out as one channel, instance normalisation of that, the old shape, scale and shift."""
    rows = graph.node("Reshape", graph.name(x), graph.constant([0, groups, -1]))
    ones, zeros = (graph.constant(np.full(groups, value, np.float32)) for value in (1, 0))
    y = graph.node("InstanceNormalization", rows, ones, zeros, epsilon=eps)
    shape = graph.node("Shape", graph.name(x)) if graph.dynamic_size else graph.constant([0, *x.shape[1:]])
    y = graph.node("Reshape", y, shape)
    for kind, vector in (("Mul", weight), ("Add", bias)):
        if vector is not None:
            column = graph.node("Reshape", graph.name(vector), graph.constant([-1, *[1] * (x.ndim - 2)]))
            y = graph.node(kind, y, column)
    return y


def _convert(graph: Graph, x: Tensor, dtype: Any, copy: bool) -> str:
    """Between real numbers nothing happens: in the file they are all float32."""
    if np.dtype(dtype).kind != "f" or x.dtype.kind != "f":
        raise refuse(f"a conversion from {x.dtype} to {np.dtype(dtype)} has no counterpart here")
    return graph.name(x)


def _resample(graph: Graph, x: Tensor, tables: tuple[tuple[int, Taps], ...], bilinear: Any = None) -> str:
    """A matrix product for each axis: y[..., i] = sum over j of x[..., j] M[j, i]; for it any axis is put last."""
    name, last = graph.name(x), x.ndim - 1
    for axis, taps in tables:
        matrix = np.zeros((taps.length, len(taps.places)), np.float32)
        columns = np.broadcast_to(np.arange(len(taps.places))[:, None], taps.places.shape)
        np.add.at(matrix, (taps.places, columns), taps.weights)
        order = list(range(x.ndim))
        order[axis], order[last] = last, axis
        turned = name if axis == last else graph.node("Transpose", name, perm=order)
        product = graph.node("MatMul", turned, graph.constant(matrix))
        name = product if axis == last else graph.node("Transpose", product, perm=order)
    return name


TABLE: dict[Any, Writer] = {
    elementwise.Add: simple("Add"), elementwise.Sub: simple("Sub"), elementwise.Mul: simple("Mul"),
    elementwise.Div: simple("Div"), elementwise.Pow: simple("Pow"), elementwise.Neg: simple("Neg"),
    elementwise.Exp: simple("Exp"), elementwise.Log: simple("Log"), elementwise.Sqrt: simple("Sqrt"),
    elementwise.Abs: simple("Abs"), choice.Clamp: _clamp, choice.Extremum: _extremum,
    elementwise.Convert: _convert,
    activation.Relu: simple("Relu"), activation.Sigmoid: simple("Sigmoid"), activation.Tanh: simple("Tanh"),
    activation.Softmax: along_axis("Softmax"), activation.LogSoftmax: along_axis("LogSoftmax"),
    linalg.MatMul: simple("MatMul"), linalg.Linear: _linear,
    BatchNormInference: _batch_norm, GroupNorm: _group_norm,
    reduce.Sum: reduction("ReduceSum"), reduce.Mean: reduction("ReduceMean"), reduce.Extreme: _extreme,
    Norm2: reduction("ReduceL2"), Resample: _resample,
    reduce.ExtremeOfAll: _extreme,
    reduce.LogSumExp: reduction("ReduceLogSumExp"),
    **windows.TABLE, **shapes.TABLE, **curves.TABLE,
}  # fmt: skip


def write(graph: Graph, step: Step) -> None:
    """Write one step; what it computes from constants alone is a constant, too. MiniresError naming what cannot be."""
    tensors = [value for value in step.arguments if isinstance(value, Tensor)]
    where = f"{step.function.__name__} in module {step.module!r}" if step.module else step.function.__name__
    if not all(graph.is_known(tensor) for tensor in tensors):
        raise refuse(f"{where} uses a tensor that no recorded operation made: a comparison, an argmax, an array "
                     "changed by hand, or a tensor made in forward", "onnx.untraceable")  # fmt: skip
    if all(graph.is_constant(tensor) for tensor in tensors) and not varies(step):
        for result in step.results:
            graph.fixed[id(result)] = (f"{step.module}.{step.function.__name__}".lstrip("."), result)  # type: ignore[assignment]
        return
    if step.function not in TABLE or len(step.results) != 1:
        raise refuse(f"the operation {where} has no counterpart here")
    graph.place = step.module
    try:
        graph.names[id(step.results[0])] = TABLE[step.function](graph, *step.arguments, **step.settings)
    except Exception as error:
        error.add_note(f"while writing {where}")
        raise
