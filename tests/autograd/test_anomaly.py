"""Anomaly mode: the line of the forward whose backward made NaN is named."""

import pytest

import minires as mr


def bad(x):
    return (x * 0).sqrt() * 0  # the marked line


def test_the_forward_line_is_named():
    x = mr.ones(3, requires_grad=True)
    with mr.autograd.detect_anomaly():
        y = bad(x).sum()
        with pytest.raises(RuntimeError, match="'SqrtBackward' returned nan values in its 0th output") as caught:
            y.backward()
    assert "the marked line" in str(caught.value) and "test_anomaly.py" in str(caught.value)
    assert "minires/ops" not in str(caught.value)
    assert not mr.autograd.is_anomaly_enabled() and x.grad is None


def test_without_it_nan_passes():
    x = mr.ones(3, requires_grad=True)
    bad(x).sum().backward()
    assert mr.isnan(x.grad).all()
    with mr.autograd.detect_anomaly(check_nan=False):
        bad(x).sum().backward()


def test_what_was_recorded_before_has_no_line():
    y = bad(mr.ones(3, requires_grad=True)).sum()
    with mr.autograd.detect_anomaly(), pytest.raises(RuntimeError, match="before anomaly mode was switched on"):
        y.backward()


def test_an_error_in_backward_tells_the_line():
    class Broken(mr.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            raise ValueError("no idea")

    with mr.autograd.detect_anomaly(check_nan=False):
        y = Broken.apply(mr.ones(1, requires_grad=True))  # called here
        with pytest.raises(ValueError, match="no idea") as caught:
            y.backward()
    assert any("called here" in note for note in caught.value.__notes__)


def test_switching():
    assert not mr.autograd.is_anomaly_enabled()
    mr.autograd.set_detect_anomaly(True)
    try:
        assert mr.autograd.is_anomaly_enabled() and mr.autograd.is_anomaly_check_nan_enabled()
        with mr.autograd.set_detect_anomaly(False):
            assert not mr.autograd.is_anomaly_enabled()
        assert mr.autograd.is_anomaly_enabled()
    finally:
        mr.autograd.set_detect_anomaly(False)
    with mr.autograd.set_detect_anomaly(True, check_nan=False):
        assert mr.autograd.is_anomaly_enabled() and not mr.autograd.is_anomaly_check_nan_enabled()
    assert not mr.autograd.is_anomaly_enabled() and mr.autograd.is_anomaly_check_nan_enabled()

    @mr.autograd.detect_anomaly()
    def inside():
        return mr.autograd.is_anomaly_enabled()

    assert inside() and not mr.autograd.is_anomaly_enabled()
