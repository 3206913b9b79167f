"""Hooks on tensors, and retain_grad."""

import gc
import weakref

import numpy as np
import pytest

import minires as mr
from minires.autograd import Function
from minires.tensor import Tensor


@pytest.fixture
def a():
    return Tensor(np.array([1.0, 2.0]), requires_grad=True)


def test_a_hook_on_a_leaf_sees_the_sum_of_all_gradients(a):
    seen = []
    a.register_hook(lambda gradient: seen.append(gradient.tolist()))
    (a * 3 + a * 4).sum().backward()
    assert seen == [[7.0, 7.0]] and a.grad.tolist() == [7.0, 7.0]
    a.sum().backward()
    assert seen == [[7.0, 7.0], [1.0, 1.0]], "the gradient of this backward alone"


def test_a_hook_inside_the_graph_changes_what_flows_on(a):
    b = a * 2
    b.register_hook(lambda gradient: gradient * 10)
    (b * 3).sum().backward()
    assert a.grad.tolist() == [60.0, 60.0]


def test_hooks_run_in_the_order_of_registration(a):
    seen = []
    a.register_hook(lambda gradient: (seen.append(1), gradient + 1)[1])
    a.register_hook(lambda gradient: (seen.append(2), gradient * 2)[1])
    a.sum().backward()
    assert seen == [1, 2] and a.grad.tolist() == [4.0, 4.0]


def test_hooks_are_removed(a):
    calls = []
    handles = [a.register_hook(lambda gradient, number=number: calls.append(number)) for number in range(3)]
    handles[1].remove()
    handles[1].remove()
    a.sum().backward()
    assert calls == [0, 2]
    a.register_hook(lambda gradient: calls.append("new"))
    handles[0].remove()
    a.sum().backward()
    assert calls == [0, 2, 2, "new"]


def test_a_hook_that_removes_itself(a):
    calls = []

    def once(gradient):
        calls.append(1)
        handle.remove()

    handle = a.register_hook(once)
    a.sum().backward()
    a.sum().backward()
    assert calls == [1]


def test_each_result_has_hooks_of_its_own(a):
    first, second = a.split(1)
    seen = []
    second.register_hook(lambda gradient: seen.append(gradient.tolist()))
    (first * 2 + second * 5).backward()
    assert seen == [[5.0]] and a.grad.tolist() == [2.0, 5.0]


def test_hooks_of_one_result_of_several(a):
    two = type("Two", (Function,), {"forward": staticmethod(lambda ctx, x: (x * 2, x * 5)),
                                    "backward": staticmethod(lambda ctx, da, db: 2 * da + 5 * db)})  # fmt: skip
    first, second = two.apply(a)
    seen = []
    first.register_hook(lambda gradient: seen.append(("first", gradient.tolist())))
    second.register_hook(lambda gradient: seen.append(("second", gradient.tolist())))
    (first * 3 + second * 7).sum().backward()
    assert sorted(seen) == [("first", [3.0, 3.0]), ("second", [7.0, 7.0])]
    assert a.grad.tolist() == [41.0, 41.0]


def test_hooks_need_a_gradient():
    with pytest.raises(RuntimeError, match="doesn't require gradient"):
        mr.ones(2).register_hook(print)
    with pytest.raises(RuntimeError, match="requires_grad=False"):
        mr.ones(2).retain_grad()


def test_an_error_in_a_hook_stops_backward(a):
    def hook(gradient):
        raise ZeroDivisionError

    b = a * 2
    b.register_hook(hook)
    with pytest.raises(ZeroDivisionError):
        b.sum().backward()
    assert a.grad is None


def test_retain_grad(a):
    b = a * 2
    b.retain_grad()
    b.retain_grad()
    c = b * 3
    c.sum().backward(retain_graph=True)
    assert b.grad.tolist() == [3.0, 3.0] and c.grad is None
    c.sum().backward()
    assert b.grad.tolist() == [6.0, 6.0], "adds up, as on leaves; and twice is as good as once"
    a.retain_grad()  # of no effect on a leaf
    assert a.grad.tolist() == [12.0, 12.0]


def test_retain_grad_sees_what_the_hooks_have_made(a):
    b = a * 2
    b.register_hook(lambda gradient: gradient * 10)
    b.retain_grad()
    b.sum().backward()
    assert b.grad.tolist() == [10.0, 10.0] and a.grad.tolist() == [20.0, 20.0]


def test_retain_grad_of_the_result_itself(a):
    b = (a * 2).sum()
    b.retain_grad()
    b.backward()
    assert b.grad.item() == 1.0


def test_retain_grad_keeps_nothing_alive(a):
    b = a * 2
    b.retain_grad()
    c = b.sum()
    gone = weakref.ref(b)
    del b
    gc.collect()
    assert gone() is None
    c.backward()
    assert a.grad.tolist() == [2.0, 2.0]
