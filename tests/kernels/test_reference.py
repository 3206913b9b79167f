"""The reference kernels against their definitions as loops over indices."""

import math

import numpy as np
import pytest

from minires.kernels import shapes
from minires.kernels.reference import activation, conv, loss, matmul, norm, optim, pool
from tests.kernels import definitions
from tests.kernels.cases import ADAPTIVE_POOLS, AVG_POOLS, CONVOLUTIONS, CROSS_ENTROPIES, MAX_POOLS
from tests.kernels.helpers import DTYPES, ORDERS, assert_close, normal

ROUNDED = {"float32": 1e-6, "float64": 1e-13}  # computed in float64, rounded once

kinds = pytest.mark.parametrize(("dtype", "order"), [(d, o) for d in DTYPES for o in ORDERS])


@kinds
@pytest.mark.parametrize(("x_shape", "w_shape", "stride", "padding", "dilation", "groups"), CONVOLUTIONS)
def test_convolution(x_shape, w_shape, stride, padding, dilation, groups, dtype, order):
    settings = (stride, padding, dilation, groups)
    x, weight = normal(1, x_shape, dtype, order), normal(2, w_shape, dtype, order)
    bias = normal(3, w_shape[:1], dtype)
    y = conv.conv2d_forward(x, weight, bias, *settings)
    assert y.dtype == dtype
    assert_close(y, definitions.conv(x, weight, bias, *settings), ROUNDED[dtype], "y")
    grad = normal(4, y.shape, dtype, order)
    dx, dweight = definitions.conv_gradients(grad, x, weight, *settings)
    ours = conv.conv2d_input_gradient(grad, weight, x.shape, *settings)
    assert_close(ours, dx, ROUNDED[dtype], "dx")
    assert ours.dtype == dtype
    ours = conv.conv2d_weight_gradient(grad, x, weight.shape, *settings)
    assert_close(ours, dweight, ROUNDED[dtype], "dweight")
    assert ours.dtype == dtype


def test_convolution_without_bias_is_with_a_bias_of_zeros():
    x, weight = normal(1, (2, 3, 5, 5)), normal(2, (4, 3, 3, 3))
    settings = ((1, 1), (1, 1), (1, 1), 1)
    with_zeros = conv.conv2d_forward(x, weight, np.zeros(4), *settings)
    assert np.array_equal(conv.conv2d_forward(x, weight, None, *settings), with_zeros)


@pytest.mark.parametrize("image", [(2, 5), (5, 2)])
def test_convolution_window_that_does_not_fit(image):
    x, weight = np.zeros((1, 1, *image)), np.zeros((1, 1, 3, 3))
    with pytest.raises(ValueError, match=r"window of 3 .*does not fit into 2 places with padding 0"):
        conv.conv2d_forward(x, weight, None, (1, 1), (0, 0), (1, 1), 1)


def pooled_size(image, kernel, stride, padding, dilation, ceil_mode):
    """By trying: every window that starts inside of the image or its left padding and, without ceil, ends inside."""
    sizes = []
    for axis in (0, 1):
        size, pad, reach = image[axis], padding[axis], dilation[axis] * (kernel[axis] - 1) + 1
        starts = range(0, size + 2 * pad, stride[axis])
        # with ceil the last window may overhang by less than one stride
        slack = stride[axis] - 1 if ceil_mode else 0
        fitting = [start for start in starts if start + reach <= size + 2 * pad + slack]
        sizes.append(len([start for start in fitting if not ceil_mode or start < size + pad]))
    return tuple(sizes)


@kinds
@pytest.mark.parametrize(("shape", "kernel", "stride", "padding", "dilation", "ceil_mode"), MAX_POOLS)
def test_max_pool(shape, kernel, stride, padding, dilation, ceil_mode, dtype, order):
    x = normal(1, shape, dtype, order)
    y, winner = pool.max_pool2d_forward(x, kernel, stride, padding, dilation, ceil_mode)
    size = pooled_size(shape[2:], kernel, stride, padding, dilation, ceil_mode)
    assert y.shape == winner.shape == (*shape[:2], *size)
    grad = normal(2, y.shape, dtype, order)
    expected_y, expected_winner, dx = definitions.max_pool(x, grad, size, kernel, stride, padding, dilation)
    assert np.array_equal(y, expected_y)
    assert np.array_equal(winner, expected_winner)
    assert winner.dtype == (np.uint8 if math.prod(kernel) <= 256 else np.uint16)
    ours = pool.max_pool2d_backward(grad, winner, shape, kernel, stride, padding, dilation)
    assert ours.dtype == dtype
    assert_close(ours, dx, ROUNDED[dtype], "dx")


@pytest.mark.parametrize("fill", ["ties", "nan", "infinities", "all -inf", "integers"])
def test_max_pool_of_special_values(fill):
    random = np.random.default_rng(5)
    x = random.integers(0, 3, (2, 2, 6, 7)).astype(np.float32)
    if fill == "nan":
        x[random.random(x.shape) < 0.2] = np.nan
    elif fill == "infinities":
        x[random.random(x.shape) < 0.3] = np.inf
        x[random.random(x.shape) < 0.5] = -np.inf
    elif fill == "all -inf":
        x[:] = -np.inf
    elif fill == "integers":
        x = (x - 5).astype(np.int64)
    settings = ((3, 3), (2, 1), (1, 1), (1, 1))
    y, winner = pool.max_pool2d_forward(x, *settings, False)
    grad = normal(2, y.shape)
    expected_y, expected_winner, dx = definitions.max_pool(x, grad, y.shape[2:], *settings)
    assert np.array_equal(y, expected_y, equal_nan=True)
    assert np.array_equal(winner, expected_winner)
    assert_close(pool.max_pool2d_backward(grad, winner, x.shape, *settings), dx, 1e-13)


@kinds
@pytest.mark.parametrize(("shape", "kernel", "stride", "padding", "ceil_mode", "include", "override"), AVG_POOLS)
def test_avg_pool(shape, kernel, stride, padding, ceil_mode, include, override, dtype, order):
    x = normal(1, shape, dtype, order)
    y = pool.avg_pool2d_forward(x, kernel, stride, padding, ceil_mode, include, override)
    size = pooled_size(shape[2:], kernel, stride, padding, (1, 1), ceil_mode)
    assert y.shape == (*shape[:2], *size)
    grad = normal(2, y.shape, dtype, order)
    expected, dx = definitions.avg_pool(x, grad, size, kernel, stride, padding, include, override)
    assert_close(y, expected, ROUNDED[dtype], "y")
    ours = pool.avg_pool2d_backward(grad, shape, kernel, stride, padding, ceil_mode, include, override)
    assert_close(ours, dx, ROUNDED[dtype], "dx")
    assert y.dtype == ours.dtype == dtype


@kinds
@pytest.mark.parametrize(("shape", "size"), ADAPTIVE_POOLS)
def test_adaptive_avg_pool(shape, size, dtype, order):
    x, grad = normal(1, shape, dtype, order), normal(2, (*shape[:2], *size), dtype, order)
    y, dx = definitions.adaptive_avg_pool(x, grad, size)
    ours = pool.adaptive_avg_pool2d_forward(x, size)
    assert_close(ours, y, ROUNDED[dtype], "y")
    back = pool.adaptive_avg_pool2d_backward(grad, shape)
    assert_close(back, dx, ROUNDED[dtype], "dx")
    assert ours.dtype == back.dtype == dtype


@pytest.mark.parametrize("padding", [(2, 0), (0, -1)])
def test_pooling_refuses_wide_padding(padding):
    with pytest.raises(ValueError, match="from 0 to half of the window"):
        shapes.pooling_sizes((8, 8), (3, 3), (1, 1), padding, (1, 1), False)


fusions = pytest.mark.parametrize(
    ("affine", "fused", "relu"), [(True, False, False), (False, False, True), (True, True, False), (True, True, True)]
)


def norm_inputs(shape, affine, fused, dtype="float64", order="nchw"):
    x = normal(1, shape, dtype, order) * np.asarray(2, dtype) + np.asarray(3, dtype)
    weight, bias = (normal(s, shape[1:2], dtype) if affine else None for s in (2, 3))
    return x, weight, bias, normal(4, shape, dtype, order) if fused else None


@kinds
@fusions
@pytest.mark.parametrize("shape", [(3, 4, 2, 3), (5, 3), (2, 3, 4)])
def test_batch_norm_forward(shape, affine, fused, relu, dtype, order):
    x, weight, bias, residual = norm_inputs(shape, affine, fused, dtype, order)
    y, mean, variance, inverse_std = norm.batch_norm_training_forward(x, weight, bias, 1e-5, residual, relu)
    expected_y, expected_mean, expected_variance = definitions.batch_norm(x, weight, bias, 1e-5, residual, relu)
    assert_close(y, expected_y, ROUNDED[dtype], "y")
    assert_close(mean, expected_mean, ROUNDED[dtype], "mean")
    assert_close(variance, expected_variance, ROUNDED[dtype], "variance")
    assert_close(inverse_std, 1 / np.sqrt(expected_variance + 1e-5), ROUNDED[dtype], "inverse_std")
    assert {a.dtype for a in (y, mean, variance, inverse_std)} == {np.dtype(dtype)}
    fixed_mean, fixed_variance = normal(6, shape[1:2], dtype), np.abs(normal(7, shape[1:2], dtype))
    y = norm.batch_norm_inference_forward(x, weight, bias, fixed_mean, fixed_variance, 1e-3, residual, relu)
    expected = definitions.batch_norm(x, weight, bias, 1e-3, residual, relu, fixed_mean, fixed_variance)
    assert_close(y, expected[0], ROUNDED[dtype], "y at inference")


@fusions
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_backward(training, affine, fused, relu):
    """Against differences of the definition, with a random cotangent."""
    shape = (3, 2, 2, 2)
    x, weight, bias, residual = norm_inputs(shape, affine, fused)
    grad, mean, variance = normal(9, shape), None, None
    if not training:
        mean, variance = normal(6, (2,)), np.abs(normal(7, (2,))) + 0.1

    def loss_value():
        return float((definitions.batch_norm(x, weight, bias, 1e-2, residual, relu, mean, variance)[0] * grad).sum())

    if training:
        y, mean_here, _, inverse_std = norm.batch_norm_training_forward(x, weight, bias, 1e-2, residual, relu)
        given = (grad, x, weight, mean_here, inverse_std, y if relu else None)
        dx, dweight, dbias, passed = norm.batch_norm_training_backward(*given)
    else:
        y = norm.batch_norm_inference_forward(x, weight, bias, mean, variance, 1e-2, residual, relu)
        given = (grad, x, weight, mean, variance, 1e-2, y if relu else None)
        dx, dweight, dbias, passed = norm.batch_norm_inference_backward(*given)
    assert_close(dx, definitions.numerical_gradient(loss_value, x), 1e-7, "dx")
    if affine:
        assert_close(dweight, definitions.numerical_gradient(loss_value, weight), 1e-7, "dweight")
        assert_close(dbias, definitions.numerical_gradient(loss_value, bias), 1e-7, "dbias")
    if fused:
        assert_close(passed, definitions.numerical_gradient(loss_value, residual), 1e-7, "residual's gradient")


def test_batch_norm_of_large_mean_in_float32():
    x = (np.random.default_rng(0).standard_normal((64, 3, 8, 8)) + 1e4).astype(np.float32)
    y, _, variance, _ = norm.batch_norm_training_forward(x, None, None, 1e-5, None, False)
    expected_y, _, expected_variance = definitions.batch_norm(x, None, None, 1e-5, None, False)
    assert_close(variance, expected_variance, 1e-6)
    assert_close(y, expected_y, 1e-6)


def test_batch_norm_of_an_empty_batch():
    x = np.zeros((0, 3, 2, 2), np.float32)
    y, mean, variance, _ = norm.batch_norm_training_forward(x, None, None, 1e-5, None, True)
    assert y.shape == x.shape
    assert np.isnan(mean).all()
    assert np.isnan(variance).all()


def test_fused_relu_treats_nan_as_relu_does():
    x = normal(1, (4, 2, 3, 3))
    x[0, 0, 0, 0] = np.nan
    mean, variance, grad = np.zeros(2), np.ones(2), normal(2, x.shape)
    y = norm.batch_norm_inference_forward(x, None, None, mean, variance, 1e-5, None, True)
    passed = norm.batch_norm_inference_backward(grad, x, None, mean, variance, 1e-5, y)[3]
    assert np.array_equal(passed, activation.relu_backward(grad, activation.relu_forward(x)))


@kinds
def test_relu(dtype, order):
    x = normal(1, (2, 3, 4, 4), dtype, order)
    x[0, 0, 0] = (0.0, -0.0, np.nan, np.inf)
    y = activation.relu_forward(x)
    expected = [value if np.isnan(value) else max(value, 0.0) for value in x.ravel().tolist()]
    assert np.array_equal(y.ravel(), np.array(expected), equal_nan=True)
    grad = normal(2, x.shape, dtype, order)
    dx = activation.relu_backward(grad, y)
    slopes = [g if y_ > 0 or np.isnan(y_) else 0 for g, y_ in zip(grad.ravel(), y.ravel(), strict=True)]
    assert np.array_equal(dx.ravel(), np.array(slopes))
    assert y.dtype == dx.dtype == dtype


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("offset", [0.0, 1e4, -800.0])
def test_softmax(axis, offset):
    x, grad = normal(1, (3, 4, 5)) * 3 + offset, normal(2, (3, 4, 5))
    expected = np.apply_along_axis(lambda row: np.array(definitions.softmax_row(list(row))), axis, x)
    y, z = loss.softmax(x, axis), loss.log_softmax(x, axis)
    assert_close(y, expected, 1e-11)
    assert_close(np.exp(z), expected, 1e-11)
    if offset == 0:
        by_softmax = definitions.numerical_gradient(lambda: float((loss.softmax(x, axis) * grad).sum()), x)
        by_log = definitions.numerical_gradient(lambda: float((loss.log_softmax(x, axis) * grad).sum()), x)
        assert_close(loss.softmax_backward(grad, y, axis), by_softmax, 1e-7)
        assert_close(loss.log_softmax_backward(grad, z, axis), by_log, 1e-7)


def test_softmax_of_infinities():
    x = np.array([[-np.inf, 0.0, 0.0], [-np.inf, -np.inf, 5.0], [-np.inf] * 3])
    y = loss.softmax(x, 1)
    assert np.array_equal(y[:2], [[0, 0.5, 0.5], [0, 0, 1]])
    assert np.isnan(y[2]).all()
    assert loss.log_softmax(x, 1)[0, 0] == -np.inf
    assert loss.softmax(np.zeros((0, 3)), 1).shape == (0, 3)
    assert loss.log_softmax(np.zeros((3, 0)), 0).shape == (3, 0)


@pytest.mark.parametrize(("weighted", "ignore_index", "smoothing"), CROSS_ENTROPIES)
def test_cross_entropy(weighted, ignore_index, smoothing):
    logits, target, grad = normal(1, (6, 4)) * 3, np.array([0, 1, 2, 3, 2, 0]), normal(3, (6,))
    class_weight = np.array([0.5, 2.0, 0.0, 1.5]) if weighted else None
    if ignore_index < 0:
        target[4] = ignore_index
    settings = (class_weight, ignore_index, smoothing)
    losses, log_probabilities = loss.cross_entropy_forward(logits, target, *settings)
    rows = [definitions.cross_entropy_row(list(row), t, *settings) for row, t in zip(logits, target, strict=True)]
    assert_close(losses, np.array(rows), 1e-13)
    assert_close(log_probabilities, loss.log_softmax(logits, 1), 1e-15)

    def total():
        return float((loss.cross_entropy_forward(logits, target, *settings)[0] * grad).sum())

    dlogits = loss.cross_entropy_backward(grad, log_probabilities, target, *settings)
    assert_close(dlogits, definitions.numerical_gradient(total, logits), 1e-7)


def test_cross_entropy_of_extremes():
    logits = np.array([[-np.inf, 0.0], [1e4, -1e4], [1e4, -1e4]], np.float32)
    losses, log_probabilities = loss.cross_entropy_forward(logits, np.array([1, 0, 1]), None, -100, 0.0)
    assert np.array_equal(losses, [0, 0, 2e4])
    dlogits = loss.cross_entropy_backward(np.ones(3), log_probabilities, np.array([1, 0, 1]), None, -100, 0.0)
    assert np.array_equal(dlogits, [[0, 0], [0, 0], [1, -1]])
    empty, _ = loss.cross_entropy_forward(np.zeros((0, 3)), np.zeros(0, int), None, -100, 0.1)
    assert empty.shape == (0,)


@pytest.mark.parametrize("wrong", [3, -1, 100])
def test_cross_entropy_names_a_wrong_target(wrong):
    with pytest.raises(IndexError, match=f"target {wrong} of row 1 is not one of the 3 classes"):
        loss.cross_entropy_forward(np.zeros((2, 3)), np.array([0, wrong]), None, -100, 0.0)


@kinds
@pytest.mark.parametrize(
    "shapes",
    [((2, 3), (3, 4)), ((2, 2, 3), (3, 4)), ((3,), (3,)), ((2, 3), (3,)), ((0, 3), (3, 2)), ((4, 1, 2, 3), (2, 3, 2)),
     ((2, 0), (0, 3))],
)  # fmt: skip
def test_matmul(shapes, dtype, order):
    a, b = (normal(seed, shape, dtype, order if len(shape) > 1 else "nchw") for seed, shape in enumerate(shapes))
    ours = matmul.matmul(a, b)
    left = "k" if a.ndim == 1 else "...ik"
    right = "k" if b.ndim == 1 else "...kj"
    result = "..." * (a.ndim > 1 or b.ndim > 1) + "i" * (a.ndim > 1) + "j" * (b.ndim > 1)
    expected = np.einsum(f"{left},{right}->{result}", a.astype(float), b.astype(float), optimize=False)
    assert_close(ours, expected, ROUNDED[dtype])
    assert ours.dtype == dtype


def test_matmul_of_integers_is_exact():
    a, b = np.full((2, 3), 2**61 + 1), np.ones((3, 2), np.int64)
    assert np.array_equal(matmul.matmul(a[:, :1], b[:1]), np.full((2, 2), 2**61 + 1))


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize(("momentum", "dampening", "decay", "maximize"), [(0, 0, 0, False), (0.9, 0, 0.1, False),
                                                                           (0.8, 0.3, 0, True)])  # fmt: skip
def test_sgd(momentum, dampening, decay, maximize, nesterov):
    """Three steps, number by number."""
    parameter, buffer = normal(1, (3, 2)), np.zeros((3, 2))
    expected, velocity = parameter.copy(), np.zeros((3, 2))
    for step in range(3):
        grad = normal(10 + step, (3, 2))
        settings = (step == 0, 0.1, momentum, dampening, decay, nesterov, maximize)
        optim.sgd_step(parameter, grad, buffer if momentum else None, *settings)
        for index in definitions.indices(3, 2):
            g = (-grad[index] if maximize else grad[index]) + decay * expected[index]
            if momentum:
                velocity[index] = g if step == 0 else momentum * velocity[index] + (1 - dampening) * g
                g = g + momentum * velocity[index] if nesterov else velocity[index]
            expected[index] -= 0.1 * g
    assert_close(parameter, expected, 1e-14)
    assert_close(buffer, velocity, 1e-14)


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize(
    ("decay", "decoupled", "maximize"), [(0, False, False), (0.1, False, True), (0.1, True, False)]
)
def test_adam(amsgrad, decay, decoupled, maximize):
    """Three steps, number by number."""
    parameter = normal(1, (3, 2))
    m, v, largest = (np.zeros((3, 2)) for _ in range(3))
    expected, first, second, top = parameter.copy(), np.zeros((3, 2)), np.zeros((3, 2)), np.zeros((3, 2))
    for step in range(1, 4):
        grad = normal(10 + step, (3, 2)) / step
        settings = (step, 0.1, 0.8, 0.95, 1e-3, decay, decoupled, maximize)
        optim.adam_step(parameter, grad, m, v, largest if amsgrad else None, *settings)
        for i in definitions.indices(3, 2):
            g = -grad[i] if maximize else grad[i]
            if decoupled:
                expected[i] -= 0.1 * decay * expected[i]
            else:
                g += decay * expected[i]
            first[i] = 0.8 * first[i] + 0.2 * g
            second[i] = 0.95 * second[i] + 0.05 * g * g
            top[i] = max(top[i], second[i])
            corrected = (top[i] if amsgrad else second[i]) / (1 - 0.95**step)
            expected[i] -= 0.1 * first[i] / (1 - 0.8**step) / (math.sqrt(corrected) + 1e-3)
    assert_close(parameter, expected, 1e-13)
    assert_close(m, first, 1e-13)
    assert_close(v, second, 1e-13)
