"""Activation checkpointing: forget what a part of the network saved for backward, and compute it once more when needed.

    y = checkpoint(block, x)       # instead of y = block(x)

(Chen et al. 2016, "Training deep nets with sublinear memory cost".) The forward runs as always and records its nodes,
but each node's saved arrays are dropped at once. When backward comes to the first of them, the function runs a second
time, on the same arguments and with the same random draws, and its nodes hand their arrays to the nodes of the first
run, one by one in the order of recording. So gradients are bit-equal to those without a checkpoint, parameters and
tensors that the function reaches by itself get theirs too, and a checkpoint may stand inside another one.

Kept anyway: the arguments, the results, and what a node remembers besides its saved arrays (the mask of a dropout).
A batch norm in training inside the function updates its running statistics in both runs, as in PyTorch.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from minires.autograd import Node, Variable, _mode, enable_grad, is_grad_enabled
from minires.random import Generator, snapshot, using

Saved = tuple[Any, ...]


class _Block:
    """One checkpointed call: how to run it again, and what the second run saved for each node of the first."""

    def __init__(self, run: Callable[[], Any], arguments: Sequence[Any], generator: Generator | None) -> None:
        self.run, self.generator = run, generator
        self.versions = [(x.version, x.version.value) for x in arguments if isinstance(x, Variable)]
        self.recorded: list[tuple[str, list[Any]]] = []
        self.again: dict[int, Saved] = {}

    def add(self, node: Node) -> None:
        """Called for each node as it is recorded: its arrays are forgotten, and will be this block's business."""
        number = len(self.recorded)
        self.recorded.append(_described(node))
        node.forget(lambda: self.arrays(number))

    def arrays(self, number: int) -> Saved:
        """What the node with this number saved."""
        if number not in self.again:
            self.again = self._recompute()
        return self.again.pop(number)

    def _recompute(self) -> dict[int, Saved]:
        for version, value in self.versions:
            if version.value != value:
                raise RuntimeError("checkpoint: an argument was modified by an in-place operation after the forward")
        second = _SecondRun()
        draws = contextlib.nullcontext() if self.generator is None else using(_copy(self.generator))
        with enable_grad(), draws, _shown_to(second):
            self.run()
        if second.recorded != self.recorded:
            raise RuntimeError(
                f"checkpoint: the function did something else the second time ({_difference(self.recorded, second)}): "
                "it must not depend on anything that changes between forward and backward"
            )
        return {number: node.saved_arrays for number, node in enumerate(second.nodes)}


class _SecondRun:
    """Collects what the nodes of a second run save."""

    def __init__(self) -> None:
        self.recorded: list[tuple[str, list[Any]]] = []
        self.nodes: list[Node] = []

    def add(self, node: Node) -> None:
        self.recorded.append(_described(node))
        self.nodes.append(node)


def _described(node: Node) -> tuple[str, list[Any]]:
    """The operation's name and the shapes and types of what it saved."""
    return node.name, [None if array is None else (array.shape, array.dtype) for array in node.saved_arrays]


def _difference(first: list[tuple[str, list[Any]]], second: _SecondRun) -> str:
    if len(first) != len(second.recorded):
        return f"{len(first)} operations, then {len(second.recorded)}"
    before, after = next(pair for pair in zip(first, second.recorded, strict=True) if pair[0] != pair[1])
    return f"{before}, then {after}"


def _copy(generator: Generator) -> Generator:
    with using(generator):
        return snapshot()


@contextlib.contextmanager
def _shown_to(watcher: Any) -> Iterator[None]:
    """Within the block every node that is recorded in this thread is shown to `watcher.add`."""
    before, _mode.checkpoint = _mode.checkpoint, watcher
    try:
        yield
    finally:
        _mode.checkpoint = before


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool = False,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """function(*args, **kwargs), whose saved arrays are computed again in backward instead of being kept.

    preserve_rng_state: the second run draws the same random numbers (those of a generator given by hand excepted).
    use_reentrant: False, PyTorch's recommendation, alone is supported (NotImplementedError).
    RuntimeError in backward if an argument was changed in place, or the second run does other operations than the
    first.
    """
    if use_reentrant:
        raise NotImplementedError("checkpoint: use_reentrant=True is not supported, use use_reentrant=False")
    if not is_grad_enabled():
        return function(*args, **kwargs)
    block = _Block(lambda: function(*args, **kwargs), (*args, *kwargs.values()),
                   snapshot() if preserve_rng_state else None)  # fmt: skip
    with _shown_to(block):
        return function(*args, **kwargs)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool = False, **settings: Any
) -> Any:
    """The layers of an nn.Sequential, or a list of functions, in `segments` parts, each but the last checkpointed."""
    layers = list(functions)
    if not 1 <= segments <= len(layers):
        raise ValueError(f"checkpoint_sequential: segments must be from 1 to {len(layers)}, got {segments}")

    def run(part: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
        def through(x: Any) -> Any:
            for layer in part:
                x = layer(x)
            return x

        return through

    length = len(layers) // segments
    for number in range(segments - 1):
        part = layers[number * length : (number + 1) * length]
        input = checkpoint(run(part), input, use_reentrant=use_reentrant, **settings)
    return run(layers[(segments - 1) * length :])(input)
