"""The fast kernels against the reference: the tables of settings, every memory order, one and three threads."""

import numpy as np
import pytest

from minires import kernels
from minires.kernels.cpu import conv
from minires.kernels.cpu.windows import Geometry
from tests.kernels.cases import ADAPTIVE_POOLS, AVG_POOLS, CONVOLUTIONS, CROSS_ENTROPIES, MAX_POOLS
from tests.kernels.helpers import DTYPES, ORDERS, as_tuple, assert_close, compare, normal

kinds = pytest.mark.parametrize(("dtype", "order"), [(d, o) for d in DTYPES for o in ORDERS])


@pytest.fixture(autouse=True, params=[1, 3], ids=["one thread", "three threads"])
def threads(request, pretend_threads):
    """As many threads as the machine need not have, so that shares, sums over threads and their order are tested."""
    pretend_threads(request.param)


@kinds
@pytest.mark.parametrize(("x_shape", "w_shape", "stride", "padding", "dilation", "groups"), CONVOLUTIONS)
def test_convolution(x_shape, w_shape, stride, padding, dilation, groups, dtype, order):
    settings = (stride, padding, dilation, groups)
    x, weight = normal(1, x_shape, dtype, order), normal(2, w_shape, dtype, order)
    y = compare("conv2d_forward", x, weight, normal(3, w_shape[:1], dtype), *settings)
    compare("conv2d_forward", x, weight, None, *settings)
    grad = normal(4, y.shape, dtype, order)
    compare("conv2d_input_gradient", grad, weight, x_shape, *settings)
    compare("conv2d_weight_gradient", grad, x, w_shape, *settings)
    compare("conv2d_gradients", grad, x, weight, *settings)


@pytest.mark.parametrize("mean", [0.0, 1.0])
@pytest.mark.parametrize(
    ("batch", "channels", "size"), [(8, 16, 32), (8, 32, 16), (4, 64, 28), (4, 128, 28), (4, 256, 14), (16, 512, 7)]
)
def test_error_of_winograd_in_float32(batch, channels, size, mean):
    """Against float64 of the same numbers; half of what the comparison with PyTorch allows."""
    shapes = (batch, channels, size, size), (channels, channels, 3, 3)
    geometry = ((1, 1), (1, 1), (1, 1))
    layer = (Geometry((3, 3), *geometry, (size, size)), 1, batch, channels, channels, np.dtype("float32"))
    assert conv.special_way("forward", *layer) is not None
    x, weight, grad = (normal(seed, shapes[seed % 2], "float32", "nhwc") for seed in (2, 1, 4))
    x += np.float32(mean)
    wide = [np.float64(array) for array in (x, weight, grad)]
    arguments = {
        "conv2d_forward": lambda x, w, g: (x, w, None),
        "conv2d_input_gradient": lambda x, w, g: (g, w, shapes[0]),
        "conv2d_gradients": lambda x, w, g: (g, x, w),
    }
    for name, order in arguments.items():
        kernel = kernels.implementation(name, "cpu")
        ours = as_tuple(kernel(*order(x, weight, grad), *geometry, 1))
        exact = as_tuple(kernel(*order(*wide), *geometry, 1))
        for number, (array, expected) in enumerate(zip(ours, exact, strict=True)):
            assert_close(array, expected, 6e-6, f"{name}, result {number}")


@kinds
@pytest.mark.parametrize("fill", ["normal", "ties", "nan", "-inf"])
@pytest.mark.parametrize(("shape", "kernel", "stride", "padding", "dilation", "ceil_mode"), MAX_POOLS)
def test_max_pool(shape, kernel, stride, padding, dilation, ceil_mode, fill, dtype, order):
    x = normal(1, shape, dtype, order)
    if fill == "ties":
        np.round(x, out=x)
    elif fill != "normal":
        x[np.random.default_rng(2).random(shape) < (0.2 if fill == "nan" else 0.7)] = float(fill)
    y, winner = compare("max_pool2d_forward", x, kernel, stride, padding, dilation, ceil_mode, exact=True)
    grad = normal(2, y.shape, dtype, order)
    compare("max_pool2d_backward", grad, winner, shape, kernel, stride, padding, dilation)


@kinds
@pytest.mark.parametrize(("shape", "kernel", "stride", "padding", "ceil_mode", "include", "override"), AVG_POOLS)
def test_avg_pool(shape, kernel, stride, padding, ceil_mode, include, override, dtype, order):
    settings = (kernel, stride, padding, ceil_mode, include, override)
    y = compare("avg_pool2d_forward", normal(1, shape, dtype, order), *settings)
    compare("avg_pool2d_backward", normal(2, y.shape, dtype, order), shape, *settings)


@kinds
@pytest.mark.parametrize(("shape", "size"), ADAPTIVE_POOLS)
def test_adaptive_avg_pool(shape, size, dtype, order):
    y = compare("adaptive_avg_pool2d_forward", normal(1, shape, dtype, order), size)
    compare("adaptive_avg_pool2d_backward", normal(2, y.shape, dtype, order), shape)


@kinds
@pytest.mark.parametrize(("affine", "fused", "relu"), [(True, False, False), (False, False, True), (True, True, True)])
@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (8, 3), (2, 5, 7), (64, 4, 24, 24), (3, 1500)])
def test_batch_norm(shape, affine, fused, relu, dtype, order):
    x, residual, grad = (normal(seed, shape, dtype, order) for seed in (1, 2, 3))
    channels = shape[1:2]
    weight, bias = (normal(seed, channels, dtype) if affine else None for seed in (4, 5))
    addend = residual if fused else None
    y, mean, _, inverse_std = compare("batch_norm_training_forward", x, weight, bias, 1e-5, addend, relu)
    output = y if relu else None
    compare("batch_norm_training_backward", grad, x, weight, mean, inverse_std, output, may_alias=not relu)
    fixed = normal(6, channels, dtype), np.abs(normal(7, channels, dtype))
    y = compare("batch_norm_inference_forward", x, weight, bias, *fixed, 1e-3, addend, relu)
    output = y if relu else None
    compare("batch_norm_inference_backward", grad, x, weight, *fixed, 1e-3, output, may_alias=not relu)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("mean", "std"), [(1e4, 1.0), (-1e4, 1.0), (100.0, 1e-2), (0.0, 1e-6), (5.0, 0.0)])
def test_batch_norm_of_a_large_mean(mean, std, dtype):
    """Nothing is lost to cancellation: what float32 holds of x is normalised as exactly as in float64."""
    x = (np.random.default_rng(0).standard_normal((64, 6, 9, 8)) * std + mean).astype(dtype)
    tolerance = 2e-6 if dtype == "float32" else 1e-11
    _, *statistics = compare("batch_norm_training_forward", x, None, None, 1e-5, None, False, tolerance=tolerance)
    grad = normal(1, x.shape, dtype)
    compare("batch_norm_training_backward", grad, x, None, statistics[0], statistics[2], None, may_alias=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_batch_norm_of_a_batch_that_its_sample_misrepresents(dtype):
    """A few of many rows make the centre of the sums: here all that are not like the others."""
    x = normal(0, (64, 3, 8, 8), dtype, "nhwc")
    rows = x.transpose(0, 2, 3, 1).reshape(-1, 3)
    rows[rows.shape[0] // 2 :] += 1000
    rows[:: rows.shape[0] // 16] = -1e5
    compare("batch_norm_training_forward", x, None, None, 1e-5, None, False)


@pytest.mark.parametrize("shape", [(0, 3, 2, 2), (2, 0, 3, 3), (0, 4)])
def test_batch_norm_of_nothing(shape):
    x = np.zeros(shape, np.float32)
    y, mean, _, inverse_std = compare("batch_norm_training_forward", x, None, None, 1e-5, None, True)
    compare("batch_norm_training_backward", x, x, None, mean, inverse_std, y)


@kinds
@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (70_000,), (3, 0), (), (5, 7), (2, 3, 5), (5, 40, 30, 31)])
def test_relu(shape, dtype, order):
    if len(shape) < 2:
        order = "nchw"
    x, grad = normal(1, shape, dtype, order), normal(2, shape, dtype, order)
    if x.size > 20:
        np.put(x, [0, 1, 2, 3], [0.0, -0.0, np.nan, np.inf])
        np.put(grad, [1, 2, 4], [np.inf, np.nan, -np.inf])
    y = compare("relu_forward", x, exact=True)
    assert not np.signbit(y[~np.isnan(y)]).any(), "the fast backward kernel takes any bit but 0 for a positive number"
    compare("relu_backward", grad, y, exact=True)


@kinds
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(name, axis, dtype, order):
    x = normal(1, (3, 4, 5), dtype, order) * np.asarray(30, dtype)
    x[0, 1, 2], x[1, :, 0] = -np.inf, -np.inf
    y = compare(name, x, axis)
    y[np.isinf(y)] = -50
    compare(f"{name}_backward", normal(2, x.shape, dtype, order), y, axis)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_softmax_of_nothing(shape):
    for name in ("softmax", "log_softmax"):
        y = compare(name, np.zeros(shape, np.float32), 0)
        compare(f"{name}_backward", np.zeros(shape, np.float32), y, 0)


@kinds
@pytest.mark.parametrize(("weighted", "ignore_index", "smoothing"), CROSS_ENTROPIES)
def test_cross_entropy(weighted, ignore_index, smoothing, dtype, order):
    logits, target = normal(1, (6, 4), dtype, order) * np.asarray(3, dtype), np.array([0, 1, 2, 3, 2, 0])
    if ignore_index < 0:
        target[4] = ignore_index
    logits[0, 1] = logits[5, 2] = -np.inf
    settings = (np.array([0.5, 2.0, 0.0, 1.5], dtype) if weighted else None, ignore_index, smoothing)
    _, log_probabilities = compare("cross_entropy_forward", logits, target, *settings)
    compare("cross_entropy_backward", normal(2, (6,), dtype), log_probabilities, target, *settings)


@pytest.mark.parametrize("wrong", [3, -1, 100])
def test_cross_entropy_names_a_wrong_target(wrong):
    with pytest.raises(IndexError, match=f"target {wrong} of row 1 is not one of the 3 classes"):
        kernels.cross_entropy_forward(np.zeros((2, 3)), np.array([0, wrong]), None, -100, 0.0)


@kinds
@pytest.mark.parametrize(
    "shapes",
    [((2, 3), (3, 4)), ((2, 2, 3), (3, 4)), ((3,), (3,)), ((2, 3), (3,)), ((0, 3), (3, 2)), ((4, 1, 2, 3), (2, 3, 2)),
     ((2, 0), (0, 3)), ((1, 40), (40, 30)), ((130, 120), (120, 110))],
)  # fmt: skip
def test_matmul(shapes, dtype, order):
    a, b = (normal(seed, shape, dtype, order if len(shape) > 1 else "nchw") for seed, shape in enumerate(shapes))
    compare("matmul", a, b)


def test_matmul_of_integers_and_of_two_types():
    wide = np.array([[2**61 + 1, 3]])
    compare("matmul", wide, np.ones((2, 2), np.int64), exact=True)
    compare("matmul", np.ones((2, 2), np.float32), normal(1, (2, 2)))
    compare("matmul", np.ones((2, 2), np.bool_), np.ones((2, 2), np.bool_), exact=True)


@kinds
@pytest.mark.parametrize("shape", [(3, 2), (4, 5, 3, 3), (70_000,), ()])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize(("momentum", "dampening", "decay", "maximize"), [(0, 0, 0, False), (0.9, 0, 0.1, False),
                                                                           (0.8, 0.3, 0, True)])  # fmt: skip
def test_sgd(shape, momentum, dampening, decay, maximize, nesterov, dtype, order):
    order = order if len(shape) > 1 else "nchw"
    for step in range(2):
        state = [normal(1, shape, dtype, order), normal(2, shape, dtype), normal(3, shape, dtype, order)]
        settings = (step == 0, 0.1, momentum, dampening, decay, nesterov, maximize)
        compare("sgd_step", state[0], state[1], state[2] if momentum else None, *settings, writes=(0, 2))


@kinds
@pytest.mark.parametrize("shape", [(3, 2), (4, 5, 3, 3), (70_000,), ()])
@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize(("decay", "decoupled", "maximize"), [(0, False, False), (0.1, False, True),
                                                              (0.1, True, False)])  # fmt: skip
def test_adam(shape, amsgrad, decay, decoupled, maximize, dtype, order):
    order = order if len(shape) > 1 else "nchw"
    for step in (1, 5):
        p, g, m = (normal(seed, shape, dtype, order) for seed in (1, 2, 3))
        v, largest = (normal(seed, shape, dtype, order) for seed in (4, 5))
        for array in (v, largest):
            np.abs(array, out=array)
        settings = (step, 0.1, 0.8, 0.95, 1e-3, decay, decoupled, maximize)
        compare("adam_step", p, g, m, v, largest if amsgrad else None, *settings, writes=(0, 2, 3, 4))
