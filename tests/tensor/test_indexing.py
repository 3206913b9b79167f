"""Reading and writing through every kind of index: values and gradients as in torch, and the same errors."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies

import minires as mr

torch = pytest.importorskip("torch")
from tests.torch_tools import assert_close  # noqa: E402

SHAPE = (3, 4, 5)
LIST, MASK = [2, 0, 0], np.arange(60).reshape(SHAPE) % 7 < 3
ROWS = np.array([True, False, True])

INDEXES = {
    "number": 1,
    "negative number": -1,
    "numpy number": np.int64(2),
    "numbers": (1, -2),
    "all numbers": (2, 3, 4),
    "slice": slice(1, None),
    "negative slice": slice(-2, None),
    "slice with step": slice(None, None, 2),
    "empty slice": slice(2, 1),
    "slice beyond the end": slice(1, 100),
    "two slices": (slice(None), slice(1, 3)),
    "number after slice": (slice(None), 2),
    "ellipsis": ...,
    "ellipsis and number": (..., 1),
    "number, ellipsis, number": (0, ..., 1),
    "new axis": None,
    "new axes": (None, slice(None), None),
    "empty tuple": (),
    "list": LIST,
    "list and slice": (LIST, slice(1, 3)),
    "slice and list": (slice(None), LIST),
    "two lists": (LIST, LIST),
    "number and list": (1, LIST),
    "lists apart": (LIST, slice(None), LIST),
    "list and column": (np.array([[0], [2]]), LIST),
    "array": np.array([[0, 1], [2, 2]]),
    "negative array": np.array([-1, 0, -3]),
    "array of 32 bits": np.array([0, 2], np.int32),
    "empty array": np.array([], np.int64),
    "mask": MASK,
    "mask of nothing": np.zeros(SHAPE, bool),
    "mask of rows": ROWS,
    "mask of rows and number": (ROWS, 1),
    "list of booleans": [True, False, True],
    "mask and list": (slice(None), slice(None), np.array([True, False, True, False, True])),
}


def for_torch(index):
    if isinstance(index, tuple):
        return tuple(for_torch(part) for part in index)
    return torch.from_numpy(index) if isinstance(index, np.ndarray) else index


def as_tensors(index):
    if isinstance(index, tuple):
        return tuple(as_tensors(part) for part in index)
    return mr.from_numpy(index) if isinstance(index, np.ndarray) else index


def both(dtype=np.float64, shape=SHAPE):
    array = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    return mr.tensor(array, requires_grad=True), torch.from_numpy(array.copy()).requires_grad_()


@pytest.mark.parametrize("name", list(INDEXES))
@pytest.mark.parametrize("convert", [lambda index: index, as_tensors], ids=["arrays", "tensors"])
def test_reading(name, convert):
    x, y = both()
    ours, theirs = x[convert(INDEXES[name])], y[for_torch(INDEXES[name])]
    assert_close(ours, theirs)
    cotangent = np.asarray(np.random.default_rng(1).standard_normal(theirs.shape))
    ours.backward(mr.tensor(cotangent))
    theirs.backward(torch.from_numpy(cotangent))
    assert_close(x.grad, y.grad, "gradient")


def names_places_twice(index):
    """Which of several values stays is open then, so that only one value for all of them can be compared."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(part is LIST for part in parts) or index is INDEXES["array"] or index is INDEXES["negative array"]


WRITES = [
    (name, what)
    for name, index in INDEXES.items()
    for what in ("number", "row", "same shape")
    if what != "same shape" or not names_places_twice(index)
]


@pytest.mark.parametrize(("name", "what"), WRITES)
def test_writing(name, what):
    index = INDEXES[name]
    repeated = names_places_twice(index)
    x, y = both()
    shape = y.detach()[for_torch(index)].shape
    value_shape = {"number": (), "row": (1, *shape[-1:]), "same shape": shape}[what]
    if what == "row" and not shape:
        value_shape = (1,)
    value = np.asarray(np.random.default_rng(2).standard_normal(value_shape))
    v, w = mr.tensor(value, requires_grad=True), torch.from_numpy(value.copy()).requires_grad_()
    ours, theirs = x * 2, y * 2
    ours[index] = v * 3
    theirs[for_torch(index)] = w * 3
    assert_close(ours, theirs)
    if what == "row" and repeated:
        return
    cotangent = np.random.default_rng(1).standard_normal(SHAPE)
    ours.backward(mr.tensor(cotangent))
    theirs.backward(torch.from_numpy(cotangent))
    assert_close(x.grad, y.grad, "gradient of the target")
    if not repeated:
        assert_close(v.grad, w.grad, "gradient of the value")


@pytest.mark.parametrize("value", [7, 7.5, True, -1])
def test_writing_numbers(value):
    for dtype in ("float32", "int64"):
        ours, theirs = mr.zeros(3, dtype=getattr(mr, dtype)), torch.zeros(3, dtype=getattr(torch, dtype))
        ours[1], theirs[1] = value, value
        assert_close(ours, theirs)


def test_writing_lists_and_arrays():
    x = mr.zeros(2, 3)
    x[0] = np.array([1.0, 2.0, 3.0])
    x[1, :2] = mr.tensor([4, 5])
    assert x.tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 0.0]] and x.dtype == mr.float32


part = strategies.one_of(
    strategies.integers(-3, 2),
    strategies.slices(3).filter(lambda s: s.step is None or s.step > 0),
    strategies.just(None),
    strategies.lists(strategies.integers(-3, 2), min_size=1, max_size=1),
    strategies.lists(strategies.booleans(), min_size=3, max_size=3).filter(lambda flags: sum(flags) == 1),
)


@given(parts=strategies.lists(part, max_size=4), ellipsis=strategies.integers(0, 8), seed=strategies.integers(0, 99))
@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_drawn_indexes(parts, ellipsis, seed):
    """Any mixture that torch takes gives the same values and gradients; what torch refuses raises here, too."""
    if ellipsis < len(parts):
        parts[ellipsis:ellipsis] = [...]
    index = tuple(parts)
    x, y = both(shape=(3, 3, 3))
    try:
        theirs = y[index]
    except (IndexError, TypeError):
        with pytest.raises((IndexError, TypeError)):
            x[index]
        return
    ours = x[index]
    assert_close(ours, theirs)
    cotangent = np.asarray(np.random.default_rng(seed).standard_normal(theirs.shape))
    ours.backward(mr.tensor(cotangent))
    theirs.backward(torch.from_numpy(cotangent))
    assert_close(x.grad, y.grad)


def test_views_and_copies():
    x = mr.zeros(3, 4)
    for index in (0, slice(1, 3), (..., 1), None, (slice(None), slice(None, None, 2))):
        assert np.shares_memory(x[index].array, x.array)
    for index in ([0, 1], np.array([True, False, True]), mr.tensor([0, 2])):
        assert not np.shares_memory(x[index].array, x.array)
    row = x[1]
    row += 5
    assert x[1].tolist() == [5.0] * 4


@pytest.mark.parametrize(
    ("index", "error"),
    [
        (3, IndexError),
        (-4, IndexError),
        ((0, 4), IndexError),
        ((0, 0, 0, 0), IndexError),
        ([0, 3], IndexError),
        (np.array([-4]), IndexError),
        (np.zeros((2, 4), bool), IndexError),
        (np.array([0.5]), IndexError),
        (slice(None, None, -1), ValueError),
        (slice(None, None, 0), ValueError),
        (1.5, IndexError),
        (([0, 1], [0, 1, 2]), IndexError),
    ],
)
def test_wrong_indexes(index, error):
    x, y = both()
    with pytest.raises(error):
        x[index]
    with pytest.raises((error, TypeError)):
        y[for_torch(index)]
    with pytest.raises((error, RuntimeError)):
        (x * 1)[index] = 0


def test_names_and_two_ellipses_are_no_indexes():
    for index in ((..., 0, ...), (..., [0], ...)):
        with pytest.raises(IndexError, match="single ellipsis"):
            mr.ones(3, 3, 3)[index]
    with pytest.raises(IndexError, match="cannot index a tensor with str"):
        mr.ones(3)["a"]


def test_values_that_do_not_fit():
    x = mr.zeros(3, 4)
    with pytest.raises(RuntimeError, match="index assignment"):
        x[0] = mr.ones(3)
    with pytest.raises((TypeError, ValueError)):
        x[0] = "text"
    assert x.sum().item() == 0


def test_iteration_and_length():
    x, y = both()
    assert len(x) == len(y) == 3
    rows = list(x)
    assert [row.tolist() for row in rows] == [row.tolist() for row in y]
    (rows[0] * rows[2]).sum().backward()
    assert x.grad[1].abs().sum().item() == 0 and x.grad[0].tolist() == x[2].tolist()
    first, *_ = mr.tensor([1, 2, 3])
    assert first.item() == 1
    for compute in (len, iter):
        with pytest.raises(TypeError, match="without axes"):
            compute(mr.tensor(1.0))


def test_membership():
    x = mr.tensor([1.0, 2.0])
    assert 2 in x and 3 not in x and mr.tensor(1.0) in x
