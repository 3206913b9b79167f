"""What the tests of operations share: memory orders, results and gradients of an entry of the table."""

import numpy as np
from hypothesis import HealthCheck, settings, strategies

from minires.autograd import Node
from minires.ops.table import TABLE, Entry
from minires.random import philox
from minires.tensor import Tensor

LAYOUTS = ("C", "F", "channels last", "gaps", "reversed")
ENTRIES = {entry.label: entry for entry in TABLE}

seeds = strategies.integers(0, 2**31 - 1)
fewer = settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
few = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def laid_out(array: np.ndarray, layout: str) -> np.ndarray:
    """The same values in another memory order."""
    if array.ndim == 0 or layout == "C":
        return array.copy()
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "channels last":
        return np.moveaxis(
            np.ascontiguousarray(np.moveaxis(array, min(1, array.ndim - 1), -1)), -1, min(1, array.ndim - 1)
        )
    if layout == "gaps":
        wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), 99, array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    return array[..., ::-1].copy()[..., ::-1]


def floats(outcome) -> list:
    """The results that may have a gradient, of one result or several."""
    results = outcome if isinstance(outcome, tuple | list) else (outcome,)
    return [y for y in results if "float" in str(getattr(y, "dtype", ""))]


def cotangents(shapes, dtype, seed: int) -> list[np.ndarray]:
    random = philox(seed, "cotangents")
    return [np.asarray(random.standard_normal(shape), dtype) for shape in shapes]


def evaluate(entry: Entry, seed: int, dtype=np.float64, layout: str = "C"):
    """(all results, gradients) of one draw in this type and memory order, with random cotangents."""
    tensors = []

    def make(array, has_gradient):
        array = array.astype(dtype) if array.dtype.kind == "f" else array
        tensors.append(Tensor(laid_out(array, layout), requires_grad=has_gradient))
        return tensors[-1]

    positional, named = entry.fill(entry.draw(philox(seed, entry.label)), make)
    outcome = entry.call(positional, named)
    results = floats(outcome)
    for y, c in zip(results, cotangents([y.shape for y in results], dtype, seed), strict=True):
        if y.requires_grad:
            y.backward(Tensor(c), retain_graph=True)
    return outcome if isinstance(outcome, tuple | list) else (outcome,), [x.grad for x in tensors if x.requires_grad]


def functions_below(tensor: Tensor) -> set:
    """The Function classes in the graph of a result."""
    found, waiting = set(), [tensor.node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Node):
            found.add(node.function)
            waiting += [edge.target for edge in node.edges if edge is not None]
    return found
