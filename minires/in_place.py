"""Tensor's in-place changes: results written into its memory, and their place in the graph taken over."""

from collections.abc import Callable
from typing import Any

import numpy as np

from minires.autograd import (
    Variable,
    is_grad_enabled,
    nodes_below,
    note_written,
    refresh,
    write_through,
    youngest,
)
from minires.backend import array_module, is_floating, on_device_of
from minires.methods import OPERATIONS
from minires.number_types import number_as
from minires.random import Generator, generator


class InPlace:
    """The part of Tensor that writes into its memory."""

    def bump_version(self: Any) -> None:
        """Say that `array` was written to by hand, so that a backward that needs the old values raises."""
        self.version.value += 1

    def _become(self: Any, compute: Callable[[Any], Any], name: str) -> Any:
        """Write `compute(self)` into this tensor's own memory, and its place in the graph along with it."""
        refresh(self)
        self._must_be_writable(name)
        base: Any = None if self.origin is None else self.origin.base
        before = youngest()
        old = self._alias()
        result = compute(old)
        if is_grad_enabled() and self.requires_grad and not result.requires_grad:
            result = OPERATIONS["copy_values"](old, result)  # `x.eq_(0)`: no gradient flows through it
        if result.shape != self.shape:
            raise RuntimeError(f"{name}: the result has shape {result.shape}, the tensor {self.shape}")
        if _kind(result.dtype) > _kind(self.dtype):
            raise RuntimeError(f"{name}: result type {result.dtype} can't be cast to {self.dtype}")
        if result.requires_grad and self.is_view and base is None:
            raise RuntimeError(f"{name}: a detached tensor cannot become part of the graph in place; clone it first")
        for node in nodes_below([result], after=before) if result.requires_grad else ():
            node.keep_own(self.version)  # backward needs the old values
        note_written(self, old, result)
        with on_device_of(self.array):
            array_module(self.array).copyto(self.array, result.array, casting="unsafe")
        self.version.value += 1
        if result.requires_grad and base is not None:
            write_through(self, base, base._alias(), result)
        elif result.requires_grad:
            self.requires_grad, self.node, self.output_index = True, result.node, result.output_index
        return self

    def _must_be_writable(self: Any, name: str) -> None:
        """RuntimeError where an in-place operation would go unnoticed by the graph, or write one place twice."""
        if is_grad_enabled() and self.requires_grad and self.node is None:
            raise RuntimeError(f"{name}: a leaf tensor that requires grad is used in an in-place operation")
        base: Any = None if self.origin is None else self.origin.base
        if is_grad_enabled() and base is not None and base.requires_grad:
            if base.node is None:
                raise RuntimeError(f"{name}: a view of a leaf tensor that requires grad is changed in place")
            if not self.requires_grad:
                raise RuntimeError(f"{name}: a view, made while nothing was recorded, of a tensor that requires grad")
        if isinstance(self.array, np.ndarray) and not self.array.flags.writeable:
            raise RuntimeError(f"{name}: the memory is read-only, or several elements share one place in it; clone it")

    def _alias(self: Any) -> Any:
        """This tensor as it is now: what an in-place operation on it is applied to."""
        result = self.make_result(self.array)
        result.requires_grad, result.node, result.output_index = self.requires_grad, self.node, self.output_index
        result.version, result.is_inference_result = self.version, self.is_inference_result
        return result

    def copy_(self: Any, source: Any, non_blocking: bool = False) -> Any:
        """Copy values (broadcast to this shape, cast to this type) into this tensor. non_blocking: see `to`."""
        if isinstance(source, Variable):
            source = OPERATIONS["convert"](source, device=self.device, non_blocking=non_blocking)
        return self._become(lambda old: OPERATIONS["copy_values"](old, source), "copy_")

    def fill_(self: Any, value: float) -> Any:
        """Set every element to `value`."""
        number = number_as(value, self.dtype).item()
        with on_device_of(self.array):
            return self.copy_(self.make_result(array_module(self.array).full((), number, self.dtype)))

    def zero_(self: Any) -> Any:
        """Set every element to 0."""
        return self.fill_(0)

    def normal_(self: Any, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Any:
        """Fill with draws from the normal distribution. RuntimeError for a negative std."""
        if std < 0:
            raise RuntimeError(f"normal_ expects std >= 0.0, but found std {std}")
        return self._fill_random(lambda random: random.normal(mean, std, self.shape), generator)

    def uniform_(self: Any, low: float = 0.0, high: float = 1.0, *, generator: Generator | None = None) -> Any:
        """Fill with draws from the uniform distribution on [low, high). RuntimeError if low is above high."""
        if low > high:
            raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low} > to={high}")
        return self._fill_random(lambda random: random.uniform(low, high, self.shape), generator)

    def bernoulli_(self: Any, p: float = 0.5, *, generator: Generator | None = None) -> Any:
        """Fill with ones (with probability p) and zeros."""
        return self._fill_random(lambda random: random.random(self.shape) < p, generator)

    def random_(self: Any, low: int = 0, high: int | None = None, *, generator: Generator | None = None) -> Any:
        """Fill with whole numbers from `low` up to but not including `high` (without it, below `low`)."""
        if high is None:
            low, high = 0, low
        if low >= high:
            raise RuntimeError(f"random_ expects low < high, got low={low} and high={high}")
        return self._fill_random(lambda random: random.integers(low, high, self.shape), generator)

    def exponential_(self: Any, lambd: float = 1.0, *, generator: Generator | None = None) -> Any:
        """Fill with draws from the exponential distribution of rate `lambd`."""
        return self._fill_random(lambda random: random.exponential(1 / lambd, self.shape), generator)

    def fill_diagonal_(self: Any, fill_value: float) -> Any:
        """Set the elements whose indices are all equal to `fill_value`."""
        if self.ndim < 2:
            raise RuntimeError(f"fill_diagonal_: expected at least 2 axes, got {self.ndim}")
        with on_device_of(self.array):
            numbers = self.make_result(array_module(self.array).arange(min(self.shape)))
        self[(numbers,) * self.ndim] = fill_value
        return self

    def _fill_random(self: Any, draw: Callable[[np.random.Generator], np.ndarray], source: Generator | None) -> Any:
        values = draw(generator(source, self.device))
        with on_device_of(self.array):
            return self.copy_(self.make_result(array_module(self.array).asarray(values, dtype=self.dtype)))

    def __setitem__(self: Any, index: Any, value: Any) -> None:
        """Write into the places that `index` names; the gradient flows to `value` and to what is left."""
        self._become(lambda old: OPERATIONS["set_items"](old, index, value), "index assignment")


def _kind(dtype: Any) -> int:
    """0 for booleans, 1 for whole numbers, 2 for real ones: an in-place result may be of no higher kind."""
    return 2 if is_floating(dtype) else 0 if dtype.kind == "b" else 1
