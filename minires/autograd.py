"""Reverse-mode automatic differentiation: the graph, the walk back through it, and `Function`.

Every operation on tensors that require a gradient leaves behind a `Node`, which remembers what its backward needs and
which tensors the operation was applied to. `run_backward` walks the nodes from the result back to the leaves and
multiplies by each operation's Jacobian on the way (the chain rule; Baydin et al. 2018, "Automatic differentiation in
machine learning: a survey", section 3.2).

Why the order of the walk matters: in `b = a + a; c = b * b`, the node of `b` is reached twice from `c`. Its backward
must run once, after both contributions have been added up. Nodes are numbered as they are made, and an operation's node
is always younger than those of its inputs: going through them in falling order is a topological order.

The graph points backwards only (a node knows its inputs, never its outputs), so there are no reference cycles, and
dropping the last tensor frees the graph at once.
"""

import functools
import heapq
import itertools
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minires import kernels, observe
from minires.backend import Array, array_module, is_floating, memory_owner

# ------------------------------------------------------------------------------------------------------------ modes


class _Mode(threading.local):
    grad = True
    inference = False
    tape: "list[Application] | None" = None
    looked = False


_mode = _Mode()


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread."""
    return _mode.grad


def is_inference_mode_enabled() -> bool:
    """Whether this thread is inside `inference_mode`."""
    return _mode.inference


class _Switch:
    """A `with` block, or a decorator, that sets the modes on entry and puts them back on exit."""

    def __init__(self) -> None:
        self.previous: list[tuple[bool, bool]] = []

    def modes(self) -> tuple[bool, bool]:
        """(recording, inference) inside the block."""
        raise NotImplementedError

    def again(self) -> "_Switch":
        """A switch of the same kind for one call of a decorated function (which threads may share)."""
        return type(self)()

    def __enter__(self) -> None:
        self.previous.append((_mode.grad, _mode.inference))
        _mode.grad, _mode.inference = self.modes()

    def __exit__(self, *exception: object) -> None:
        _mode.grad, _mode.inference = self.previous.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def switched(*arguments: Any, **settings: Any) -> Any:
            with self.again():
                return function(*arguments, **settings)

        return switched


class no_grad(_Switch):  # noqa: N801 - PyTorch's name
    """Within the block (or the decorated function) nothing is recorded: results require no gradient."""

    def modes(self) -> tuple[bool, bool]:
        return False, _mode.inference


class enable_grad(_Switch):  # noqa: N801 - PyTorch's name
    """Within the block operations are recorded again, inside a `no_grad` block too."""

    def modes(self) -> tuple[bool, bool]:
        return True, _mode.inference


class inference_mode(_Switch):  # noqa: N801 - PyTorch's name
    """Like `no_grad`, and tensors made inside can never take part in a recorded operation afterwards."""

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self.mode = mode

    def modes(self) -> tuple[bool, bool]:
        return (False, True) if self.mode else (_mode.grad, _mode.inference)

    def again(self) -> "inference_mode":
        return inference_mode(self.mode)


class set_grad_enabled(_Switch):  # noqa: N801 - PyTorch's name
    """Switch recording on or off: at once when called, until the end of the block when used in a `with` statement."""

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self.mode = bool(mode)
        self.before = (_mode.grad, _mode.inference)
        _mode.grad = self.mode

    def modes(self) -> tuple[bool, bool]:
        return self.mode, _mode.inference

    def again(self) -> "set_grad_enabled":
        return set_grad_enabled(self.mode)

    def __exit__(self, *exception: object) -> None:
        _mode.grad, _mode.inference = self.before

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        _mode.grad, _mode.inference = self.before  # used as a decorator: only the calls are affected
        return super().__call__(function)


def quiet() -> np.errstate:
    """A `with` block without NumPy's warnings: as in PyTorch, 1/0 is inf and 0/0 is NaN, and nothing is said.

    Whoever trains finds out where it matters: a loss or gradient that is not finite stops the Trainer.
    """
    return np.errstate(all="ignore")


# ------------------------------------------------------------------------------------------------------------ graph


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


_numbers = itertools.count()


class Node:
    """One application of a Function, and the `ctx` that its forward and backward share.

    `save_for_backward(*arrays)` in forward keeps arrays for `saved_arrays` in backward; other values may be kept as
    attributes. `needs_input_grad[i]` says whether the i-th argument of forward wants a gradient.
    """

    def __init__(self, function: "type[Function]", needs_input_grad: tuple[bool, ...]) -> None:
        self.function = function
        self.needs_input_grad = needs_input_grad
        self.number = next(_numbers)
        self.edges: list[Edge | None] = []
        self.outputs: list[tuple[tuple[int, ...], np.dtype, Any]] = []  # shape, type and library of each result
        self.hooks: dict[int, dict[int, Callable[[Array], Array | None]]] = {}
        self.retained: list[tuple[int, weakref.ref[Variable]]] = []
        self.guards: list[Guard] = []
        self._saved: tuple[Array | None, ...] | None = ()

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
        return self._saved

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
        tensors = [argument for argument in arguments if isinstance(argument, Variable)]
        if not tensors:
            raise TypeError(f"{cls.__name__} needs at least one Tensor argument")
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
        if any(needs):
            _record(ctx, arguments, tensors, results)
        else:
            ctx.free()
        return tuple(results) if several else results[0]


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
    for saved in ctx._saved or ():
        if saved is None:
            continue
        owner = memory_owner(saved)
        for tensor in (*tensors, *results):
            if memory_owner(tensor.array) is owner:
                ctx.guards.append(Guard(tensor.version, tensor.version.value))
                break


# ---------------------------------------------------------------------------------------------------------- backward


class _Sum:
    """The sum of the gradients that have arrived at one place so far."""

    __slots__ = ("array", "owned")

    def __init__(self) -> None:
        self.array: Array | None = None
        self.owned = False  # nobody else holds the array's memory, so that it may be added to in place

    def add(self, array: Array, owned: bool) -> None:
        if self.array is None:
            self.array, self.owned = array, owned
        elif not self.owned:
            self.array, self.owned = self.array + array, True
        elif isinstance(self.array, np.ndarray) and self.array.dtype == array.dtype:
            kernels.add_to(self.array, array)
        else:
            self.array += array


def run_backward(root: Variable, gradient: Array, retain_graph: bool = False) -> None:
    """Add d(root)/d(leaf) * gradient to the `.grad` of every leaf below `root`. `gradient` has the shape of `root`.

    Saved arrays are freed as the walk proceeds, unless `retain_graph`. Gradients reach the leaves only when the whole
    walk has succeeded: an error on the way leaves every `.grad` as it was.
    """
    leaves: dict[int, tuple[Variable, _Sum]] = {}
    pending: dict[Node, list[_Sum]] = {}
    queue: list[tuple[int, Node]] = []

    def deliver(target: Node | Variable, output_index: int, array: Array, owned: bool) -> None:
        if isinstance(target, Variable):
            leaves.setdefault(id(target), (target, _Sum()))[1].add(array, owned)
            return
        if target not in pending:
            pending[target] = [_Sum() for _ in target.outputs]
            heapq.heappush(queue, (-target.number, target))
        pending[target][output_index].add(array, owned)

    deliver(root if root.node is None else root.node, root.output_index, gradient, False)
    with quiet():
        while queue:
            node = heapq.heappop(queue)[1]
            incoming = _incoming_gradients(node, pending.pop(node))
            for edge, array, owned in _outgoing_gradients(node, incoming):
                deliver(edge.target, edge.output_index, array, owned)
            if not retain_graph:
                node.free()
        for leaf, total in leaves.values():
            _accumulate(leaf, total)


def _incoming_gradients(node: Node, sums: list[_Sum]) -> list[Array]:
    """One gradient for each result of the node (zeros for a result nobody used), after its hooks."""
    gradients = []
    for index, ((shape, dtype, library), total) in enumerate(zip(node.outputs, sums, strict=True)):
        array = library.zeros(shape, dtype) if total.array is None else total.array
        gradients.append(_run_hooks(node.hooks.get(index), array))
    for index, reference in node.retained:
        tensor = reference()
        if tensor is not None:
            _accumulate(tensor, _sum_of(gradients[index]), with_hooks=False)
    return gradients


def _outgoing_gradients(node: Node, incoming: list[Array]) -> Iterator[tuple[Edge, Array, bool]]:
    """Run the node's backward and check what it returns: a gradient for each input that needs one."""
    try:
        saved = node.saved_arrays
        outcome = observe.call("backward", node.function.__name__, node.function.backward, node, *incoming)
    except Exception as error:
        error.add_note(f"raised in the backward of {node.function.__name__}")
        raise
    gradients = outcome if isinstance(outcome, tuple) else (outcome,)
    if len(gradients) < len(node.edges):
        raise RuntimeError(f"{node.name} returned {len(gradients)} gradients for {len(node.edges)} arguments")
    kept = [value for value in vars(node).values() if hasattr(value, "dtype")]
    held = [id(memory_owner(array)) for array in (*incoming, *saved, *kept, *gradients) if array is not None]
    for edge, array in zip(node.edges, gradients, strict=False):
        if edge is None or array is None:
            continue
        if array.shape != edge.shape:
            raise RuntimeError(f"{node.name} returned a gradient of shape {array.shape}, expected {edge.shape}")
        owner = memory_owner(array)
        owned = held.count(id(owner)) == 1 and array.flags.writeable and array.size == owner.size
        if array.dtype != edge.dtype:
            array, owned = array.astype(edge.dtype), True
        yield edge, array, owned


def _run_hooks(hooks: dict[int, Callable[[Array], Array | None]] | None, array: Array) -> Array:
    for hook in list((hooks or {}).values()):
        changed = hook(array)
        if changed is not None:
            array = changed
    return array


def _sum_of(array: Array) -> _Sum:
    total = _Sum()
    total.add(array, owned=False)
    return total


def _accumulate(tensor: Variable, total: _Sum, with_hooks: bool = True) -> None:
    """Add a gradient to `tensor.grad`, which never shares memory with anybody else's."""
    array = _run_hooks(tensor.hooks, total.array) if with_hooks else total.array
    if tensor.grad is not None:
        tensor.set_grad(tensor.grad.array + array)
    elif array is total.array and total.owned:
        tensor.set_grad(array)
    else:
        tensor.set_grad(array.copy(order="K"))  # type: ignore[union-attr]
