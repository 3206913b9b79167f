"""Batch norm's statistics from the convolution's epilogue: from kernel to training step, on the stand-in for CuPy."""

import numpy as np
import pytest

import minires as mr
from minires import kernels
from minires.backend import move
from minires.kernels.cuda import norms
from minires.kernels.reference import moments
from tests.cuda.harness import needs_emulator
from tests.kernels.helpers import error_of

pytestmark = [needs_emulator, pytest.mark.usefixtures("stand_in")]


@pytest.fixture(autouse=True)
def few_processors(monkeypatch):
    monkeypatch.setattr(norms, "PROCESSORS", 2)


def gpu(array):
    return None if array is None else move(array, "cuda")


def draw(seed, *shape, offset=0.0):
    return (np.random.default_rng(seed).standard_normal(shape) + offset).astype(np.float32)


LAYERS = {"3x3": ((2, 8, 9, 7), (16, 8, 3, 3), 1, 1), "strided": ((1, 8, 9, 9), (8, 8, 1, 1), 2, 1),
          "grouped": ((2, 8, 5, 5), (8, 4, 3, 3), 1, 2), "depthwise": ((2, 8, 5, 5), (8, 1, 3, 3), 1, 8),
          "stem": ((2, 3, 9, 9), (8, 3, 7, 7), 2, 1)}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(("x_shape", "w_shape", "stride", "groups"), LAYERS.values(), ids=list(LAYERS))
def test_both_kernels_are_the_textbooks(x_shape, w_shape, stride, groups, dtype):
    x, weight, bias = draw(1, *x_shape).astype(dtype), draw(2, *w_shape).astype(dtype), draw(3, w_shape[0])
    pad = w_shape[2] // 2
    settings = (bias, (stride, stride), (pad, pad), (1, 1), groups)
    ours = kernels.conv2d_moments_forward(gpu(x), gpu(weight), gpu(bias), *settings[1:])
    y, mean, variance = moments.conv2d_moments_forward(x, weight, *settings)
    tolerance = 1e-5 if dtype == np.float32 else 2e-3
    for found, expected in zip(ours, (y, mean, variance), strict=True):
        assert error_of(found.get(), expected, 1.0) < tolerance
    assert ours[1].dtype == ours[2].dtype == np.float32
    affine, residual = (draw(4, w_shape[0]), draw(5, w_shape[0])), draw(6, *y.shape).astype(dtype)
    after = kernels.batch_norm_moments_forward(*ours, *map(gpu, affine), 1e-5, gpu(residual), True)
    expected = moments.batch_norm_moments_forward(y, mean, variance, *affine, 1e-5, residual, True)
    for found, wanted in zip(after, expected, strict=True):
        assert error_of(found.get(), wanted, 1.0) < 5 * tolerance


def test_together_they_are_convolution_and_batch_norm():
    x, weight = draw(1, 2, 3, 6, 5), draw(2, 4, 3, 3, 3)
    y, mean, variance = kernels.conv2d_moments_forward(x, weight, None, (1, 1), (1, 1), (1, 1), 1)
    z, inverse_std = kernels.batch_norm_moments_forward(y, mean, variance, None, None, 1e-5, None, True)
    expected = kernels.batch_norm_training_forward(y, None, None, 1e-5, None, True)
    for ours, wanted in zip((z, mean, variance, inverse_std), expected, strict=True):
        assert np.allclose(ours, wanted, atol=1e-5)


def test_digits_are_kept_far_from_zero():
    """Mean 1000, deviation 1, where sums of squares would lose the variance: the bound of adapters/moments.py."""
    x = draw(1, 4, 1, 16, 16, offset=1000)
    _, mean, variance = kernels.conv2d_moments_forward(
        gpu(x), gpu(np.ones((1, 1, 1, 1), np.float32)), None, (1, 1), (0, 0), (1, 1), 1
    )
    u, rows, tiles, largest, deviation = 2.0**-24, 64, 16, np.abs(x).max(), x.astype(float).std()
    assert abs(mean.get()[0] - x.astype(float).mean()) <= rows * u * largest
    allowed = (rows + tiles / 8 + 8) * u + (rows * u * largest / deviation) ** 2
    assert abs(variance.get()[0] / deviation**2 - 1) <= allowed


def test_an_empty_batch_has_none():
    x, weight = np.zeros((0, 3, 4, 4), np.float32), draw(1, 2, 3, 1, 1)
    y, mean, variance = kernels.conv2d_moments_forward(gpu(x), gpu(weight), None, (1, 1), (0, 0), (1, 1), 1)
    assert y.shape == (0, 2, 4, 4) and np.isnan(mean.get()).all() and np.isnan(variance.get()).all()
    z, inverse_std = kernels.batch_norm_moments_forward(y, mean, variance, None, None, 1e-5, None, True)
    assert z.shape == y.shape and np.isnan(inverse_std.get()).all()


def block(seed=1):
    mr.manual_seed(seed)
    return mr.nn.Sequential(mr.nn.Conv2d(3, 8, 3, padding=1, bias=False), mr.nn.BatchNorm2d(8), mr.nn.ReLU())


def names(stand_in):
    return [expression.partition("<")[0] for expression in stand_in.launched]


def step(model, x):
    y = model(x)
    (y * y).sum().backward()
    return [y, *[p.grad for p in model.parameters()], *model.buffers()]


def test_a_training_step_skips_the_read(stand_in):
    x = mr.tensor(draw(3, 2, 3, 6, 5))
    expected, ours = step(block(), x), step(block().cuda(), x.cuda())
    forward = names(stand_in)[: names(stand_in).index("batch_norm_backward_sums")]
    assert forward == ["conv_direct_forward", "batch_norm_statistics", "batch_norm_inverse_std", "batch_norm_apply"]
    assert "batch_norm_sums" not in names(stand_in)
    for found, wanted in zip(ours, expected, strict=True):
        assert error_of(found.cpu().detach().numpy(), wanted.detach().numpy(), 1.0) < 2e-5


@pytest.mark.parametrize("change", [
    lambda y: y.detach().mul_(2.0) is None or y, lambda y: y.mul_(2.0), lambda y: y * 1.0, lambda y: y[:, :, 1:],
    lambda y: (setattr(y, "data", y.data + 1), y)[1],
])  # fmt: skip
def test_what_was_changed_is_read_again(stand_in, change):
    """In place, through another tensor on the same memory, or by another array: the note is of no use then."""
    convolution, norm = block()[0].cuda(), block()[1].cuda()
    y = change(convolution(mr.tensor(draw(3, 2, 3, 6, 5)).cuda()))
    z = norm(y).cpu().detach().numpy()
    assert names(stand_in).count("batch_norm_sums") == 1
    assert np.abs(z.mean(axis=(0, 2, 3))).max() < 1e-5 and np.abs(z.std(axis=(0, 2, 3)) - 1).max() < 1e-3


def test_who_does_not_want_them_takes_none(stand_in):
    """Without gradients, with a bias, in float64's absence on the CPU: the plain convolution."""
    x = mr.tensor(draw(3, 1, 3, 6, 5)).cuda()
    with mr.no_grad():
        assert block()[0].cuda()(x).moments is None
    assert mr.nn.Conv2d(3, 8, 3).cuda()(x).moments is None
    assert block()[0](x.cpu()).moments is None
    assert "batch_norm_statistics" not in names(stand_in)


def test_half_precision(stand_in):
    x = mr.tensor(draw(3, 2, 8, 6, 5))
    model = mr.nn.Sequential(mr.nn.Conv2d(8, 8, 3, padding=1, bias=False), mr.nn.BatchNorm2d(8), mr.nn.ReLU())
    expected = model(x)
    model.cuda()
    with mr.amp.autocast("cuda"):
        y = model(x.cuda())
    assert "conv_mma_forward" in names(stand_in) and "batch_norm_sums" not in names(stand_in)
    assert error_of(y.cpu().float().detach().numpy(), expected.detach().numpy(), 1.0) < 1e-2
