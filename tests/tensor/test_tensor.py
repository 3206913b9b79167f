"""What a tensor shows and hands out: text, numbers, copies, comparison, and what it refuses."""

import copy
import pickle

import numpy as np
import pytest

import minires as mr
from minires.tensor import Tensor

torch = pytest.importorskip("torch")

nan, inf = float("nan"), float("inf")


# -------------------------------------------------------------------------------------------------------------- text

PRINTED = [
    1,
    2.5,
    True,
    [1, 2, 3],
    [1.0, 2.0],
    [0.5, 2.25],
    [True, False],
    [[1, 2], [3, 4]],
    [[1.5, -2.0], [0.0, 4.25]],
    [],
    [nan, inf, -inf],
    [0.1, 1 / 3],
    [1e-10, 1.0],
    [12345.678, 0.5],
    [[0.001, 100.5], [nan, 2.0]],
]


@pytest.mark.parametrize("values", PRINTED)
def test_repr_as_torch(values):
    def squeezed(text):
        return "".join(text.split()).replace("torch.", "minires.")

    ours, theirs = repr(mr.tensor(values)), repr(torch.tensor(values))
    assert squeezed(ours) == squeezed(theirs)


def test_repr_says_type_and_graph():
    assert repr(mr.ones(2, dtype=mr.float64)) == "tensor([1., 1.], dtype=minires.float64)"
    assert repr(mr.ones(2, dtype=mr.int32)) == "tensor([1, 1], dtype=minires.int32)"
    x = mr.ones(2, requires_grad=True)
    assert repr(x) == "tensor([1., 1.], requires_grad=True)" == str(x)
    assert repr(x * 2) == "tensor([2., 2.], grad_fn=<MulBackward>)"
    assert repr((x * 2).sum()) == "tensor(4., grad_fn=<SumBackward>)"
    assert "size=(0, 3)" in repr(mr.zeros(0, 3))


def test_repr_of_large_tensors_is_short():
    assert len(repr(mr.zeros(1000, 1000))) < 500


def test_format():
    assert f"{mr.tensor(3.14159):.2f}" == "3.14" and f"{mr.tensor(7):03d}" == "007"
    assert f"{mr.tensor([1.0])}" == "tensor([1.])" and f"{mr.tensor(1.5)}" == "1.5"
    assert f"{mr.tensor(2.5, requires_grad=True):.1f}" == "2.5"


# ----------------------------------------------------------------------------------------------------------- numbers


def test_item_and_tolist():
    assert mr.tensor([[2.5]]).item() == 2.5 and type(mr.tensor(2.5).item()) is float
    assert type(mr.tensor(3).item()) is int and mr.tensor(True).item() is True
    assert mr.tensor([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]] and mr.tensor(1.5).tolist() == 1.5
    assert mr.tensor(2.5, requires_grad=True).item() == 2.5
    for tensor in (mr.ones(2), mr.zeros(0)):
        with pytest.raises(RuntimeError, match="cannot be converted to one number"):
            tensor.item()


def test_python_numbers():
    assert float(mr.tensor(2.5)) == 2.5 and int(mr.tensor(2.7)) == 2 and bool(mr.tensor([[0.0]])) is False
    assert [10, 20, 30][mr.tensor(1)] == 20 and list(range(mr.tensor(3))) == [0, 1, 2]
    with pytest.raises(TypeError, match="index"):
        [1, 2][mr.tensor(1.0)]
    for compute in (float, int, bool):
        with pytest.raises(RuntimeError, match="2 elements"):
            compute(mr.ones(2))
    with pytest.raises(RuntimeError, match="0 elements"):
        bool(mr.zeros(0))


def test_truth():
    assert mr.tensor(1) and not mr.tensor(0.0) and mr.tensor([True])
    with pytest.raises(RuntimeError, match="ambiguous"):
        if mr.ones(2) == mr.ones(2):
            pass


def test_comparison():
    x = mr.tensor([1.0, 2.0, 3.0])
    assert (x == 2).tolist() == (x == np.array([0.0, 2.0, 0.0])).tolist() == [False, True, False]
    assert (x != mr.tensor([1.0, 0.0, 3.0])).tolist() == [False, True, False]
    assert (x < 2).tolist() == [True, False, False] and (2 <= x).tolist() == [False, True, True]  # noqa: SIM300
    assert ((x > 1) & (x < 3)).tolist() == [False, True, False] and (~(x > 1)).tolist() == [True, False, False]
    assert ((x == 1) | (x == 3)).tolist() == [True, False, True]
    assert x.eq(2).tolist() == [False, True, False] and x.ge(2).sum().item() == 2
    assert not (x == x).requires_grad


def test_tensors_are_dictionary_keys_by_identity():
    x, y = mr.ones(2), mr.ones(2)
    table = {x: 1, y: 2}
    assert table[x] == 1 and table[y] == 2 and len({x, y, x}) == 2


# ------------------------------------------------------------------------------------------------------------- NumPy


def test_numpy():
    x = mr.tensor([1.0, 2.0])
    array = x.numpy()
    array[0] = 5
    assert x[0].item() == 5 and np.asarray(x, np.float64).dtype == np.float64
    assert np.shares_memory(np.asarray(x), x.array) and not np.shares_memory(np.array(x), x.array)
    assert np.array_equal(np.stack([x, x]), [[5, 2], [5, 2]])
    assert np.allclose(x, [5, 2])


def test_memory_orders():
    x = mr.tensor(np.zeros((2, 3, 4, 5)).transpose(0, 3, 1, 2))
    assert not x.is_contiguous() and x.contiguous().is_contiguous() and x.shape == (2, 5, 3, 4)
    assert x.clone().array.strides == x.array.strides and mr.ones(2).contiguous() is not None
    y = mr.ones(2)
    assert y.contiguous() is y and y.clone() is not y


# ------------------------------------------------------------------------------------------------------------ copies


@pytest.mark.parametrize("make_copy", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("kind", [Tensor, mr.nn.Parameter])
def test_copies_of_leaves(make_copy, kind):
    x = kind(np.arange(6.0).reshape(2, 3).T)
    x.requires_grad_()
    (x * x).sum().backward()
    y = make_copy(x)
    assert type(y) is kind and y.requires_grad and y.is_leaf and y.tolist() == x.tolist() and y.dtype == x.dtype
    assert not np.shares_memory(y.array, x.array) and y.version is not x.version
    if make_copy is copy.deepcopy:
        assert y.grad.tolist() == x.grad.tolist() and not np.shares_memory(y.grad.array, x.grad.array)
    y.detach().add_(1)
    assert y.tolist() != x.tolist()


def test_deepcopy_keeps_what_was_one_thing_one_thing():
    x = mr.ones(2)
    first, second = copy.deepcopy([x, x])
    assert first is second and first is not x


def test_results_of_operations_cannot_be_copied():
    y = mr.ones(2, requires_grad=True) * 2
    for make_copy in (copy.deepcopy, pickle.dumps):
        with pytest.raises(RuntimeError, match="only leaf tensors can be"):
            make_copy(y)
    assert copy.deepcopy(y.detach()).tolist() == [2.0, 2.0]


# ------------------------------------------------------------------------------------------------------------- facts


def test_facts():
    x = mr.zeros(2, 3, dtype=mr.float64)
    assert x.shape == x.size() == (2, 3) and x.size(1) == x.size(-1) == 3
    assert x.dim() == x.ndim == 2 and x.numel() == 6 and x.element_size() == 8
    assert x.is_floating_point() and not mr.ones(1, dtype=mr.int64).is_floating_point()
    assert x.device == "cpu" and str(x.device) == "cpu" and x.device.type == "cpu"
    assert x.is_leaf and x.grad is None and x.grad_fn is None
    with pytest.raises(IndexError):
        x.size(2)


def test_only_numbers_are_held():
    for array in (np.array(["a"]), np.array([None]), np.array([1j]), np.array(["2020-01-01"], "datetime64[D]")):
        with pytest.raises(TypeError, match="holds real numbers, integers or booleans"):
            Tensor(array)


def test_shapes_of_methods_as_torch():
    calls = {
        "view": lambda x: x.view(6),
        "view -1": lambda x: x.view(-1, 2),
        "view tuple": lambda x: x.view((3, 2)),
        "reshape": lambda x: x.reshape(3, 2),
        "view_as": lambda x: x.view_as(x.sum(0, keepdim=True).expand(2, 3)),
        "expand_as": lambda x: x[:1].expand_as(x),
        "T": lambda x: x.T,
        "mT": lambda x: x.mT,
        "permute": lambda x: x.permute(1, 0),
        "unsqueeze": lambda x: x.unsqueeze(-1),
        "squeeze": lambda x: x[:1].squeeze(0),
        "flatten": lambda x: x.flatten(),
        "chunk": lambda x: x.chunk(2, 1)[1],
        "split": lambda x: x.split([1, 2], dim=1)[1],
        "flip": lambda x: x.flip(0, 1),
        "sum": lambda x: x.sum(dim=(0, 1)),
        "max": lambda x: x.max(dim=1).values,
        "topk": lambda x: x.topk(2)[0],
        "argmax": lambda x: x.argmax(dim=1),
        "std": lambda x: x.std(1, keepdim=True),
        "norm": lambda x: x.norm(dim=1),
        "where": lambda x: x.where(x > 1, 0.0),
        "clamp": lambda x: x.clamp(min=1),
        "pow": lambda x: x.pow(2),
        "all": lambda x: (x > 0).all(),
        "any": lambda x: x.any(1),
        "matmul": lambda x: x @ x.T,
        "mean": lambda x: x.mean(0),
        "argsort": lambda x: x.argsort(descending=True),
        "gather": lambda x: x.softmax(dim=-1),
        "cumsum": lambda x: x.cumsum(dim=1),
        "rsub": lambda x: 5 - x,
        "rdiv": lambda x: 6 / (x + 1),
        "rpow": lambda x: 2**x,
        "mod": lambda x: 7 % (x + 1),
        "floordiv": lambda x: 7 // (x + 1),
    }
    values = [[0.0, 1.0, 2.0], [3.0, 5.0, 4.0]]
    for name, call in calls.items():
        ours, theirs = call(mr.tensor(values)), call(torch.tensor(values))
        assert ours.shape == tuple(theirs.shape), name
        assert np.allclose(ours.tolist(), theirs.tolist()), name
        assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch."), name


def test_a_gradient_is_like_its_tensor():
    x = mr.zeros(2, 3, requires_grad=True)
    x.grad = mr.ones(2, 3)
    (x * 2).sum().backward()
    assert x.grad.tolist() == [[3, 3, 3], [3, 3, 3]]
    for wrong, error in ((mr.ones(3, 2), RuntimeError), (mr.ones(2, 3).double(), RuntimeError), (3.0, TypeError)):
        with pytest.raises(error, match="grad"):
            x.grad = wrong
    x.grad = None
    assert x.grad is None
