"""What a model computes for pictures of one size, as a list of operations that a plan can be made of.

The list comes from running the model on noise (trace.py), twice with different noise. A model whose list depends on the
values, or names tensors that come from elsewhere, cannot be planned; nor can one with operations other than those in
`PER_PICTURE`, which treat every picture by itself; nor can one that looks at a tensor's values, by `item()`, `numpy()`
or as a truth value, for it may decide otherwise the next time. `NotPlannable` says why. Only a model that looks into
`tensor.array` is not noticed: such a one is to be compiled with plan=False.

A convolution takes in what follows it, if nobody else sees what is in between:

    conv -> * number -> + other -> relu           as one operation  relu(number conv(x) + other)
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from minires import random
from minires.autograd import Variable, inference_mode, looking
from minires.nn.module import Module
from minires.nn.trace import Step, Trace, trace
from minires.tensor import Tensor

PICTURES = 2  # of the noise: more than one, so that the axis of pictures can be told
ADDRESS = "inference_graph"
DRAWS = (1, -3)  # the noise is multiplied by these, so that what a value decides is decided otherwise


class NotPlannable(Exception):  # noqa: N818 - an answer, not an error: the model is run as it is
    """Why a model is run as it is."""


class Reference(NamedTuple):
    """Stands for the value with that number among an operation's arguments."""

    number: int


@dataclass(frozen=True)
class Operation:
    """result = relu(scale function(arguments) + residual), the last three only where a convolution took them in."""

    function: Any
    arguments: tuple[Any, ...]
    settings: dict[str, Any]
    result: int
    scale: float = 1.0
    residual: int | None = None
    relu: bool = False

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def inputs(self) -> list[int]:
        """Numbers of the values it reads, the residual last."""
        numbers = [argument.number for argument in self.arguments if isinstance(argument, Reference)]
        return numbers if self.residual is None else [*numbers, self.residual]


@dataclass
class Graph:
    """Operations in their order. shapes: of each value, for one picture. Value 0 is the input."""

    shapes: dict[int, tuple[int, ...]]
    dtype: np.dtype
    operations: list[Operation] = field(default_factory=list)
    output: int = 0


def graph_of(model: Module, shape: tuple[int, ...], dtype: np.dtype) -> Graph:
    """Of a model in eval mode, for pictures (C, H, W). Raises NotPlannable."""
    if any(module.has_hooks for module in model.modules()):
        raise NotPlannable("a module has hooks")
    try:
        first, second = (_traced(model, (PICTURES, *shape), dtype, draw) for draw in range(len(DRAWS)))
    except NotPlannable:
        raise
    except Exception as error:  # the model will say it again, of the pictures that it is given
        raise NotPlannable(f"on {PICTURES} pictures of noise it fails: {error}") from error
    if not _same(first, second):
        raise NotPlannable("what is computed depends on the values of the pictures")
    return _joined(_needed(_listed(model, first, dtype)))


def _traced(model: Module, shape: tuple[int, ...], dtype: np.dtype, draw: int) -> Trace:
    noise = random.philox(0, ADDRESS).standard_normal(shape) * DRAWS[draw]
    with inference_mode(), random.address(0, ADDRESS), looking() as has_looked:
        found = trace(model, Tensor(noise.astype(dtype)))
        if has_looked():
            raise NotPlannable("the model looks at values")
    return found


def _same(first: Trace, second: Trace) -> bool:
    """Whether both are the same operations with the same settings."""

    def described(found: Trace) -> list[Any]:
        return [(step.function, [_plain(a) for a in step.arguments], _plain(step.settings)) for step in found.steps]

    return described(first) == described(second)


def _plain(argument: Any) -> Any:
    """For a comparison: tensors by their shape, arrays by their values."""
    if isinstance(argument, Variable):
        return ("tensor", argument.array.shape)
    return repr(argument)


# ------------------------------------------------------------------------------- what treats every picture by itself


def _any_arguments(step: Step) -> bool:
    return True


def _keeps_pictures(step: Step) -> bool:
    """Reshape: the first axis stays."""
    return step.arguments[1][0] == step.arguments[0].array.shape[0]


PER_PICTURE: dict[str, Callable[[Step], bool]] = {
    **dict.fromkeys(
        ("Conv2d", "Relu", "Sigmoid", "Tanh", "Clamp", "Add", "Sub", "Mul", "Div", "MaxPool2d", "AvgPool2d",
         "AdaptiveAvgPool2d", "BatchNormInference", "GroupNorm"), _any_arguments,
    ),
    "Linear": lambda step: step.arguments[0].array.ndim == 2,
    "Reshape": _keeps_pictures,
    "Concatenate": lambda step: step.settings["axis"] > 0,
    "Mean": lambda step: 0 not in step.arguments[1],
    "Pad": lambda step: step.arguments[1][0] == (0, 0),
    "GetItem": lambda step: all(_all_slices(index) and index[0] == slice(None) for index in step.arguments[1]),
}  # fmt: skip


def _all_slices(index: tuple[Any, ...]) -> bool:
    return len(index) > 0 and all(isinstance(part, slice) for part in index)


def _listed(model: Module, found: Trace, dtype: np.dtype) -> Graph:
    own = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    numbers = {id(found.input): 0}
    graph = Graph({0: found.input.shape[1:]}, dtype)
    for step in found.steps:
        _check(step, numbers, own)
        arguments = tuple(Reference(numbers[id(a)]) if id(a) in numbers else a for a in step.arguments)
        result = step.results[0]
        numbers[id(result)] = len(numbers)
        graph.shapes[numbers[id(result)]] = result.array.shape[1:]
        graph.operations.append(Operation(step.function, arguments, step.settings, numbers[id(result)]))
        if result.array.dtype != dtype or result.array.ndim not in (2, 4) or result.array.shape[0] != PICTURES:
            raise NotPlannable(f"{step.function.__name__} gives {result.array.dtype} {result.array.shape}")
    if id(found.output) not in numbers or numbers[id(found.output)] == 0:
        raise NotPlannable("the output is not one tensor that an operation computed")
    graph.output = numbers[id(found.output)]
    return graph


def _needed(graph: Graph) -> Graph:
    """The graph without operations whose result leads nowhere."""
    kept, wanted = [], {graph.output}
    for operation in reversed(graph.operations):
        if operation.result in wanted:
            kept.append(operation)
            wanted.update(operation.inputs)
    return replace(graph, operations=kept[::-1])


def _check(step: Step, numbers: dict[int, int], own: set[int]) -> None:
    """NotPlannable unless the step works picture by picture, on values of the graph and the model's own tensors."""
    name = step.function.__name__
    if name not in PER_PICTURE or not PER_PICTURE[name](step) or len(step.results) != 1:
        raise NotPlannable(f"{name} may not treat every picture by itself")
    tensors = [argument for argument in step.arguments if isinstance(argument, Variable)]
    if not any(id(tensor) in numbers for tensor in tensors):
        raise NotPlannable(f"{name} computes with parameters only")
    for tensor in tensors:
        if id(tensor) not in numbers and id(tensor) not in own:
            raise NotPlannable(f"{name} is given a tensor that no operation computed")
    if name in ("Add", "Sub", "Mul", "Div") and any(
        id(tensor) not in numbers and tensor.array.ndim == 4 and tensor.array.shape[0] != 1 for tensor in tensors
    ):
        raise NotPlannable(f"{name} is given a tensor for each picture")


# ------------------------------------------------------------------------------------------- convolutions take in more


def _joined(graph: Graph) -> Graph:
    """The graph with operations taken into the convolutions before them."""
    uses = Counter(number for operation in graph.operations for number in operation.inputs)
    uses[graph.output] += 1
    kept: dict[int, Operation] = {}  # by their results, in their order
    for operation in graph.operations:
        for number in reversed(operation.inputs):  # of two convolutions that are added, the later one
            maker = kept.get(number)
            joined = None if maker is None or uses[number] > 1 else _with(maker, operation, number, graph)
            if joined is not None:
                del kept[number]
                operation = joined
                break
        kept[operation.result] = operation
    return replace(graph, operations=list(kept.values()))


def _with(maker: Operation, then: Operation, number: int, graph: Graph) -> Operation | None:
    """The convolution with the next operation taken in; None where it does not fit."""
    if maker.name != "Conv2d" or maker.relu:
        return None
    others = [argument for argument in then.arguments if argument != Reference(number)]
    if then.name == "Relu":
        return replace(maker, result=then.result, relu=True)
    if maker.residual is not None or len(others) != 1:
        return None
    other = others[0]
    if then.name == "Mul" and isinstance(other, float | np.floating):
        return replace(maker, result=then.result, scale=maker.scale * float(other))
    if then.name == "Add" and isinstance(other, Reference) and graph.shapes[other.number] == graph.shapes[number]:
        return replace(maker, result=then.result, residual=other.number)
    return None
