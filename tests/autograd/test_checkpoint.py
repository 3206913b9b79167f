"""Activation checkpointing: the same gradients to the last bit, with what was saved computed again."""

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.nn import functional as F
from minires.random import Generator, address
from minires.utils.checkpoint import checkpoint, checkpoint_sequential


def network():
    mr.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))


def gradients(run):
    """Of the input and all parameters of a fresh network, after run(network, x)."""
    model, x = network(), mr.tensor(np.linspace(-1, 1, 12).reshape(3, 4).astype(np.float32), requires_grad=True)
    mr.manual_seed(7)
    y = run(model, x)
    mr.randn(3)  # whatever is drawn between forward and backward
    (y * y).sum().backward()
    return [y.detach().array, x.grad.array, *(p.grad.array for p in model.parameters())]


WAYS = {
    "whole": lambda model, x: checkpoint(model, x),
    "by name": lambda model, x: checkpoint(lambda *, value: model(value), value=x),
    "two parts": lambda model, x: checkpoint(model[3:], checkpoint(model[:3], x)),
    "nested": lambda model, x: checkpoint(lambda z: model[3:](checkpoint(model[:3], z)), x),
    "segments": lambda model, x: checkpoint_sequential(model, 3, x),
    "within an address": lambda model, x: checkpoint(model, x),
}


@pytest.mark.parametrize("name", list(WAYS))
def test_gradients_are_bit_equal(name):
    for found, expected in zip(gradients(WAYS[name]), gradients(lambda model, x: model(x)), strict=True):
        assert np.array_equal(found, expected)


def test_draws_inside_an_address_are_equal():
    x = mr.ones(1000, requires_grad=True)
    with address(5, "dropout", 1):
        y = checkpoint(lambda z: F.dropout(z * 2, 0.5) * z, x)
    with address(5, "dropout", 2):
        y.sum().backward()
    assert np.array_equal(x.grad.array, (y.detach() * 2).array)  # y = 2 m x^2 with a mask m, at x = 1


def test_saved_arrays_are_dropped_and_computed_again():
    calls = []

    def block(z):
        calls.append(1)
        return (z * 2).exp().exp()

    x = mr.full((4,), 0.1, requires_grad=True)
    y = checkpoint(block, x)
    node = y.grad_fn
    assert callable(node._saved) and calls == [1]
    y.sum().backward()
    assert calls == [1, 1] and node._saved is None
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()
    z = checkpoint(block, x)
    for _ in range(2):
        z.sum().backward(retain_graph=True)
    assert len(calls) == 4


def test_autograd_grad_and_a_part_only():
    x, w = mr.ones(3, requires_grad=True), mr.full((3,), 2.0, requires_grad=True)
    y = checkpoint(lambda z: (z * w).exp(), x)
    found = mr.autograd.grad(y.sum(), w)[0]
    assert np.allclose(found.numpy(), np.exp(2.0)) and x.grad is w.grad is None


def test_nothing_is_kept_without_gradients():
    with mr.no_grad():
        y = checkpoint(lambda z: z.exp(), mr.ones(2, requires_grad=True))
    assert not y.requires_grad


def test_a_function_that_changes_its_mind_is_found_out():
    for second in (lambda z: z.exp().exp(), lambda z: z.sin(), lambda z: z[:2].exp()):
        ways = [lambda z: z.exp(), second]
        y = checkpoint(lambda z, ways=ways: ways.pop(0)(z), mr.ones(3, requires_grad=True))
        with pytest.raises(RuntimeError, match="something else the second time"):
            y.sum().backward()


def test_an_argument_that_is_changed_is_found_out():
    x, scale = mr.ones(3, requires_grad=True), mr.ones(3)
    y = checkpoint(lambda z, s: (z * s).exp(), x, scale)
    scale.mul_(2)
    with pytest.raises(RuntimeError, match="in-place"):
        y.sum().backward()


def test_changes_in_place_inside():
    def block(z):
        y = z * 2
        y.log_()  # the logarithm needs what it overwrites
        y.sin_()
        return y

    for run in (block, lambda z: checkpoint(block, z)):
        x = mr.tensor([0.3, 0.7], dtype=mr.float64, requires_grad=True)
        run(x).sum().backward()
        assert np.allclose(x.grad.numpy(), np.cos(np.log(2 * x.detach().numpy())) / x.detach().numpy())


def test_refusals():
    with pytest.raises(NotImplementedError, match="use_reentrant"):
        checkpoint(lambda z: z, mr.ones(1), use_reentrant=True)
    with pytest.raises(ValueError, match="segments"):
        checkpoint_sequential([lambda z: z], 2, mr.ones(1))


def test_other_draws_where_the_state_is_not_kept():
    x = mr.ones(1000, requires_grad=True)
    y = checkpoint(lambda z: F.dropout(z * 2, 0.5) * z, x, preserve_rng_state=False)
    y.sum().backward()
    assert not np.array_equal(x.grad.array, (y.detach() * 2).array)
    assert Generator(1).get_state() == {"seed": 1, "draws": 0}
