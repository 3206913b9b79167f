"""How activations and attention are written in ONNX: by one node where it has one, else by the formula in minires/ops/.

All of it is in the operator set 18, so that older programs can run the file.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minires.onnx.graph import Graph, refuse
from minires.ops import activation_formulas as formulas
from minires.ops import activation_learnt, error_function, exponential, norm_of_samples, rearrange
from minires.ops.attention import Attention
from minires.tensor import Tensor


def with_number(kind: str, attribute: str) -> Callable[..., str]:
    """One node whose attribute is the setting of the operation."""
    return lambda graph, x, value: graph.node(kind, graph.name(x), **{attribute: float(value)})


def alone(kind: str, **attributes: float) -> Callable[..., str]:
    """One node with fixed attributes."""
    return lambda graph, x: graph.node(kind, graph.name(x), **attributes)


def _number(graph: Graph, value: float) -> str:
    return graph.constant(np.float32(value))


def _scaled(graph: Graph, name: str, factor: float) -> str:
    return name if factor == 1 else graph.node("Mul", name, _number(graph, factor))


def _clip(graph: Graph, x: Tensor, low: float, high: float) -> str:
    return graph.node("Clip", graph.name(x), _number(graph, low), _number(graph, high))


def _elu(graph: Graph, x: Tensor, alpha: float, inner: float, outer: float) -> str:
    """outer * (x where it is positive, else alpha (e^(inner x) - 1)): Elu of inner x, with the positive side mended."""
    if inner == 1:
        return _scaled(graph, graph.node("Elu", graph.name(x), alpha=float(alpha)), outer)
    below = _scaled(graph, graph.node("Min", graph.name(x), _number(graph, 0)), inner)
    lower = graph.node("Elu", below, alpha=float(alpha))
    return _scaled(graph, graph.node("Add", graph.node("Relu", graph.name(x)), lower), outer)


def _silu(graph: Graph, x: Tensor) -> str:
    return graph.node("Mul", graph.name(x), graph.node("Sigmoid", graph.name(x)))


def _gelu(graph: Graph, x: Tensor) -> str:
    """x (1 + erf(x / sqrt 2)) / 2."""
    curve = graph.node("Erf", _scaled(graph, graph.name(x), 1 / math.sqrt(2)))
    return _scaled(graph, graph.node("Mul", graph.name(x), graph.node("Add", curve, _number(graph, 1))), 0.5)


def _gelu_tanh(graph: Graph, x: Tensor) -> str:
    """x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""
    cube = graph.node("Mul", graph.name(x), graph.node("Mul", graph.name(x), graph.name(x)))
    inner = graph.node("Add", graph.name(x), _scaled(graph, cube, 0.044715))
    curve = graph.node("Tanh", _scaled(graph, inner, math.sqrt(2 / math.pi)))
    return _scaled(graph, graph.node("Mul", graph.name(x), graph.node("Add", curve, _number(graph, 1))), 0.5)


def _softplus(graph: Graph, x: Tensor, beta: float, threshold: float) -> str:
    """Without the threshold, beyond which the difference from x is too small for float32 to hold."""
    if threshold < 16:
        raise refuse(f"softplus with threshold={threshold}: only 16 and more can be left out")
    return _scaled(graph, graph.node("Softplus", _scaled(graph, graph.name(x), beta)), 1 / beta)


def _log_sigmoid(graph: Graph, x: Tensor) -> str:
    """-softplus(-x)."""
    return graph.node("Neg", graph.node("Softplus", graph.node("Neg", graph.name(x))))


def _threshold(graph: Graph, x: Tensor, threshold: float, value: float) -> str:
    above = graph.node("Greater", graph.name(x), _number(graph, threshold))
    return graph.node("Where", above, graph.name(x), _number(graph, value))


def _prelu(graph: Graph, x: Tensor, weight: Tensor) -> str:
    """A weight for each channel (axis 1) has to stand where it broadcasts."""
    slope = graph.name(weight)
    if weight.ndim == 1 and x.ndim > 2:
        slope = graph.node("Reshape", slope, graph.constant([-1, *[1] * (x.ndim - 2)]))
    return graph.node("PRelu", graph.name(x), slope)


def _rms_norm(graph: Graph, x: Tensor, weight: Tensor | None, axes: tuple[int, ...], eps: float) -> str:
    """x / sqrt(mean(x^2) + eps) * weight."""
    squares = graph.node("ReduceMean", graph.node("Mul", graph.name(x), graph.name(x)), graph.constant(list(axes)))
    root = graph.node("Sqrt", graph.node("Add", squares, _number(graph, eps)))
    y = graph.node("Div", graph.name(x), root)
    return y if weight is None else graph.node("Mul", y, graph.name(weight))


def _roll(graph: Graph, x: Tensor, shifts: tuple[int, ...], axes: tuple[int, ...]) -> str:
    """Cut in two along each axis, the parts exchanged."""
    name = graph.name(x)
    for shift, axis in zip(shifts, axes, strict=True):
        cut = -shift % x.shape[axis]
        if cut:
            ends = [graph.constant([value]) for value in (0, cut, 2**62)]
            along = graph.constant([axis])
            front = graph.node("Slice", name, ends[0], ends[1], along)
            back = graph.node("Slice", name, ends[1], ends[2], along)
            name = graph.node("Concat", back, front, axis=axis)
    return name


def _attention(
    graph: Graph, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float, mask: Any
) -> str:  # fmt: skip
    """softmax(q k^T scale + bias) v; dropout is over when a model is exported."""
    if mask is not None:
        raise refuse("attention with dropout")
    order = [*range(k.ndim - 2), k.ndim - 1, k.ndim - 2]
    scores = graph.node("MatMul", graph.name(q), graph.node("Transpose", graph.name(k), perm=order))
    scores = _scaled(graph, scores, scale)
    scores = scores if bias is None else graph.node("Add", scores, graph.name(bias))
    return graph.node("MatMul", graph.node("Softmax", scores, axis=-1), graph.name(v))


def _sum_with_one(graph: Graph, x: Tensor) -> str:
    return graph.node("Log", graph.node("Add", graph.name(x), _number(graph, 1)))


TABLE: dict[Any, Callable[..., str]] = {
    formulas.LeakyReLU: with_number("LeakyRelu", "alpha"), formulas.ELU: _elu, formulas.Hardtanh: _clip,
    formulas.Hardsigmoid: alone("HardSigmoid", alpha=1 / 6, beta=0.5), formulas.Hardswish: alone("HardSwish"),
    formulas.Hardshrink: lambda graph, x, lambd: graph.node("Shrink", graph.name(x), lambd=float(lambd)),
    formulas.Softshrink: lambda graph, x, lambd: graph.node("Shrink", graph.name(x), lambd=float(lambd),
                                                            bias=float(lambd)),
    formulas.Threshold: _threshold, formulas.SiLU: _silu, formulas.Mish: alone("Mish"), formulas.GELU: _gelu,
    formulas.GELUTanh: _gelu_tanh, formulas.Softplus: _softplus, formulas.LogSigmoid: _log_sigmoid,
    formulas.Softsign: alone("Softsign"), activation_learnt.PReLU: _prelu, error_function.Erf: alone("Erf"),
    exponential.Log1p: _sum_with_one, norm_of_samples.RMSNorm: _rms_norm, rearrange.Roll: _roll, Attention: _attention,
}  # fmt: skip
