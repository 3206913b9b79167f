"""A 1x1 convolution with its batch norm in one: against the two one after the other, the fast version against that."""

import numpy as np
import pytest

from minires import kernels, nn, ops
from minires.autograd import no_grad
from minires.kernels.cpu import conv1x1_norm
from minires.kernels.reference import conv, norm
from minires.ops.conv1x1_norm import LEAST_KEPT
from minires.tensor import Tensor
from tests.kernels.helpers import DTYPES, ORDERS, assert_close, compare, normal

# (x's shape, output channels, stride)
LAYERS = [
    ((3, 4, 6, 5), 16, (1, 1)),
    ((2, 5, 7, 4), 3, (2, 3)),
    ((2, 1, 3, 3), 1, (1, 1)),
    ((1, 8, 2, 1), 32, (1, 1)),  # fewer places than channels
    ((4, 64, 9, 8), 256, (1, 1)),
]
layers = pytest.mark.parametrize(("x_shape", "outputs", "stride"), LAYERS)
TOLERANCE = {"float32": 2e-5, "float64": 1e-11}


@pytest.fixture(params=[1, 3], ids=["one thread", "three threads"])
def threads(request, pretend_threads):
    pretend_threads(request.param)


def arguments(x_shape, outputs, stride, dtype="float64", order="nchw"):
    x, conv_weight = normal(1, x_shape, dtype, order), normal(2, (outputs, x_shape[1], 1, 1), dtype, order)
    places = x[:, :1, :: stride[0], :: stride[1]]
    y_shape = (len(x), outputs, *places.shape[2:])
    residual, grad = normal(3, y_shape, dtype, order), normal(4, y_shape, dtype, order)
    return x, conv_weight, residual, grad, normal(5, (outputs,), dtype), normal(6, (outputs,), dtype)


@layers
def test_reference_is_the_two_after_each_other(x_shape, outputs, stride):
    x, conv_weight, residual, _, weight, bias = arguments(x_shape, outputs, stride)
    z = conv.conv2d_forward(x, conv_weight, None, stride, (0, 0), (1, 1), 1)
    y, mean, variance, inverse_std = norm.batch_norm_training_forward(z, weight, bias, 0.1, residual, True)
    implementation = kernels.implementation("conv1x1_moments", "reference")
    found_mean, found_variance, x_mean, _, squares = implementation(x, conv_weight, stride)
    assert_close(found_mean, mean, 1e-12, scale=1)
    assert_close(found_variance, variance, 1e-12)
    assert np.allclose(x_mean, x[:, :, :: stride[0], :: stride[1]].mean(axis=(0, 2, 3)))
    assert (squares * x_shape[1] * (1 + 1e-9) >= variance).all()  # (a + b)^2 <= 2 (a^2 + b^2)
    forward = kernels.implementation("conv1x1_norm_forward", "reference")
    assert_close(forward(x, conv_weight, stride, mean, inverse_std, weight, bias, residual, True), y, 1e-12)


@layers
@pytest.mark.parametrize(("dtype", "order"), [(d, o) for d in DTYPES for o in ORDERS])
@pytest.mark.parametrize("budget", [1, 1 << 18])
@pytest.mark.usefixtures("threads")
def test_fast_as_reference(x_shape, outputs, stride, dtype, order, budget, monkeypatch):
    monkeypatch.setattr(conv1x1_norm, "BUDGET", budget)
    monkeypatch.setattr(conv1x1_norm, "ROWS", 1 if budget == 1 else conv1x1_norm.ROWS)
    monkeypatch.setattr(conv1x1_norm, "PART", budget)
    x, conv_weight, residual, grad, weight, bias = arguments(x_shape, outputs, stride, dtype, order)
    tolerance = TOLERANCE[dtype]
    moments = compare("conv1x1_moments", x, conv_weight, stride, tolerance=tolerance, scale=1)
    mean, variance, x_mean, spread, _ = moments
    inverse_std = 1 / np.sqrt(variance + 0.1)
    for addend, relu, w, b in ((residual, True, weight, bias), (None, False, None, bias), (None, True, weight, None)):
        y = compare(
            "conv1x1_norm_forward", x, conv_weight, stride, mean, inverse_std, w, b, addend, relu, tolerance=tolerance
        )
        results = compare(
            "conv1x1_norm_backward", grad, x, conv_weight, stride, inverse_std, x_mean, spread, w, y if relu else None,
            tolerance=tolerance, scale=1, may_alias=not relu,
        )  # fmt: skip
        assert results[-1] is not None


def tensors(*arrays):
    return [Tensor(array.copy(), requires_grad=True) for array in arrays]


def both(x, conv_weight, weight, bias, **settings):
    """[(y, its inputs, running statistics)] by the one operation and by the two."""
    results = []
    for fused in (True, False):
        given = tensors(x, conv_weight, weight, bias)
        running = [Tensor(np.zeros(len(weight), weight.dtype)), Tensor(np.ones(len(weight), weight.dtype))]
        if fused:
            y = ops.conv1x1_norm_act(given[0], given[1], 1, *running, *given[2:], **settings)
        else:
            y = ops.batch_norm_act(ops.conv2d(given[0], given[1]), *running, *given[2:], training=True, **settings)
        results.append((y, given, running))
    return results


@pytest.mark.parametrize("offset", [0.0, 3.0, 1e3])
def test_a_large_mean_costs_no_digits(offset):
    """The variance is found by the two operations where the sums would lose its digits."""
    x, conv_weight, _, grad, weight, bias = arguments((4, 8, 6, 6), 32, (1, 1), "float32")
    x = x + np.float32(offset)
    _, variance, *_, squares = kernels.conv1x1_moments(x, conv_weight, (1, 1))
    assert ((variance / squares).min() < LEAST_KEPT) == (offset == 1e3)
    results = both(x, conv_weight, weight, bias)
    exact = both(*(a.astype(np.float64) for a in (x, conv_weight, weight, bias)))[1]
    for y, _, running in results:
        assert ("Conv1x1Norm" in str(y.grad_fn)) == (y is results[0][0] and offset < 1e3)
        y.backward(Tensor(grad))
        assert_close(y.array, exact[0].array, 1e-5 if offset < 1e3 else 2e-3)
        for ours, expected in zip(running, exact[2], strict=True):
            assert_close(ours.array, expected.array, 1e-5 if offset < 1e3 else 1e-4)


def test_channels_that_are_alike():
    """Differences of equal channels have no variance; what rounding makes of them must not be normalised to 1."""
    one = normal(1, (4, 1, 6, 6), "float32")
    x = np.concatenate([one, one * np.float32(1.0000001)], axis=1)
    conv_weight = np.array([[1, -1], [1, 1]], np.float32).reshape(2, 2, 1, 1)
    ones, zeros = np.ones(2, np.float32), np.zeros(2, np.float32)
    (fused, *_), (composed, *_) = both(x, conv_weight, ones, zeros, relu=False)
    assert np.array_equal(fused.array, composed.array)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_nan_and_infinity_as_the_two_operations(wrong):
    x, conv_weight, _, _, weight, bias = arguments((2, 3, 4, 4), 12, (1, 1), "float32")
    x[0, 1, 2, 3] = wrong
    with np.errstate(invalid="ignore"):
        (fused, *_), (composed, *_) = both(x, conv_weight, weight, bias)
    assert np.isnan(fused.array).all() and np.isnan(composed.array).all()


def test_refused():
    x, w = Tensor(np.zeros((1, 3, 1, 1))), Tensor(np.zeros((2, 3, 1, 1)))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        ops.conv1x1_norm_act(x, w)
    with pytest.raises(RuntimeError, match=r"expects shapes .* got \(1, 3, 1, 1\) and \(2, 3, 3, 3\)"):
        ops.conv1x1_norm_act(x, Tensor(np.zeros((2, 3, 3, 3))))
    with pytest.raises(RuntimeError, match="weight should contain 2 elements not 3"):
        ops.conv1x1_norm_act(Tensor(np.zeros((2, 3, 1, 1))), w, weight=Tensor(np.zeros(3)))
    with pytest.raises(RuntimeError, match="the residual is"):
        ops.conv1x1_norm_act(Tensor(np.zeros((2, 3, 1, 1))), w, residual=Tensor(np.zeros((2, 3, 1, 1))))


def block(seed=0):
    """A convolution that makes 32 channels of 4, its norm, ReLU, and values for them."""
    random = np.random.default_rng(seed)
    conv_layer, norm_layer = nn.Conv2d(4, 32, 1, bias=False).double(), nn.BatchNorm2d(32).double()
    conv_layer.weight.array[...] = random.standard_normal(conv_layer.weight.shape)
    norm_layer.weight.array[...] = random.standard_normal(32)
    return conv_layer, norm_layer, nn.ReLU(), random


def uses_one_operation(conv_layer, norm_layer, act, x):
    return "Conv1x1Norm" in str(nn.conv_norm_act(conv_layer, norm_layer, act, x).grad_fn)


@pytest.mark.parametrize("with_act", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_modules_as_one_operation(with_act, stride):
    results = []
    for hooked in (False, True):
        conv_layer, norm_layer, act, random = block()
        conv_layer.stride = (stride, stride)
        side = 16 // stride
        x = Tensor(random.standard_normal((4, 4, 16, 16)), requires_grad=True)
        r = Tensor(random.standard_normal((4, 32, side, side)), requires_grad=True) if with_act else None
        called = []
        if hooked:
            conv_layer.register_forward_hook(lambda *_, called=called: called.append(1))
        y = nn.conv_norm_act(conv_layer, norm_layer, act if with_act else None, x, r)
        assert called == [1] * hooked
        assert ("Conv1x1Norm" in str(y.grad_fn)) != hooked
        y.backward(Tensor(random.standard_normal(y.shape)))
        wanted = [x, conv_layer.weight, norm_layer.weight, norm_layer.bias, *([r] if with_act else [])]
        results.append([y.array, *(t.grad.array for t in wanted), *(b.array for b in norm_layer.buffers())])
    for one, two in zip(*results, strict=True):
        assert_close(one, two, 1e-12, scale=1)


def test_where_the_modules_are_called_one_by_one():
    conv_layer, norm_layer, act, random = block()
    x = Tensor(random.standard_normal((4, 4, 8, 8)), requires_grad=True)
    assert uses_one_operation(conv_layer, norm_layer, act, x)
    assert not uses_one_operation(conv_layer, norm_layer.eval(), act, x)
    assert not uses_one_operation(conv_layer, norm_layer.train().freeze_statistics(), act, x)
    norm_layer.freeze_statistics(False)
    assert not uses_one_operation(conv_layer, norm_layer, nn.Tanh(), x)
    assert not uses_one_operation(nn.Conv2d(4, 32, 1).double(), norm_layer, act, x)  # a bias
    assert not uses_one_operation(nn.Conv2d(4, 32, 3, padding=1, bias=False).double(), norm_layer, act, x)
    assert not uses_one_operation(nn.Conv2d(4, 32, 1, groups=2, bias=False).double(), norm_layer, act, x)
    assert not uses_one_operation(conv_layer, norm_layer, act, x[:1, :, :2, :2])  # few places
    with no_grad():
        assert nn.conv_norm_act(conv_layer, norm_layer, act, x).grad_fn is None
