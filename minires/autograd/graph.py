"""The graph: `Node`, one application of an operation; `Function`, from which operations are made; tapes."""

import itertools
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minires import observe
from minires.autograd.anomaly import lines_of_the_call
from minires.autograd.modes import _mode, quiet
from minires.backend import Array, array_module, is_floating, memory_owner, on_device_of


class Version:
    """How often an array has been changed in place. A tensor and its views share one counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Variable:
    """What the graph knows of a tensor. `Tensor` (minires/tensor.py) adds all that a user sees."""

    array: Array
    grad: Any
    requires_grad: bool
    node: "Node | None"
    output_index: int
    version: Version
    is_view: bool
    is_inference_result: bool
    hooks: "dict[int, Callable[[Array], Array | None]] | None"
    origin: "Origin | None" = None

    def make_result(self, array: Array) -> "Variable":
        """A tensor that holds `array`; needs no gradient yet."""
        raise NotImplementedError

    def set_grad(self, array: Array) -> None:
        """Store `array` as this tensor's gradient."""
        raise NotImplementedError


class Edge(NamedTuple):
    """Where the gradient of one input goes: to the node that made the input, or to a leaf tensor."""

    target: "Node | Variable"
    output_index: int
    shape: tuple[int, ...]
    dtype: np.dtype


class Guard(NamedTuple):
    """A saved array must not change before backward: the counter that tells, and what it showed when saved."""

    version: Version
    value: int
    place: int  # which of the saved arrays


_numbers = itertools.count()


class Node:
    """One application of a Function, and the `ctx` that its forward and backward share.

    `save_for_backward(*arrays)` in forward keeps arrays for `saved_arrays` in backward; other values may be kept as
    attributes. `needs_input_grad[i]` says whether the i-th argument of forward wants a gradient.
    """

    recorded_at: str | None = None  # in anomaly mode: the lines of the forward

    def __init__(self, function: "type[Function]", needs_input_grad: tuple[bool, ...]) -> None:
        self.function = function
        self.needs_input_grad = needs_input_grad
        self.number = next(_numbers)
        self.edges: list[Edge | None] = []
        self.outputs: list[tuple[tuple[int, ...], np.dtype, Any]] = []  # shape, type and library of each result
        self.hooks: dict[int, dict[int, Callable[[Array], Array | None]]] = {}
        self.retained: list[tuple[int, weakref.ref[Variable]]] = []
        self.guards: list[Guard] = []
        self._saved: tuple[Array | None, ...] | Callable[[], tuple[Array | None, ...]] | None = ()

    if TYPE_CHECKING:  # forward may keep what it likes as attributes, for backward

        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...

    def save_for_backward(self, *arrays: Array | None) -> None:
        """Keep these arrays (or None) until backward has run."""
        self._saved = arrays

    @property
    def saved_arrays(self) -> tuple[Any, ...]:
        """The arrays kept by `save_for_backward`. RuntimeError if one was changed in place, or all are freed."""
        if self._saved is None:
            raise RuntimeError(
                "trying to backward through the graph a second time: the saved arrays have been freed. "
                "Give retain_graph=True to the first backward if you need a second one"
            )
        for guard in self.guards:
            if guard.version.value != guard.value:
                raise RuntimeError(
                    f"an array that {self.name} needs for its gradient has been modified by an in-place operation: "
                    f"it is at version {guard.version.value}, expected version {guard.value}"
                )
        if callable(self._saved):
            self._saved = self._saved()
        return self._saved

    def forget(self, again: Callable[[], tuple[Array | None, ...]]) -> None:
        """Drop the saved arrays; `again()` will compute them when backward wants them."""
        self._saved = again

    def keep_own(self, version: Version) -> None:
        """Copy the saved arrays that lie in memory with this version counter, which is about to be written to."""
        mine = [guard for guard in self.guards if guard.version is version]
        if mine and isinstance(self._saved, tuple):
            places = {guard.place for guard in mine}
            with on_device_of(self._saved[mine[0].place]):
                self._saved = tuple(
                    array.copy(order="K") if place in places else array for place, array in enumerate(self._saved)
                )
        self.guards = [guard for guard in self.guards if guard.version is not version]

    @property
    def name(self) -> str:
        """Name as PyTorch prints it, such as ReluBackward."""
        return f"{self.function.__name__}Backward"

    def free(self) -> None:
        """Drop the saved arrays; a second backward will say so."""
        self._saved = None
        self.guards = []

    def __repr__(self) -> str:
        return f"<{self.name}>"


class Function:
    """One differentiable operation: subclass it with static methods `forward` and `backward`.

    forward(ctx, *arguments, **settings): arguments that are Tensors arrive as their arrays, all others as they are.
        Returns an array, or a tuple of arrays.
    backward(ctx, *gradients): one gradient array for each result. Returns one gradient array for each argument of
        forward (a single array if there is one argument), or None where there is none. `ctx.needs_input_grad` tells
        which are wanted. Must not change the gradients it is given. The arrays that it returns may be written to:
        of one that is kept elsewhere than as a saved array or an attribute of ctx, return a copy.

    `Name.apply(*arguments, **settings)` runs the operation on Tensors. First order only: backward itself is not
    recorded, so that there is no double backward.
    """

    @staticmethod
    def forward(ctx: Node, *arguments: Any, **settings: Any) -> Any:
        raise NotImplementedError

    @staticmethod
    def backward(ctx: Node, *gradients: Array) -> Any:
        raise NotImplementedError

    @classmethod
    def apply(cls, *arguments: Any, **settings: Any) -> Any:
        """Run forward on the arguments' arrays and, if one of them requires a gradient, record the operation."""
        if _mode.cast is not None:
            arguments = _mode.cast(cls, arguments)
        tensors = [argument for argument in arguments if isinstance(argument, Variable)]
        if not tensors:
            raise TypeError(f"{cls.__name__} needs at least one Tensor argument")
        for tensor in tensors:
            if tensor.is_view:
                refresh(tensor)
        needs = tuple(
            _mode.grad and isinstance(argument, Variable) and argument.requires_grad for argument in arguments
        )
        ctx = Node(cls, needs)
        arrays = [argument.array if isinstance(argument, Variable) else argument for argument in arguments]
        with quiet():
            outcome = observe.call("forward", cls.__name__, cls.forward, ctx, *arrays, **settings)
        several = isinstance(outcome, tuple)
        results = [tensors[0].make_result(array) for array in (outcome if several else (outcome,))]
        if _mode.tape is not None:
            _mode.tape.append(Application(cls, arguments, settings, tuple(results)))
        _share_versions(results, tensors)
        if results[0].is_view and len(tensors) == 1 and arguments[0] is tensors[0]:
            _note_origins(results, tensors[0], cls, arguments[1:], settings)
        if any(needs):
            _record(ctx, arguments, tensors, results)
        else:
            ctx.free()
        return tuple(results) if several else results[0]


class Step(NamedTuple):
    """One operation on the way from a tensor to a view of it: function.apply(tensor, *arguments, **settings)."""

    function: type[Function]
    arguments: tuple[Any, ...]
    settings: dict[str, Any]
    place: int  # among several results


class Origin(NamedTuple):
    """Where a view comes from: the tensor whose memory it shares, that tensor's node at the time, and the way."""

    base: Variable
    node: Node | None
    steps: tuple[Step, ...]


def _note_origins(
    results: Sequence[Variable], tensor: Variable, function: type[Function], arguments: Any, settings: Any
) -> None:
    known = tensor.origin
    for place, result in enumerate(results):
        if result.is_view:
            step = Step(function, arguments, settings, place)
            if known is None:
                result.origin = Origin(tensor, tensor.node, (step,))
            else:
                result.origin = Origin(known.base, known.node, (*known.steps, step))


def refresh(view: Variable) -> None:
    """Give a view its place in the graph anew, if the tensor that it looks at was changed in place since.

    In `y = x * 2; v = y[0]; y.mul_(3)` the memory of v has changed along with y's: v is now a part of 3 * (x * 2), and
    goes the way from y to v again.
    """
    origin = view.origin
    if origin is None or origin.base.node is origin.node or not _mode.grad:
        return
    fresh = origin.base
    for step in origin.steps:
        outcome = step.function.apply(fresh, *step.arguments, **step.settings)
        fresh = outcome[step.place] if isinstance(outcome, tuple) else outcome
    view.requires_grad, view.node, view.output_index = fresh.requires_grad, fresh.node, fresh.output_index
    view.origin = origin._replace(node=origin.base.node)


class Application(NamedTuple):
    """One line of a tape: an operation, what `apply` was given, and the tensors that came out."""

    function: type[Function]
    arguments: tuple[Any, ...]
    settings: dict[str, Any]
    results: tuple[Variable, ...]


@contextmanager
def tape() -> Iterator[list[Application]]:
    """Within the block every Function applied in this thread is also written to the list that the block is given.

    Whether gradients are recorded makes no difference. The list keeps all tensors alive that it names. What has no
    derivative (comparisons, argmax) is no Function, and does not appear.
    """
    before, _mode.tape = _mode.tape, []
    try:
        yield _mode.tape
    finally:
        _mode.tape = before


def youngest() -> int:
    """A number above those of all nodes so far, and below those of all to come."""
    return next(_numbers)


def look() -> None:
    """Note that Python is given values of a tensor: what is computed next may depend on them."""
    _mode.looked = True


@contextmanager
def looking() -> Iterator[Callable[[], bool]]:
    """A block that is given a function: whether this thread has looked at values since the block began."""
    before, _mode.looked = _mode.looked, False
    try:
        yield lambda: _mode.looked
    finally:
        _mode.looked |= before


def _share_versions(results: Sequence[Variable], inputs: Sequence[Variable]) -> None:
    """A result that is a view of an input changes when the input is changed, so they share one version counter."""
    for result in results:
        result.is_inference_result = _mode.inference
        if result.array.base is None and all(result.array is not tensor.array for tensor in inputs):
            continue
        owner = memory_owner(result.array)
        for tensor in inputs:
            if memory_owner(tensor.array) is owner:
                result.version, result.is_view = tensor.version, True
                result.is_inference_result |= tensor.is_inference_result
                break


def _record(ctx: Node, arguments: Sequence[Any], tensors: Sequence[Variable], results: Sequence[Variable]) -> None:
    if any(tensor.is_inference_result for tensor in tensors):
        raise RuntimeError("a tensor made in inference_mode cannot take part in a recorded operation: clone it first")
    for argument, needed in zip(arguments, ctx.needs_input_grad, strict=True):
        if needed:
            array = argument.array
            target = argument if argument.node is None else argument.node
            ctx.edges.append(Edge(target, argument.output_index, array.shape, array.dtype))
        else:
            ctx.edges.append(None)
    for index, result in enumerate(results):
        ctx.outputs.append((result.array.shape, result.array.dtype, array_module(result.array)))
        if is_floating(result.array.dtype):
            result.requires_grad, result.node, result.output_index = True, ctx, index
    for place, saved in enumerate(ctx._saved or ()):  # type: ignore[arg-type]  # arrays yet: nothing is forgotten
        if saved is None:
            continue
        owner = memory_owner(saved)
        for tensor in (*tensors, *results):
            if memory_owner(tensor.array) is owner:
                ctx.guards.append(Guard(tensor.version, tensor.version.value, place))
                break
    if _mode.anomaly:
        ctx.recorded_at = lines_of_the_call()
    if _mode.checkpoint is not None:
        _mode.checkpoint.add(ctx)
