"""Dropout, normalisation and resizing of pictures, run on the CPU (or a GPU), against NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires import random
from minires.kernels.cuda import pictures
from tests.cuda.helpers import Draw, assert_close, channels_first, channels_last, each_kind, few, needs_kernels, running
from tests.cuda.numbers import DTYPES, decode, rounded

pytestmark = needs_kernels


@each_kind
@given(seed=st.integers(0, 2**63), position=st.integers(0, 2**40), size=st.integers(1, 700),
       p=st.sampled_from([0.0, 0.1, 0.5, 1.0]))  # fmt: skip
@few(40)
def test_dropout_drops_what_numpy_drops(kind, seed, position, size, p):
    """The same bits as the operation on the CPU: mask and scale."""
    x, wide = Draw(seed % 1000, kind)(size)
    address = pictures.philox_address(random.philox(seed, "dropout", position, 3))
    y = pictures.dropout(running(seed % 4), x, address, p)
    kept = random.philox(seed, "dropout", position, 3).random(size, dtype="float32") >= p
    scale = 1 / (1 - p) if p < 1 else 0
    scale = np.float32(np.float16(scale)) if kind == "__half" else np.float32(scale)
    assert np.array_equal(decode(y, kind), rounded(wide * (kept * scale), kind))


@given(images=st.integers(1, 2), pixels=st.integers(2, 9), channels=st.integers(1, 9))
@few(40)
def test_dropout_of_images_goes_in_logical_order(images, pixels, channels):
    _, x = Draw(1)(images, pixels, channels)
    address = pictures.philox_address(random.philox(5, "dropout", 1))
    y = pictures.dropout(running(), x, address, 0.5, channels, pixels)
    kept = random.philox(5, "dropout", 1).random((images, channels, pixels), dtype="float32") >= 0.5
    assert np.array_equal(y, x * 2 * channels_last(kept))


def test_dropout_refuses_other_generators():
    with pytest.raises(ValueError, match="needs a Philox generator, not PCG64"):
        pictures.philox_address(np.random.default_rng(1))
    used = random.philox(1, "dropout")
    used.random(3, dtype="float32")
    with pytest.raises(ValueError, match="drawn nothing yet"):
        pictures.philox_address(used)


@each_kind
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 6), st.integers(1, 6), st.integers(1, 4)), planar=st.booleans()
)
@few(40)
def test_normalise_images(kind, shape, planar):
    draw = Draw(4)
    x = draw.random.integers(0, 256, shape, np.uint8)
    mean, deviation = np.abs(draw.numbers(shape[3])), np.abs(draw.numbers(shape[3])) + 0.1
    given_bytes = np.ascontiguousarray(channels_first(x)) if planar else x
    y = pictures.normalise_images(running(1), given_bytes, mean, deviation, DTYPES[kind], planar)
    assert_close(y, (x / 255.0 - mean) / deviation, kind, "y")


def resized(x, size):
    """Bilinear, [N][H][W][C], by the formula, in float64."""
    for axis, count in ((1, size[0]), (2, size[1])):
        length = x.shape[axis]
        at = np.maximum((np.arange(count) + 0.5) * (length / count) - 0.5, 0)
        low = np.minimum(at.astype(int), length - 1)
        high, weight = np.minimum(low + 1, length - 1), at - low
        weight = weight.reshape([-1 if a == axis else 1 for a in range(4)])
        x = x.take(low, axis) * (1 - weight) + x.take(high, axis) * weight
    return x


SIZE = st.tuples(st.integers(1, 9), st.integers(1, 9))


@each_kind
@given(image=SIZE, size=SIZE, from_bytes=st.booleans(), seed=st.integers(0, 100))
@few(40)
def test_bilinear_resize(kind, image, size, from_bytes, seed):
    draw = Draw(seed, kind)
    x, wide = draw(2, *image, 3)
    if from_bytes:
        x = draw.random.integers(0, 256, x.shape, np.uint8)
        wide = x
    y = pictures.bilinear_resize(running(1), x, size, DTYPES[kind])
    assert_close(y, resized(wide.astype(float), size), kind, "y")


def test_the_formula_of_resizing_is_torchs():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(1).standard_normal((1, 5, 7, 2))
    tensor = torch.from_numpy(np.ascontiguousarray(channels_first(x)))
    expected = torch.nn.functional.interpolate(tensor, (9, 4), mode="bilinear", align_corners=False)
    assert np.abs(channels_last(expected.numpy()) - resized(x, (9, 4))).max() < 1e-12
