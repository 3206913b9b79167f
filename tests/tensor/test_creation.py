"""Making tensors, as in torch: values, types, errors; random ones by their law and by their seed."""

import numpy as np
import pytest

import minires as mr

torch = pytest.importorskip("torch")
from tests.torch_tools import assert_close  # noqa: E402

nan = float("nan")

CALLS = [
    ("tensor", (3,), {}),
    ("tensor", (2.5,), {}),
    ("tensor", (True,), {}),
    ("tensor", ([1, 2, 3],), {}),
    ("tensor", ([1, 2.5],), {}),
    ("tensor", ([[1.0], [2.0]],), {}),
    ("tensor", ([True, False],), {}),
    ("tensor", ([],), {}),
    ("tensor", ([[], []],), {}),
    ("tensor", ((1, 2),), {}),
    ("tensor", ([nan, float("inf")],), {}),
    ("tensor", (np.arange(3),), {}),
    ("tensor", (np.float64(2.5),), {}),
    ("tensor", (np.ones((2, 2), np.float16),), {}),
    ("tensor", ([1, 2],), {"dtype": "float64"}),
    ("tensor", ([1.9, -1.9],), {"dtype": "int32"}),
    ("as_tensor", ([1.0, 2.0],), {}),
    ("as_tensor", (np.arange(3.0),), {}),
    ("zeros", (2, 3), {}),
    ("zeros", ((2, 3),), {"dtype": "int64"}),
    ("zeros", ((),), {}),
    ("zeros", (0, 3), {}),
    ("ones", (2,), {}),
    ("ones", ([2, 1],), {"dtype": "float64"}),
    ("full", ((2, 2), 7), {}),
    ("full", ((2,), 0.5), {}),
    ("full", ((2,), True), {}),
    ("full", ((), 7), {"dtype": "float32"}),
    ("eye", (3,), {}),
    ("eye", (2, 3), {"dtype": "float64"}),
    ("arange", (5,), {}),
    ("arange", (2, 5), {}),
    ("arange", (5, 2, -1), {}),
    ("arange", (0, 1, 0.25), {}),
    ("arange", (1.0, 2.05, 0.1), {}),
    ("arange", (3.0,), {}),
    ("arange", (0,), {}),
    ("arange", (4,), {"dtype": "float64"}),
    ("linspace", (0, 1, 5), {}),
    ("linspace", (1, -1, 4), {"dtype": "float64"}),
    ("linspace", (2, 3, 1), {}),
]


def with_types(library, settings):
    return {key: getattr(library, value) if key == "dtype" else value for key, value in settings.items()}


@pytest.mark.parametrize(("name", "arguments", "settings"), CALLS)
def test_as_torch(name, arguments, settings):
    ours = getattr(mr, name)(*arguments, **with_types(mr, settings))
    theirs = getattr(torch, name)(*arguments, **with_types(torch, settings))
    found, expected = ours.array, theirs.numpy()
    assert found.shape == expected.shape and found.dtype == expected.dtype
    assert np.allclose(found, expected, equal_nan=True)
    assert not ours.requires_grad and ours.is_leaf and ours.is_contiguous()


@pytest.mark.parametrize("name", ["zeros_like", "ones_like", "rand_like", "randn_like", "empty_like"])
def test_like(name):
    x = mr.tensor(np.ones((2, 3, 4, 5), np.float64).transpose(0, 3, 1, 2))
    y = getattr(mr, name)(x)
    assert y.shape == x.shape and y.dtype == x.dtype and not np.shares_memory(y.array, x.array)
    if name in ("zeros_like", "ones_like", "empty_like"):
        assert y.array.strides == x.array.strides
    assert getattr(mr, name)(x, dtype=mr.float32, requires_grad=True).dtype == mr.float32
    assert mr.full_like(x, 7)[0, 0, 0, 0].item() == 7.0


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: mr.tensor([[1, 2], [3]]), ValueError, "different lengths|inhomogeneous"),
        (lambda: mr.tensor("text"), (TypeError, ValueError), "real numbers|not a number"),
        (lambda: mr.tensor([object()]), (TypeError, ValueError), "real numbers|not a number"),
        (lambda: mr.tensor([1 + 2j]), TypeError, "complex"),
        (lambda: mr.tensor([1, 2], requires_grad=True), RuntimeError, "floating point"),
        (lambda: mr.zeros(2, -1), (RuntimeError, ValueError), "negative"),
        (lambda: mr.arange(0, 5, 0), RuntimeError, "arange"),
        (lambda: mr.arange(5, 0), RuntimeError, "arange"),
        (lambda: mr.randint(5, 5, (2,)), RuntimeError, "low < high"),
        (lambda: mr.from_numpy([1, 2]), TypeError, "expected np.ndarray"),
        (lambda: mr.ones(2, device="tpu"), ValueError, "tpu"),
        (lambda: mr.ones(2, device="cuda"), RuntimeError, "CUDA needs"),
        (lambda: mr.ones(2, dtype="float7"), TypeError, "float7"),
    ],
)
def test_wrong_data(build, error, words):
    with pytest.raises(error, match=words):
        build()


def test_tensor_copies_and_from_numpy_shares():
    array = np.zeros(3)
    copied, shared = mr.tensor(array), mr.from_numpy(array)
    array[0] = 7
    shared[1] = 8
    assert copied.tolist() == [0, 0, 0] and shared.tolist() == [7, 8, 0] and array.tolist() == [7, 8, 0]
    assert mr.as_tensor(shared) is shared and np.shares_memory(mr.as_tensor(array).array, array)
    assert mr.as_tensor(shared, dtype=mr.float32).dtype == mr.float32
    assert np.shares_memory(shared.numpy(), array) and np.shares_memory(np.asarray(shared), array)
    leaf = mr.tensor(mr.ones(2), requires_grad=True)
    assert leaf.requires_grad and leaf.is_leaf


def test_tensors_inside_lists():
    assert mr.tensor([mr.tensor(1.5), mr.tensor(2.5)]).tolist() == [1.5, 2.5]
    assert mr.tensor([[mr.tensor(1), 2], [3, mr.tensor(4)]]).tolist() == [[1, 2], [3, 4]]


# ------------------------------------------------------------------------------------------------------------ random


def test_random_laws():
    mr.manual_seed(0)
    uniform, normal, whole = mr.rand(100_000), mr.randn(100_000), mr.randint(2, 5, (100_000,))
    assert uniform.dtype == normal.dtype == mr.float32 and whole.dtype == mr.int64
    assert uniform.array.min() >= 0 and uniform.array.max() < 1 and abs(uniform.mean().item() - 0.5) < 0.01
    assert abs(uniform.var().item() - 1 / 12) < 0.01
    assert abs(normal.mean().item()) < 0.02 and abs(normal.std().item() - 1) < 0.02
    assert set(whole.tolist()) == {2, 3, 4}
    order = mr.randperm(1000)
    assert sorted(order.tolist()) == list(range(1000)) and order.tolist() != list(range(1000))
    assert mr.randint(3, (2, 2)).shape == (2, 2) and mr.rand((2, 3)).shape == mr.rand(2, 3).shape == (2, 3)


@pytest.mark.parametrize(
    "draw",
    [
        lambda **more: mr.rand(3, **more),
        lambda **more: mr.randn(3, dtype=mr.float64, **more),
        lambda **more: mr.randint(10**9, (3,), **more),
        lambda **more: mr.randperm(50, **more),
        lambda **more: mr.zeros(3).normal_(**more),
        lambda **more: mr.zeros(3).uniform_(-1, 1, **more),
        lambda **more: mr.zeros(50).bernoulli_(0.5, **more),
    ],
)
def test_seeds(draw):
    mr.manual_seed(3)
    first, second = draw().tolist(), draw().tolist()
    mr.manual_seed(3)
    assert draw().tolist() == first != second
    assert draw().tolist() == second
    mr.manual_seed(4)
    assert draw().tolist() != first
    generator = mr.Generator(3)
    mine = draw(generator=generator).tolist()
    assert draw(generator=mr.Generator(3)).tolist() == mine != draw(generator=generator).tolist()


def test_fillers():
    x = mr.zeros(10_000, dtype=mr.float64)
    assert abs(x.normal_(3, 2).mean().item() - 3) < 0.1 and abs(x.std().item() - 2) < 0.1
    x.uniform_(2, 4)
    assert x.array.min() >= 2 and x.array.max() < 4
    assert set(x.bernoulli_(0.3).tolist()) == {0.0, 1.0} and abs(x.mean().item() - 0.3) < 0.03
    assert x.fill_(2.5).tolist()[:2] == [2.5, 2.5] and x.zero_().sum().item() == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_values_as_numpy(dtype):
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(dtype)
    assert_close(mr.tensor(x), torch.from_numpy(x))
