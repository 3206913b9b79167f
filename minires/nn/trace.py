"""A model's calculation as a list: which operations it applies to an example, and in which of its modules.

`fuse` finds out that way which norm follows which convolution, and the ONNX export what to write: neither has to know
how a model's forward is written. What a model decides by looking at values is seen as it was decided for the example.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minires.autograd import Application, Variable, no_grad, tape
from minires.nn.module import Module
from minires.tensor import HookHandle, Tensor


@dataclass(frozen=True)
class Step:
    """One operation: what it was given, what came out, and the path of the module whose forward was running."""

    function: Any
    arguments: tuple[Any, ...]
    settings: dict[str, Any]
    results: tuple[Variable, ...]
    module: str


@dataclass(frozen=True)
class Trace:
    """The steps that lead from `input` to `output`, in their order."""

    input: Tensor
    output: Any
    steps: list[Step]


def trace(model: Module, example: Tensor) -> Trace:
    """Run model(example) in the mode it is in, without gradients, and list its operations; hooks run as always."""
    lines: list[Application] = []
    places: list[str] = []
    stack = [""]

    def note() -> None:
        """All lines since the last note belong to the module that is running."""
        places.extend([stack[-1]] * (len(lines) - len(places)))

    handles = _watch(model, stack, note)
    try:
        with no_grad(), tape() as lines:
            output = model(example)
    finally:
        for handle in handles:
            handle.remove()
    note()
    return Trace(example, output, [Step(*line, path) for line, path in zip(lines, places, strict=True)])


def _watch(model: Module, stack: list[str], note: Callable[[], None]) -> list[HookHandle]:
    """Hooks on every module: its path is on top of the stack while its forward runs, and its own hooks."""

    def entered(path: str) -> Callable[..., None]:
        def hook(module: Module, arguments: Any) -> None:
            note()
            stack.append(path)

        return hook

    def left(module: Module, arguments: Any, output: Any) -> None:
        note()
        stack.pop()

    handles = []
    for path, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(entered(path), prepend=True))
        handles.append(module.register_forward_hook(left))
    return handles
