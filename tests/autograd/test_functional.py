"""autograd.grad, backward of several tensors, vjp and jacobian: as torch has them."""

import numpy as np
import pytest

import minires as mr

torch = pytest.importorskip("torch")
from tests.torch_tools import assert_close  # noqa: E402

A, B = np.arange(6.0).reshape(2, 3) / 4 - 0.6, np.array([0.5, -1.0, 2.0])


def leaves(lib):
    return [lib.tensor(array, requires_grad=True) for array in (A, B)]


def both(compute):
    """The results of both libraries, which must agree."""
    ours, theirs = compute(mr, *leaves(mr)), compute(torch, *leaves(torch))
    compare(ours, theirs)
    return ours


def compare(ours, theirs):
    assert type(ours) is type(theirs) or isinstance(ours, mr.Tensor) or ours is theirs is None
    if isinstance(theirs, tuple):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            compare(a, b)
    elif theirs is not None:
        assert_close(ours, theirs)


GRADS = {
    "both": lambda lib, a, b: lib.autograd.grad((a * b).sum(), (a, b)),
    "one": lambda lib, a, b: lib.autograd.grad((a * b).exp().sum(), b),
    "of a vector": lambda lib, a, b: lib.autograd.grad(a.exp(), a, lib.ones_like(a) * 2),
    "of two": lambda lib, a, b: lib.autograd.grad([a.sum() * 2, (b * b).sum()], [a, b]),
    "the sum of two": lambda lib, a, b: lib.autograd.grad([(a * b).sum(), (b * b).sum()], [b]),
    "of itself": lambda lib, a, b: lib.autograd.grad(a, a, a),
    "unused": lambda lib, a, b: lib.autograd.grad(a.sum(), (a, b), allow_unused=True),
    "unused as zeros": lambda lib, a, b: lib.autograd.grad(a.sum(), (a, b), materialize_grads=True),
}


@pytest.mark.parametrize("name", list(GRADS))
def test_grad(name):
    both(GRADS[name])


def test_grad_of_results_within_the_graph():
    def compute(lib, a, b):
        middle = a * b
        result = (middle.exp() * a).sum() + middle.sum()
        return lib.autograd.grad(result, (middle, a, result))

    both(compute)


def test_grad_leaves_every_grad_alone_and_runs_hooks():
    a, b = leaves(mr)
    seen = []
    a.register_hook(lambda gradient: seen.append(1) or gradient * 2)
    (found,) = mr.autograd.grad((a * b).sum(), a)
    assert a.grad is b.grad is None and seen == [1]
    assert np.allclose(found.numpy(), 2 * np.broadcast_to(B, A.shape))


def test_grad_walks_only_where_it_must():
    a, b = leaves(mr)
    y = (a.exp() * b.sin()).sum()
    mr.autograd.grad(y, b)
    with pytest.raises(RuntimeError, match="second time"):
        mr.autograd.grad(y, b)
    for _ in range(2):
        a, b = leaves(mr)
        z = a.exp()
        mr.autograd.grad((z * b.sin()).sum(), b)
        z.sum().backward()  # the exponential was not on the way to b: what it saved is still there
        assert a.grad is not None


@pytest.mark.parametrize(
    ("compute", "words"),
    [
        (lambda lib, a, b: lib.autograd.grad(a.sum(), (a, b)), "not have been used"),
        (lambda lib, a, b: lib.autograd.grad(a.sum(), a.detach()), "does not require grad"),
        (lambda lib, a, b: lib.autograd.grad(a.exp(), a), "scalar outputs"),
        (lambda lib, a, b: lib.autograd.grad(a.exp(), a, lib.ones(2)), "shape"),
        (lambda lib, a, b: lib.autograd.grad(a.detach().sum(), a), "does not require grad"),
        (lambda lib, a, b: lib.autograd.grad([a.sum(), b.sum()], a, [None]), "gradients"),
        (lambda lib, a, b: lib.autograd.backward([a.sum()], inputs=[]), "inputs"),
    ],
)
def test_what_cannot_be_differentiated(compute, words):
    with pytest.raises(RuntimeError, match=words):
        compute(mr, *leaves(mr))
    with pytest.raises(RuntimeError):
        compute(torch, *leaves(torch))


@pytest.mark.parametrize("compute", [
    lambda x: mr.autograd.grad(x.sum(), x, create_graph=True),
    lambda x: mr.autograd.backward(x.sum(), create_graph=True),
    lambda x: x.sum().backward(create_graph=True),
    lambda x: mr.autograd.functional.vjp(lambda y: y.sum(), x, create_graph=True),
    lambda x: mr.autograd.functional.jacobian(lambda y: y * y, x, create_graph=True),
])  # fmt: skip
def test_there_is_no_double_backward(compute):
    with pytest.raises(NotImplementedError, match="double backward"):
        compute(leaves(mr)[1])


def test_backward_of_several_and_with_inputs():
    def compute(lib, a, b):
        lib.autograd.backward([(a * b).sum(), b.exp()], [None, lib.ones_like(b)])
        first = (a.grad.clone(), b.grad.clone())
        (a * b).sum().backward(inputs=[b])
        middle = a * 2
        middle.retain_grad()
        middle.sum().backward(inputs=a)
        return *first, a.grad, b.grad

    both(compute)


FUNCTIONS = {
    "matrix and vector": lambda lib: lambda a, b: (a * b).sin(),
    "sum": lambda lib: lambda a, b: (a * b).sum(),
    "two results": lambda lib: lambda a, b: (a.exp().sum(0), b * b),
    "list": lambda lib: lambda a, b: (b.sum(), a.sum() * b[0]),
    "constant": lambda lib: lambda a, b: (b * 2).detach(),
}


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_jacobian_and_vjp(name):
    both(lambda lib, a, b: lib.autograd.functional.jacobian(FUNCTIONS[name](lib), (a, b)))

    def product(lib, a, b):
        outcome = FUNCTIONS[name](lib)(a, b)
        one = not isinstance(outcome, tuple)
        v = lib.ones_like(outcome) if one else tuple(lib.ones_like(y) for y in outcome)
        return lib.autograd.functional.vjp(FUNCTIONS[name](lib), (a, b), v)

    if name != "constant":
        both(product)


def test_jacobian_of_one_tensor_and_strictness():
    both(lambda lib, a, b: lib.autograd.functional.jacobian(lambda x: x @ a.detach().T, b))
    a, b = leaves(mr)
    with pytest.raises(RuntimeError, match="input 0"):
        mr.autograd.functional.jacobian(lambda x, y: y * 2, (a, b), strict=True)
    with pytest.raises(TypeError, match="tuple of tensors"):
        mr.autograd.functional.vjp(lambda x: 3.0, a)
    assert a.grad is b.grad is None
