"""The walk back through the graph, which multiplies by each operation's Jacobian on the way."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from minires import kernels, observe
from minires.autograd.graph import Edge, Node, Variable, refresh
from minires.autograd.modes import _mode, quiet
from minires.backend import Array, array_module, device_of, is_writeable, memory_owner, on_device_of


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


class Wanted:
    """The tensors whose gradients alone are asked for: only nodes on the way to one of them are walked through."""

    def __init__(self, roots: Sequence[Variable], inputs: Sequence[Variable]) -> None:
        self.inputs = inputs
        self.found: dict[tuple[int, int], Array] = {}
        self.captured = {id(x.node) for x in inputs if x.node is not None}
        self.allowed = {id(x if x.node is None else x.node) for x in inputs}
        nodes = nodes_below(roots)
        self.through = set()
        for node in sorted(nodes, key=lambda node: node.number):
            if any(edge is not None and id(edge.target) in self.allowed for edge in node.edges):
                self.allowed.add(id(node))
                self.through.add(id(node))

    def gradients(self, leaves: "dict[int, tuple[Variable, _Sum]]") -> list[Array | None]:
        """One array for each input; None for one that nothing led to."""
        results: list[Array | None] = []
        for x in self.inputs:
            if x.node is not None:
                results.append(self.found.get((id(x.node), x.output_index)))
            else:
                results.append(_run_hooks(x.hooks, leaves[id(x)][1].array) if id(x) in leaves else None)
        return results


def nodes_below(roots: Sequence[Variable], after: int = -1) -> set[Node]:
    """All nodes of the graph that these tensors come from; those younger than the number `after`."""
    waiting: list[Any] = [root.node for root in roots]
    seen: set[Node] = set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, Node) and node.number > after and node not in seen:
            seen.add(node)
            waiting += [edge.target for edge in node.edges if edge is not None]
    return seen


def seed_of(root: Variable, gradient: Any = None) -> Array:
    """The gradient with which the walk starts, as an array of the root's type: 1 for a single element, if not given."""
    refresh(root)
    if not root.requires_grad:
        raise RuntimeError("this tensor does not require grad and no recorded operation made it")
    xp = array_module(root.array)
    if gradient is None:
        if root.array.size != 1:
            raise RuntimeError(f"grad can be implicitly created only for scalar outputs, not for {root.array.shape}")
        with on_device_of(root.array):
            return xp.ones(root.array.shape, root.array.dtype)
    seed = gradient.array if isinstance(gradient, Variable) else gradient
    if isinstance(gradient, Variable) and device_of(seed) != device_of(root.array):
        raise RuntimeError(f"the gradient is on {device_of(seed)}, the tensor on {device_of(root.array)}")
    if np.shape(seed) != root.array.shape:
        raise RuntimeError(f"the gradient has shape {np.shape(seed)}, the tensor {root.array.shape}")
    with on_device_of(root.array):
        return xp.asarray(seed, dtype=root.array.dtype)


def run_backward(root: Variable, gradient: Array, retain_graph: bool = False) -> None:
    """Add d(root)/d(leaf) * gradient to the `.grad` of every leaf below `root`. `gradient` has the shape of `root`.

    Saved arrays are freed as the walk proceeds, unless `retain_graph`. Gradients reach the leaves only when the whole
    walk has succeeded: an error on the way leaves every `.grad` as it was.
    """
    leaves = walk([(root, gradient)], retain_graph)
    with quiet():
        for leaf, total in leaves.values():
            accumulate(leaf, total)


def walk(
    roots: Sequence[tuple[Variable, Array]], retain_graph: bool, wanted: Wanted | None = None
) -> dict[int, tuple[Variable, _Sum]]:
    """From the roots back to the leaves, each of which is returned with the sum of the gradients that reached it."""
    leaves: dict[int, tuple[Variable, _Sum]] = {}
    pending: dict[Node, list[_Sum]] = {}
    queue: list[tuple[int, Node]] = []

    def deliver(target: Node | Variable, output_index: int, array: Array, owned: bool) -> None:
        if wanted is not None and id(target) not in wanted.allowed:
            return
        if isinstance(target, Variable):
            leaves.setdefault(id(target), (target, _Sum()))[1].add(array, owned)
            return
        if target not in pending:
            pending[target] = [_Sum() for _ in target.outputs]
            heapq.heappush(queue, (-target.number, target))
        pending[target][output_index].add(array, owned)

    for root, gradient in roots:
        deliver(root if root.node is None else root.node, root.output_index, gradient, False)
    with quiet():
        while queue:
            node = heapq.heappop(queue)[1]
            arrived = pending.pop(node)
            with on_device_of(next(total.array for total in arrived if total.array is not None)):
                incoming = _incoming_gradients(node, arrived)
                if wanted is not None:
                    if id(node) in wanted.captured:
                        wanted.found.update({(id(node), index): array for index, array in enumerate(incoming)})
                    if id(node) not in wanted.through:
                        continue
                for edge, array, owned in _outgoing_gradients(node, incoming):
                    with on_device_of(array):
                        deliver(edge.target, edge.output_index, array, owned)
            if not retain_graph:
                node.free()
    return leaves


def _incoming_gradients(node: Node, sums: list[_Sum]) -> list[Array]:
    """One gradient for each result of the node (zeros for a result nobody used), after its hooks."""
    gradients = []
    for index, ((shape, dtype, library), total) in enumerate(zip(node.outputs, sums, strict=True)):
        array = library.zeros(shape, dtype) if total.array is None else total.array
        gradients.append(_run_hooks(node.hooks.get(index), array))
    for index, reference in node.retained:
        tensor = reference()
        if tensor is not None:
            accumulate(tensor, _sum_of(gradients[index]), with_hooks=False)
    return gradients


def _outgoing_gradients(node: Node, incoming: list[Array]) -> Iterator[tuple[Edge, Array, bool]]:
    """Run the node's backward and check what it returns: a gradient for each input that needs one."""
    try:
        saved = node.saved_arrays
        outcome = observe.call("backward", node.function.__name__, node.function.backward, node, *incoming)
    except Exception as error:
        error.add_note(f"raised in the backward of {node.function.__name__}")
        if node.recorded_at is not None:
            error.add_note(f"which was recorded here:\n{node.recorded_at}")
        raise
    gradients = outcome if isinstance(outcome, tuple) else (outcome,)
    if len(gradients) < len(node.edges):
        raise RuntimeError(f"{node.name} returned {len(gradients)} gradients for {len(node.edges)} arguments")
    if _mode.anomaly and _mode.check_nan:
        _must_not_be_nan(node, gradients)
    kept = [value for value in vars(node).values() if hasattr(value, "dtype")]
    held = [id(memory_owner(array)) for array in (*incoming, *saved, *kept, *gradients) if array is not None]
    for edge, array in zip(node.edges, gradients, strict=False):
        if edge is None or array is None:
            continue
        if array.shape != edge.shape:
            raise RuntimeError(f"{node.name} returned a gradient of shape {array.shape}, expected {edge.shape}")
        owner = memory_owner(array)
        owned = held.count(id(owner)) == 1 and is_writeable(array) and array.size == owner.size
        if array.dtype != edge.dtype:
            array, owned = array.astype(edge.dtype), True
        yield edge, array, owned


def _must_not_be_nan(node: Node, gradients: Sequence[Array | None]) -> None:
    for number, (edge, array) in enumerate(zip(node.edges, gradients, strict=False)):
        if edge is not None and array is not None and bool(array_module(array).isnan(array).any()):
            where = f":\n{node.recorded_at}" if node.recorded_at else " before anomaly mode was switched on"
            raise RuntimeError(f"Function '{node.name}' returned nan values in its {number}th output; "
                               f"it was recorded{' here' if node.recorded_at else ''}{where}")  # fmt: skip


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


def accumulate(tensor: Variable, total: _Sum, with_hooks: bool = True) -> None:
    """Add a gradient to `tensor.grad`, which never shares memory with anybody else's."""
    array = _run_hooks(tensor.hooks, total.array) if with_hooks else total.array
    with on_device_of(tensor.array):
        if tensor.grad is not None:
            tensor.set_grad(tensor.grad.array + array)
        elif array is total.array and total.owned:
            tensor.set_grad(array)
        else:
            tensor.set_grad(array.copy(order="K"))  # type: ignore[union-attr]
