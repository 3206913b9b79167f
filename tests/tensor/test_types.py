"""Type promotion: all pairs of types, with and without axes, and with Python numbers, as in torch."""

import functools
import operator
import warnings

import numpy as np
import pytest

import minires as mr

torch = pytest.importorskip("torch")

TYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
NUMBERS = (True, 2, 2.5)
OPERATORS = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "mod": operator.mod,
    "floordiv": operator.floordiv,
    "div": operator.truediv,
    "lt": operator.lt,
    "eq": operator.eq,
}
FUNCTIONS = ("maximum", "minimum")


def name_of(dtype):
    return str(dtype).removeprefix("torch.")


def operand(library, kind, axes):
    """1, 2 as a tensor of this type; or, for 0 axes, 2."""
    values = [1, 2] if axes else 2
    return library.tensor(values, dtype=getattr(library, kind))


def outcome(compute, *operands):
    """Name of the result's type and its values, or the kind of error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = compute(*operands)
    except (RuntimeError, TypeError, ValueError, OverflowError, NotImplementedError) as error:
        return type(error).__name__
    return name_of(result.dtype), np.asarray(result.tolist(), dtype=np.float64).tolist()


@pytest.mark.parametrize("name", [*OPERATORS, *FUNCTIONS])
def test_two_tensors(name):
    wrong = []
    for first in TYPES:
        for second in TYPES:
            for axes in ((1, 1), (0, 1), (1, 0), (0, 0)):
                ours, theirs = (
                    outcome(OPERATORS.get(name) or getattr(library, name), operand(library, first, axes[0]),
                            operand(library, second, axes[1]))
                    for library in (mr, torch)
                )  # fmt: skip
                if not agree(ours, theirs):
                    wrong.append((first, second, axes, ours, theirs))
    assert wrong == []


@pytest.mark.parametrize("name", list(OPERATORS))
@pytest.mark.parametrize("reflected", [False, True])
def test_a_tensor_and_a_number(name, reflected):
    wrong = []
    for kind in TYPES:
        for number in NUMBERS:
            for axes in (0, 1):
                pair = [[operand(library, kind, axes), number][:: -1 if reflected else 1] for library in (mr, torch)]
                ours, theirs = (outcome(OPERATORS[name], *operands) for operands in pair)
                if not agree(ours, theirs):
                    wrong.append((kind, number, axes, ours, theirs))
    assert wrong == []


def agree(ours, theirs):
    """Where torch has not implemented a type, we may compute or refuse."""
    if theirs == "NotImplementedError":
        return ours == "RuntimeError" or not isinstance(ours, str)
    if isinstance(ours, str) or isinstance(theirs, str):
        return ours == theirs
    return ours[0] == theirs[0] and np.allclose(ours[1], theirs[1], rtol=1e-3 if ours[0] == "float16" else 1e-6)


@pytest.mark.parametrize("kind", TYPES)
def test_functions_of_one_tensor(kind):
    names = ("exp", "sqrt", "log", "sigmoid", "tanh", "sum", "cumsum", "mean", "abs", "square", "reciprocal", "floor",
             "sign", "argmax", "isnan", "softmax", "std", "logsumexp", "relu", "neg", "round")  # fmt: skip
    wrong = []
    for name in names:
        if kind == "bool" and name in ("argmax", "relu"):
            continue  # torch refuses what has an answer
        settings = {"dim": 0} if name in ("cumsum", "softmax", "logsumexp") else {}
        ours, theirs = (
            outcome(functools.partial(getattr(library, name), **settings), operand(library, kind, 1))
            for library in (mr, torch)
        )
        if not agree(ours, theirs):
            wrong.append((name, ours, theirs))
    assert wrong == []


@pytest.mark.parametrize("kind", TYPES)
def test_conversions(kind):
    values = [-1.5, 0.0, 2.7] if kind not in ("uint8", "bool") else [0.0, 2.7]
    ours, theirs = mr.tensor(values).to(getattr(mr, kind)), torch.tensor(values).to(getattr(torch, kind))
    assert name_of(ours.dtype) == name_of(theirs.dtype) and ours.tolist() == theirs.tolist()
    for method in ("float", "double", "half", "long", "int", "bool"):
        assert name_of(getattr(ours, method)().dtype) == name_of(getattr(theirs, method)().dtype)


def test_to():
    x = mr.ones(2)
    assert x.to(mr.float32) is x and x.to("float64").dtype == mr.float64 and x.to(np.float16).dtype == mr.float16
    assert x.to("cpu") is x and x.to(mr.device("cpu")) is x and x.cpu() is x
    assert x.to("cpu", mr.float64).dtype == mr.float64 and x.to(mr.ones(1, dtype=mr.int64)).dtype == mr.int64
    copied = x.to(mr.float32, copy=True)
    assert copied is not x and not np.shares_memory(copied.array, x.array)
    assert x.type() == "minires.float32" and x.type(mr.int32).dtype == mr.int32
    for target in ("cuda", "cuda:1"):
        with pytest.raises(RuntimeError, match=r"CUDA needs CuPy: pip install|CUDA needs an NVIDIA GPU"):
            x.to(target)
    with pytest.raises(TypeError):
        x.to("tpu")


def test_gradients_pass_through_conversions():
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    (x.double() * mr.tensor([3.0, 4.0], dtype=mr.float64)).float().sum().backward()
    assert x.grad.dtype == mr.float32 and x.grad.tolist() == [3.0, 4.0]


def test_mixed_operands_get_gradients_of_their_own_type():
    x, y = mr.tensor([1.0, 2.0], requires_grad=True), mr.tensor([3.0, 4.0], dtype=mr.float64, requires_grad=True)
    (x * y).sum().backward()
    assert x.grad.dtype == mr.float32 and y.grad.dtype == mr.float64
    assert x.grad.tolist() == [3.0, 4.0] and y.grad.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("other", ["text", None, [1, 2], object()])
def test_operands_that_are_no_numbers(other):
    for compute in (operator.add, operator.mul, operator.truediv, operator.lt):
        with pytest.raises(TypeError, match="expected a Tensor, an array or a number, got"):
            compute(mr.ones(2), other)
    assert (mr.ones(2) == other) is False and (mr.ones(2) != other) is True, "compared, it is simply another thing"


def test_numpy_operands():
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    for result in (x * np.array([3.0, 4.0], np.float32), np.array([3.0, 4.0], np.float32) * x):
        assert isinstance(result, mr.Tensor) and result.requires_grad and result.tolist() == [3.0, 8.0]
    assert isinstance(np.float64(2.0) * x, mr.Tensor) and (np.float64(2.0) * x).tolist() == [2.0, 4.0]
    assert isinstance(x - np.float32(1.0), mr.Tensor)


VIEWED = {
    "whole": lambda x: x,
    "transposed": lambda x: x.T,
    "no axes": lambda x: x[0, 0],
    "odd length": lambda x: x[:, :3],
    "odd offset": lambda x: x[:, 1:3],
    "even part": lambda x: x[:, 2:4],
    "odd stride": lambda x: x[:, :5].contiguous()[:, :4],
    "empty": lambda x: x[:0],
}


@pytest.mark.parametrize("part", VIEWED)
@pytest.mark.parametrize("name", ["uint8", "float16", "int32", "float32", "float64", "int64"])
def test_view_reads_the_bytes_as_another_type(part, name):
    values = np.arange(1, 25, dtype=np.float32).reshape(4, 6)
    theirs, ours = VIEWED[part](torch.tensor(values)), VIEWED[part](mr.tensor(values))
    try:
        wanted = theirs.view(getattr(torch, name))
    except RuntimeError as error:
        message = str(error).split(" to view ")[0]
        with pytest.raises(RuntimeError) as raised:
            ours.view(getattr(mr, name))
        assert str(raised.value).startswith(message)
    else:
        got = ours.view(getattr(mr, name))
        assert got.dtype.name == name and got.array.tobytes() == wanted.numpy().tobytes()
        assert got.shape == tuple(wanted.shape) and got.data_ptr() == ours.data_ptr()


def test_view_as_another_type_shares_memory_and_has_no_gradient():
    x = mr.ones(2, requires_grad=True)
    assert not x.view(mr.int32).requires_grad and x.view(dtype=mr.float32).requires_grad
    plain = mr.ones(2)
    plain.view(mr.int32)[0] = 0
    assert plain.tolist() == [0.0, 1.0] and plain._version == 1
    with pytest.raises(TypeError, match="a shape or a dtype"):
        plain.view(2, dtype=mr.int32)
    with pytest.raises(TypeError, match="real numbers"):
        plain.view(str)
