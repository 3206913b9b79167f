"""Random arguments for operations that move elements: repeated, rolled, joined, padded; see draws.py for the rules."""

from typing import Any

import numpy as np

from minires.ops.draws import Arguments, Draw, Random, normal, one_of, pair, shape


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
