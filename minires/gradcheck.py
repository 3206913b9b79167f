"""Are the derivatives right? `gradcheck` compares what backward computes with finite differences.

For y = f(x) with Jacobian J and a cotangent c of y's shape, backward claims to compute g = J^T c. The claim holds if
for every direction v

    g . v  =  c . (f(x + eps v) - f(x - eps v)) / (2 eps)      up to an error of order eps^2 (central differences).

Small inputs are checked entry by entry (v has a single 1), large ones along a few random directions, each of which
sees every entry; where a direction disagrees, halving it again and again finds an entry at fault.

The cotangent is random, never ones. The outputs of a batch norm, or of a softmax, add up to a constant, so that J^T 1
is zero: seeded with ones, a backward that returns nothing but zeros would pass. And no entry of the cotangent is close
to zero, so that none of the outputs goes unseen.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.autograd import Function, Node, enable_grad, no_grad
from minires.backend import Array, array_module, float64, is_floating, on_device_of
from minires.random import philox
from minires.tensor import Tensor


class GradcheckError(RuntimeError):
    """A gradient differs from finite differences, or a function breaks a rule that gradients rely on."""


@dataclass(frozen=True)
class Settings:
    """How finely to look; see `gradcheck`."""

    eps: float = 1e-6
    atol: float = 1e-7
    rtol: float = 1e-5
    nondet_tol: float = 0.0
    max_entries: int = 64
    directions: int = 6


@dataclass
class Report:
    """What was found: how many numbers were compared, the largest error among them, and what is wrong, if anything."""

    compared: int = 0
    largest_error: float = 0.0  # of |analytical - numerical| / max(1, |numerical|)
    problem: str | None = None


def gradcheck(
    func: Callable[..., Any], inputs: Any, *, eps: float = 1e-6, atol: float = 1e-7, rtol: float = 1e-5,
    raise_exception: bool = True, nondet_tol: float = 0.0, max_entries: int = 64, directions: int = 6, seed: int = 0,
) -> bool:  # fmt: skip
    """True if the gradients of `func(*inputs)` agree with central differences, and `func` keeps the rules below.

    func: a function of Tensors that returns a Tensor or several, or a Module, whose parameters are checked as well.
    inputs: a Tensor or a sequence of arguments; checked are the Tensors that require a gradient. They must be float64.
        Functions with kinks (relu, max pooling) must be looked at away from their kinks.
    eps: half the distance between the points of the difference.
    atol, rtol: |analytical - numerical| <= atol + rtol |numerical| passes. Tighter than PyTorch's 1e-5 and 1e-3, which
        would let a derivative pass that is wrong by 0.1 %.
    raise_exception: raise GradcheckError that says where and by how much; otherwise return False.
    nondet_tol: by how much results and gradients may differ when computed twice.
    max_entries: inputs with more entries than this are checked along `directions` random directions.
    seed: of the cotangents and directions.

    The rules: results and gradients are the same when computed again; neither `func` nor a backward writes into an
    array that it is given; a backward's gradients have the shapes of the inputs and a type at least as wide.
    Raises ValueError where nothing requires a gradient, or something that does is not float64.
    """
    settings = Settings(eps, atol, rtol, nondet_tol, max_entries, directions)
    report = examine(func, inputs, settings, seed)
    if report.problem is not None and raise_exception:
        raise GradcheckError(report.problem)
    return report.problem is None


def examine(func: Callable[..., Any], inputs: Any, settings: Settings | None = None, seed: int = 0) -> Report:
    """As `gradcheck`, but tells all that it found."""
    tensors = [value for value in ((inputs,) if isinstance(inputs, Tensor) else inputs) if isinstance(value, Tensor)]
    with on_device_of(tensors[0].array) if tensors else contextlib.nullcontext():
        check = _Check(func, inputs, settings or Settings(), philox(seed, "gradcheck"))
        try:
            check.run()
        except GradcheckError as error:
            check.report.problem = str(error)
        finally:
            check.put_back()
        return check.report


class _Check:
    """One function at one point: `places` are the tensors to be checked, by name, "input 0" or "parameter bias"."""

    def __init__(self, func: Callable[..., Any], inputs: Any, settings: Settings, random: np.random.Generator) -> None:
        self.func, self.settings, self.random, self.report = func, settings, random, Report()
        self.arguments = [_private(value) for value in ((inputs,) if isinstance(inputs, Tensor) else inputs)]
        named = [(f"input {number}", value) for number, value in enumerate(self.arguments)]
        if hasattr(func, "named_parameters"):
            named += [(f"parameter {name}", value) for name, value in func.named_parameters()]
        self.places = {name: x for name, x in named if isinstance(x, Tensor) and x.requires_grad}
        if not self.places:
            raise ValueError("gradcheck expects at least one input or parameter that requires a gradient")
        for name, x in self.places.items():
            if x.dtype != float64:
                raise ValueError(f"gradcheck: {name} is {x.dtype}; finite differences need float64")
        watched = [(name, x) for name, x in named if isinstance(x, Tensor)]
        self.before = {name: x.array.copy(order="K") for name, x in watched}
        self.watched = dict(watched)
        self.kept_gradients = {name: x.grad for name, x in self.places.items()}
        self.buffers = [(x, x.array.copy()) for x in func.buffers()] if hasattr(func, "buffers") else []
        self.cotangents: list[Array] = []

    def put_back(self) -> None:
        """Leave parameters, their gradients and buffers (the statistics of a batch norm) as they were found."""
        for name, x in self.places.items():
            x.array[...], x.grad = self.before[name], self.kept_gradients[name]
        for buffer, values in self.buffers:
            buffer.array[...] = values

    def run(self) -> None:
        """Raises GradcheckError at the end, if something is wrong."""
        gradients = self.analytical()
        wrong = [text for name in self.places if (text := self.compare(name, gradients[name]))]
        if wrong:
            raise GradcheckError("\n".join(wrong))

    # -------------------------------------------------------------------------------------------- what backward says

    def analytical(self) -> dict[str, Array]:
        """The gradient of c . f at each place; computed twice, and in pieces if there are several results."""
        with enable_grad():
            self.take_gradients()
            results = self.results()
            self.must_be_untouched("the function")
            self.cotangents = [self.cotangent(y) for y in results]
            supervise(results)
            total = Weighted.apply(*results, cotangents=self.cotangents)
            total.backward(retain_graph=True)
            self.must_be_untouched("backward")
            gradients = self.take_gradients()
            total.backward(retain_graph=True)
            self.must_agree(gradients, self.take_gradients(), self.settings.nondet_tol, "a second backward")
            if len(results) > 1:
                for y, c in zip(results, self.cotangents, strict=True):
                    y.backward(Tensor(c), retain_graph=True)
                largest = max(_largest(array) for array in gradients.values())
                self.must_agree(gradients, self.take_gradients(), 1e-12 * (1 + largest), "backward result by result")
        values = self.values()
        for number, (y, again) in enumerate(zip(results, values, strict=True)):
            if not array_module(y.array).isfinite(y.array).all():
                raise GradcheckError(f"result {number} is not finite: look at the function elsewhere")
            difference = _difference(y.array, again)
            if not difference <= self.settings.nondet_tol:
                raise GradcheckError(f"result {number} differs by {difference:.3g} when computed again")
        return gradients

    def results(self) -> list[Any]:
        """The results that require a gradient."""
        outcome = self.func(*self.arguments)
        results = [y for y in (outcome if isinstance(outcome, tuple | list) else (outcome,)) if isinstance(y, Tensor)]
        wanted = [y for y in results if y.requires_grad]
        if not wanted:
            raise GradcheckError("no result of the function requires a gradient")
        self.chosen = [number for number, y in enumerate(results) if y.requires_grad]
        return wanted

    def cotangent(self, y: Tensor) -> Array:
        """Random signs times random sizes from 0.5 to 1.5."""
        size, sign = self.random.uniform(0.5, 1.5, y.shape), self.random.integers(0, 2, y.shape) * 2 - 1
        return array_module(y.array).asarray(size * sign, dtype=y.dtype)

    def take_gradients(self) -> dict[str, Array]:
        """What has arrived at each place (zeros where nothing has); leaves no gradient behind."""
        found = {}
        for name, x in self.places.items():
            found[name] = array_module(x.array).zeros(x.shape, x.dtype) if x.grad is None else x.grad.array
            x.grad = None
        return found

    def must_be_untouched(self, culprit: str) -> None:
        for name, x in self.watched.items():
            if not array_module(x.array).array_equal(x.array, self.before[name], equal_nan=is_floating(x.dtype)):
                raise GradcheckError(f"{culprit} has written into {name}")

    def must_agree(self, first: dict[str, Array], second: dict[str, Array], tolerance: float, when: str) -> None:
        for name in first:
            difference = _difference(first[name], second[name])
            if not difference <= tolerance:
                raise GradcheckError(f"{name}: {when} gives another gradient, it differs by {difference:.3g}")

    # ---------------------------------------------------------------------------------- what finite differences say

    def values(self) -> list[Array]:
        """Copies of the chosen results (which may be views of the inputs), computed without recording."""
        with no_grad():
            outcome = self.func(*self.arguments)
        results = [y for y in (outcome if isinstance(outcome, tuple | list) else (outcome,)) if isinstance(y, Tensor)]
        return [results[number].array.copy(order="K") for number in self.chosen]

    def slope(self, name: str, direction: Array) -> float:
        """c . (f(x + eps v) - f(x - eps v)) / (2 eps)."""
        x, origin, step = self.places[name].array, self.before[name], self.settings.eps * direction
        x[...] = origin + step
        above = self.values()
        x[...] = origin - step
        below = self.values()
        x[...] = origin
        change = sum(float((c * (a - b)).sum()) for c, a, b in zip(self.cotangents, above, below, strict=True))
        return change / (2 * self.settings.eps)

    def compare(self, name: str, gradient: Array) -> str | None:
        """None if gradient and differences agree at this place; else where they differ most, and by how much."""
        large = gradient.size > self.settings.max_entries
        worst, worst_excess = None, 0.0
        for direction in self.random_directions(gradient) if large else entries(gradient):
            analytical, numerical = float((gradient * direction).sum()), self.slope(name, direction)
            excess = self.excess(analytical, numerical)
            if not excess <= worst_excess:
                worst, worst_excess = direction, excess
        if worst is None or worst_excess <= 1:
            return None
        while np.count_nonzero(worst) > 1:
            halves = halve(worst)
            excesses = [self.excess(float((gradient * half).sum()), self.slope(name, half)) for half in halves]
            worst = halves[0] if not excesses[0] <= excesses[1] else halves[1]
        index = tuple(int(i) for i in np.argwhere(worst)[0])
        size = float(worst[index])
        return self.describe(name, index, float(gradient[index]), self.slope(name, worst) / size)

    def excess(self, analytical: float, numerical: float) -> float:
        """The error as a multiple of what is allowed: above 1 is too much. NaN counts as infinitely wrong."""
        error = abs(analytical - numerical)
        relative = error / max(1.0, abs(numerical))
        self.report.compared += 1
        self.report.largest_error = max(self.report.largest_error, math.inf if math.isnan(relative) else relative)
        excess = error / (self.settings.atol + self.settings.rtol * abs(numerical))
        return math.inf if math.isnan(excess) else excess

    def describe(self, name: str, index: tuple[int, ...], analytical: float, numerical: float) -> str:
        allowed = self.settings.atol + self.settings.rtol * abs(numerical)
        place = f"{name} at index {index}" if index else name
        return (f"{place}: analytical {analytical:.10g}, numerical {numerical:.10g}, "
                f"differ by {abs(analytical - numerical):.3g} where {allowed:.3g} is allowed")  # fmt: skip

    def random_directions(self, gradient: Array) -> Iterator[Array]:
        for _ in range(self.settings.directions):
            yield array_module(gradient).asarray(self.random.standard_normal(gradient.shape))


class Weighted(Function):
    """s = sum of c_k . y_k over the results y_k of a function;  dy_k = ds c_k."""

    @staticmethod
    def forward(ctx: Node, *results: Array, cotangents: Sequence[Array]) -> Array:
        ctx.save_for_backward(*cotangents)
        total = sum((y * c).sum() for y, c in zip(results, cotangents, strict=True))
        return array_module(results[0]).asarray(total, dtype=float64)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array, ...]:
        return tuple(grad * c for c in ctx.saved_arrays)


def supervise(results: Sequence[Tensor]) -> None:
    """Let every operation below these results be watched when its backward runs."""
    waiting: list[Any] = [y.node for y in results]
    seen: set[Node] = set()
    while waiting:
        node = waiting.pop()
        if not isinstance(node, Node) or node in seen:
            continue
        seen.add(node)
        node.function = supervised(node)
        waiting += [edge.target for edge in node.edges if edge is not None]


def supervised(node: Node) -> type[Function]:
    """The node's function with a backward that raises GradcheckError when it breaks a rule."""
    function = node.function

    def backward(ctx: Node, *gradients: Array) -> Any:
        given = [array for array in (*gradients, *ctx.saved_arrays) if array is not None]
        before = [array.copy() for array in given]
        outcome = function.backward(ctx, *gradients)
        for array, old in zip(given, before, strict=True):
            if not array_module(array).array_equal(array, old, equal_nan=is_floating(array.dtype)):
                raise GradcheckError(f"the backward of {function.__name__} writes into an array that it is given")
        returned = outcome if isinstance(outcome, tuple) else (outcome,)
        for number, (edge, array) in enumerate(zip(node.edges, returned, strict=False)):
            if edge is None or array is None:
                continue
            place = f"the backward of {function.__name__}, argument {number}"
            if array.shape != edge.shape:
                raise GradcheckError(f"{place}: a gradient of shape {array.shape}, expected {edge.shape}")
            if np.promote_types(array.dtype, edge.dtype) != array.dtype:
                raise GradcheckError(f"{place}: a gradient of type {array.dtype}, expected {edge.dtype}")
        return outcome

    return type(function.__name__, (function,), {"backward": staticmethod(backward)})


def entries(like: Array) -> Iterator[Array]:
    """For each entry of an array the direction that moves this entry alone."""
    for index in np.ndindex(like.shape):
        direction = array_module(like).zeros(like.shape)
        direction[index] = 1.0
        yield direction


def halve(direction: Array) -> tuple[Array, Array]:
    """Two directions that add up to this one, each with half of its entries."""
    first = direction.copy()
    places = np.nonzero(direction)
    middle = len(places[0]) // 2
    first[tuple(axis[middle:] for axis in places)] = 0
    return first, direction - first


def _private(value: Any) -> Any:
    """A leaf of our own with the same values in the same memory order, where the value is a Tensor."""
    if not isinstance(value, Tensor):
        return value
    return Tensor(copy_in_place_order(value.array), requires_grad=value.requires_grad)


def copy_in_place_order(array: Array) -> Array:
    """A copy with the same strides: gaps, reversed axes and all. Entries that share memory get their own."""
    reach = array.itemsize
    for stride, length in sorted((abs(s), n) for s, n in zip(array.strides, array.shape, strict=True) if n > 1):
        if stride < reach:
            return array.copy(order="K")
        reach += stride * (length - 1)
    if array.size == 0 or array_module(array) is not np:
        return array.copy(order="K")
    start = sum(-s * (n - 1) for s, n in zip(array.strides, array.shape, strict=True) if s < 0)
    copy = np.ndarray(array.shape, array.dtype, np.empty(reach, np.uint8), start, array.strides)
    copy[...] = array
    return copy


def _difference(first: Array, second: Array) -> float:
    same = array_module(first).array_equal(first, second, equal_nan=True)
    return 0.0 if same else _largest(first - second)


def _largest(array: Array) -> float:
    return float(abs(array).max()) if array.size else 0.0
