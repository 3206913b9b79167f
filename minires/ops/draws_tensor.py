"""Random arguments for operations on tensors beyond the first few dozen; see draws.py for the rules."""

from collections.abc import Callable
from typing import Any

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


# ------------------------------------------------------------------------------------------------------------ shapes


def rolled(random: Random) -> Arguments:
    """roll(x, shifts, dims)."""
    sizes = shape(random, 2, 3)
    return [normal(random, *sizes), *one_of(random, (2, None), (-1, 0), ((1, -2), (0, -1)))], {}


def repeated(few: bool) -> Draw:
    """repeat(x, counts), and tile with fewer counts than axes."""

    def draw(random: Random) -> Arguments:
        sizes = shape(random, 0 if not few else 2, 2)
        counts = random.integers(0 if sizes else 1, 4, 1 if few else len(sizes) + int(random.integers(0, 2)))
        return [normal(random, *sizes), tuple(int(count) for count in counts) or (2,)], {}

    return draw


def interleaved(random: Random) -> Arguments:
    """repeat_interleave(x, repeats, dim)."""
    x = normal(random, 3, 2)
    return [x, *one_of(random, (2, None), (2, 1), (np.array([1, 0, 2]), 0))], {}


def to_shape(random: Random) -> Arguments:
    """broadcast_to(x, shape)."""
    return [normal(random, *one_of(random, (), (3,), (2, 1))), (2, 3)], {}


def several(random: Random) -> Arguments:
    """broadcast_tensors(a, b)."""
    return list(pair(random, normal, normal)), {}


def axes_moved(random: Random) -> Arguments:
    """movedim(x, source, destination)."""
    return [normal(random, 2, 3, 4), *one_of(random, (0, -1), (2, 0), ((0, 1), (2, 0)))], {}


def along(random: Random) -> Arguments:
    """unbind(x, dim)."""
    sizes = shape(random, 1, 3)
    return [normal(random, *sizes), int(random.integers(-len(sizes), len(sizes)))], {}


def one_slice(random: Random) -> Arguments:
    """select(x, dim, index)."""
    return [normal(random, 3, 4), one_of(random, 0, -1), int(random.integers(-3, 3))], {}


def some_slices(random: Random) -> Arguments:
    """narrow(x, dim, start, length)."""
    return [normal(random, 3, 4), one_of(random, 0, 1), one_of(random, 1, -2), int(random.integers(0, 3))], {}


def split_axis(random: Random) -> Arguments:
    """unflatten(x, dim, sizes)."""
    return [normal(random, 2, 6), 1, one_of(random, (2, 3), (-1, 2), (3, 1, -1))], {}


def matrix_like(*more: Any) -> Draw:
    """A function of (..., rows, columns) and one of `more`, if there are any."""

    def draw(random: Random) -> Arguments:
        return [normal(random, *shape(random, 2, 4)), *([one_of(random, *more)] if more else [])], {}

    return draw


def turned(random: Random) -> Arguments:
    """rot90(x, k, dims)."""
    return [normal(random, 2, 3, 2), int(random.integers(-2, 5)), one_of(random, (0, 1), (1, 2), (2, 0))], {}


def stacked(random: Random) -> Arguments:
    """hstack and vstack([a, b])."""
    sizes = one_of(random, (), (3,), (2, 3))
    return [[normal(random, *sizes), normal(random, *sizes)]], {}


def coordinates(random: Random) -> Arguments:
    """meshgrid(a, b, c, indexing=)."""
    vectors = [normal(random, int(n)) for n in random.integers(1, 4, int(random.integers(1, 4)))]
    return vectors, {"indexing": one_of(random, "ij", "xy")}


def diagonal_of(random: Random) -> Arguments:
    """diagonal(x, offset, dim1, dim2)."""
    return [normal(random, 3, 4, 2), int(random.integers(-2, 3)), *one_of(random, (0, 1), (1, 0), (-1, 0))], {}


def on_diagonal(random: Random) -> Arguments:
    """diag_embed(x, offset, dim1, dim2)."""
    x = normal(random, *shape(random, 1, 2))
    return [x, int(random.integers(-2, 3)), *one_of(random, (-2, -1), (0, 1), (1, 0))], {}


def vector_or_matrix(random: Random) -> Arguments:
    """diag(x, diagonal)."""
    return [normal(random, *one_of(random, (3,), (3, 4))), int(random.integers(-1, 2))], {}


def padded_from_inside(random: Random) -> Arguments:
    """pad(x, widths, mode) of one or two axes."""
    x, widths = one_of(
        random, (normal(random, 2, 5), (2, 1)), (normal(random, 2, 3, 4), (1, 3)),
        (normal(random, 1, 2, 4, 3), (1, 2, 3, 0)), (normal(random, 2, 4, 5), (-1, 2, 1, -1)),
    )  # fmt: skip
    return [x, widths, one_of(random, "reflect", "replicate", "circular")], {}


def cut_into_columns(random: Random) -> Arguments:
    """unfold(x, kernel_size, dilation, padding, stride)."""
    x = normal(random, *one_of(random, (2, 2, 5, 6), (1, 5, 5)))
    return [
        x,
        one_of(random, 2, (2, 3)),
        one_of(random, 1, (2, 1)),
        one_of(random, 0, (1, 2)),
        one_of(random, 1, 2),
    ], {}


def added_up(random: Random) -> Arguments:
    """fold(x, output_size, kernel_size, dilation, padding, stride)."""
    kernel, dilation, padding, stride = (
        one_of(random, 2, (2, 3)), one_of(random, 1, (2, 1)), one_of(random, 0, (1, 2)), one_of(random, 1, 2),
    )  # fmt: skip
    pairs = [value if isinstance(value, tuple) else (value, value) for value in (kernel, dilation, padding, stride)]
    places = [
        (size + 2 * pairs[2][axis] - pairs[1][axis] * (pairs[0][axis] - 1) - 1) // pairs[3][axis] + 1
        for axis, size in enumerate((5, 6))
    ]
    x = normal(random, 2, 2 * pairs[0][0] * pairs[0][1], places[0] * places[1])
    return [x if random.random() < 0.5 else x[0], (5, 6), kernel, dilation, padding, stride], {}


def windows_along(random: Random) -> Arguments:
    """windows(x, dimension, size, step)."""
    return [normal(random, 5, 4), one_of(random, 0, -1), int(random.integers(1, 4)), int(random.integers(1, 4))], {}


# ----------------------------------------------------------------------------------------------- picking and placing


def placed(repeats: bool) -> Draw:
    """scatter and scatter_add(x, dim, index, src): an index that names no place twice, unless `repeats`."""

    def draw(random: Random) -> Arguments:
        sizes = shape(random, 1, 3)
        axis = int(random.integers(0, len(sizes)))
        wanted = [int(random.integers(1, n + 1)) for n in sizes]
        if repeats:
            index = random.integers(0, sizes[axis], wanted)
        else:
            index = np.argsort(random.random(sizes), axis)[tuple(slice(0, n) for n in wanted)]
        return [normal(random, *sizes), axis, index, normal(random, *wanted)], {}

    return draw


def numbered(random: Random) -> Arguments:
    """index_select(x, dim, index)."""
    x = normal(random, *shape(random, 2, 3))
    axis = one_of(random, 0, 1, -1)
    return [x, axis, random.integers(0, x.shape[axis], int(random.integers(1, 4)))], {}


def added_at(random: Random) -> Arguments:
    """index_add(x, dim, index, source, alpha=)."""
    index = random.integers(0, 3, 4)
    return [normal(random, 3, 2), 0, index, normal(random, 4, 2)], {"alpha": one_of(random, 1, -0.5)}


def copied_at(random: Random) -> Arguments:
    """index_copy(x, dim, index, source)."""
    return [normal(random, 2, 3), 1, random.permutation(3)[:2], normal(random, 2, 2)], {}


def filled_at(random: Random) -> Arguments:
    """index_fill(x, dim, index, value)."""
    return [normal(random, 3, 2), 0, random.permutation(3)[:2], one_of(random, 1.5, normal(random))], {}


def taken(random: Random) -> Arguments:
    """take(x, index)."""
    return [normal(random, 2, 3), random.integers(-6, 6, (2, 2))], {}


def taken_along(random: Random) -> Arguments:
    """take_along_dim(x, indices, dim)."""
    x = normal(random, 3, 4)
    return one_of(random, [x, random.integers(0, 4, (3, 2)), 1], [x, random.integers(0, 3, (2, 1)), 0],
                  [x, random.integers(0, 12, (5,)), None]), {}  # fmt: skip


def selected(random: Random) -> Arguments:
    """masked_select(x, mask)."""
    return [
        normal(random, *one_of(random, (3,), (2, 3), (2, 1))),
        random.random(one_of(random, (3,), (2, 3))) < 0.5,
    ], {}


def poured(random: Random) -> Arguments:
    """masked_scatter(x, mask, source)."""
    return [normal(random, 2, 3), random.random(one_of(random, (3,), (2, 3))) < 0.5, normal(random, 7)], {}


# ---------------------------------------------------------------------------------------------------------- matrices


def matrices(*shapes: tuple[int, ...], **named: Any) -> Draw:
    """Tensors of these shapes; arguments by name are one of the tuples given."""

    def draw(random: Random) -> Arguments:
        return [normal(random, *sizes) for sizes in shapes], {key: one_of(random, *named[key]) for key in named}

    return draw


EQUATIONS: tuple[tuple[str, tuple[tuple[int, ...], ...]], ...] = (
    ("ij,jk->ik", ((2, 3), (3, 4))), ("bij,bjk", ((2, 3, 2), (2, 2, 3))), ("i,j->ij", ((2,), (3,))),
    ("ii->i", ((3, 3),)), ("ii", ((3, 3),)), ("ij->", ((2, 3),)), ("...ij,...jk->...ik", ((2, 1, 2, 3), (4, 3, 2))),
    ("i...->...", ((3, 2),)), ("ij,j,k->ik", ((2, 3), (3,), (2,))), ("ijj,ki->kj", ((2, 3, 3), (2, 2))),
    ("ab,cd->a", ((2, 3), (2, 2))), ("nchw,oc->nohw", ((2, 3, 2, 2), (4, 3))), ("ij,ij->j", ((2, 3), (1, 3))),
)  # fmt: skip


def equation(random: Random) -> Arguments:
    """einsum(equation, *operands)."""
    words, shapes = EQUATIONS[int(random.integers(0, len(EQUATIONS)))]
    return [words, *(normal(random, *sizes) for sizes in shapes)], {}


# ----------------------------------------------------------------------------------------- without a gradient


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
