"""No test may leave this thread's modes changed: the others would fail in its place."""

import pytest

from minires import autograd


@pytest.fixture(autouse=True)
def modes():
    yield
    left = autograd._mode.grad, autograd._mode.inference
    autograd._mode.grad, autograd._mode.inference = True, False
    assert left == (True, False), "this test has left a mode switched on"
