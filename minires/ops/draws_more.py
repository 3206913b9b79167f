"""Random arguments for what stands in quantiles, scatter_reduce, matrices, extremes, arrangements; see draws.py."""

from typing import Any

import numpy as np

from minires.ops.draws import Arguments, Draw, Random, distinct, nonzero, normal, one_of, pair, shape

# ---------------------------------------------------------------------------------------------------- along an axis


def shares(random: Random) -> Arguments:
    """quantile(x, q, dim, keepdim, interpolation=)."""
    way = one_of(random, "linear", "lower", "higher", "midpoint", "nearest")
    q = one_of(random, 0.35, 0.0, 1.0, 0.62)
    return [distinct(random, 3, 4), q, one_of(random, None, 0, 1, -1), one_of(random, True, False)], {
        "interpolation": way
    }


def with_gaps(random: Random, *sizes: int) -> np.ndarray:
    """No two numbers alike, some NaN in their place, the first one never."""
    x = distinct(random, *sizes)
    x.reshape(-1)[1:][random.random(x.size - 1) < 0.3] = np.nan
    return x


def shares_of_some(random: Random) -> Arguments:
    """nanquantile(x, q)."""
    return [with_gaps(random, 3, 4), one_of(random, 0.3, 0.8)], {}


def some(random: Random) -> Arguments:
    """nansum and nanmean(x, dim, keepdim), at least one number in each row."""
    x = with_gaps(random, 3, 4)
    x[:, 0] = 0.5
    return [x, one_of(random, None, 1, (0, 1)), one_of(random, True, False)], {}


def one_dim(random: Random) -> Arguments:
    """aminmax(x, dim=, keepdim=)."""
    return [distinct(random, 3, 4)], {"dim": one_of(random, None, 0, -1), "keepdim": one_of(random, True, False)}


def spread(random: Random) -> Arguments:
    """std_mean and var_mean(x, dim, keepdim=, correction=)."""
    return [normal(random, 3, 4), one_of(random, None, 0, (0, 1))], {
        "keepdim": one_of(random, True, False), "correction": one_of(random, 0, 1),
    }  # fmt: skip


def running(random: Random) -> Arguments:
    """cummax, cummin and logcumsumexp(x, dim)."""
    return [distinct(random, 3, 4), one_of(random, 0, 1, -1)], {}


def areas(random: Random) -> Arguments:
    """trapezoid(y, x) or (y, dx=, dim=)."""
    y = normal(random, 3, 4)
    return one_of(random, ([y], {"dx": 0.5, "dim": 0}), ([y, normal(random, 4)], {}), ([y, normal(random, 3, 4)], {}))


def running_gaps(random: Random) -> Arguments:
    """nanmedian(x, dim, keepdim), at least one number in each row and column."""
    x = distinct(random, 3, 4)
    x[1:, 1:][random.random((2, 3)) < 0.3] = np.nan
    return [x, one_of(random, 0, 1, -1), one_of(random, True, False)], {}


def observed(random: Random) -> Arguments:
    """cov and corrcoef(x)."""
    return [normal(random, 3, 5)], {}


def shortened(random: Random) -> Arguments:
    """renorm(x, p, dim, maxnorm)."""
    return [distinct(random, 3, 4), one_of(random, 1, 2, 3), one_of(random, 0, -1), 1.1], {}


def powers(random: Random) -> Arguments:
    """vander(x, N, increasing)."""
    return [nonzero(random, 3), one_of(random, None, 2, 4), one_of(random, True, False)], {}


def two_apart(random: Random) -> Arguments:
    """fmax and fmin(a, b): no ties."""
    first, second = pair(random, distinct, distinct)
    return [first, second + 0.05], {}


# ----------------------------------------------------------------------------------------------------------- placing


def joined_at(random: Random) -> Arguments:
    """scatter_reduce(x, dim, index, src, reduce, include_self=)."""
    index = random.integers(0, 3, (2, 4))
    words = one_of(random, "sum", "mean", "prod", "amax", "amin")
    numbers = distinct(random, 5, 4)
    return [numbers[:3], 0, index, numbers[3:], words], {"include_self": one_of(random, True, False)}


def put_at(random: Random) -> Arguments:
    """index_put(x, indices, values, accumulate)."""
    together = bool(random.integers(0, 2))
    rows = random.integers(0, 3, 4) if together else random.permutation(3)[:2]
    return [normal(random, 3, 2), (rows,), normal(random, *one_of(random, (len(rows), 2), (2,), ())), together], {}


def slice_in(random: Random) -> Arguments:
    """select_scatter(x, src, dim, index)."""
    return [normal(random, 3, 4), normal(random, 3), 1, int(random.integers(-4, 4))], {}


def slices_in(random: Random) -> Arguments:
    """slice_scatter(x, src, dim, start, end, step)."""
    return [normal(random, 3, 4), normal(random, 3, 2), 1, *one_of(random, (0, 4, 2), (1, 3, 1), (2, None, 1))], {}


def diagonal_in(random: Random) -> Arguments:
    """diagonal_scatter(x, src, offset)."""
    return [normal(random, 3, 3), *one_of(random, (normal(random, 3), 0), (normal(random, 2), 1))], {}


# ---------------------------------------------------------------------------------------------------------- matrices


def regular(random: Random, *leading: int, size: int = 3) -> np.ndarray:
    """Square matrices that are far from singular."""
    return normal(random, *leading, size, size) * 0.4 + np.diag([2.0, -1.5, 1.0][:size])


def square(random: Random) -> Arguments:
    """A function of square matrices."""
    return [regular(random, *shape(random, 0, 1))], {}


def with_positive_determinant(random: Random) -> Arguments:
    """logdet(x)."""
    x = regular(random)
    return [x @ x.T], {}


def definite(random: Random) -> Arguments:
    """cholesky(x, upper), of symmetric positive matrices made of any."""
    x = regular(random)
    return [x @ x.T], {"upper": one_of(random, False, True)}


def equations(random: Random) -> Arguments:
    """solve(A, B, left=)."""
    return one_of(
        random, ([regular(random), normal(random, 3)], {}), ([regular(random, 2), normal(random, 3, 2)], {}),
        ([regular(random), normal(random, 2, 3)], {"left": False}),
    )  # fmt: skip


def tall(random: Random) -> Arguments:
    """qr(A)."""
    return [np.concatenate([regular(random), normal(random, int(random.integers(0, 3)), 3)])], {}


def reflections(random: Random) -> Arguments:
    """householder_product(A, tau)."""
    batch = shape(random, 0, 1)
    return [normal(random, *batch, 4, int(random.integers(2, 5))), normal(random, *batch, 2)], {}


def any_matrix(random: Random) -> Arguments:
    """svdvals(A): singular values apart from each other."""
    return [np.diag([3.0, 2.0, 1.0])[: int(random.integers(2, 4))] + normal(random, 1, 3) * 0.1], {}


def power(random: Random) -> Arguments:
    """matrix_power(x, n)."""
    return [regular(random), one_of(random, -2, -1, 1, 2, 3)], {}


def measured(random: Random) -> Arguments:
    """matrix_norm(A, ord, dim, keepdim)."""
    order = one_of(random, "fro", "nuc", 1, -1, 2, -2, float("inf"), -float("inf"))
    return [any_matrix(random)[0][0], order, one_of(random, (-2, -1), (1, 0)), one_of(random, True, False)], {}


def distances(random: Random) -> Arguments:
    """cdist(x1, x2, p)."""
    x, y = distinct(random, 2, 5, 3)
    return [x[: int(random.integers(1, 5))], y, one_of(random, 1.0, 2.0, 3.0)], {}


def difference(random: Random) -> Arguments:
    """dist(x, y, p)."""
    x, y = distinct(random, 2, 3, 4)
    return [x, y[:, :1] if random.random() < 0.5 else y, one_of(random, 1, 2, 3)], {}


def threes(random: Random) -> Arguments:
    """cross(x, y, dim)."""
    return [normal(random, 2, 3), normal(random, *one_of(random, (2, 3), (1, 3))), one_of(random, 1, -1)], {}


def products_of(random: Random) -> Arguments:
    """kron(x, y)."""
    return [normal(random, *shape(random, 0, 2)), normal(random, *shape(random, 0, 2))], {}


def inner_pair(random: Random) -> Arguments:
    """inner(x, y)."""
    return [normal(random, *one_of(random, (3,), (2, 3))), normal(random, *one_of(random, (3,), (4, 3)))], {}


# -------------------------------------------------------------------------------------------------------- arrangements


def in_list(*shapes: tuple[int, ...]) -> Draw:
    """A function of a list of tensors."""

    def draw(random: Random) -> Arguments:
        return [[normal(random, *sizes) for sizes in shapes]], {}

    return draw


def few_axes(random: Random) -> Arguments:
    """atleast_1d and its kin: one tensor."""
    return [normal(random, *shape(random, 0, 3))], {}


def cut_at(axis: Any) -> Draw:
    """tensor_split, hsplit and vsplit(x, places)."""

    def draw(random: Random) -> Arguments:
        return [normal(random, 4, 6), one_of(random, 2, (1, 3)), *([] if axis is None else [axis])], {}

    return draw


def chosen(random: Random) -> Arguments:
    """combinations(x, r)."""
    return [normal(random, 4), int(random.integers(1, 4)), one_of(random, True, False)], {}


# --------------------------------------------------------------------------------------------------------------- signs


def signed(random: Random) -> Arguments:
    """copysign(x, y)."""
    first, second = pair(random, nonzero, nonzero)
    return [first, one_of(random, second, -1.5)], {}


def steps(random: Random) -> Arguments:
    """heaviside(x, values)."""
    return [random.integers(-1, 2, (3, 2)).astype(float), normal(random, 2)], {}


def shifted(random: Random) -> Arguments:
    """bitwise_left_shift and its kin(x, y)."""
    return [random.integers(-9, 9, 4), one_of(random, 2, random.integers(0, 4, 4))], {}


def whole_pair(random: Random) -> Arguments:
    """gcd and lcm(x, y)."""
    return [random.integers(-30, 30, (3, 4)), random.integers(0, 30, 4)], {}


def likely(random: Random) -> Arguments:
    """bernoulli(x) and multinomial(x, 1): probabilities."""
    return [random.uniform(0.1, 0.9, 4), *one_of(random, ())], {}
