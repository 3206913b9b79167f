"""weight_norm and spectral_norm as in torch.nn.utils: names, outputs, gradients, training, and undoing them."""

import warnings

import numpy as np
import pytest

from minires import nn
from minires.tensor import Tensor

torch = pytest.importorskip("torch")
from tests.torch_tools import assert_close, compare_gradients  # noqa: E402

LAYERS = (
    ("Linear", (4, 3), (5, 4)), ("Conv2d", (3, 4, 3), (2, 3, 5, 5)), ("ConvTranspose2d", (3, 4, 2), (2, 3, 4, 4)),
)  # fmt: skip
WAYS = (("weight_norm", {}), ("weight_norm", {"dim": None}), ("weight_norm", {"dim": 1}), ("spectral_norm", {}),
        ("spectral_norm", {"n_power_iterations": 3, "dim": 0}))  # fmt: skip


def pair(layer, arguments, function, settings):
    mine, other = getattr(nn, layer)(*arguments).double(), getattr(torch.nn, layer)(*arguments).double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch has newer ways as well
        other = getattr(torch.nn.utils, function)(other, **settings)
    assert getattr(nn.utils, function)(mine, **settings) is mine
    assert list(mine.state_dict()) == list(other.state_dict())
    mine.load_state_dict({key: value.numpy() for key, value in other.state_dict().items()})
    return mine, other


@pytest.mark.parametrize(("function", "settings"), WAYS)
@pytest.mark.parametrize(("layer", "arguments", "shape"), LAYERS)
def test_as_torch(layer, arguments, shape, function, settings):
    mine, other = pair(layer, arguments, function, settings)
    for step in range(3):
        x = np.random.default_rng(step).standard_normal(shape)
        mine.train(step < 2)
        other.train(step < 2)
        mine.zero_grad()
        other.zero_grad()
        a, b = mine(Tensor(x)), other(torch.from_numpy(x))
        assert_close(a, b)
        (a**2).sum().backward()
        (b**2).sum().backward()
        compare_gradients(mine, other)
    for (name, a), (_, b) in zip(mine.named_buffers(), other.named_buffers(), strict=True):
        assert_close(a, b, name)


@pytest.mark.parametrize("function", ["weight_norm", "spectral_norm"])
def test_undone_it_is_an_ordinary_layer_with_the_same_weight(function):
    layer, x = nn.Linear(4, 3), Tensor(np.ones((2, 4), np.float32))
    keys = sorted(layer.state_dict())
    getattr(nn.utils, function)(layer)
    with pytest.raises(RuntimeError, match="Cannot register two"):
        getattr(nn.utils, function)(layer)
    layer.eval()
    before = layer(x)
    undone = getattr(nn.utils, f"remove_{function}")
    assert undone(layer) is layer and sorted(layer.state_dict()) == keys
    assert np.allclose(layer(x).array, before.array, atol=1e-6) and isinstance(layer.weight, nn.Parameter)
    with pytest.raises(ValueError, match="not found"):
        undone(layer)


def test_the_largest_singular_value_becomes_one():
    layer = nn.utils.spectral_norm(nn.Linear(6, 5), n_power_iterations=50)
    layer(Tensor(np.ones((1, 6), np.float32)))
    assert np.linalg.svd(layer.weight.array)[1][0] == pytest.approx(1, abs=1e-3)
    with pytest.raises(ValueError, match="n_power_iterations"):
        nn.utils.spectral_norm(nn.Linear(2, 2), n_power_iterations=0)
