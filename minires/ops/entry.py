"""Entry: one line of the table of operations (table.py), and the two ways to write one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.backend import is_floating
from minires.ops.draws import Arguments, Draw
from minires.random import address, philox
from minires.tensor import OPERATIONS, Tensor


@dataclass(frozen=True)
class Entry:
    """One operation, or one way to call it.

    name: the operation's registered name. note: which way, where an operation has several entries.
    draw: random arguments, (positional, by name), with float64 NumPy arrays where Tensors go, singly or in a list;
        where the function has kinks or poles, they are kept away from.
    torch: the function's name within torch; "" where torch has none, or draws other numbers.
    fixed: arguments (a place or a name) that are arrays of real numbers, but have no gradient.
    """

    name: str
    draw: Draw
    torch: str
    note: str = ""
    fixed: tuple[int | str, ...] = ()

    @property
    def label(self) -> str:
        """Name and note, which together are unique."""
        return f"{self.name} ({self.note})" if self.note else self.name

    def call(self, positional: list[Any], named: dict[str, Any]) -> Any:
        """Run the operation, from one address, so that a random one (dropout) draws the same numbers each time."""
        with address(0, "table of operations"):
            return OPERATIONS[self.name](*positional, **named)

    def fill(self, arguments: Arguments, make: Callable[[np.ndarray, bool], Any]) -> Arguments:
        """The arguments with each array replaced by `make(array, has_gradient)`."""
        positional, named = arguments
        return (
            [_replace(value, make, place not in self.fixed) for place, value in enumerate(positional)],
            {key: _replace(value, make, key not in self.fixed) for key, value in named.items()},
        )

    def case(self, seed: int) -> tuple[Callable[..., Any], list[Tensor]]:
        """(function, inputs) as `gradcheck` takes them: the inputs are the Tensors with a gradient."""
        drawn = self.draw(philox(seed, f"table: {self.label}"))
        inputs: list[Tensor] = []

        def collect(array: np.ndarray, has_gradient: bool) -> Tensor:
            tensor = Tensor(array, requires_grad=has_gradient)
            if has_gradient:
                inputs.append(tensor)
            return tensor

        self.fill(drawn, collect)

        def function(*tensors: Tensor) -> Any:
            given = iter(tensors)
            return self.call(*self.fill(drawn, lambda array, real: next(given) if real else Tensor(array.copy())))

        return function, inputs


def _replace(value: Any, make: Callable[[np.ndarray, bool], Any], has_gradient: bool) -> Any:
    if isinstance(value, np.ndarray | np.generic):  # arithmetic on arrays without axes makes NumPy scalars
        value = np.asarray(value)
        return make(value, has_gradient and is_floating(value.dtype))
    if isinstance(value, list | tuple):
        return type(value)(_replace(item, make, has_gradient) for item in value)
    return value


def entry(
    name: str, draw: Draw, torch: str | None = None, note: str = "", fixed: tuple[int | str, ...] = ()
) -> Entry:  # fmt: skip
    """An entry; in torch the function has the same name unless `torch` says otherwise."""
    return Entry(name, draw, name if torch is None else torch, note, fixed)


def network(name: str, draw: Draw, note: str = "", fixed: tuple[int | str, ...] = ()) -> Entry:
    """An entry whose function stands in torch.nn.functional."""
    return Entry(name, draw, f"nn.functional.{name}", note, fixed)
