"""no_grad, enable_grad, inference_mode, set_grad_enabled: as blocks, as decorators, nested, in threads; and detach."""

import threading

import numpy as np
import pytest

import minires as mr
from minires.tensor import Tensor


@pytest.fixture
def a():
    return Tensor(np.array([1.0, 2.0]), requires_grad=True)


def test_no_grad(a):
    with mr.no_grad():
        assert not mr.is_grad_enabled()
        b = a * 2
    assert mr.is_grad_enabled() and not b.requires_grad and b.is_leaf
    assert (a * b).requires_grad


def test_enable_grad_inside_no_grad(a):
    with mr.no_grad():
        with mr.enable_grad():
            b = a * 2
        c = a * 2
    assert b.requires_grad and not c.requires_grad


def test_switches_go_back_after_an_error():
    for make in (mr.no_grad, mr.inference_mode, lambda: mr.set_grad_enabled(False)):
        with pytest.raises(ZeroDivisionError), make():
            raise ZeroDivisionError
        assert mr.is_grad_enabled() and not mr.is_inference_mode_enabled()


def test_one_switch_used_twice_and_inside_itself():
    switch = mr.no_grad()
    with switch, mr.enable_grad():
        with switch:
            assert not mr.is_grad_enabled()
        assert mr.is_grad_enabled()
    assert mr.is_grad_enabled()


@pytest.mark.parametrize("switch", [mr.no_grad, mr.inference_mode])
def test_decorators(a, switch):
    @switch()
    def double(x, times=2):
        """Twice."""
        assert not mr.is_grad_enabled()
        return x * times if times < 3 else double(x, times - 1)

    assert not double(a, times=5).requires_grad and mr.is_grad_enabled()
    assert double.__name__ == "double" and double.__doc__ == "Twice."

    @mr.no_grad()
    def fails():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert mr.is_grad_enabled()


def test_enable_grad_as_a_decorator(a):
    @mr.enable_grad()
    def double(x):
        return x * 2

    with mr.no_grad():
        assert double(a).requires_grad and not mr.is_grad_enabled()


def test_set_grad_enabled(a):
    for training in (True, False):
        with mr.set_grad_enabled(training):
            assert (a * 2).requires_grad is training
        assert mr.is_grad_enabled()
    mr.set_grad_enabled(False)  # as a plain call it stays
    assert not (a * 2).requires_grad
    mr.set_grad_enabled(True)
    assert (a * 2).requires_grad

    @mr.set_grad_enabled(False)
    def double(x):
        return x * 2

    assert mr.is_grad_enabled(), "decorating changes nothing yet"
    assert not double(a).requires_grad and mr.is_grad_enabled()

    @mr.set_grad_enabled(True)
    def triple(x):
        return x * 3

    with mr.no_grad():
        assert triple(a).requires_grad
        assert not mr.is_grad_enabled(), "as it was at the call, not at the decoration"


def test_set_grad_enabled_nested():
    with mr.set_grad_enabled(False):
        with mr.set_grad_enabled(True), mr.set_grad_enabled(False):
            assert not mr.is_grad_enabled()
        assert not mr.is_grad_enabled()
    assert mr.is_grad_enabled()


def test_requires_grad_inside_no_grad():
    with mr.no_grad():
        b = mr.ones(2, requires_grad=True)
        c = b * 2
    assert b.requires_grad and not c.requires_grad


def test_inference_mode(a):
    with mr.inference_mode():
        assert mr.is_inference_mode_enabled() and not mr.is_grad_enabled()
        b = a * 2
        made = mr.ones(2, dtype=mr.float64)
    assert not mr.is_inference_mode_enabled() and not b.requires_grad
    for tensor in (b, made, b[:1], b.detach()):
        with pytest.raises(RuntimeError, match="inference_mode"):
            a[: len(tensor)] * tensor
        with pytest.raises(RuntimeError, match="inference_mode"):
            tensor.requires_grad_()
    assert ((b * b).numpy() == b.numpy() ** 2).all(), "arithmetic that is not recorded is allowed"
    (a * b.clone()).sum().backward()
    assert a.grad.tolist() == b.tolist()


def test_inference_mode_off():
    with mr.inference_mode(), mr.inference_mode(False):
        assert mr.is_inference_mode_enabled(), "as it was outside"
    with mr.inference_mode(False):
        assert mr.is_grad_enabled() and not mr.is_inference_mode_enabled()


def test_every_thread_has_modes_of_its_own(a):
    inside, go_on = threading.Event(), threading.Event()
    found = {}

    def other():
        with mr.no_grad():
            inside.set()
            assert go_on.wait(10)
            found["other"] = (a * 2).requires_grad

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10)
    found["this"] = (a * 2).requires_grad
    go_on.set()
    thread.join(10)
    assert found == {"this": True, "other": False}
    with mr.no_grad():
        fresh = []
        thread = threading.Thread(target=lambda: fresh.append(mr.is_grad_enabled()))
        thread.start()
        thread.join(10)
    assert fresh == [True], "a new thread records"


def test_a_decorated_function_called_by_many_threads(a):
    barrier = threading.Barrier(4)
    found = []

    @mr.no_grad()
    def work():
        barrier.wait(10)
        found.append((a * 2).requires_grad)
        barrier.wait(10)

    def call():
        work()
        found.append(mr.is_grad_enabled())

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(found) == [False] * 4 + [True] * 4 and mr.is_grad_enabled()


def test_backward_in_another_thread(a):
    loss = (a * a).sum()
    thread = threading.Thread(target=loss.backward)
    thread.start()
    thread.join(10)
    assert a.grad.tolist() == [2.0, 4.0]


def test_backward_inside_no_grad(a):
    loss = (a * a).sum()
    with mr.no_grad():
        loss.backward()
    assert a.grad.tolist() == [2.0, 4.0]


def test_detach(a):
    b = a * 2
    c = b.detach()
    assert not c.requires_grad and c.is_leaf and c.grad_fn is None
    assert np.shares_memory(c.array, b.array)
    (b * c).sum().backward()
    assert a.grad.tolist() == [4.0, 8.0], "d/da of 2 a c with c held fixed"
    c.requires_grad_()
    (c * 3).sum().backward()
    assert c.grad.tolist() == [3.0, 3.0] and a.grad.tolist() == [4.0, 8.0]


def test_requires_grad_can_be_switched_on_leaves_only(a):
    a.requires_grad_(False)
    assert not (a * 2).requires_grad
    a.requires_grad_()
    with pytest.raises(RuntimeError, match=r"only change requires_grad flags of leaf variables\. .* var\.detach\(\)\."):
        (a * 2).requires_grad_(False)


def test_numpy_of_a_tensor_in_the_graph_is_refused(a):
    for tensor in (a, a * 2):
        with pytest.raises(RuntimeError, match=r"use tensor.detach\(\).numpy\(\)"):
            tensor.numpy()
        with pytest.raises(RuntimeError, match="detach"):
            np.asarray(tensor)
    assert (a * 2).detach().numpy().tolist() == [2.0, 4.0]
