"""Laws of the initial values: moments and bounds, and the defaults of the layers against torch's."""

import math

import numpy as np
import pytest

from minires import nn
from minires.nn import init
from minires.random import Generator, manual_seed
from minires.tensor import Tensor


def weight(*shape, dtype=np.float64):
    return nn.Parameter(np.full(shape, np.nan, dtype))


def moments(tensor):
    return float(tensor.array.mean()), float(tensor.array.std())


LAWS = [  # function, arguments, expected standard deviation for a weight (60, 40, 3, 3), bound or None
    (init.uniform_, {"a": -2.0, "b": 2.0}, 2 / math.sqrt(3), 2.0),
    (init.normal_, {"std": 0.7}, 0.7, None),
    (init.xavier_uniform_, {}, math.sqrt(2 / 900), math.sqrt(6 / 900)),
    (init.xavier_normal_, {"gain": 3.0}, 3 * math.sqrt(2 / 900), None),
    (init.kaiming_uniform_, {"a": 1.0}, math.sqrt(1 / 360), math.sqrt(3 / 360)),
    (init.kaiming_normal_, {"mode": "fan_out", "nonlinearity": "relu"}, math.sqrt(2 / 540), None),
    (init.kaiming_normal_, {"a": 0.3}, math.sqrt(2 / (1 + 0.09) / 360), None),
    (init.trunc_normal_, {"std": 1.0}, 0.8796, 2.0),
]


@pytest.mark.parametrize(("function", "settings", "std", "bound"), LAWS)
def test_laws(function, settings, std, bound):
    tensor = weight(60, 40, 3, 3)
    assert function(tensor, **settings, generator=Generator(1)) is tensor
    mean, deviation = moments(tensor)
    assert abs(mean) < 5 * std / math.sqrt(tensor.numel())
    assert abs(deviation / std - 1) < 0.02
    if bound is not None:
        assert 0.99 * bound < np.abs(tensor.array).max() <= bound
    assert tensor.requires_grad and tensor.is_leaf


@pytest.mark.parametrize(("a", "b"), [(3.0, 4.0), (-0.1, 0.1), (-10.0, -2.5)])
@pytest.mark.filterwarnings("ignore:mean is more than 2 std")
def test_truncated_normal_far_out(a, b):
    torch = pytest.importorskip("torch")
    ours = init.trunc_normal_(weight(100, 400), a=a, b=b, generator=Generator(3)).array
    theirs = torch.nn.init.trunc_normal_(torch.empty(100, 400), a=a, b=b).numpy()
    assert ours.min() >= a and ours.max() <= b
    spread = theirs.std()
    assert abs(ours.mean() - theirs.mean()) < 0.03 * spread and abs(ours.std() / spread - 1) < 0.03


def test_truncated_normal_warns():
    with pytest.warns(UserWarning, match="mean is more than 2 std"):
        init.trunc_normal_(weight(3, 3), mean=9.0)


def test_constants():
    assert (init.constant_(weight(2, 3), 4.5).array == 4.5).all()
    assert (init.ones_(weight(2, 3)).array == 1).all() and (init.zeros_(weight(2, 3)).array == 0).all()
    assert np.array_equal(init.eye_(weight(2, 3)).array, np.eye(2, 3))
    with pytest.raises(ValueError, match="2 dimensions"):
        init.eye_(weight(2))


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (6, 2, 3, 3), (40, 2, 3, 3)])
def test_orthogonal(shape):
    matrix = init.orthogonal_(weight(*shape), gain=2.0, generator=Generator(2)).array.reshape(shape[0], -1)
    product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    assert np.allclose(product, 4 * np.eye(len(product)))
    with pytest.raises(ValueError, match="2 or more"):
        init.orthogonal_(weight(3))


def test_orthogonal_is_uniform_over_signs():
    first = [init.orthogonal_(weight(2, 2), generator=Generator(seed)).array[0, 0] for seed in range(200)]
    assert 70 < sum(value > 0 for value in first) < 130


@pytest.mark.parametrize("name", ["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gains(name):
    torch = pytest.importorskip("torch")
    assert math.isclose(init.calculate_gain(name), torch.nn.init.calculate_gain(name))
    assert math.isclose(init.calculate_gain("leaky_relu", 0.2), torch.nn.init.calculate_gain("leaky_relu", 0.2))


def test_wrong_use_is_said():
    with pytest.raises(ValueError, match="Unsupported nonlinearity"):
        init.calculate_gain("wave")
    with pytest.raises(ValueError, match="not a valid number"):
        init.calculate_gain("leaky_relu", True)
    with pytest.raises(ValueError, match="Mode fan not supported"):
        init.kaiming_normal_(weight(2, 2), mode="fan")
    with pytest.raises(ValueError, match="fewer than 2 dimensions"):
        init.xavier_normal_(weight(2))
    with pytest.warns(UserWarning, match="no-op"):
        init.kaiming_uniform_(weight(0, 2))


def test_generators_and_memory_order():
    first, second = weight(4, 3, 2, 2), nn.Parameter(np.empty((4, 2, 2, 3)).transpose(0, 3, 1, 2))
    init.normal_(first, generator=Generator(5))
    init.normal_(second, generator=Generator(5))
    assert np.array_equal(first.array, second.array), "the memory order does not change the values"
    manual_seed(3)
    a = nn.Conv2d(2, 3, 3).weight.array
    b = nn.Conv2d(2, 3, 3).weight.array
    manual_seed(3)
    assert np.array_equal(nn.Conv2d(2, 3, 3).weight.array, a) and not np.array_equal(a, b)


@pytest.mark.parametrize(
    ("name", "arguments"), [("Linear", (300, 200)), ("Conv2d", (60, 80, 3)), ("Conv2d", (60, 80, 3, 1, 0, 1, 4))]
)
def test_defaults_of_layers_follow_torch_s_law(name, arguments):
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(nn, name)(*arguments), getattr(torch.nn, name)(*arguments)
    for key in ("weight", "bias"):
        mine, other = getattr(ours, key).array, getattr(theirs, key).detach().numpy()
        count = other.size
        assert abs(mine.std() / other.std() - 1) < 6 / math.sqrt(count), key
        assert abs(np.abs(mine).max() / np.abs(other).max() - 1) < 20 / count + 1e-3, key
        assert abs(mine.mean()) < 5 * other.std() / math.sqrt(count), key


def test_filling_is_not_recorded_and_noticed():
    parameter = weight(2, 2)
    used = (parameter * parameter).sum()
    init.zeros_(parameter)
    with pytest.raises(RuntimeError, match="in-place operation"):
        used.backward()
    assert isinstance(init.ones_(Tensor(np.zeros((2, 2)))), Tensor)


def test_without_draws():
    manual_seed(3)
    expected = nn.Linear(2, 3).weight.array
    manual_seed(3)
    with init.without_draws():
        layer = nn.Conv2d(3, 4, 3)
        with init.without_draws():
            pass
        init.xavier_normal_(layer.weight)
        assert not layer.weight.array.any() and not layer.bias.array.any()
        assert (nn.BatchNorm2d(3).weight.array == 1).all()
    assert np.array_equal(nn.Linear(2, 3).weight.array, expected), "nothing has been taken from the generator"
