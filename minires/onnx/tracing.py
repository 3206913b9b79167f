"""The operations that a model applies, as the export needs them: without what does not matter, for batches of any size.

Shapes in a trace are numbers, and do not say which of them is the size of the batch. So the model runs twice, with
batches of two and three pictures: a number that differs between the two depends on the batch.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from minires.autograd import Variable
from minires.nn import Module
from minires.nn.trace import Step, Trace, trace
from minires.onnx.graph import refuse
from minires.ops.shape import Expand, Reshape
from minires.tensor import Tensor

BATCH = -1  # stands in a shape for the size of the batch


def trace_batches(model: Module, shape: Sequence[int], dtype: Any, dynamic_batch: bool) -> Trace:
    """The trace of a model in eval mode on random pictures of this shape (N, C, H, W); any N, if `dynamic_batch`.

    MiniresError where a number other than a length in Reshape or Expand depends on the size of the batch.
    """
    if not dynamic_batch:
        return _traced(model, tuple(shape), dtype)
    other = [(step.function, _numbers(step)) for step in _traced(model, (3, *shape[1:]), dtype).steps]
    found = _traced(model, (2, *shape[1:]), dtype)
    if [function for function, _ in other] != [step.function for step in found.steps]:
        raise refuse("what the model does depends on the size of the batch; export it with dynamic_batch=False")
    steps = [_for_any_batch(step, numbers) for step, (_, numbers) in zip(found.steps, other, strict=True)]
    return dataclasses.replace(found, steps=steps)


def varies(step: Step) -> bool:
    """Whether BATCH stands in the step's shape."""
    return step.function in (Reshape, Expand) and BATCH in step.arguments[1]


def _traced(model: Module, shape: tuple[int, ...], dtype: Any) -> Trace:
    batch, channels, *size = shape
    values = np.random.default_rng(0).standard_normal((batch, *size, channels)).astype(dtype)
    found = trace(model, Tensor(np.moveaxis(values, -1, 1)))
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


def _for_any_batch(step: Step, other: tuple[Any, ...]) -> Step:
    """The step with BATCH in the place of the length that differs from the other trace's."""
    own = _numbers(step)
    if repr(own) == repr(other):  # as texts, in which NaN equals itself
        return step
    if step.function in (Reshape, Expand):
        tensor, shape = step.arguments
        merged = tuple(length if length == second else BATCH for length, second in zip(shape, other[1], strict=True))
        if merged.count(BATCH) == 1:
            return dataclasses.replace(step, arguments=(tensor, merged))
    where = f" in module {step.module!r}" if step.module else ""
    raise refuse(f"{step.function.__name__}{where} depends on the size of the batch; export with dynamic_batch=False")
