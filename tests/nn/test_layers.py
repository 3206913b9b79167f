"""Every layer against torch's: text, keys, forward, gradients, errors."""

import numpy as np
import pytest

from minires import nn
from minires.nn import functional as F
from minires.tensor import Tensor

torch = pytest.importorskip("torch")
from tests.torch_tools import assert_close, compare_modules, load_into_torch, to_torch  # noqa: E402

LAYERS = [
    ("Linear", (5, 3), {}, [(4, 5)]),
    ("Linear", (5, 3), {"bias": False}, [(2, 4, 5)]),
    ("Conv2d", (3, 4, 3), {}, [(2, 3, 7, 6)]),
    ("Conv2d", (4, 6, (3, 2)), {"stride": (2, 1), "padding": (1, 2), "groups": 2}, [(2, 4, 7, 6)]),
    ("Conv2d", (3, 5, 3), {"padding": 2, "dilation": 2, "bias": False}, [(1, 3, 8, 8)]),
    ("Conv2d", (3, 4, 3), {"padding": "same", "dilation": (1, 2)}, [(2, 3, 5, 6)]),
    ("Conv2d", (3, 4, 3), {"padding": "valid", "stride": 2}, [(2, 3, 7, 7)]),
    ("Conv2d", (4, 4, 3), {"groups": 4, "padding": 1, "padding_mode": "zeros"}, [(2, 4, 5, 5)]),
    ("BatchNorm2d", (3,), {}, [(4, 3, 5, 2)]),
    ("BatchNorm2d", (3,), {"eps": 1e-2, "momentum": 0.4}, [(4, 3, 5, 2)]),
    ("BatchNorm2d", (3,), {"momentum": None}, [(4, 3, 5, 2)]),
    ("BatchNorm2d", (3,), {"affine": False}, [(4, 3, 5, 2)]),
    ("BatchNorm2d", (3,), {"bias": False}, [(4, 3, 5, 2)]),
    ("BatchNorm2d", (3,), {"track_running_stats": False}, [(4, 3, 5, 2)]),
    ("BatchNorm1d", (6,), {}, [(7, 6)]),
    ("BatchNorm1d", (6,), {}, [(4, 6, 3)]),
    ("GroupNorm", (2, 6), {}, [(4, 6, 5, 2)]),
    ("GroupNorm", (6, 6), {"eps": 1e-2}, [(4, 6, 5)]),
    ("GroupNorm", (1, 4), {"affine": False}, [(2, 4, 3, 3)]),
    ("GroupNorm", (3, 6), {"bias": False}, [(2, 6, 3, 3)]),
    ("ConstantPad2d", (1, 0.0), {}, [(2, 3, 4, 5)]),
    ("ConstantPad2d", ((1, 0, 2, 3), 1.5), {}, [(2, 3, 4, 5)]),
    ("ReLU", (), {}, [(3, 4)]),
    ("ReLU", (), {"inplace": True}, [(3, 4)]),
    ("Sigmoid", (), {}, [(3, 4)]),
    ("Tanh", (), {}, [(3, 4)]),
    ("Softmax", (), {"dim": 1}, [(3, 4)]),
    ("LogSoftmax", (), {"dim": -1}, [(3, 4)]),
    ("MaxPool2d", (3,), {"stride": 2, "padding": 1}, [(2, 3, 7, 7)]),
    ("MaxPool2d", ((2, 3),), {"dilation": (1, 2), "ceil_mode": True}, [(2, 3, 8, 7)]),
    ("AvgPool2d", (2,), {}, [(2, 3, 6, 6)]),
    ("AvgPool2d", (3,), {"stride": 2, "padding": 1, "count_include_pad": False}, [(2, 3, 7, 7)]),
    ("AvgPool2d", (3, 2, 1, True, True, 5), {}, [(2, 3, 6, 6)]),
    ("AdaptiveAvgPool2d", ((1, 1),), {}, [(2, 3, 5, 4)]),
    ("AdaptiveAvgPool2d", ((2, 3),), {}, [(2, 3, 5, 7)]),
    ("AdaptiveAvgPool2d", (1,), {}, [(2, 3, 5, 4)]),
    ("Flatten", (), {}, [(2, 3, 5, 4)]),
    ("Flatten", (), {"start_dim": 0, "end_dim": 1}, [(2, 3, 5)]),
    ("Identity", (), {}, [(2, 3)]),
    ("Identity", (54,), {"unused": 1}, [(2, 3)]),
]


def both(name, arguments, settings):
    return getattr(nn, name)(*arguments, **settings), getattr(torch.nn, name)(*arguments, **settings)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["float", "double"])
@pytest.mark.parametrize(("name", "arguments", "settings", "shapes"), LAYERS)
def test_layer_as_torch(name, arguments, settings, shapes, dtype, training):
    ours, theirs = both(name, arguments, settings)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for module in (ours, theirs):
        getattr(module, dtype)().train(training)
    random = np.random.default_rng(3)
    for buffer in ours.buffers():
        if buffer.dtype.kind == "f":
            buffer.array[...] = random.uniform(0.5, 2, buffer.shape)
    load_into_torch(ours, theirs)
    dtype = np.dtype("float32" if dtype == "float" else "float64")
    compare_modules(ours, theirs, shapes, seed=1, dtype=dtype)
    compare_modules(ours, theirs, shapes, seed=2, dtype=dtype)  # a second time: gradients add up, statistics move on


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_as_torch(reduction, dtype):
    random = np.random.default_rng(0)
    weight, target = random.uniform(0.5, 2, 5).astype(dtype), np.array([0, 4, -100, 2])
    for settings in ({}, {"weight": weight}, {"ignore_index": 4}, {"label_smoothing": 0.2},
                     {"weight": weight, "label_smoothing": 0.1}):  # fmt: skip
        names = ("CrossEntropyLoss",) if "label_smoothing" in settings else ("CrossEntropyLoss", "NLLLoss")
        for name in names:
            mine = {k: Tensor(v) if isinstance(v, np.ndarray) else v for k, v in settings.items()}
            other = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in settings.items()}
            ours = getattr(nn, name)(**mine, reduction=reduction)
            theirs = getattr(torch.nn, name)(**other, reduction=reduction)
            assert list(ours.state_dict()) == list(theirs.state_dict()) and repr(ours) == repr(theirs)
            logits = random.standard_normal((4, 5)).astype(dtype)
            ignored = settings.get("ignore_index", -100)
            compare_losses(ours, theirs, logits, np.where(target == -100, ignored, target))
    for name in ("MSELoss", "L1Loss"):
        ours, theirs = both(name, (), {"reduction": reduction})
        values = random.standard_normal((2, 4, 3)).astype(dtype)
        compare_losses(ours, theirs, values[0], values[1])


def compare_losses(ours, theirs, first, second):
    x, y = Tensor(first.copy(), requires_grad=True), torch.from_numpy(first.copy()).requires_grad_()
    result, expected = ours(x, Tensor(second)), theirs(y, torch.from_numpy(second))
    assert_close(result, expected)
    cotangent = np.random.default_rng(1).standard_normal(expected.shape)
    result.backward(Tensor(np.asarray(cotangent, first.dtype)))
    expected.backward(torch.from_numpy(np.asarray(cotangent, first.dtype)))
    assert_close(x.grad, y.grad)


def test_cross_entropy_of_images():
    random = np.random.default_rng(0)
    logits, target = random.standard_normal((2, 3, 4, 5)), random.integers(0, 3, (2, 4, 5))
    compare_losses(nn.CrossEntropyLoss(), torch.nn.CrossEntropyLoss(), logits, target)


def test_statistics_after_many_batches():
    for momentum in (0.1, None):
        ours, theirs = nn.BatchNorm2d(3, momentum=momentum), torch.nn.BatchNorm2d(3, momentum=momentum)
        for step in range(5):
            x = np.random.default_rng(step).normal(step, 1 + step, (4, 3, 2, 2)).astype(np.float32)
            ours(Tensor(x))
            theirs(torch.from_numpy(x))
        for (name, a), (_, b) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
            assert_close(a, b, name)
        ours.reset_running_stats()
        assert ours.running_var.tolist() == [1, 1, 1] and ours.num_batches_tracked.item() == 0


def test_frozen_statistics_stay_bit_for_bit():
    from minires import optim

    random = np.random.default_rng(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    norm = model[1]
    for _ in range(3):
        model(Tensor(random.standard_normal((4, 3, 6, 6)).astype(np.float32)))
    norm.freeze_statistics()
    before = {name: buffer.array.copy() for name, buffer in norm.named_buffers()}
    weight = norm.weight.array.copy()
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    for step in range(50):
        model.train()
        if step % 7 == 3:
            model.eval()
        optimizer.zero_grad()
        model(Tensor(random.standard_normal((4, 3, 6, 6)).astype(np.float32))).sum().backward()
        optimizer.step()
    for name, buffer in norm.named_buffers():
        assert np.array_equal(buffer.array, before[name]), name
    assert not np.array_equal(norm.weight.array, weight), "freezing statistics does not stop weights from learning"
    x = Tensor(random.standard_normal((4, 3, 6, 6)).astype(np.float32))
    assert np.array_equal(model.train()(x).array, model.eval()(x).array)
    assert "statistics_frozen=True" in repr(norm)
    norm.freeze_statistics(False)
    model.train()(x)
    assert not np.array_equal(norm.running_mean.array, before["running_mean"])
    with pytest.raises(RuntimeError, match="track_running_stats=False"):
        nn.BatchNorm2d(3, track_running_stats=False).freeze_statistics()


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("with_residual", [True, False])
def test_fused_norm_act_equals_the_modules(frozen, training, with_residual):
    random = np.random.default_rng(0)
    x, r, cotangent = (random.standard_normal((4, 3, 5, 2)) for _ in range(3))
    results = []
    for hooked in (False, True):
        norm, act, calls = nn.BatchNorm2d(3).double().train(training), nn.ReLU(inplace=True), []
        norm.running_mean.array[...] = [0.3, -0.2, 0.1]
        norm.weight.array[...] = [1.5, -0.5, 2.0]
        norm.freeze_statistics(frozen)
        if hooked:
            act.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        a, b = Tensor(x.copy(), requires_grad=True), Tensor(r.copy(), requires_grad=True)
        y = nn.norm_act(norm, act, a, b if with_residual else None)
        assert calls == ([1] if hooked else [])
        y.backward(Tensor(cotangent))
        gradients = [a.grad.array, norm.weight.grad.array, norm.bias.grad.array]
        gradients += [b.grad.array] if with_residual else []
        results.append([y.array, *gradients, *(buffer.array for buffer in norm.buffers())])
    for fused, composed in zip(*results, strict=True):
        assert np.allclose(fused, composed, rtol=1e-12, atol=1e-13)


def test_norm_act_with_other_layers():
    x = Tensor(np.array([[[[-1.0, 2.0]]]]))
    assert nn.norm_act(nn.Identity(), nn.Tanh(), x, x).tolist() == np.tanh([[[[-2.0, 4.0]]]]).tolist()

    class Shifted(nn.BatchNorm2d):
        def forward(self, input):
            return input + 1

    assert nn.norm_act(Shifted(1), nn.ReLU(), x).tolist() == [[[[0.0, 3.0]]]]


def test_dropout():
    layer, x = nn.Dropout(0.25), Tensor(np.ones((200, 200), np.float32), requires_grad=True)
    y = layer(x)
    kept = y.array != 0
    assert abs(kept.mean() - 0.75) < 0.01 and np.allclose(y.array[kept], 1 / 0.75)
    y.sum().backward()
    assert np.array_equal(x.grad.array != 0, kept)
    assert np.array_equal(layer.eval()(x).array, x.array)
    assert nn.Dropout(1.0)(x).array.sum() == 0
    assert repr(layer) == repr(torch.nn.Dropout(0.25))
    with pytest.raises(ValueError, match="between 0 and 1"):
        nn.Dropout(1.5)


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "in_channels must be divisible by groups"),
        (lambda: nn.Conv2d(4, 3, 3, groups=2), ValueError, "out_channels must be divisible by groups"),
        (lambda: nn.Conv2d(4, 3, 3, groups=0), ValueError, "groups must be a positive integer"),
        (lambda: nn.Conv2d(4, 3, 3, padding="some"), ValueError, "Invalid padding string"),
        (lambda: nn.Conv2d(4, 3, 3, 2, padding="same"), ValueError, "not supported for strided"),
        (lambda: nn.Conv2d(4, 3, 3, padding_mode="mirror"), ValueError, "padding_mode must be one of"),
        (lambda: nn.Conv2d(4, 3, (3, 3, 3)), ValueError, "kernel_size must be a number or two"),
        (lambda: nn.GroupNorm(3, 4), ValueError, r"num_channels \(4\) must be divisible by num_groups \(3\)"),
        (lambda: F.group_norm(Tensor(np.zeros((2, 4))), 3), RuntimeError, "divisible by num_groups"),
        (lambda: F.group_norm(Tensor(np.zeros(4)), 2), RuntimeError, "at least 2 dimensions"),
        (lambda: F.group_norm(Tensor(np.zeros((1, 4))), 4), ValueError, "more than 1 value"),
        (lambda: nn.GroupNorm(2, 4)(Tensor(np.zeros((2, 6), np.float32))), RuntimeError, "weight should contain 6"),
        (lambda: nn.GroupNorm(2, 4)(Tensor(np.zeros((2, 4)))), RuntimeError, "the input is float64, weight is float32"),
        (lambda: nn.ConstantPad2d((1, 2), 0.0), ValueError, "left, right, top, bottom"),
        (lambda: nn.CrossEntropyLoss(reduction="avg"), ValueError, "not a valid value for reduction"),
        (lambda: nn.BatchNorm2d(3)(Tensor(np.zeros((2, 3)))), ValueError, r"expected 4D input \(got 2D input\)"),
        (lambda: nn.BatchNorm1d(3)(Tensor(np.zeros((2, 3, 1, 1)))), ValueError, "expected 2D or 3D input"),
        (
            lambda: nn.BatchNorm2d(3)(Tensor(np.zeros((1, 3, 1, 1), np.float32))),
            ValueError,
            "Expected more than 1 value per channel when training",
        ),
        (lambda: nn.Linear(3, 2, device="tpu"), ValueError, "tpu"),
    ],
)
def test_wrong_use_is_said(build, error, words):
    with pytest.raises(error, match=words):
        build()


def test_device_and_dtype_arguments():
    layer = nn.Conv2d(2, 3, 3, device="cpu", dtype=np.float64)
    assert layer.weight.dtype == layer.bias.dtype == np.float64
    assert nn.BatchNorm2d(2, dtype=np.float64).running_var.dtype == np.float64
    assert nn.Linear(2, 3, dtype="float64").weight.dtype == np.float64


@pytest.mark.parametrize("dtype", ["float", "double"])
@pytest.mark.parametrize("settings", [{}, {"eps": 1e-2, "groups": 2, "bias": False, "stride": 2, "padding": 1}])
def test_weight_standardisation(dtype, settings):
    """As timm's StdConv2d computes it: each window normalised as batch norm normalises a channel."""

    class Standardised(torch.nn.Conv2d):
        eps = settings.get("eps", 1e-6)

        def forward(self, x):
            rows = self.weight.reshape(1, self.out_channels, -1)
            weight = torch.nn.functional.batch_norm(rows, None, None, training=True, eps=self.eps)
            return self._conv_forward(x, weight.reshape_as(self.weight), self.bias)

    ours = getattr(nn.StdConv2d(4, 6, (3, 2), **settings), dtype)()
    theirs = Standardised(4, 6, (3, 2), **{key: value for key, value in settings.items() if key != "eps"})
    getattr(theirs, dtype)()
    load_into_torch(ours, theirs)
    compare_modules(ours, theirs, [(2, 4, 6, 5)], seed=1)
    assert repr(ours).endswith(f"eps={theirs.eps})") and repr(ours).startswith("StdConv2d(4, 6, kernel_size=(3, 2)")


def test_functional_as_torch():
    random = np.random.default_rng(0)
    x = random.standard_normal((2, 3, 6, 6))
    weight = random.standard_normal((4, 3, 3, 3))
    theirs = torch.nn.functional
    pairs = [
        (F.relu(Tensor(x)), theirs.relu(to_torch(x))),
        (F.conv2d(Tensor(x), Tensor(weight), None, 2, 1), theirs.conv2d(to_torch(x), to_torch(weight), None, 2, 1)),
        (F.avg_pool2d(Tensor(x), 2), theirs.avg_pool2d(to_torch(x), 2)),
        (F.max_pool2d(Tensor(x), 3, stride=2), theirs.max_pool2d(to_torch(x), 3, stride=2)),
        (F.adaptive_avg_pool2d(Tensor(x), (1, 1)), theirs.adaptive_avg_pool2d(to_torch(x), (1, 1))),
        (F.pad(Tensor(x), (1, 2, 0, 1)), theirs.pad(to_torch(x), (1, 2, 0, 1))),
        (F.pad(Tensor(x), (0, 0, 0, 0, 1, 2), "constant", 3.0), theirs.pad(to_torch(x), (0, 0, 0, 0, 1, 2), value=3.0)),
        (F.softmax(Tensor(x), dim=1), theirs.softmax(to_torch(x), dim=1)),
        (F.log_softmax(Tensor(x), dim=-1), theirs.log_softmax(to_torch(x), dim=-1)),
    ]
    for number, (ours, expected) in enumerate(pairs):
        assert_close(ours, expected, f"pair {number}")
