"""Products in parts, copies of whole runs, and that a step gives the same bits each time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires import kernels
from minires.kernels.cpu import layout, small_products
from tests.kernels.helpers import assert_close, normal

quick = settings(max_examples=60, deadline=None, derandomize=True)
sizes = st.integers(1, 40)


@quick
@given(sizes, sizes, sizes, st.integers(1, 2000), st.booleans())
def test_products_in_parts_are_products(rows, inner, columns, unpacked, narrow):
    left, right = normal(1, (3, rows, inner)), normal(2, (3, inner, columns))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_products, "UNPACKED", unpacked)
        patch.setattr(small_products, "NARROW", 64 if narrow else 0)
        patch.setattr(small_products, "FEW_ROWS", 1)
        patch.setattr(small_products, "FEW_PLACES", 1)
        product = small_products.multiplied(left, right, np.full((3, rows, columns), np.nan))
        total = small_products.summed_over_rows(left, product)
    assert_close(product, left @ right, 1e-13)
    assert_close(total, left.transpose(0, 2, 1) @ product, 1e-12)


@pytest.mark.parametrize(
    ("rows", "multiplications", "least", "parts"),
    [(100, 10**6, 8, 1), (100, 2 * 10**6, 8, 2), (100, 2 * 10**6 + 1, 8, 4), (97, 2 * 10**6, 8, 1), (12, 10**8, 8, 1)],
)
def test_parts_are_equal_and_not_too_small(rows, multiplications, least, parts):
    assert small_products.parts_of(rows, multiplications, least) == parts


@quick
@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.sampled_from(["float32", "float64"]), st.booleans())
def test_runs_are_copied(shape, dtype, spread):
    """From views whose last axis is a run of memory, and from such as have none."""
    whole = normal(0, [2 * size for size in shape], dtype)
    source = whole[
        tuple(slice(None, None, 2 if spread or axis + 1 < len(shape) else None) for axis in range(len(shape)))
    ]
    out = np.full(source.shape, np.nan, dtype)
    layout.copy_runs(out, source)
    assert np.array_equal(out, source)


@pytest.mark.parametrize(("batch", "channels", "size"), [(8, 16, 32), (4, 64, 28), (16, 512, 7), (3, 3, 9)])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_threads_give_the_same_bits(batch, channels, size, threads, pretend_threads):
    pretend_threads(threads)
    x, weight = normal(1, (batch, channels, size, size), "float32", "nhwc"), normal(2, (16, channels, 3, 3), "float32")
    grad = normal(3, (batch, 16, size, size), "float32", "nhwc")
    geometry = ((1, 1), (1, 1), (1, 1), 1)

    def step():
        return kernels.conv2d_forward(x, weight, None, *geometry), *kernels.conv2d_gradients(grad, x, weight, *geometry)

    for first, again in zip(step(), step(), strict=True):
        assert np.array_equal(first, again)
