"""The operations that a model applies, as the export needs them: without what does not matter, for inputs of any size.

Shapes in a trace are numbers, and do not say which of them is the size of the batch, or of the pictures. So the model
runs several times, with batches of two and three pictures, and with pictures of two sizes: a number that differs
between two runs depends on what differed between them.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minires.autograd import Variable
from minires.errors import MiniresError
from minires.nn import Module
from minires.nn.trace import Step, Trace, trace
from minires.onnx.graph import refuse
from minires.ops.shape import Expand, Reshape
from minires.tensor import Tensor

ANY = -1  # stands in a shape for a length that follows from the input
LARGER = (33, 66)  # the second size of pictures is larger by so many rows and columns: odd, and two different numbers
BATCH, SIZE = "the size of the batch; export it with dynamic_batch=False", "the size of the pictures"


@dataclasses.dataclass(frozen=True)
class AnySize(Trace):
    """A trace with ANY in the place of lengths that follow from the input; `free`: axes of the output that do."""

    free: tuple[int, ...]


def trace_sizes(
    model: Module, shape: Sequence[int], dtype: Any, dynamic_batch: bool, dynamic_size: bool = False
) -> AnySize:
    """The trace of a model in eval mode on random pictures of this shape (N, C, H, W); any N, if `dynamic_batch`, and
    any H and W, if `dynamic_size`.

    MiniresError where a number other than a length in Reshape or Expand depends on them.
    """
    first, channels, *size = shape
    others: dict[str, tuple[int, ...]] = {}
    if dynamic_batch:
        first, others[BATCH] = 2, (3, channels, *size)
    if dynamic_size:
        others[SIZE] = (first, channels, *(side + more for side, more in zip(size, LARGER, strict=True)))
    runs = {reason: _other_run(model, other, dtype, reason) for reason, other in others.items()}
    found = _traced(model, (first, channels, *size), dtype)
    for reason, (functions, _, _) in runs.items():
        if functions != [step.function for step in found.steps]:
            raise refuse(f"what the model does depends on {reason}")
    numbers = {reason: run[1] for reason, run in runs.items()}
    steps = [_for_any(step, {reason: each[place] for reason, each in numbers.items()})
             for place, step in enumerate(found.steps)]  # fmt: skip
    free = {axis for _, _, lengths in runs.values() for axis, length in enumerate(lengths)
            if length != found.output.shape[axis]}  # fmt: skip
    return AnySize(found.input, found.output, steps, tuple(sorted(free)))


def _other_run(
    model: Module, shape: tuple[int, ...], dtype: Any, reason: str
) -> tuple[list[Any], list[Any], tuple[int, ...]]:
    """(functions, what each was given, shape of the output) of the model on pictures of another shape."""
    try:
        found = _traced(model, shape, dtype)
    except MiniresError:
        raise
    except (RuntimeError, ValueError) as error:
        if reason != SIZE:
            raise
        raise refuse(f"the model takes no pictures of {shape[2]} x {shape[3]}: {error}", "onnx.fixed_size") from error
    return [step.function for step in found.steps], [_numbers(step) for step in found.steps], tuple(found.output.shape)


def varies(step: Step) -> bool:
    """Whether ANY stands in the step's shape."""
    return step.function in (Reshape, Expand) and ANY in step.arguments[1]


def the_output(outputs: Any) -> Any:
    """What is exported: the model's output, or of a dictionary of several its entry "out", as of an FCN."""
    return outputs["out"] if isinstance(outputs, Mapping) and "out" in outputs else outputs


def _traced(model: Module, shape: tuple[int, ...], dtype: Any) -> Trace:
    batch, channels, *size = shape
    values = np.random.default_rng(0).standard_normal((batch, *size, channels)).astype(dtype)
    found = trace(model, Tensor(np.moveaxis(values, -1, 1)))
    found = dataclasses.replace(found, output=the_output(found.output))
    if not isinstance(found.output, Tensor):
        raise refuse(f"the model must give one Tensor, not {type(found.output).__name__}")
    return dataclasses.replace(found, steps=_that_matter(found))


def _that_matter(found: Trace) -> list[Step]:
    """The steps that the output depends on."""
    needed, kept = {id(found.output)}, []
    for step in reversed(found.steps):
        if any(id(result) in needed for result in step.results):
            needed.update(id(value) for value in step.arguments if isinstance(value, Variable))
            kept.append(step)
    return kept[::-1]


def _numbers(step: Step) -> tuple[Any, ...]:
    """What a step was given apart from its tensors, in a form that can be compared."""
    given = (*step.arguments, *step.settings.values())
    return tuple(None if isinstance(value, Variable) else _plain(value) for value in given)


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    if isinstance(value, slice):
        return ("slice", value.start, value.stop, value.step)
    return (value.dtype.name, value.tolist()) if isinstance(value, np.ndarray) else value


def _for_any(step: Step, others: dict[str, tuple[Any, ...]]) -> Step:
    """The step with ANY in the place of lengths that differ from the other runs'; `others`: what those had, by reason.

    Reshape works one of them out from the rest, whatever it depends on, and Expand keeps what is there.
    """
    own = _numbers(step)
    reasons = [reason for reason, other in others.items() if repr(own) != repr(other)]  # as texts: NaN equals itself
    if not reasons:
        return step
    if step.function in (Reshape, Expand):
        tensor, shape = step.arguments
        columns = zip(shape, *(others[reason][1] for reason in reasons), strict=True)
        merged = tuple(column[0] if len(set(column)) == 1 else ANY for column in columns)
        if step.function is Expand or merged.count(ANY) == 1:
            return dataclasses.replace(step, arguments=(tensor, merged))
    where = f" in module {step.module!r}" if step.module else ""
    raise refuse(f"{step.function.__name__}{where} depends on {reasons[-1]}")
