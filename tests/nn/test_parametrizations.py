"""Parametrizations: weights, gradients, state dicts and texts as torch's, from the same originals."""

import copy

import numpy as np
import pytest

import minires as mr
from minires.nn.utils import parametrizations, parametrize


def built(lib, kind, make, settings):
    return getattr(lib.nn.utils.parametrizations, kind)(make(lib.nn).double(), **settings)


CASES = [
    ("weight_norm", lambda nn: nn.Conv2d(2, 3, 2), {}), ("weight_norm", lambda nn: nn.Linear(2, 3), {"dim": None}),
    ("weight_norm", lambda nn: nn.Linear(2, 3), {"dim": 1}), ("spectral_norm", lambda nn: nn.Linear(4, 3), {}),
    ("spectral_norm", lambda nn: nn.Conv2d(2, 3, 2), {"n_power_iterations": 3}),
    ("spectral_norm", lambda nn: nn.ConvTranspose2d(2, 3, 2), {}),
    *(("orthogonal", make, {"orthogonal_map": word})
      for word in (None, "matrix_exp", "cayley", "householder")
      for make in (lambda nn: nn.Linear(4, 4), lambda nn: nn.Linear(4, 3), lambda nn: nn.Linear(3, 5))),
    ("orthogonal", lambda nn: nn.Linear(3, 5), {"orthogonal_map": "householder", "use_trivialization": False}),
    ("orthogonal", lambda nn: nn.Linear(3, 5), {"orthogonal_map": "cayley", "use_trivialization": False}),
]  # fmt: skip


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("kind", "make", "settings"), CASES)
def test_as_in_torch(kind, make, settings, training):
    torch = pytest.importorskip("torch")
    pytest.importorskip("torch.nn.utils.parametrizations")
    ours, theirs = built(mr, kind, make, settings).train(training), built(torch, kind, make, settings).train(training)
    assert list(ours.state_dict()) == list(theirs.state_dict()) and repr(ours) == repr(theirs)
    state = {key: value.numpy().copy() for key, value in theirs.state_dict().items()}
    for key in state:
        if "original" in key and not key.endswith("original0"):
            state[key] = state[key] + np.random.default_rng(0).standard_normal(state[key].shape) * 0.1
    if settings.get("orthogonal_map") == "householder" or (kind == "orthogonal" and ours.weight.shape[0] != 4):
        state = {key: value.numpy().copy() for key, value in theirs.state_dict().items()}
    ours.load_state_dict(state)
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    for _ in range(2):
        found, expected = ours.weight, theirs.weight
        np.testing.assert_allclose(found.array, expected.detach().numpy(), rtol=1e-11, atol=1e-12)
    factors = np.random.default_rng(1).standard_normal(found.shape)
    (found * mr.tensor(factors)).sum().backward()
    (expected * torch.from_numpy(factors)).sum().backward()
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        if "weight" in name:
            np.testing.assert_allclose(a.grad.array, b.grad.numpy(), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("word", ["matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("shape", [(4, 4), (4, 3), (3, 5)])
def test_columns_stay_orthonormal(word, shape):
    layer = parametrizations.orthogonal(mr.nn.Linear(*shape), orthogonal_map=word)
    optimizer = mr.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        (layer(mr.ones(2, shape[0])) - 3).square().sum().backward()
        optimizer.step()
    W = layer.weight.detach().array
    smaller = W @ W.T if W.shape[0] < W.shape[1] else W.T @ W
    np.testing.assert_allclose(smaller, np.eye(len(smaller)), atol=1e-5)


class Symmetric(mr.nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).mT

    def right_inverse(self, x):
        return x.triu()


def test_one_s_own():
    layer, calls = mr.nn.Linear(3, 3), []
    assert parametrize.register_parametrization(layer, "weight", Symmetric()) is layer
    assert type(layer).__name__ == "ParametrizedLinear" and isinstance(layer, mr.nn.Linear)
    assert parametrize.is_parametrized(layer, "weight") and not parametrize.is_parametrized(layer, "bias")
    assert np.array_equal(layer.weight.array, layer.weight.array.T)
    assert sorted(layer.state_dict()) == ["bias", "parametrizations.weight.original"]
    wanted = mr.tensor([[1.0, 2, 3], [2, 5, 6], [3, 6, 9]])
    layer.weight = wanted
    assert layer.weight.tolist() == wanted.tolist()
    layer.parametrizations.weight[0].register_forward_hook(lambda *_: calls.append(1))
    with parametrize.cached():
        assert layer.weight is layer.weight and len(calls) == 1
    assert layer.weight is not layer.weight and len(calls) == 3
    assert copy.deepcopy(layer).weight.tolist() == wanted.tolist()
    parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is mr.nn.Linear and isinstance(layer.weight, mr.nn.Parameter)
    assert layer.weight.tolist() == wanted.tolist() and list(layer.state_dict()) == ["bias", "weight"]


def test_two_after_each_other():
    class Twice(mr.nn.Module):
        def forward(self, x):
            return x * 2

        def right_inverse(self, x):
            return x / 2

    layer = mr.nn.Linear(2, 2)
    before = layer.weight.tolist()
    parametrize.register_parametrization(layer, "weight", Twice())
    parametrize.register_parametrization(layer, "weight", Twice())
    assert layer.weight.tolist() == before and len(layer.parametrizations.weight) == 2
    assert np.allclose(layer.parametrizations.weight.original.array * 4, before)


def test_wrong_use():
    layer = mr.nn.Linear(2, 3)
    with pytest.raises(ValueError, match="'wait'"):
        parametrize.register_parametrization(layer, "wait", Symmetric())
    with pytest.raises(ValueError, match="type or shape"):
        parametrize.register_parametrization(layer, "weight", mr.nn.Flatten(0))
    with pytest.raises(ValueError, match="does not have a parametrization"):
        parametrize.remove_parametrizations(layer, "weight")
    with pytest.raises(ValueError, match="orthogonal_map"):
        parametrizations.orthogonal(layer, orthogonal_map="polar")
    with pytest.raises(ValueError, match="1 dimensions"):
        parametrizations.orthogonal(layer, "bias")
