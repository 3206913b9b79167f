"""Random arguments for operations on tensors beyond the first few dozen; see draws.py for the rules."""

from collections.abc import Callable

import numpy as np

from minires.ops.draws import Arguments, Draw, Random, distinct, divided, nonzero, normal, one_of, pair, shape

# ------------------------------------------------------------------------------------------------------------ numbers


def inside(random: Random, *sizes: int) -> np.ndarray:
    """From -0.9 to 0.9."""
    return np.asarray(random.uniform(-0.9, 0.9, sizes))


def above_one(random: Random, *sizes: int) -> np.ndarray:
    """From 1.2 to 3."""
    return np.asarray(random.uniform(1.2, 3, sizes))


def between(random: Random, *sizes: int) -> np.ndarray:
    """Of both signs, well between whole numbers and their halves."""
    part = random.uniform(0.1, 0.4, sizes) + random.integers(0, 2, sizes) * 0.5
    return np.asarray(random.integers(-3, 3, sizes) + part)


def probability(random: Random) -> Arguments:
    """logit(x, eps): no x close to 0.2 or 0.8."""
    x = np.asarray(random.choice([0.05, 0.1, 0.25, 0.4, 0.6, 0.75, 0.95], shape(random)))
    return [x, one_of(random, None, 0.2)], {}


def decimals(random: Random) -> Arguments:
    """round(x, decimals=1): tenths."""
    return [between(random, *shape(random)) / 10], {"decimals": 1}


def quotient(word: str) -> Draw:
    """div(a, b, rounding_mode=word)."""

    def draw(random: Random) -> Arguments:
        positional, _ = divided(random)
        return positional, {"rounding_mode": word}

    return draw


def quotient_flag(random: Random) -> Arguments:
    """divide_whole(a, b, towards_zero)."""
    positional, _ = divided(random)
    return [*positional, bool(random.integers(0, 2))], {}


def bounded(random: Random) -> Arguments:
    """clamp(x, low, high) with tensors: broadcast, sometimes crossed, no ties."""
    sizes = shape(random, 1, 2)
    x = distinct(random, *sizes) * 3
    low, high = normal(random, *one_of(random, (), (1,), sizes)) - 0.01, normal(random, *one_of(random, (), sizes))
    far = np.abs(x - low).min() > 0.02 and np.abs(x - high).min() > 0.02 and np.abs(high - low).min() > 0.02
    if not far:
        low, high = np.asarray(-0.505), np.asarray(0.705)
    return one_of(random, [x, low, high], [x, None, high], [x, low, None]), {}


def one_bound(random: Random) -> Arguments:
    """clamp_min and clamp_max(x, bound)."""
    return [distinct(random, *shape(random)) * 3, one_of(random, 0.2, np.asarray(0.25))], {}


def masked(random: Random) -> Arguments:
    """masked_fill(x, mask, value): the mask is broadcast."""
    sizes = shape(random, 1, 3)
    mask = random.random(one_of(random, sizes, sizes[-1:], (1,))) < 0.5
    return [normal(random, *sizes), mask, one_of(random, 1.5, normal(random))], {}


def mixed(random: Random) -> Arguments:
    """lerp(a, b, weight), weights of a number or a tensor away from 0.5."""
    first, second = pair(random, normal, normal)
    weight = random.choice([-0.3, 0.2, 0.45, 0.7, 1.0], one_of(random, (), second.shape))
    return [first, second, one_of(random, float(np.ravel(weight)[0]), np.asarray(weight))], {}


def three(last: Callable[..., np.ndarray]) -> Draw:
    """addcmul and addcdiv(a, b, c, value=)."""

    def draw(random: Random) -> Arguments:
        first, second = pair(random, normal, normal)
        third = last(random, *one_of(random, (), second.shape))
        return [first, second, third], {"value": one_of(random, 1, -0.5)}

    return draw


def replaced(random: Random) -> Arguments:
    """nan_to_num(x, nan)."""
    return [normal(random, *shape(random)), one_of(random, 0.0, 1.5)], {}


# ------------------------------------------------------------------------------------------------- along one axis


def product_along(random: Random) -> Arguments:
    """prod(x, dim, keepdim), sometimes with zeros among the factors."""
    sizes = shape(random, 1, 3)
    x = nonzero(random, *sizes)
    if random.random() < 0.5:
        x[random.random(sizes) < 0.3] = 0
    return [x, int(random.integers(-len(sizes), len(sizes))), bool(random.integers(0, 2))], {}


def running_product(random: Random) -> Arguments:
    """cumprod(x, dim), sometimes with zeros."""
    positional, _ = product_along(random)
    return positional[:2], {}


def differences(random: Random) -> Arguments:
    """diff(x, n, dim, prepend, append)."""
    x = normal(random, 4, 3)
    more = normal(random, 1, 3) if random.random() < 0.5 else None
    return [x, int(random.integers(0, 3)), 0, more, None], {}
