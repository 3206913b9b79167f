"""Sums along axes: the fast kernel against exact sums, in every memory order, and as many rows as cost digits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires import kernels
from minires.kernels.cpu import sums as fast
from minires.kernels.reference import sums as reference
from tests.kernels.helpers import DTYPES, ORDERS, compare, normal

quick = settings(max_examples=80, deadline=None, derandomize=True)


@st.composite
def sums(draw):
    """(shape, some of its axes)"""
    shape = tuple(draw(st.lists(st.integers(0, 7), max_size=4)))
    return shape, tuple(axis for axis in range(len(shape)) if draw(st.booleans()))


@quick
@given(sums(), st.sampled_from(DTYPES), st.sampled_from(ORDERS), st.booleans(), st.sampled_from([1, 5, 256]))
def test_every_order_of_memory_and_block_size(case, dtype, order, keepdims, run):
    shape, axes = case
    x = normal(1, shape, dtype, order if len(shape) > 1 else "nchw")
    before, fast.RUN = fast.RUN, run
    try:
        found = fast.sum_over(x, axes, keepdims)
    finally:
        fast.RUN = before
    expected = x.astype(np.float64).sum(axis=axes, keepdims=keepdims)
    assert found.shape == expected.shape and found.dtype == x.dtype and not np.shares_memory(found, x)
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-5)


VIEWS = {
    "rows": lambda x: (x, (0,)),
    "rows, backwards": lambda x: (x[::-1], (0,)),
    "every other row": lambda x: (np.repeat(x, 2, axis=0)[::2], (0,)),
    "columns of the transposed": lambda x: (x.T, (1,)),
    "channels last": lambda x: (x.reshape(10, -1, 2, 3).transpose(0, 3, 1, 2), (0, 2, 3)),
    "many tiny pictures": lambda x: (np.ascontiguousarray(x.reshape(-1, 2, 3).transpose(0, 2, 1)), (0, 2)),
    "repeated": lambda x: (np.broadcast_to(x[:1], x.shape), (0,)),
    "contiguous": lambda x: (np.ascontiguousarray(x.T), (1,)),
}  # fmt: skip


@pytest.mark.parametrize("name", list(VIEWS))
@pytest.mark.parametrize("threads", [1, 3])
def test_a_million_rows_keep_their_digits(name, threads, pretend_threads):
    """NumPy's own sum is off by 3e-5 where it adds row after row; torch's by 1e-7."""
    pretend_threads(threads)
    view, axes = VIEWS[name](np.random.default_rng(0).random((600_000, 3), np.float32) + np.float32(0.5))
    exact = view.sum(axis=axes, dtype=np.float64)
    assert abs(kernels.sum_over(view, axes, False) / exact - 1).max() < 3e-7


def test_equal_numbers_whose_roundings_all_go_one_way():
    tenth = np.full((600_000, 3), 0.1, np.float32)
    assert abs(kernels.sum_over(tenth, (0,), False) / tenth.sum(0, dtype=np.float64) - 1).max() < 3e-6


def test_a_sum_of_ones_goes_on_growing():
    ones = np.broadcast_to(np.ones((1, 2), np.float32), (2**24 + 2**20, 2))
    assert kernels.sum_over(ones, (0,), False).tolist() == [2**24 + 2**20] * 2
    ones = np.ones((5000, 2), np.float16)
    assert kernels.sum_over(ones, (0,), True).tolist() == [[5000.0] * 2]


def test_whole_numbers_stay_whole():
    numbers = np.full((3, 2), 2**60, np.int64)
    assert reference.sum_over(numbers, (0,), False).tolist() == [3 * 2**60] * 2
    assert kernels.sum_over(numbers, (0, 1), False).tolist() == 6 * 2**60


def test_what_numpy_adds_well_is_left_to_it():
    x = np.ones((6, 4, 5))
    assert [fast.additions(x, axes) for axes in ((2,), (1, 2), (0, 1, 2))] == [1, 1, 1]
    assert [fast.additions(x, axes) for axes in ((0,), (0, 1), (0, 2), (1,))] == [6, 24, 6, 4]
    assert fast.additions(x[:, ::2], (1, 2)) == 2
    assert fast.as_rows(x, (0, 1)).shape == (24, 5) and fast.as_rows(x.transpose(0, 2, 1), (0, 2)).shape == (24, 5)
    assert fast.as_rows(x, (1,)) is None and fast.as_rows(x[::-1], (0,)) is None


@pytest.mark.parametrize("groups", [None, 1, 3])
def test_normalisation_of_large_pictures_keeps_its_digits(groups):
    """Odd sides and three channels: nothing can be laid side by side, and the blocks have very many rows."""
    x = (normal(1, (1, 3, 501, 501)) + 3).astype(np.float32)
    if groups is None:
        y, *_ = kernels.batch_norm_training_forward(x, None, None, 1e-5, None, False)
        exact, *_ = kernels_of_reference("batch_norm_training_forward")(
            x.astype(np.float64), None, None, 1e-5, None, False
        )
    else:
        y, *_ = kernels.group_norm_forward(x, None, None, groups, 1e-5)
        exact, *_ = kernels_of_reference("group_norm_forward")(x.astype(np.float64), None, None, groups, 1e-5)
    assert abs(y - exact).max() < 4e-6


def kernels_of_reference(name):
    return kernels.implementation(name, "reference")


@pytest.mark.parametrize("shape", [(), (5,), (0, 3), (2, 3, 4, 5), (40, 3, 50, 50)])
@pytest.mark.parametrize("orders", [("nhwc", "nhwc"), ("nchw", "nhwc"), ("strided", "nchw"), ("reversed", "reversed")])
def test_an_array_is_added_in_place(shape, orders, pretend_threads):
    pretend_threads(3)
    total, x = (
        normal(seed, shape, "float32", order if len(shape) == 4 else "nchw") for seed, order in enumerate(orders)
    )
    compare("add_to", np.asarray(total), np.asarray(x), exact=True, writes=(0,))
