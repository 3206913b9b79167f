"""The walk back through the graph: order, sums, several results, freeing, depth, errors on the way."""

import gc
import tracemalloc
import weakref

import numpy as np
import pytest

import minires as mr
from minires.autograd import Function
from minires.tensor import Tensor


def leaf(*values, dtype=np.float64):
    return Tensor(np.array(values, dtype), requires_grad=True)


def faulty(backward, forward=lambda ctx, x: x * 1.0):
    kind = type("Faulty", (Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)})
    return kind.apply


# ------------------------------------------------------------------------------------------------------------- sums


def test_a_tensor_used_twice():
    a = leaf(3.0)
    b = a + a
    c = b * b
    c.backward()
    assert a.grad.tolist() == [24.0]  # c = 4 a^2


def test_diamond_runs_each_backward_once():
    calls = []

    def backward(ctx, dy):
        calls.append(dy.copy())
        return dy * 2

    a = leaf(1.0, 2.0)
    b = faulty(backward, lambda ctx, x: x * 2)(a)
    left, right = b * 3, b.exp()
    ((left + right) * left).sum().backward()
    assert len(calls) == 1
    e = np.exp([2.0, 4.0])
    assert np.allclose(a.grad.array, 2 * (18 * np.array([2.0, 4.0]) + 3 * e + 3 * np.array([2.0, 4.0]) * e))


def test_a_late_use_of_an_early_tensor():
    """The node of `b` is older than all others and must wait for the last contribution."""
    a = leaf(2.0)
    b = a * 3
    c = b
    for _ in range(5):
        c = c * 2
    (c + b).backward()
    assert a.grad.tolist() == [99.0]


def test_gradients_add_up_over_backwards():
    a = leaf(1.0, 2.0)
    (a * 3).sum().backward()
    first = a.grad
    (a * 4).sum().backward()
    assert a.grad.tolist() == [7.0, 7.0]
    assert first.tolist() == [3.0, 3.0], "an older gradient that somebody kept does not change"
    a.grad = None
    (a * 5).sum().backward()
    assert a.grad.tolist() == [5.0, 5.0]


def test_backward_from_a_leaf():
    a = leaf(2.0)
    a.backward()
    a.backward(mr.tensor([4.0], dtype=mr.float64))
    assert a.grad.tolist() == [5.0]


def test_leaves_that_need_no_gradient_get_none():
    a, b = leaf(2.0), Tensor(np.array([3.0]))
    (a * b).backward()
    assert a.grad.tolist() == [3.0] and b.grad is None
    assert not (b * b).requires_grad and (b * b).is_leaf and (b * b).grad_fn is None
    assert (a * b).requires_grad and not (a * b).is_leaf


def test_unused_results_count_as_zero():
    kind = faulty(lambda ctx, da, db: 2 * da + 5 * db, lambda ctx, x: (x * 2, x * 5))
    a = leaf(1.0, 1.0)
    first, second = kind(a)
    first.sum().backward(retain_graph=True)
    assert a.grad.tolist() == [2.0, 2.0]
    (first + second * second).sum().backward()
    assert a.grad.tolist() == [54.0, 54.0]


def test_gradients_stop_at_none():
    a = leaf(1.0)
    (faulty(lambda ctx, dy: None)(a) + a).backward()
    assert a.grad.tolist() == [1.0]


def test_backward_is_told_which_gradients_are_wanted():
    seen = []
    kind = type(
        "Pair",
        (Function,),
        {
            "forward": staticmethod(lambda ctx, a, b, c: a + b),
            "backward": staticmethod(lambda ctx, dy: (seen.append(ctx.needs_input_grad), (dy, None, None))[1]),
        },
    )
    kind.apply(leaf(1.0), Tensor(np.ones(1)), 3).backward()
    assert seen == [(True, False, False)]


# ----------------------------------------------------------------------------------------------------- no aliasing


def test_gradients_share_no_memory():
    a, b, given = leaf(1.0, 2.0), leaf(3.0, 4.0), Tensor(np.ones(2))
    c = a + b  # both gradients are dy itself
    c.retain_grad()
    d = c.reshape(2)
    d.backward(given)
    arrays = [given.array, a.grad.array, b.grad.array, c.grad.array, a.array, b.array, c.array]
    for i, one in enumerate(arrays):
        assert all(not np.shares_memory(one, other) for other in arrays[i + 1 :])
    a.grad.mul_(100)
    assert b.grad.tolist() == c.grad.tolist() == given.tolist() == [1.0, 1.0]


def test_the_same_tensor_twice_gets_a_gradient_of_its_own():
    a = leaf(1.0, 2.0)
    seed = np.ones(2)
    mr.cat([a, a]).backward(Tensor(np.arange(4.0)))
    a.expand(2).backward(Tensor(seed))
    a.grad.zero_()
    assert seed.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("other_first", [True, False])
@pytest.mark.parametrize("turned", [False, True])
def test_gradients_that_a_backward_hands_out_twice_are_kept_apart(other_first, turned):
    """The walk may add in place only into arrays that nobody else holds."""

    def backward(ctx, dy):
        kept = np.array([3.0, 4.0])
        return kept, kept[::-1] if turned else kept

    pair = type("Pair", (Function,), {"forward": staticmethod(lambda ctx, a, b: a + b),
                                      "backward": staticmethod(backward)})  # fmt: skip
    a, b = leaf(1.0, 1.0), leaf(1.0, 1.0)
    if other_first:
        other = a * 10 + b * 20
        total = pair.apply(a, b) + other
    else:
        total = pair.apply(a, b)
        total = total + a * 10 + b * 20
    total.sum().backward()
    assert a.grad.tolist() == [13.0, 14.0] and b.grad.tolist() == ([24.0, 23.0] if turned else [23.0, 24.0])


def test_gradients_that_share_a_part_are_kept_apart():
    def backward(ctx, dy):
        whole = np.array([1.0, 2.0, 3.0])
        return whole[:2], whole[1:]

    pair = type("Pair", (Function,), {"forward": staticmethod(lambda ctx, a, b: a + b),
                                      "backward": staticmethod(backward)})  # fmt: skip
    a, b = leaf(1.0, 1.0), leaf(1.0, 1.0)
    late = a * 10 + b * 20
    (pair.apply(a, b) + late).sum().backward()
    assert a.grad.tolist() == [11.0, 12.0] and b.grad.tolist() == [22.0, 23.0]


def test_saved_and_incoming_arrays_are_not_added_to():
    """exp's gradient may be made of saved arrays, and an addition hands on what it was given."""
    a = leaf(1.0, 2.0)
    kept = []

    def backward(ctx, dy):
        kept.append(ctx.saved_arrays[0])
        return ctx.saved_arrays[0]

    kind = faulty(backward, lambda ctx, x: (ctx.save_for_backward(np.array([5.0, 6.0])), x * 1.0)[1])
    late = a * 10
    (kind(a) + late).sum().backward()
    assert kept[0].tolist() == [5.0, 6.0] and a.grad.tolist() == [15.0, 16.0]


@pytest.mark.parametrize("shape", [(1,), (3, 1), (3, 4)])
def test_gradients_that_are_views_of_fewer_numbers(shape):
    """The mean's gradient is one number shown many times, read-only even where it is shown once."""
    a = Tensor(np.ones(shape), requires_grad=True)
    b = a * 1
    (b.mean(-1) + b.mean(-1) + b.sum(-1)).sum().backward()
    assert np.allclose(a.grad.array, 1 + 2 / shape[-1])


def test_a_gradient_whose_entries_share_memory():
    a = leaf(1.0, 1.0)
    late = a * Tensor(np.array([10.0, 20.0]))
    shown_twice = faulty(lambda ctx, dy: np.lib.stride_tricks.as_strided(np.array([3.0]), (2,), (0,)))
    (shown_twice(a) + late).sum().backward()
    assert a.grad.tolist() == [13.0, 23.0]


def test_what_a_hook_has_seen_does_not_change_afterwards():
    a, kept = leaf(1.0, 2.0), []
    late = a * 10
    b = a + 1.0  # hands its gradient on as it is
    b.register_hook(lambda gradient: kept.append(gradient))
    (b * 2 + late).sum().backward()
    assert kept[0].tolist() == [2.0, 2.0] and a.grad.tolist() == [12.0, 12.0]


def test_a_gradient_that_may_not_be_written_to():
    def backward(ctx, dy):
        gradient = np.array([3.0, 4.0])
        gradient.setflags(write=False)
        return gradient

    a = leaf(1.0, 1.0)
    b = a * 1
    late = b * 10
    (faulty(backward)(b) + late).sum().backward()
    assert a.grad.tolist() == [13.0, 14.0]
    a.grad.zero_()  # writable all the same


def test_read_only_and_broadcast_gradients():
    a = leaf(1.0, 2.0)
    b = a * 1
    (b.sum() + b.sum() + b[0]).backward()
    assert a.grad.tolist() == [3.0, 2.0]
    a.grad.array[...] = 0  # writable


def test_the_gradient_keeps_the_memory_order():
    x = Tensor(np.ones((2, 3, 4, 5)).transpose(0, 3, 1, 2), requires_grad=True)
    (x * x).sum().backward()
    assert x.grad.array.strides == x.array.strides


# ---------------------------------------------------------------------------------------------------------- freeing


def test_a_second_backward_raises_and_says_what_to_do():
    a = leaf(2.0)
    b = a * a
    b.backward()
    with pytest.raises(RuntimeError, match=r"second time.*retain_graph=True"):
        b.backward()
    assert a.grad.tolist() == [4.0]


def test_retain_graph():
    a = leaf(2.0)
    b = a * a
    for times in (1, 2, 3):
        b.backward(retain_graph=True)
        assert a.grad.tolist() == [4.0 * times]
    b.backward()
    with pytest.raises(RuntimeError, match="second time"):
        b.backward(retain_graph=True)


def test_a_part_shared_by_two_losses():
    a = leaf(2.0)
    shared = a * a
    one, two = shared * 3, shared * 5
    one.backward()
    with pytest.raises(RuntimeError, match="second time"):
        two.backward()


def test_dropping_the_result_frees_the_graph_at_once():
    gc.collect()
    gc.disable()
    try:
        a = leaf(*range(10))
        array = np.ones(10)
        alive = weakref.ref(array)
        b = ((a * Tensor(array)).exp() + a).sum()
        del array
        node = weakref.ref(b.grad_fn)
        assert alive() is not None and node() is not None
        del b
        assert alive() is None and node() is None, "reference counting alone must free it"
    finally:
        gc.enable()


def test_saved_arrays_are_freed_by_backward():
    a = leaf(*range(10))
    b = (a * 2).exp()
    saved = weakref.ref(b.grad_fn.saved_arrays[0])
    c = b.sum()
    array = weakref.ref(b.array)
    del b
    assert saved() is not None and array() is saved()
    c.backward()
    assert saved() is None


def peak_of_backward(retain_graph: bool) -> int:
    """Bytes that backward of a chain of 30 sigmoids needs at most, beyond what the graph holds before; 8 MB each."""
    x = Tensor(np.zeros(1_000_000), requires_grad=True)
    y = x
    for _ in range(30):
        y = (y * 0.5).sigmoid()
    loss = y.sum()
    del y
    tracemalloc.start()
    try:
        before = held_by(loss)
        tracemalloc.reset_peak()
        loss.backward(retain_graph=retain_graph)
        peak, after = tracemalloc.get_traced_memory()[1], held_by(loss)
        assert (after == before) if retain_graph else (after == 0)
        return peak
    finally:
        tracemalloc.stop()


def held_by(tensor) -> int:
    """Bytes of the arrays that the graph below a tensor has saved."""
    found, waiting = {}, [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        for array in getattr(node, "_saved", None) or ():
            if array is not None:
                found[id(array)] = array.nbytes
        waiting += [edge.target for edge in getattr(node, "edges", []) if edge is not None]
    return sum(found.values())


def test_backward_needs_memory_for_a_few_arrays_only():
    """240 MB are saved; the walk holds the gradients of one operation, whatever the length of the chain."""
    assert peak_of_backward(retain_graph=True) < 6 * 8_000_000
    assert peak_of_backward(retain_graph=False) < 6 * 8_000_000


def test_saved_arrays_go_as_backward_proceeds():
    """In the middle of backward what lies behind has been freed."""
    held = []
    x = Tensor(np.zeros(1000), requires_grad=True)
    y = x
    for _ in range(20):
        y = y.sigmoid()
        y.register_hook(lambda gradient: held.append(held_by(loss)))
    loss = y.sum()
    del y
    loss.backward()
    assert len(held) == 20 and held == sorted(held, reverse=True)
    assert held[0] == 20 * 8000 and held[10] == 10 * 8000 and held[-1] == 8000


# ------------------------------------------------------------------------------------------------------------ depth


def test_ten_thousand_operations():
    a = leaf(1.0)
    y = a
    for _ in range(10_000):
        y = y + a * 1e-4
    y.backward()
    assert a.grad.item() == pytest.approx(2.0)
    del y  # and the graph goes without recursion


def test_deleting_a_long_chain_that_was_never_walked():
    y = leaf(1.0)
    for _ in range(30_000):
        y = y * 1.0
    node = weakref.ref(y.grad_fn)
    del y
    assert node() is None


# ----------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("fails", ["raises", "shape", "count"])
def test_an_error_on_the_way_leaves_every_gradient_as_it_was(fails):
    def backward(ctx, dy):
        if fails == "raises":
            raise ValueError("on purpose")
        return dy.sum() if fails == "shape" else (dy, dy, dy)[: 1 if fails == "count" else 3]

    two = type("Faulty", (Function,), {"forward": staticmethod(lambda ctx, x, y: x + y),
                                       "backward": staticmethod(backward)})  # fmt: skip
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (a * 2).sum().backward()
    loss = (two.apply(a, b) * b + a).sum()
    with pytest.raises((ValueError, RuntimeError)) as caught:
        loss.backward()
    notes = getattr(caught.value, "__notes__", [])
    assert "Faulty" in str(caught.value) + str(notes)
    assert a.grad.tolist() == [2.0, 2.0] and b.grad is None


def test_an_error_names_the_operation():
    def backward(ctx, dy):
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose") as caught:
        faulty(backward)(leaf(1.0)).backward()
    assert caught.value.__notes__ == ["raised in the backward of Faulty"]


def test_wrong_shapes_of_gradients_raise():
    with pytest.raises(RuntimeError, match=r"FaultyBackward returned a gradient of shape \(1,\), expected \(2,\)"):
        faulty(lambda ctx, dy: dy[:1])(leaf(1.0, 2.0)).sum().backward()


def test_gradients_arrive_in_the_type_of_the_input():
    a = leaf(1.0, 2.0, dtype=np.float32)
    faulty(lambda ctx, dy: dy.astype(np.float64))(a).sum().backward()
    assert a.grad.dtype == np.float32
    c = leaf(1.0, 2.0, dtype=np.float32) * 2
    c.retain_grad()
    c.backward(mr.tensor([1.0, 2.0], dtype=mr.float64))
    assert c.grad.dtype == np.float32 and c.grad.tolist() == [1.0, 2.0]
    b = leaf(1.0, 2.0, dtype=np.float32)
    (b.double() * 3).sum().backward()
    assert b.grad.dtype == np.float32 and b.grad.tolist() == [3.0, 3.0]


def test_a_result_that_is_no_scalar_needs_a_gradient():
    a = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar outputs"):
        (a * 2).backward()
    (a * 2).backward(mr.tensor([1.0, 10.0]))
    assert a.grad.tolist() == [2.0, 20.0]
    (a[:1] * 2).backward()  # one element will do, as in PyTorch


def test_a_gradient_of_another_shape_raises():
    a = leaf(1.0, 2.0)
    for wrong in (mr.ones(3), mr.ones(2, 1), mr.ones(())):
        with pytest.raises(RuntimeError, match="the gradient has shape"):
            (a * 2).backward(wrong)
    assert a.grad is None


def test_nothing_to_differentiate_raises():
    for tensor in (mr.ones(1), leaf(1.0).detach(), mr.tensor([1])):
        with pytest.raises(RuntimeError, match="does not require grad"):
            tensor.backward()


def test_double_backward_is_refused():
    a = leaf(2.0)
    b = a * a
    with pytest.raises(NotImplementedError, match="no double backward"):
        b.backward(create_graph=True)
    b.backward()
    assert not a.grad.requires_grad
    with pytest.raises(RuntimeError, match="does not require grad"):
        a.grad.backward()


def test_functions_need_a_tensor():
    with pytest.raises(TypeError, match="Faulty needs at least one Tensor"):
        faulty(lambda ctx, dy: dy)(3.0)


def test_integers_have_no_gradient():
    a = leaf(1.0, 2.0)
    values, indices = a.max(0)
    assert values.requires_grad and not indices.requires_grad
    assert not (a > 1).requires_grad and not a.argmax().requires_grad and not a.long().requires_grad
    with pytest.raises(RuntimeError, match="floating point"):
        mr.tensor([1, 2]).requires_grad_()


def test_nodes_are_named():
    a = leaf(1.0)
    assert repr((a * a).grad_fn) == "<MulBackward>" and repr(a.relu().grad_fn) == "<ReluBackward>"


def test_an_array_that_the_node_keeps_is_neither_added_to_nor_handed_out():
    def forward(ctx, x):
        ctx.slope = np.full(x.shape, 2.0)
        return x * ctx.slope

    a = leaf(1.0, 5.0)
    older = a * 3
    y = faulty(lambda ctx, dy: ctx.slope, forward)(a)  # younger, so that its gradient comes first
    slope = y.node.slope
    (y + older).backward(mr.ones(2, dtype=np.float64), retain_graph=True)
    assert a.grad.tolist() == [5.0, 5.0] and slope.tolist() == [2.0, 2.0]
    assert not np.shares_memory(a.grad.array, slope)
