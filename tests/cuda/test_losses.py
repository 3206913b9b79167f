"""Softmax and cross entropy, run on the CPU (or a GPU), against the reference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires.kernels.cuda import losses
from minires.kernels.reference import loss
from tests.cuda.helpers import Draw, assert_close, each_kind, few, needs_kernels, running

pytestmark = needs_kernels
SIZES = {"rows": st.integers(1, 6), "columns": st.integers(1, 300), "seed": st.integers(0, 1000)}


@each_kind
@given(logarithm=st.booleans(), **SIZES)
@few(40)
def test_softmax(kind, rows, columns, seed, logarithm):
    draw = Draw(seed, kind)
    (x, wide), (grad, wide_grad) = draw(rows, columns, scale=4), draw(rows, columns)
    run = running(seed % 4)
    y = losses.softmax(run, x, logarithm)
    forward, backward = (
        (loss.log_softmax, loss.log_softmax_backward) if logarithm else (loss.softmax, loss.softmax_backward)
    )
    assert_close(y, forward(wide, 1), kind, "y", scale=1e-3)
    output, wide_output = Draw(seed, kind)(rows, columns)
    dx = losses.softmax_backward(run, grad, output, logarithm)
    expected = backward(wide_grad, wide_output, 1)
    assert_close(dx, expected, kind, "dx", factor=3, scale=columns)


def test_softmax_of_infinities():
    """A class that is impossible has probability 0; a row of impossible classes, or of an infinite one, is NaN."""
    x = np.zeros((3, 5), np.float32)
    x[0, 2], x[1], x[2, 4] = -np.inf, -np.inf, np.inf
    y = losses.softmax(running(), x)
    with np.errstate(invalid="ignore"):
        expected = loss.softmax(x, 1)
    assert_close(y, expected, "float", "y")
    assert y[0, 2] == 0 and np.isnan(y[1:]).all()


@each_kind
@given(smoothing=st.sampled_from([0.0, 0.1]), weighted=st.booleans(), ignored=st.booleans(), **SIZES)
@few(40)
def test_cross_entropy(kind, rows, columns, seed, smoothing, weighted, ignored):
    draw = Draw(seed, kind)
    logits, wide = draw(rows, columns, scale=3)
    target = draw.random.integers(0, columns, rows)
    if ignored:
        target[0] = -100
    weight = np.abs(draw.numbers(columns)) if weighted else None
    row_grad = draw.numbers(rows)
    run, settings = running(seed % 4), (weight, -100, smoothing)
    wanted = ("log_probability", "dx")
    made = losses.cross_entropy(run, logits, target, *settings, np.zeros(1, np.int32), row_grad, 0.5, wanted)
    expected, log_probability = loss.cross_entropy_forward(wide, target, *settings)
    assert made["wrong"][0] == 0
    assert_close(made["loss"], expected, "float", "loss", scale=1)
    assert_close(made["log_probability"], log_probability, kind, "log_probability", scale=1)
    dx = loss.cross_entropy_backward(0.5 * row_grad, log_probability, target, *settings)
    assert_close(made["dx"], dx, kind, "dx", scale=1e-2)
    kept, wide_kept = Draw(seed, kind)(rows, columns, offset=-3)
    ours = losses.cross_entropy_backward(run, row_grad, kept, target, *settings)
    assert_close(ours, loss.cross_entropy_backward(row_grad, wide_kept, target, *settings), kind, "dx alone", 2)


@pytest.mark.parametrize("bad", [-1, 4])
def test_a_target_that_is_no_class_is_reported(bad):
    _, logits = Draw(1)(5, 4)
    target = np.array([0, bad, 3, -100, 1])
    made = losses.cross_entropy(running(2), logits, target, None, -100, 0.0, np.zeros(1, np.int32))
    assert made["wrong"][0] == 2
