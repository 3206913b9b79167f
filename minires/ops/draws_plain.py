"""Random arguments for operations without a gradient; see draws.py for the rules."""

from collections.abc import Callable
from typing import Any

import numpy as np

from minires.ops.draws import Arguments, Draw, Random, normal, one_of, shape


def whole(random: Random, *sizes: int) -> np.ndarray:
    """Whole numbers from 0 to 5."""
    return np.asarray(random.integers(0, 6, sizes))


def truth(random: Random, *sizes: int) -> np.ndarray:
    """Booleans."""
    return np.asarray(random.random(sizes) < 0.5)


def with_ties(random: Random, *sizes: int) -> np.ndarray:
    """Real numbers that are often equal, sometimes 0."""
    return np.asarray(random.integers(-2, 3, sizes) * 0.5)


def unusual(random: Random, *sizes: int) -> np.ndarray:
    """Real numbers, some of them NaN or infinite."""
    return np.asarray(random.choice([0.5, -1.5, np.nan, np.inf, -np.inf], sizes))


def vector_of(values: Callable[..., np.ndarray], *more: Any, **named: Any) -> Draw:
    """A function of a vector, and of other arguments: each one of the tuple given."""

    def draw(random: Random) -> Arguments:
        x = values(random, int(random.integers(1, 8)))
        return [x, *(one_of(random, *choices) for choices in more)], {key: one_of(random, *named[key]) for key in named}

    return draw


def tensor_of(values: Callable[..., np.ndarray], **named: Any) -> Draw:
    """A function of a tensor with one to three axes, and of arguments by name."""

    def draw(random: Random) -> Arguments:
        return [values(random, *shape(random, 1, 3))], {key: one_of(random, *named[key]) for key in named}

    return draw


def near_each_other(random: Random) -> Arguments:
    """isclose and allclose(a, b, rtol, atol, equal_nan)."""
    first = unusual(random, 4)
    second = np.where(truth(random, 4), first, first + one_of(random, 1e-9, 1.0))
    return [first, second], {"equal_nan": bool(random.integers(0, 2))}


def perhaps_equal(random: Random) -> Arguments:
    """equal(a, b)."""
    first = with_ties(random, 2)
    return [first, one_of(random, first.copy(), with_ties(random, 2), with_ties(random, 1))], {}


def sorted_and_values(random: Random) -> Arguments:
    """searchsorted(sorted, values, right=)."""
    return [np.sort(with_ties(random, 5)), with_ties(random, 2, 3)], {"right": bool(random.integers(0, 2))}


def values_and_sorted(random: Random) -> Arguments:
    """bucketize(values, boundaries, right=)."""
    (boundaries, values), named = sorted_and_values(random)
    return [values, boundaries], named


def numbers_to_find(random: Random) -> Arguments:
    """isin(elements, test_elements)."""
    return [whole(random, 2, 3), whole(random, 2)], {"invert": bool(random.integers(0, 2))}


def tallied(random: Random) -> Arguments:
    """bincount(x, weights, minlength)."""
    x = whole(random, int(random.integers(1, 8)))
    return [x, one_of(random, None, normal(random, len(x))), one_of(random, 0, 9)], {}
