"""Memory shared with other libraries, and what a tensor tells about itself: as in torch."""

import numpy as np
import pytest

import minires as mr

torch = pytest.importorskip("torch")


def test_dlpack_shares_memory_both_ways():
    x = mr.arange(6).float().reshape(2, 3)
    for other in (torch.from_dlpack(x), np.from_dlpack(x)):
        other[0, 0] = 7.0
        assert x[0, 0].item() == 7.0
        x[0, 0] = 0.0
        assert other[0, 0] == 0.0
    y = mr.from_dlpack(torch.arange(4, dtype=torch.int16)[::2])
    assert y.dtype == mr.int16 and y.tolist() == [0, 2]
    assert mr.from_dlpack(mr.ones(2)).tolist() == [1.0, 1.0]
    assert x.__dlpack_device__() == (1, 0)


def test_dlpack_refuses_what_requires_a_gradient():
    for library in (mr, torch):
        with pytest.raises(BufferError, match="require gradient"):
            library.ones(2, requires_grad=True).__dlpack__()


def test_numpy_takes_tensors():
    x = mr.tensor([1.0, 2.0])
    assert np.asarray(x) is x.array or np.shares_memory(np.asarray(x), x.array)
    assert np.array(x, np.float64).dtype == np.float64 and np.concatenate([x, x]).tolist() == [1, 2, 1, 2]
    with pytest.raises(RuntimeError, match="requires grad"):
        np.asarray(mr.ones(1, requires_grad=True))


FACTS = {
    "stride": lambda lib, x: (x.stride(), x.t().stride(), x.stride(0)),
    "bytes": lambda lib, x: (x.nbytes, x.itemsize, x.element_size()),
    "is": lambda lib, x: (lib.is_tensor(x), lib.is_tensor(1), lib.is_floating_point(x), x.is_cuda, x.is_inference()),
    "numel": lambda lib, x: (lib.numel(x), x.numel()),
    "conversions": lambda lib, x: [str(y.dtype).split(".")[-1] for y in (x.char(), x.byte(), x.short(), x.long())],
    "type_as": lambda lib, x: str(x.type_as(x.int()).dtype).split(".")[-1],
    "result_type": lambda lib, x: str(lib.result_type(x.int(), 1.5)).split(".")[-1],
    "new": lambda lib, x: [
        x.double().new_zeros(2).tolist(),
        x.new_full((2,), 3).tolist(),
        x.new_tensor([1, 2]).tolist(),
    ],
    "logspace": lambda lib, x: lib.logspace(0, 3, 4).tolist(),
    "shapes": lambda lib, x: (x.view_as(lib.zeros(3, 2)).tolist(), x.reshape_as(lib.zeros(6)).tolist()),
    "version": lambda lib, x: (x._version, x.add_(1)._version, x.t()._version),
    "constants": lambda lib, x: (
        lib.pi,
        lib.e,
        lib.inf,
        lib.newaxis,
        lib.finfo(lib.float32).max,
        lib.iinfo(lib.int8).max,
    ),
}


@pytest.mark.parametrize("name", list(FACTS))
def test_facts(name):
    ours, theirs = (FACTS[name](lib, lib.arange(6).float().reshape(2, 3)) for lib in (mr, torch))
    assert ours == theirs


def test_retain_and_detach_in_place():
    x = mr.ones(2, requires_grad=True)
    y = x * 2
    assert not y.retains_grad and not x.retains_grad and y.output_nr == 0
    y.retain_grad()
    assert y.retains_grad
    y.detach_()
    assert y.is_leaf and not y.requires_grad and y.tolist() == [2.0, 2.0]
    with pytest.raises(RuntimeError, match="view"):
        (x * 2)[:1].detach_()


def test_draws_follow_the_law_and_the_seed():
    mr.manual_seed(1)
    p = mr.full((20_000,), 0.3)
    ones = mr.bernoulli(p)
    assert set(ones.unique().tolist()) == {0.0, 1.0} and abs(ones.mean().item() - 0.3) < 0.02
    draws = mr.normal(mr.tensor([0.0, 10.0]).expand(10_000, 2), 2.0)
    assert np.allclose(draws.mean(0).tolist(), [0, 10], atol=0.1) and abs(draws.std().item() - 29**0.5) < 0.1
    assert mr.normal(0.0, 1.0, (2, 3)).shape == (2, 3)
    weights = mr.tensor([[0.0, 1.0, 3.0], [1.0, 0.0, 0.0]])
    picked = mr.multinomial(weights, 4000, replacement=True)
    assert (picked[1] == 0).all() and abs((picked[0] == 2).float().mean().item() - 0.75) < 0.05
    assert sorted(mr.multinomial(mr.ones(5), 5).tolist()) == [0, 1, 2, 3, 4]
    assert mr.randint_like(p, 3).unique().tolist() == [0.0, 1.0, 2.0]
    assert mr.empty(1000).random_(2, 4).unique().tolist() == [2.0, 3.0]
    assert abs(mr.empty(20_000).exponential_(2.0).mean().item() - 0.5) < 0.02
    mr.manual_seed(1)
    assert (mr.bernoulli(p) == ones).all()


@pytest.mark.parametrize("compute", [
    lambda lib: lib.bernoulli(lib.tensor([1.5])), lambda lib: lib.normal(lib.zeros(2), -lib.ones(2)),
    lambda lib: lib.multinomial(lib.tensor([0.0, 1.0]), 3), lambda lib: lib.multinomial(lib.tensor([-1.0, 1.0]), 1),
    lambda lib: lib.empty(2).random_(3, 3),
])  # fmt: skip
def test_impossible_draws(compute):
    for library in (mr, torch):
        with pytest.raises(RuntimeError):
            compute(library)


def test_fill_diagonal():
    for library in (mr, torch):
        assert library.zeros(2, 3).fill_diagonal_(2.0).tolist() == [[2, 0, 0], [0, 2, 0]]


IN_PLACE = """
    square abs sign floor ceil round trunc frac exp exp2 expm1 log log1p log2 log10 sqrt rsqrt logit erf erfc sin cos
    tan asin atan sinh cosh relu sigmoid tanh neg reciprocal nan_to_num tril triu logical_not
""".split()  # noqa: SIM905


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_as_in_torch(name):
    array = np.array([[0.25, 0.5], [0.75, 0.3]], np.float32)
    ours, theirs = mr.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
    y, z = ours * 1, theirs * 1
    changed = getattr(y, f"{name}_")()
    assert changed is y
    getattr(z, f"{name}_")()
    assert np.allclose(y.tolist(), z.tolist(), rtol=1e-5, atol=1e-7)
    if name != "logical_not":
        y.sum().backward()
        z.sum().backward()
        assert np.allclose(ours.grad.tolist(), theirs.grad.tolist(), rtol=1e-5, atol=1e-6)


OPERATORS = {
    "//=": lambda x: x.__ifloordiv__(2), "%=": lambda x: x.__imod__(2), "**=": lambda x: x.__ipow__(2),
    "&=": lambda x: x.long().__iand__(1), "|=": lambda x: x.long().__ior__(1), "^=": lambda x: x.long().__ixor__(1),
    "~": lambda x: ~x.long(), "~ of booleans": lambda x: ~(x > 1), "and": lambda x: (x > 1) & (x < 3),
    "xor": lambda x: (x > 1) ^ (x < 3), "1 | x": lambda x: 1 | x.long(), "True & x": lambda x: True & (x > 1),
}  # fmt: skip


@pytest.mark.parametrize("name", list(OPERATORS))
def test_operators(name):
    ours, theirs = (OPERATORS[name](lib.tensor([0.5, 1.5, 2.0, 3.0])) for lib in (mr, torch))
    assert ours.tolist() == theirs.tolist() and str(theirs.dtype).endswith(str(ours.dtype))


WANTED = """
    arcsin arccos arctan arctan2 arcsinh arccosh arctanh subtract multiply divide true_divide negative absolute clip fix
    moveaxis swapaxes swapdims concat concatenate not_equal less less_equal greater greater_equal asarray einsum
    tril_indices triu_indices broadcast_shapes promote_types dtype float32 int64 bool
""".split()  # noqa: SIM905


@pytest.mark.parametrize("name", WANTED)
def test_the_names_of_torch_are_there(name):
    assert hasattr(mr, name) and hasattr(torch, name)


def test_indices_of_triangles():
    for name in ("tril_indices", "triu_indices"):
        for arguments in ((3, 3), (2, 4, 1), (4, 2, -1)):
            assert getattr(mr, name)(*arguments).tolist() == getattr(torch, name)(*arguments).tolist()
