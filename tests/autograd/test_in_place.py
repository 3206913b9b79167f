"""Values that backward needs must not change under it: every way to change them is noticed."""

import numpy as np
import pytest

import minires as mr
from minires import optim
from minires.backend import memory_owner
from minires.tensor import Tensor

MODIFIED = "modified by an in-place operation: it is at version {}, expected version {}"


@pytest.fixture
def a():
    return Tensor(np.array([1.0, 2.0]), requires_grad=True)


CHANGES = {
    "add_": lambda x: x.add_(1),
    "mul_": lambda x: x.mul_(2),
    "+=": lambda x: x.__iadd__(1),
    "zero_": lambda x: x.zero_(),
    "copy_": lambda x: x.copy_(mr.zeros(2)),
    "index": lambda x: x.__setitem__(0, 5),
    "view": lambda x: x[1:].fill_(3),
    "view of a view": lambda x: x.reshape(2, 1).t()[0].mul_(2),
    "detached": lambda x: x.detach().add_(1),
    "normal_": lambda x: x.normal_(),
    "by hand": lambda x: (x.array.__setitem__(0, 7), x.bump_version()),
}


@pytest.mark.parametrize("how", list(CHANGES))
def test_a_changed_input_is_noticed(a, how):
    b = mr.ones(2, dtype=mr.float64)
    c = (a * b).sum()
    CHANGES[how](b)
    with pytest.raises(RuntimeError, match="MulBackward needs for its gradient has been " + MODIFIED.format(1, 0)):
        c.backward()
    assert a.grad is None


@pytest.mark.parametrize("how", list(CHANGES))
def test_a_changed_result_is_noticed(a, how):
    b = a.exp()  # saves its result
    c = b.sum()
    with mr.no_grad():
        CHANGES[how](b)
    with pytest.raises(RuntimeError, match="ExpBackward needs"):
        c.backward()


@pytest.mark.parametrize("how", list(CHANGES))
def test_changes_that_backward_does_not_care_about(a, how):
    b = mr.ones(2, dtype=mr.float64)
    c = (a + b).sum()
    CHANGES[how](b)
    c.backward()
    assert a.grad.tolist() == [1.0, 1.0]


def test_a_change_before_the_operation_is_no_fault(a):
    b = mr.ones(2, dtype=mr.float64)
    b.add_(1)
    c = (a * b).sum()
    c.backward()
    assert a.grad.tolist() == [2.0, 2.0]


def test_a_saved_view_is_guarded_by_its_base(a):
    base = mr.ones(2, 2, dtype=mr.float64)
    c = (a * base[0]).sum()
    base[1, 1] = 7  # another row, but the same memory: told rather than guessed, as in PyTorch
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        c.backward()


def test_windows_over_an_array_are_views_of_it(a):
    """as_strided and its kin hide the array that they look at behind an object of their own."""
    base = np.arange(3.0)
    whole = mr.from_numpy(base)
    for view in (np.lib.stride_tricks.sliding_window_view(base, 2), np.lib.stride_tricks.as_strided(base, (2,), (8,))):
        assert memory_owner(view) is base
    assert memory_owner(np.frombuffer(bytearray(8))).size == 1
    assert whole[1:].version is whole.version


def test_a_saved_array_that_only_the_other_input_needs(a):
    b = mr.ones(2, dtype=mr.float64)
    c = (a * b).sum()  # a's values are not saved: b needs no gradient
    with mr.no_grad():
        a.add_(1)
    c.backward()
    assert a.grad.tolist() == [1.0, 1.0]


def test_an_optimizer_step_between_forward_and_backward():
    weight = Tensor(np.array([[2.0]]), requires_grad=True)
    x = Tensor(np.array([[3.0]]), requires_grad=True)
    for make in (lambda p: optim.SGD(p, lr=0.1), lambda p: optim.Adam(p, lr=0.1), lambda p: optim.AdamW(p, lr=0.1)):
        optimizer = make([weight])
        optimizer.zero_grad()
        late = (x @ weight).sum()
        (weight * 1.0).sum().backward()
        optimizer.step()
        with pytest.raises(RuntimeError, match="MatMulBackward needs for its gradient has been modified"):
            late.backward()


def test_batch_norm_statistics_that_moved_on(a):
    """In evaluation the running statistics are saved; a training batch in between changes them."""
    norm = mr.nn.BatchNorm1d(2).double()
    x = Tensor(np.arange(6.0).reshape(3, 2), requires_grad=True)
    y = norm.eval()(x).sum()
    norm.train()(x.detach())
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        y.backward()


@pytest.mark.parametrize("index", [np.array([0, 0]), mr.tensor([0, 0]), (mr.tensor([0, 0]),), np.array([True, False])])
def test_an_index_may_change_after_its_use(a, index):
    inner = index[0] if isinstance(index, tuple) else index
    before = inner.tolist()
    picked = a[index].sum()
    written = a * 1
    written[index] = 7.0
    inner[0] = 1 - inner[0]
    inner[1] = 1 - inner[1]
    picked.backward()
    assert a.grad.tolist() == ([2.0, 0.0] if before == [0, 0] else [1.0, 0.0])
    a.grad = None
    written.sum().backward()
    assert a.grad.tolist() == [0.0, 1.0]
    inner[:] = mr.tensor(before) if isinstance(inner, Tensor) else before


def test_a_changed_index_of_gather_is_noticed(a):
    index = mr.tensor([0, 0])
    y = a.gather(0, index).sum()
    index[0] = 1
    with pytest.raises(RuntimeError, match="GatherBackward needs for its gradient has been modified"):
        y.backward()


def test_retained_graph_is_guarded_too(a):
    b = mr.ones(2, dtype=mr.float64)
    c = (a * b).sum()
    c.backward(retain_graph=True)
    b.add_(1)
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        c.backward()
    assert a.grad.tolist() == [1.0, 1.0]


# --------------------------------------------------------------------------------- operations in place, in the graph


def test_in_place_operations_are_recorded(a):
    b = a * 1
    c = b
    b += 2
    b *= 3
    assert b is c
    (b * b).sum().backward()
    assert a.grad.tolist() == [54.0, 72.0]  # d/da (3 (a + 2))^2 = 18 (a + 2)


def test_index_assignment_is_recorded(a):
    b, value = a * 3, Tensor(np.array([5.0]), requires_grad=True)
    b[0] = value * 2
    (b * b).sum().backward()
    assert a.grad.tolist() == [0.0, 36.0] and value.grad.tolist() == [40.0]


def test_a_tensor_outside_the_graph_joins_it_in_place(a):
    total = mr.zeros(2, dtype=mr.float64)
    total += a * 2
    total += a * 3
    assert total.requires_grad and not total.is_leaf
    total.sum().backward()
    assert a.grad.tolist() == [5.0, 5.0]


def test_copy_into_the_graph(a):
    target = mr.zeros(3, 2, dtype=mr.float64)
    target.copy_(a * 2)
    target.sum().backward()
    assert a.grad.tolist() == [6.0, 6.0]


def test_leaves_cannot_be_changed_in_place(a):
    for change in CHANGES.values():
        if change in (CHANGES["by hand"], CHANGES["detached"]):
            continue
        with pytest.raises(RuntimeError, match="leaf tensor that requires grad"):
            change(a)
    assert a.tolist() == [1.0, 2.0]
    with mr.no_grad():
        a.add_(1)
        a[0] = 10
    assert a.tolist() == [10.0, 3.0] and a.requires_grad and a.is_leaf


def test_what_cannot_be_recorded_through_a_view(a):
    with mr.no_grad():
        b = (a * 1).requires_grad_()
        unrecorded = b[:1]
    with pytest.raises(RuntimeError, match="leaf"):
        unrecorded.add_(1)
    c = a * 1
    with mr.no_grad():
        unrecorded = c[:1]
    with pytest.raises(RuntimeError, match="while nothing was recorded"):
        unrecorded.add_(1)
    with pytest.raises(RuntimeError, match="detached"):
        mr.zeros(2, dtype=mr.float64).detach().add_(a)
    with pytest.raises(RuntimeError, match="share one place"):
        mr.zeros(1).expand(3).add_(1)


def test_in_place_keeps_shape_and_type(a):
    x = mr.ones(2, dtype=mr.float32)
    with pytest.raises(RuntimeError, match="the result has shape"):
        x.add_(mr.ones(3, 2))
    integers = mr.ones(2, dtype=mr.int64)
    with pytest.raises(RuntimeError, match="result type float32 can't be cast to int64"):
        integers.add_(0.5)
    x.add_(mr.ones(2, dtype=mr.float64))
    assert x.dtype == mr.float32 and x.tolist() == [2.0, 2.0]
    integers += 2
    assert integers.dtype == mr.int64 and integers.tolist() == [3, 3]


def test_the_version_counts(a):
    x = mr.zeros(2)
    view = x[:1]
    assert x.version is view.version is x.detach().version
    assert x.clone().version is not x.version
    x.add_(1)
    view.fill_(3)
    assert x.version.value == 2


def test_data_goes_unnoticed(a):
    """Documented: changes through `.data` are not noticed, as in PyTorch."""
    b = mr.ones(2, dtype=mr.float64)
    c = (a * b).sum()
    b.data.mul_(2)
    c.backward()
    assert a.grad.tolist() == [2.0, 2.0]
