"""Random arguments for operations: what the table of operations (table.py) draws from.

A draw is a function of a NumPy generator that returns (positional arguments, arguments by name), with float64 arrays
where Tensors go. Shapes are small and odd, axes of length 1 and operands that broadcast are common, and values keep
away from kinks, poles and ties, where a derivative does not exist.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Random = np.random.Generator
Arguments = tuple[list[Any], dict[str, Any]]
Values = Callable[..., np.ndarray]
Draw = Callable[[Random], Arguments]

# ------------------------------------------------------------------------------------------------------- numbers


def shape(random: Random, fewest: int = 0, most: int = 3, longest: int = 4) -> tuple[int, ...]:
    """From `fewest` to `most` axes, each from 1 to `longest` long."""
    return tuple(int(n) for n in random.integers(1, longest + 1, random.integers(fewest, most + 1)))


def normal(random: Random, *sizes: int) -> np.ndarray:
    """Numbers of both signs."""
    return np.asarray(random.standard_normal(sizes))


def positive(random: Random, *sizes: int) -> np.ndarray:
    """From 0.5 to 2.5."""
    return np.asarray(random.uniform(0.5, 2.5, sizes))


def nonzero(random: Random, *sizes: int) -> np.ndarray:
    """Of both signs, at least 0.3 away from 0: for functions with a kink or a pole there."""
    return np.asarray(positive(random, *sizes) - 0.2) * (random.integers(0, 2, sizes) * 2 - 1)


def distinct(random: Random, *sizes: int) -> np.ndarray:
    """No two numbers closer than 0.1, none within 0.04 of 0: for functions that choose the largest."""
    count = int(np.prod(sizes))
    return np.asarray(random.permutation(count).reshape(sizes) - count // 2) * 0.1 + 0.04


def pair(random: Random, first: Values, second: Values) -> list[np.ndarray]:
    """Two operands that broadcast against each other: some axes of either are 1, one may lack the leading axes."""
    full = shape(random)
    sizes = [tuple(1 if random.random() < 0.25 else n for n in full) for _ in range(2)]
    shorter = int(random.integers(0, 2))
    sizes[shorter] = sizes[shorter][int(random.integers(0, len(full) + 1)) :]
    return [first(random, *sizes[0]), second(random, *sizes[1])]


def one_of(random: Random, *choices: Any) -> Any:
    """One of the choices."""
    return choices[int(random.integers(0, len(choices)))]


def some_axes(random: Random, axes: int) -> Any:
    """A `dim` argument: one axis, counted from either end, or several."""
    if random.random() < 0.5 or axes == 1:
        return int(random.integers(-axes, axes))
    return tuple(int(axis) for axis in random.permutation(axes)[: int(random.integers(1, axes + 1))])


def elementwise(values: Values) -> Draw:
    """Arguments of a function of one tensor."""
    return lambda random: ([values(random, *shape(random))], {})


def two(first: Values, second: Values) -> Draw:
    """Arguments of a function of two tensors that are broadcast."""
    return lambda random: (list(pair(random, first, second)), {})


def reduction(values: Values, several: bool = True, **named: Any) -> Draw:
    """Arguments of a function that joins elements along `dim`, all of them if it is not given (`several` only)."""

    def draw(random: Random) -> Arguments:
        sizes = shape(random, 1, 3)
        if several and random.random() < 0.25:
            return [values(random, *sizes)], dict(named)
        dim = some_axes(random, len(sizes)) if several else int(random.integers(-len(sizes), len(sizes)))
        return [values(random, *sizes)], {**named, "dim": dim, "keepdim": bool(random.integers(0, 2))}

    return draw


def along_one(values: Values, fewest: int = 1) -> Draw:
    """Arguments of a function that works along one axis."""

    def draw(random: Random) -> Arguments:
        sizes = shape(random, fewest, 3)
        return [values(random, *sizes)], {"dim": int(random.integers(-len(sizes), len(sizes)))}

    return draw


def scaled(random: Random) -> Arguments:
    """add and sub(a, b, alpha=)."""
    return pair(random, normal, normal), {"alpha": one_of(random, 2, -0.5)}


def powered(random: Random) -> Arguments:
    """pow(x, number)."""
    return [nonzero(random, *shape(random)), one_of(random, 0, 1, 2, 3, -1, -2)], {}


def divided(random: Random) -> Arguments:
    """remainder(a, b), no quotient close to a whole number."""
    first, second = pair(random, nonzero, nonzero)
    quotient = first / second
    near = abs(quotient - np.round(quotient)) < 0.05
    return [np.asarray(first), np.asarray(second * one_of(random, 1, 2))] if not near.any() else [
        first * 0 + 1.3,
        0.7,
    ], {}


def apart(random: Random) -> Arguments:
    """maximum and minimum(a, b) of numbers that never tie."""
    return pair(random, distinct, lambda random, *sizes: distinct(random, *sizes) + 0.05), {}


def conditional(random: Random) -> Arguments:
    """where(condition, a, b)."""
    condition = random.random(shape(random, 1, 1)) < 0.5
    return [condition, normal(random, *one_of(random, (), (1,), (3, 1))), normal(random, *condition.shape)], {}


def conditional_method(random: Random) -> Arguments:
    """a.where(condition, b)."""
    (condition, first, second), _ = conditional(random)
    return [first, condition, second], {}


def clamped(random: Random) -> Arguments:
    """clamp(x, min, max), no x close to either."""
    low, high = one_of(random, (-0.5, 0.7), (None, 0.7), (-0.5, None), (0.7, -0.5))
    return [distinct(random, *shape(random)) * 3, low, high], {}


def copied(random: Random) -> Arguments:
    """copy_values(x, source): source is broadcast to x."""
    sizes = shape(random)
    source = tuple(one_of(random, 1, n) for n in sizes)
    return [normal(random, *sizes), normal(random, *source[int(random.integers(0, len(sizes) + 1)) :])], {}


def spread(random: Random) -> Arguments:
    """var and std(x, dim=, correction=) of at least three numbers."""
    sizes = (*shape(random, 0, 2), int(random.integers(3, 6)))
    return [normal(random, *sizes)], {"dim": one_of(random, None, -1), "correction": one_of(random, 0, 1, 2),
                                      "keepdim": bool(random.integers(0, 2))}  # fmt: skip


def always_along(random: Random) -> Arguments:
    """logsumexp(x, dim, keepdim)."""
    sizes = shape(random, 1, 3)
    return [normal(random, *sizes), some_axes(random, len(sizes)), bool(random.integers(0, 2))], {}


def normed(random: Random) -> Arguments:
    """norm(x, p, dim, keepdim)."""
    sizes = shape(random, 1, 3)
    power = one_of(random, 2, 1, 3, 1.5, float("inf"))
    return [distinct(random, *sizes), power, some_axes(random, len(sizes)), bool(random.integers(0, 2))], {}


# ------------------------------------------------------------------------------------------------------------ shapes


def reshaped(random: Random) -> Arguments:
    """reshape(x, shape)."""
    sizes = shape(random, 0, 3)
    count = int(np.prod(sizes))
    return [normal(random, *sizes), one_of(random, (-1,), (count, 1), (1, -1, 1), tuple(reversed(sizes)))], {}


def permuted(random: Random) -> Arguments:
    """permute(x, order)."""
    sizes = shape(random, 1, 4)
    return [normal(random, *sizes), tuple(int(axis) for axis in random.permutation(len(sizes)))], {}


def two_axes(random: Random) -> Arguments:
    """transpose(x, dim0, dim1)."""
    sizes = shape(random, 1, 4)
    return [normal(random, *sizes), *(int(axis) for axis in random.integers(-len(sizes), len(sizes), 2))], {}


def flattened(random: Random) -> Arguments:
    """flatten(x, start_dim, end_dim)."""
    sizes = shape(random, 1, 4)
    first, last = sorted(int(axis) for axis in random.integers(0, len(sizes), 2))
    return [normal(random, *sizes), first, last], {}


def expanded(random: Random) -> Arguments:
    """expand(x, *sizes)."""
    full = shape(random, 1, 3)
    sizes = tuple(one_of(random, 1, n) for n in full)
    x = normal(random, *sizes[int(random.integers(0, len(sizes) + 1)) :])
    return [x, full], {}


def joined(new_axis: bool) -> Draw:
    """cat and stack([a, b, c], dim)."""

    def draw(random: Random) -> Arguments:
        sizes = list(shape(random, 0 if new_axis else 1, 3))
        axis = int(random.integers(0, len(sizes) + new_axis))
        tensors = []
        for _ in range(int(random.integers(1, 4))):
            if not new_axis:
                sizes[axis] = int(random.integers(0, 4))
            tensors.append(normal(random, *sizes))
        return [tensors, axis - (len(sizes) + new_axis if random.random() < 0.5 else 0)], {}

    return draw


def padded(random: Random) -> Arguments:
    """pad(x, widths, "constant", value), widths of both signs."""
    x = normal(random, *(int(n) for n in random.integers(3, 6, int(random.integers(1, 5)))))
    widths = tuple(int(n) for n in random.integers(-1, 3, 2 * int(random.integers(1, x.ndim + 1))))
    return [x, widths, "constant", one_of(random, 0.0, 1.5)], {}


def taken_apart(argument: str) -> Draw:
    """split(x, lengths) and chunk(x, number) along an axis: several results."""

    def draw(random: Random) -> Arguments:
        sizes = shape(random, 1, 3)
        axis = int(random.integers(0, len(sizes)))
        number: Any = int(random.integers(1, 4))
        if argument == "sizes" and random.random() < 0.5:
            cut = int(random.integers(0, sizes[axis] + 1))
            number = [cut, sizes[axis] - cut]
        return [normal(random, *sizes), number, axis], {}

    return draw


# ----------------------------------------------------------------------------------------------------------- indexing


def index_of(random: Random, sizes: tuple[int, ...]) -> Any:
    """An index for an array of this shape: numbers, slices, new axes, an ellipsis, arrays of numbers or booleans."""
    parts: list[Any] = []
    for length in sizes[: int(random.integers(1, len(sizes) + 1))]:
        numbers = random.integers(-length, length, int(random.integers(1, 4)))
        parts.append(one_of(random, int(numbers[0]), slice(None), slice(None, None, 2), slice(-2, None), None, numbers))
        if parts[-1] is None:
            parts.append(slice(0, 2))
    if random.random() < 0.2:
        parts.append(Ellipsis)
    if random.random() < 0.2:
        mask = random.random(sizes) < 0.5
        return (mask,)
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    for place, part in enumerate(parts):
        if isinstance(part, np.ndarray):
            parts[place] = part[: min(len(array) for array in arrays)]
    return tuple(parts)


def indexed(random: Random) -> Arguments:
    """getitem(x, index)."""
    sizes = shape(random, 1, 3)
    return [normal(random, *sizes), index_of(random, sizes)], {}


def assigned(random: Random) -> Arguments:
    """set_items(x, index, values): an index that names no place twice."""
    sizes = shape(random, 1, 3)
    x = normal(random, *sizes)
    index = one_of(random, 0, (slice(None, None, 2),), (Ellipsis, -1), (random.random(sizes) < 0.5,), (np.array([0]),))
    return [x, index, one_of(random, normal(random), normal(random, *x[index].shape))], {}


def gathered(random: Random) -> Arguments:
    """gather(x, dim, index)."""
    sizes = shape(random, 1, 3)
    axis = int(random.integers(0, len(sizes)))
    wanted = [int(random.integers(1, n + 1)) for n in sizes]
    wanted[axis] = int(random.integers(1, 5))
    return [normal(random, *sizes), axis, random.integers(0, sizes[axis], wanted)], {}


def sorted_along(random: Random) -> Arguments:
    """sort(x, dim, descending)."""
    sizes = shape(random, 1, 3)
    return [distinct(random, *sizes), int(random.integers(-len(sizes), len(sizes))), bool(random.integers(0, 2))], {}


def chosen(random: Random) -> Arguments:
    """topk(x, k, dim, largest)."""
    sizes = shape(random, 1, 3)
    axis = int(random.integers(0, len(sizes)))
    return [distinct(random, *sizes), int(random.integers(1, sizes[axis] + 1)), axis, bool(random.integers(0, 2))], {}
