"""Random arguments for operations that pick elements out, or place them; see draws.py for the rules."""

import numpy as np

from minires.ops.draws import Arguments, Draw, Random, normal, one_of, shape


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
