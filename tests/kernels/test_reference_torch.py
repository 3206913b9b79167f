"""The reference kernels against torch: forward, and backward by torch.autograd."""

import numpy as np
import pytest

from minires.kernels.reference import activation, conv, loss, matmul, norm, pool
from tests.kernels.cases import ADAPTIVE_POOLS, AVG_POOLS, CONVOLUTIONS, CROSS_ENTROPIES, MAX_POOLS
from tests.kernels.helpers import DTYPES, ORDERS, TOLERANCE, assert_close, normal

torch = pytest.importorskip("torch")
from torch.nn import functional as F  # noqa: E402

kinds = pytest.mark.parametrize(("dtype", "order"), [(d, o) for d in DTYPES for o in ORDERS])


def leaf(array):
    """A torch tensor with a copy of the values, whose gradient is wanted; None stays None."""
    return None if array is None else torch.from_numpy(np.array(array, order="C")).requires_grad_()


def gradients(y, grad, *tensors):
    return [tensor.numpy() for tensor in torch.autograd.grad(y, tensors, torch.from_numpy(np.array(grad)))]


@kinds
@pytest.mark.parametrize(("x_shape", "w_shape", "stride", "padding", "dilation", "groups"), CONVOLUTIONS)
def test_convolution(x_shape, w_shape, stride, padding, dilation, groups, dtype, order):
    if 0 in x_shape[1:] or 0 in w_shape:
        return  # torch refuses convolutions without channels
    x, weight = normal(1, x_shape, dtype, order), normal(2, w_shape, dtype, order)
    bias = normal(3, w_shape[:1], dtype)
    settings = (stride, padding, dilation, groups)
    tensors = leaf(x), leaf(weight), leaf(bias)
    expected = F.conv2d(*tensors, *settings)
    y = conv.conv2d_forward(x, weight, bias, *settings)
    assert_close(y, expected.detach().numpy(), TOLERANCE[dtype], "y")
    grad = normal(4, y.shape, dtype, order)
    dx, dweight, _ = gradients(expected, grad, *tensors)
    assert_close(conv.conv2d_input_gradient(grad, weight, x.shape, *settings), dx, TOLERANCE[dtype], "dx")
    assert_close(conv.conv2d_weight_gradient(grad, x, w_shape, *settings), dweight, TOLERANCE[dtype], "dweight")


@kinds
@pytest.mark.parametrize("fill", ["normal", "ties", "nan"])
@pytest.mark.parametrize(("shape", "kernel", "stride", "padding", "dilation", "ceil_mode"), MAX_POOLS)
def test_max_pool(shape, kernel, stride, padding, dilation, ceil_mode, fill, dtype, order):
    x = normal(1, shape, dtype, order)
    if fill == "ties":
        np.round(x, out=x)
    elif fill == "nan":
        x[np.random.default_rng(2).random(shape) < 0.2] = np.nan
    tensor = leaf(x)
    expected = F.max_pool2d(tensor, kernel, stride, padding, dilation, ceil_mode)
    y, winner = pool.max_pool2d_forward(x, kernel, stride, padding, dilation, ceil_mode)
    assert np.array_equal(y, expected.detach().numpy(), equal_nan=True)
    grad = normal(2, y.shape, dtype, order)
    (dx,) = gradients(expected, grad, tensor)
    ours = pool.max_pool2d_backward(grad, winner, shape, kernel, stride, padding, dilation)
    assert_close(ours, dx, TOLERANCE[dtype], "dx")


@kinds
@pytest.mark.parametrize(("shape", "kernel", "stride", "padding", "ceil_mode", "include", "override"), AVG_POOLS)
def test_avg_pool(shape, kernel, stride, padding, ceil_mode, include, override, dtype, order):
    x = normal(1, shape, dtype, order)
    tensor = leaf(x)
    expected = F.avg_pool2d(tensor, kernel, stride, padding, ceil_mode, include, override)
    y = pool.avg_pool2d_forward(x, kernel, stride, padding, ceil_mode, include, override)
    assert_close(y, expected.detach().numpy(), TOLERANCE[dtype], "y")
    grad = normal(2, y.shape, dtype, order)
    (dx,) = gradients(expected, grad, tensor)
    ours = pool.avg_pool2d_backward(grad, shape, kernel, stride, padding, ceil_mode, include, override)
    assert_close(ours, dx, TOLERANCE[dtype], "dx")


@kinds
@pytest.mark.parametrize(("shape", "size"), ADAPTIVE_POOLS)
def test_adaptive_avg_pool(shape, size, dtype, order):
    x, grad = normal(1, shape, dtype, order), normal(2, (*shape[:2], *size), dtype, order)
    tensor = leaf(x)
    expected = F.adaptive_avg_pool2d(tensor, size)
    assert_close(pool.adaptive_avg_pool2d_forward(x, size), expected.detach().numpy(), TOLERANCE[dtype], "y")
    (dx,) = gradients(expected, grad, tensor)
    assert_close(pool.adaptive_avg_pool2d_backward(grad, shape), dx, TOLERANCE[dtype], "dx")


@kinds
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("affine", "fused", "relu"), [(True, False, False), (False, False, True), (True, True, True)])
@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (8, 3)])
def test_batch_norm(shape, affine, fused, relu, training, dtype, order):
    x, grad = (
        normal(1, shape, dtype, order) * np.asarray(3, dtype) + np.asarray(2, dtype),
        normal(5, shape, dtype, order),
    )
    weight, bias = (normal(s, (3,), dtype) if affine else None for s in (2, 3))
    residual = normal(4, shape, dtype, order) if fused else None
    mean, variance = normal(6, (3,), dtype), np.abs(normal(7, (3,), dtype))
    tensors = [leaf(array) for array in (x, weight, bias, residual)]
    running = torch.from_numpy(mean.copy()), torch.from_numpy(variance.copy())
    expected = F.batch_norm(tensors[0], *running, *tensors[1:3], training=training, momentum=0.1, eps=1e-5)
    if fused:
        expected = expected + tensors[3]
    if relu:
        expected = F.relu(expected)
    if training:
        y, batch_mean, _, inverse_std = norm.batch_norm_training_forward(x, weight, bias, 1e-5, residual, relu)
        given = (grad, x, weight, batch_mean, inverse_std, y if relu else None)
        dx, dweight, dbias, passed = norm.batch_norm_training_backward(*given)
    else:
        y = norm.batch_norm_inference_forward(x, weight, bias, mean, variance, 1e-5, residual, relu)
        given = (grad, x, weight, mean, variance, 1e-5, y if relu else None)
        dx, dweight, dbias, passed = norm.batch_norm_inference_backward(*given)
    assert_close(y, expected.detach().numpy(), TOLERANCE[dtype], "y")
    names = ["dx", *["dweight", "dbias"] * affine, *["residual's gradient"] * fused]
    ours = [dx, *[dweight, dbias] * affine, *[passed] * fused]
    theirs = gradients(expected, grad, *(tensor for tensor in tensors if tensor is not None))
    for name, mine, other in zip(names, ours, theirs, strict=True):
        assert_close(mine, other, TOLERANCE[dtype], name)


@kinds
def test_relu(dtype, order):
    x, grad = normal(1, (2, 3, 4, 4), dtype, order), normal(2, (2, 3, 4, 4), dtype, order)
    x[0, 0, 0] = (0.0, -0.0, np.nan, np.inf)
    tensor = leaf(x)
    expected = F.relu(tensor)
    y = activation.relu_forward(x)
    assert np.array_equal(y, expected.detach().numpy(), equal_nan=True)
    assert np.array_equal(activation.relu_backward(grad, y), gradients(expected, grad, tensor)[0])


@kinds
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(name, axis, dtype, order):
    x, grad = normal(1, (3, 4, 5), dtype, order) * np.asarray(3, dtype), normal(2, (3, 4, 5), dtype, order)
    x[0, 1, 2] = -np.inf
    tensor = leaf(x)
    expected = getattr(F, name)(tensor, axis)
    y = getattr(loss, name)(x, axis)
    assert_close(y, expected.detach().numpy(), TOLERANCE[dtype])
    ours = getattr(loss, f"{name}_backward")(grad, y, axis)
    assert_close(ours, gradients(expected, grad, tensor)[0], TOLERANCE[dtype])


@kinds
@pytest.mark.parametrize(("weighted", "ignore_index", "smoothing"), CROSS_ENTROPIES)
def test_cross_entropy(weighted, ignore_index, smoothing, dtype, order):
    logits, target = normal(1, (6, 4), dtype, order) * np.asarray(3, dtype), np.array([0, 1, 2, 3, 2, 0])
    if ignore_index < 0:
        target[4] = ignore_index
    grad = normal(2, (6,), dtype)
    weight = np.array([0.5, 2.0, 0.0, 1.5], dtype) if weighted else None
    tensor = leaf(logits)
    expected = F.cross_entropy(tensor, torch.from_numpy(target), None if weight is None else torch.from_numpy(weight),
                               ignore_index=ignore_index, reduction="none", label_smoothing=smoothing)  # fmt: skip
    losses, log_probabilities = loss.cross_entropy_forward(logits, target, weight, ignore_index, smoothing)
    assert_close(losses, expected.detach().numpy(), TOLERANCE[dtype])
    ours = loss.cross_entropy_backward(grad, log_probabilities, target, weight, ignore_index, smoothing)
    assert_close(ours, gradients(expected, grad, tensor)[0], TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shapes", [((2, 3), (3, 4)), ((5, 2, 3), (5, 3, 4)), ((3,), (3,)), ((0, 3), (3, 2))])
def test_matmul(shapes, dtype):
    a, b = (normal(seed, shape, dtype) for seed, shape in enumerate(shapes))
    expected = torch.from_numpy(a) @ torch.from_numpy(b)
    assert_close(matmul.matmul(a, b), expected.numpy(), TOLERANCE[dtype])
