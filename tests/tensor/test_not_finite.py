"""NaN and infinity: they come and go as in torch, without a warning (pytest turns warnings into errors here)."""

import numpy as np
import pytest

import minires as mr
from minires.nn import functional as F

torch = pytest.importorskip("torch")
from tests.torch_tools import to_torch  # noqa: E402

nan, inf = float("nan"), float("inf")
SPECIAL = [1.0, -1.0, 0.0, nan, inf, -inf, 1e30, -0.0]

FUNCTIONS = {
    "x / 0": lambda lib, x: x / 0,
    "1 / x": lambda lib, x: 1 / x,
    "0 / x": lambda lib, x: 0 / x,
    "x - x": lambda lib, x: x - x,
    "x * x": lambda lib, x: x * x,
    "x ** 0.5": lambda lib, x: x**0.5,
    "x ** -1": lambda lib, x: x**-1,
    "x ** 0": lambda lib, x: x**0,
    "x ** 2": lambda lib, x: x**2,
    "log": lambda lib, x: lib.log(x),
    "sqrt": lambda lib, x: lib.sqrt(x),
    "exp": lambda lib, x: lib.exp(x),
    "exp of large": lambda lib, x: lib.exp(x * 1000),
    "abs": lambda lib, x: lib.abs(x),
    "relu": lambda lib, x: lib.relu(x),
    "sigmoid": lambda lib, x: lib.sigmoid(x),
    "tanh": lambda lib, x: lib.tanh(x),
    "clamp": lambda lib, x: lib.clamp(x, -0.5, 0.5),
    "maximum": lambda lib, x: lib.maximum(x, x * 0 + 0.5),
    "minimum": lambda lib, x: lib.minimum(x, x * 0 + 0.5),
    "sum": lambda lib, x: lib.sum(x),
    "mean": lambda lib, x: lib.mean(x),
    "var": lambda lib, x: lib.var(x),
    "softmax": lambda lib, x: lib.softmax(x, 0),
    "log_softmax": lambda lib, x: lib.log_softmax(x, 0),
    "cumsum": lambda lib, x: lib.cumsum(x, 0),
    "x // 0": lambda lib, x: x // 0,
    "x % 2": lambda lib, x: x % 2,
    "x < nan": lambda lib, x: x < nan,
    "x == x": lambda lib, x: x == x,
    "isnan": lambda lib, x: lib.isnan(x),
    "isfinite": lambda lib, x: lib.isfinite(x),
    "sign": lambda lib, x: lib.sign(x),
    "round": lambda lib, x: lib.round(x),
    "argmax": lambda lib, x: lib.argmax(x),
    "argmin": lambda lib, x: lib.argmin(x),
    "max": lambda lib, x: lib.max(x, 0)[0],
    "amax": lambda lib, x: lib.amax(x),
    "sort": lambda lib, x: lib.sort(x, stable=True)[0],
    "half": lambda lib, x: x.half(),
    "bool": lambda lib, x: x.bool(),
}


# torch has no rule of its own here: powers of -inf and -0
GRADIENT_OPEN = ("x ** 0.5",)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_values_and_gradients_as_torch(name, dtype):
    array = np.array(SPECIAL, dtype)
    x, y = mr.tensor(array, requires_grad=True), torch.from_numpy(array.copy()).requires_grad_()
    ours, theirs = FUNCTIONS[name](mr, x), FUNCTIONS[name](torch, y)
    assert np.allclose(ours.tolist(), theirs.tolist(), rtol=1e-5, equal_nan=True), (ours, theirs)
    if not ours.requires_grad or name in GRADIENT_OPEN:
        return
    ours.backward(mr.ones_like(ours))
    theirs.backward(torch.ones_like(theirs))
    assert np.allclose(x.grad.tolist(), y.grad.tolist(), rtol=1e-4, equal_nan=True), (x.grad, y.grad)


@pytest.mark.parametrize("compute", [lambda x: x // 0, lambda x: x % 0, lambda x: x // mr.tensor([1, 0])])
def test_whole_numbers_cannot_be_divided_by_nothing(compute):
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        compute(mr.tensor([1, 2]))


def both_layers(ours, theirs, array, **settings):
    found, expected = ours(mr.tensor(array), **settings), theirs(to_torch(array), **settings)
    assert np.array_equal(np.isnan(found.array), np.isnan(expected.numpy()))
    return found


def test_nan_goes_through_networks():
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 6)).astype(np.float32)
    x[0, 1, 2, 3] = nan
    weight = np.ones((2, 3, 3, 3), np.float32)
    T = torch.nn.functional
    both_layers(lambda a: F.conv2d(a, mr.tensor(weight)), lambda a: T.conv2d(a, to_torch(weight)), x)
    both_layers(F.max_pool2d, T.max_pool2d, x, kernel_size=2)
    both_layers(F.avg_pool2d, T.avg_pool2d, x, kernel_size=2)
    both_layers(lambda a: F.adaptive_avg_pool2d(a, 1), lambda a: T.adaptive_avg_pool2d(a, 1), x)
    both_layers(lambda a: F.batch_norm(a, None, None, training=True),
                lambda a: T.batch_norm(a, None, None, training=True), x)  # fmt: skip
    both_layers(F.relu, T.relu, x)
    both_layers(lambda a: F.softmax(a, 1), lambda a: T.softmax(a, 1), x)
    logits = x[:, :, 0, 0].copy()
    logits[0, 2] = nan
    loss = F.cross_entropy(mr.tensor(logits), mr.tensor([1, 0]), reduction="none")
    assert np.isnan(loss.tolist()).tolist() == [True, False]


@pytest.mark.parametrize("value", [1e30, -1e30])
def test_huge_scores_do_not_overflow(value):
    scores = mr.tensor([[value, 0.0, 1.0]], requires_grad=True)
    for function in (F.softmax, F.log_softmax):
        assert np.isfinite(function(scores, 1).array).all()
    loss = F.cross_entropy(scores, mr.tensor([1]))
    loss.backward()
    assert np.isfinite(loss.item()) and np.isfinite(scores.grad.array).all()
    assert mr.sigmoid(mr.tensor([value])).item() in (0.0, 1.0)
    assert np.isfinite(mr.logsumexp(scores, 1).item())


def test_numpys_settings_come_back():
    before = np.geterr()
    x = mr.tensor([0.0], requires_grad=True)
    (1 / x).backward()
    with pytest.raises(RuntimeError):
        mr.ones(2) @ mr.ones(3)
    assert np.geterr() == before


FAR_FROM_WANTED = {
    "where": lambda lib, x: lib.where(x > 0, x, 0.0),
    "clamp": lambda lib, x: lib.clamp(x, 0.0, 5.0),
    "maximum": lambda lib, x: lib.maximum(x, x.detach() * 0),
    "minimum": lambda lib, x: -lib.minimum(-x, x.detach() * 0),
}


@pytest.mark.parametrize("name", list(FAR_FROM_WANTED))
def test_an_infinite_gradient_does_not_reach_what_was_not_taken(name):
    """sqrt has an infinite slope at 0: `where`, `clamp` and `maximum` are how people keep away from it."""
    array = np.array([-1.0, -0.0, 4.0], np.float32)
    x, y = mr.tensor(array, requires_grad=True), torch.from_numpy(array.copy()).requires_grad_()
    FAR_FROM_WANTED[name](mr, x).sqrt().sum().backward()
    FAR_FROM_WANTED[name](torch, y).sqrt().sum().backward()
    assert x.grad.tolist()[::2] == y.grad.tolist()[::2] == [0.0, 0.25]


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_both_operands_get_the_gradient_where_they_cannot_be_compared(name):
    arrays = np.array([[1, 2, 3, nan, 1, nan, inf, -inf], [2, 1, 3, 1, nan, nan, inf, 3]], np.float32)
    ours, theirs = mr.tensor(arrays, requires_grad=True), torch.from_numpy(arrays.copy()).requires_grad_()
    getattr(mr, name)(ours[0], ours[1]).sum().backward()
    getattr(torch, name)(theirs[0], theirs[1]).sum().backward()
    assert ours.grad.tolist() == theirs.grad.tolist()


@pytest.mark.parametrize("array", [[1.0, 1.0, 1.0], [0.1, 0.1, 0.1], [0.0, 0.0, 0.0], [0.0, 1.0, 2.0]])
@pytest.mark.parametrize("compute", [
    lambda x: x.std(), lambda x: x.std(0, keepdim=True).sum(), lambda x: x.norm(), lambda x: x.norm(0.5),
    lambda x: x.norm(1.5), lambda x: x.norm(3), lambda x: x.norm(float("inf")),
])  # fmt: skip
def test_the_gradient_of_a_spread_of_nothing_is_zero(compute, array):
    ours, theirs = mr.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
    compute(ours).backward()
    compute(theirs).backward()
    assert np.allclose(ours.grad.tolist(), theirs.grad.tolist(), rtol=1e-5, atol=1e-7)


def test_float16_is_summed_with_room_to_spare():
    ones = mr.ones(100_000, dtype=mr.float16)
    assert ones.mean().item() == 1.0 and ones.std().item() == 0.0 and mr.ones((5000, 1)).half().sum(0).item() == 5000
    assert (ones * 200).norm().item() == pytest.approx(200 * 100_000**0.5, rel=1e-3)


def test_columns_of_many_rows_keep_their_digits():
    x = np.random.default_rng(0).random((500_000, 3), np.float32) + np.float32(0.5)
    wide = x.astype(np.float64)
    for name, exact in (("mean", wide.mean(0)), ("var", wide.var(0, ddof=1)), ("std", wide.std(0, ddof=1))):
        assert abs(getattr(mr.tensor(x), name)(0).numpy() / exact - 1).max() < 1e-6, name
    assert abs(mr.cumsum(mr.tensor(x), 0).numpy() / wide.cumsum(0) - 1).max() < 1e-6
    bias = mr.zeros(3, requires_grad=True)
    (mr.zeros(x.shape) + bias).backward(mr.tensor(x))
    assert abs(bias.grad.numpy() / wide.sum(0) - 1).max() < 1e-6
    pictures = mr.tensor(x.reshape(1, 500, 1000, 3)).permute(0, 3, 1, 2)
    assert abs(F.adaptive_avg_pool2d(pictures, 1).numpy()[0, :, 0, 0] / wide.mean(0) - 1).max() < 1e-6
