"""The further layers and losses against torch's: text, keys, forward, gradients, errors."""

import inspect

import numpy as np
import pytest

import minires as mr
from minires import compile_inference, nn, optim
from minires.tensor import Tensor

torch = pytest.importorskip("torch")
from tests.nn import test_layers  # noqa: E402
from tests.torch_tools import assert_close, compare_modules, load_into_torch  # noqa: E402

ROWS, PICTURES, VOLUMES = [(2, 4, 7)], [(2, 4, 6, 5)], [(2, 3, 4, 3, 5)]
PLAIN = [(3, 4)]
LAYERS = [
    *((name, (), {}, PLAIN) for name in ("ReLU6", "LeakyReLU", "Hardtanh", "Hardswish", "Hardshrink", "Softshrink",
                                         "ELU", "CELU", "SELU", "GELU", "SiLU", "Mish", "Softplus", "LogSigmoid",
                                         "Softsign", "Tanhshrink", "GLU", "PReLU")),
    *((name, (), {"inplace": True}, PLAIN) for name in ("ReLU6", "LeakyReLU", "Hardtanh", "Hardswish",
                                                        "ELU", "SELU", "SiLU", "Mish")),
    ("LeakyReLU", (0.2,), {}, PLAIN), ("Hardtanh", (-0.5, 2.0), {}, PLAIN), ("GELU", ("tanh",), {}, PLAIN),
    ("Softplus", (2.0, 1.0), {}, PLAIN), ("GLU", (0,), {}, [(4, 3)]), ("Threshold", (0.1, 20.0), {}, PLAIN),
    ("PReLU", (4,), {"init": 0.1}, PICTURES), ("ELU", (0.5,), {}, PLAIN), ("Softmin", (1,), {}, PLAIN),
    ("Softmax2d", (), {}, PICTURES),
    ("Conv1d", (4, 6, 3), {}, ROWS),
    ("Conv1d", (4, 6, 3), {"stride": 2, "padding": 1, "dilation": 2, "groups": 2, "bias": False}, ROWS),
    ("Conv1d", (4, 6, 4), {"padding": "same", "padding_mode": "reflect"}, ROWS),
    ("Conv1d", (4, 6, 3), {"padding": 2, "padding_mode": "circular"}, ROWS),
    ("Conv2d", (4, 6, 3), {"padding": 1, "padding_mode": "reflect"}, PICTURES),
    ("Conv2d", (4, 6, (3, 2)), {"padding": (2, 1), "padding_mode": "replicate", "bias": False}, PICTURES),
    ("Conv2d", (4, 6, (4, 3)), {"padding": "same", "padding_mode": "circular", "groups": 2}, PICTURES),
    ("ConvTranspose1d", (4, 6, 3), {"stride": 2, "padding": 1, "output_padding": 1}, ROWS),
    ("ConvTranspose2d", (4, 6, 3), {}, PICTURES),
    ("ConvTranspose2d", (4, 6, (3, 2)), {"stride": (2, 3), "padding": 1, "output_padding": (1, 2), "groups": 2,
                                         "bias": False, "dilation": (2, 1)}, PICTURES),
    ("LayerNorm", (5,), {}, PICTURES), ("LayerNorm", ((6, 5),), {"eps": 1e-2, "bias": False}, PICTURES),
    ("LayerNorm", ([4, 6, 5],), {"elementwise_affine": False}, PICTURES),
    ("RMSNorm", (5,), {}, PICTURES), ("RMSNorm", ((6, 5),), {"eps": 1e-2, "elementwise_affine": False}, PICTURES),
    ("InstanceNorm1d", (4,), {}, ROWS), ("InstanceNorm2d", (4,), {"affine": True, "eps": 1e-3}, PICTURES),
    ("InstanceNorm2d", (4,), {"track_running_stats": True, "momentum": 0.3}, PICTURES),
    ("InstanceNorm2d", (4,), {"affine": True}, [(4, 6, 5)]), ("InstanceNorm3d", (3,), {"affine": True}, VOLUMES),
    ("BatchNorm3d", (3,), {}, VOLUMES), ("LocalResponseNorm", (3,), {"alpha": 0.5, "k": 2.0}, PICTURES),
    ("MaxPool1d", (3,), {"stride": 2, "padding": 1, "ceil_mode": True}, ROWS), ("AvgPool1d", (3,), {}, ROWS),
    ("AvgPool1d", (3, 2, 1, True, False), {}, ROWS), ("AdaptiveAvgPool1d", (3,), {}, ROWS),
    ("AdaptiveMaxPool1d", (3,), {}, ROWS), ("AdaptiveMaxPool2d", ((2, 3),), {}, PICTURES),
    ("AdaptiveMaxPool2d", ((None, 3),), {}, PICTURES),
    ("Upsample", (), {"scale_factor": 2}, PICTURES), ("Upsample", ((9, 4),), {"mode": "bicubic"}, PICTURES),
    ("Upsample", (), {"scale_factor": (1.5, 2.5), "mode": "bilinear", "align_corners": True}, PICTURES),
    ("UpsamplingNearest2d", (9,), {}, PICTURES), ("UpsamplingBilinear2d", (), {"scale_factor": 2}, PICTURES),
    ("PixelShuffle", (2,), {}, PICTURES), ("PixelUnshuffle", (2,), {}, [(2, 3, 6, 4)]),
    ("ChannelShuffle", (2,), {}, PICTURES),
    ("Unfold", (2,), {"stride": 2, "padding": 1}, PICTURES), ("Fold", ((5, 4), 2), {}, [(2, 8, 12)]),
    ("Unflatten", (1, (2, -1)), {}, PICTURES),
    ("Dropout2d", (0.0,), {}, PICTURES), ("AlphaDropout", (0.0,), {}, PLAIN),
    *((f"{kind}Pad1d", ((2, 1),), {}, ROWS) for kind in ("Zero", "Reflection", "Replication", "Circular")),
    *((f"{kind}Pad2d", ((2, 1, 0, 3),), {}, PICTURES) for kind in ("Zero", "Reflection", "Replication", "Circular")),
    *((f"{kind}Pad3d", (1,), {}, VOLUMES) for kind in ("Zero", "Reflection", "Replication", "Circular")),
    ("ConstantPad1d", (2, 1.5), {}, ROWS), ("ConstantPad3d", (1, 1.5), {}, VOLUMES),
    ("CosineSimilarity", (), {"dim": 1}, [(3, 4), (3, 4)]), ("PairwiseDistance", (), {"keepdim": True}, [(3, 4)] * 2),
]  # fmt: skip


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["float", "double"])
@pytest.mark.parametrize(("name", "arguments", "settings", "shapes"), LAYERS)
def test_layer_as_torch(name, arguments, settings, shapes, dtype, training):
    test_layers.test_layer_as_torch(name, arguments, settings, shapes, dtype, training)


OLD = ("min_value", "max_value")  # names that PyTorch keeps for old programs


def shown(signature):
    """Names, order and defaults of the arguments."""
    named = [p for p in signature.parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return [(p.name, None if p.default is p.empty else p.default) for p in named if p.name not in OLD]


COVERED = sorted(
    {name for name, *_ in LAYERS}
    | {"RReLU", "Embedding", "Dropout1d", "Dropout3d", "FeatureAlphaDropout", "LPPool1d", "LPPool2d"}
    | {"MaxUnpool1d", "MaxUnpool2d", "Hardsigmoid"}
)


@pytest.mark.parametrize("name", COVERED)
def test_arguments_have_torch_s_names_order_and_defaults(name):
    ours, theirs = (shown(inspect.signature(getattr(library, name))) for library in (nn, torch.nn))
    assert ours == theirs


# ---------------------------------------------------------------------------------------------------------- losses

REAL, TARGETS = (4, 3), np.array([0, 2, 1, 1])
LOSSES = [
    ("SmoothL1Loss", {"beta": 0.5}, "real"), ("HuberLoss", {"delta": 0.7}, "real"),
    ("BCELoss", {}, "probability"), ("BCELoss", {"weight": np.array([1.0, 2.0, 0.5])}, "probability"),
    ("BCEWithLogitsLoss", {}, "share"),
    ("BCEWithLogitsLoss", {"pos_weight": np.array([1.0, 3.0, 0.5]), "weight": np.array([2.0, 1.0, 0.5])}, "share"),
    ("KLDivLoss", {"log_target": True}, "real"), ("SoftMarginLoss", {}, "sign"),
    ("PoissonNLLLoss", {"full": True}, "count"), ("HingeEmbeddingLoss", {"margin": 0.8}, "sign"),
    ("MultiMarginLoss", {"p": 2, "weight": np.array([1.0, 2.0, 0.5])}, "class"),
    ("MultiLabelSoftMarginLoss", {}, "share"), ("CrossEntropyLoss", {"label_smoothing": 0.1}, "share"),
    ("TripletMarginLoss", {"swap": True, "margin": 2.0}, "three"), ("TripletMarginWithDistanceLoss", {}, "three"),
    ("CosineEmbeddingLoss", {"margin": 0.1}, "pair"), ("MarginRankingLoss", {"margin": 0.3}, "ranks"),
    ("GaussianNLLLoss", {"full": True}, "variance"),
]  # fmt: skip


def arguments_of(kind, random, dtype):
    x = random.standard_normal(REAL)
    sign = random.integers(0, 2, REAL) * 2.0 - 1
    arrays = {
        "real": [x, random.standard_normal(REAL)], "probability": [random.uniform(0.1, 0.9, REAL)] * 2,
        "share": [x, random.uniform(0, 1, REAL)], "sign": [x, sign], "count": [x, random.integers(0, 4, REAL) * 1.0],
        "class": [x, TARGETS], "three": [x, *random.standard_normal((2, *REAL))],
        "pair": [x, random.standard_normal(REAL), sign[:, 0]], "ranks": [x, random.standard_normal(REAL), sign],
        "variance": [x, random.standard_normal(REAL), random.uniform(0.5, 2, REAL)],
    }[kind]  # fmt: skip
    return [array if array.dtype.kind == "i" else array.astype(dtype) for array in arrays]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "settings", "kind"), LOSSES)
@pytest.mark.filterwarnings("ignore:reduction:UserWarning")
def test_losses_as_torch(name, settings, kind, dtype, reduction):
    def built(library, tensor):
        given = {k: tensor(v.astype(dtype)) if isinstance(v, np.ndarray) else v for k, v in settings.items()}
        return getattr(library, name)(**given, reduction=reduction)

    ours, theirs = built(nn, Tensor), built(torch.nn, torch.from_numpy)
    assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(theirs.state_dict())
    arrays = arguments_of(kind, np.random.default_rng(2), dtype)
    mine = [Tensor(array.copy(), requires_grad=number == 0) for number, array in enumerate(arrays)]
    other = [torch.from_numpy(array.copy()).requires_grad_(number == 0) for number, array in enumerate(arrays)]
    y, expected = ours(*mine), theirs(*other)
    assert_close(y, expected)
    y.sum().backward()
    expected.sum().backward()
    assert_close(mine[0].grad, other[0].grad)


@pytest.mark.parametrize("name", sorted({name for name, *_ in LOSSES}))
def test_losses_have_torch_s_arguments(name):
    ours, theirs = (shown(inspect.signature(getattr(library, name))) for library in (nn, torch.nn))
    assert ours == theirs


# ------------------------------------------------------------------------------------------------ places, and back


@pytest.mark.parametrize("axes", [1, 2])
def test_pooling_and_back(axes):
    shape = (2, 3, 6, 8)[: 2 + axes]
    ours, theirs = (getattr(lib, f"MaxPool{axes}d")(2, return_indices=True) for lib in (nn, torch.nn))
    back, undone = (getattr(lib, f"MaxUnpool{axes}d")(2) for lib in (nn, torch.nn))
    x = np.random.default_rng(0).standard_normal(shape)
    values, places = ours(Tensor(x))
    expected, where = theirs(torch.from_numpy(x))
    assert_close(values, expected)
    assert_close(places, where)
    assert_close(back(values, places), undone(expected, where))
    longer = (*shape[:-1], shape[-1] + 1)
    assert_close(back(values, places, output_size=longer), undone(expected, where, output_size=longer))
    assert repr(back) == repr(undone)
    with pytest.raises(ValueError, match="invalid output_size"):
        back(values, places, output_size=(3,) * axes)


@pytest.mark.parametrize(("name", "size"), [("ConvTranspose1d", (15,)), ("ConvTranspose2d", (12, 9))])
def test_transposed_convolution_to_a_size(name, size):
    ours, theirs = (getattr(lib, name)(4, 2, 3, stride=2, padding=1) for lib in (nn, torch.nn))
    load_into_torch(ours, theirs)
    x = np.random.default_rng(0).standard_normal((2, 4, 8, 5)[: 2 + len(size)]).astype(np.float32)
    size = (16,) if len(size) == 1 else (16, 9)
    assert_close(ours(Tensor(x), output_size=size), theirs(torch.from_numpy(x), output_size=size))
    with pytest.raises(ValueError, match="requested an output size"):
        ours(Tensor(x), output_size=tuple(n + 9 for n in size))


@pytest.mark.parametrize("settings", [{}, {"padding_idx": 2}, {"scale_grad_by_freq": True, "padding_idx": -1},
                                      {"max_norm": 1.0}, {"max_norm": 1.0, "norm_type": 1.0}])  # fmt: skip
def test_embedding_as_torch(settings):
    ours, theirs = nn.Embedding(5, 3, **settings), torch.nn.Embedding(5, 3, **settings)
    assert repr(ours) == repr(theirs)
    if "padding_idx" in settings:
        assert not ours.weight.array[settings["padding_idx"]].any()
    load_into_torch(ours, theirs)
    index = np.array([[0, 2, 2], [4, 0, 2]])
    y, expected = ours(Tensor(index)), theirs(torch.from_numpy(index))
    assert_close(y, expected)
    y.square().sum().backward()
    (expected**2).sum().backward()
    assert_close(ours.weight.grad, theirs.weight.grad)
    assert_close(ours.weight, theirs.weight)
    with pytest.raises(IndexError, match="5 rows"):
        ours(Tensor(np.array([5])))
    table = nn.Embedding.from_pretrained(Tensor(np.eye(3)))
    assert not table.weight.requires_grad and table(Tensor(np.array(1))).tolist() == [0, 1, 0]


def test_squeeze_and_excitation():
    class Theirs(torch.nn.Module):  # torchvision.ops.SqueezeExcitation, whose keys these are
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2 = torch.nn.Conv2d(6, 2, 1), torch.nn.Conv2d(2, 6, 1)

        def forward(self, x):
            scale = torch.nn.functional.adaptive_avg_pool2d(x, 1)
            return torch.nn.functional.hardsigmoid(self.fc2(torch.relu(self.fc1(scale)))) * x

    ours, theirs = nn.SqueezeExcitation(6, 2, scale_activation=nn.Hardsigmoid), Theirs()
    load_into_torch(ours, theirs)
    compare_modules(ours, theirs, [(2, 6, 4, 5)])


# --------------------------------------------------------------------------------------------------------- chance


@pytest.mark.parametrize(("name", "shape", "axes"), [
    ("Dropout1d", (50, 40, 3), 2), ("Dropout2d", (50, 40, 2, 2), 2), ("Dropout3d", (50, 40, 1, 2, 2), 2),
])  # fmt: skip
def test_whole_channels_are_dropped(name, shape, axes):
    layer, x = getattr(nn, name)(0.25), Tensor(np.ones(shape, np.float32))
    y = layer(x).array.reshape(*shape[:axes], -1)
    assert (y == y[..., :1]).all() and set(np.unique(y)) == {0, np.float32(1 / 0.75)}
    assert abs((y != 0).mean() - 0.75) < 0.04
    assert layer.eval()(x) is x


def test_alpha_dropout_keeps_mean_and_variance():
    x = np.random.default_rng(0).standard_normal((300, 300))
    for layer in (nn.AlphaDropout(0.3), nn.FeatureAlphaDropout(0.3)):
        y = layer(Tensor(x)).array
        assert abs(y.mean()) < 0.03 and abs(y.std() - 1) < 0.03
        assert abs(np.unique(y.round(9), return_counts=True)[1].max() / y.size - 0.3) < 0.04


def test_stochastic_depth():
    x = Tensor(np.ones((400, 3, 2)), requires_grad=True)
    y = nn.StochasticDepth(0.3, "row")(x)
    rows = y.array.reshape(400, -1)
    assert set(np.unique(rows)) == {0, 1 / 0.7} and (rows == rows[:, :1]).all() and abs((rows != 0).mean() - 0.7) < 0.08
    y.sum().backward()
    assert np.array_equal(x.grad.array, y.array)
    whole = nn.StochasticDepth(0.5, "batch")
    assert {float(value) for _ in range(30) for value in np.unique(whole(x).array)} == {0.0, 2.0}
    assert whole.eval()(x) is x and repr(whole) == "StochasticDepth(p=0.5, mode=batch)"
    with pytest.raises(ValueError, match="mode has to be"):
        nn.StochasticDepth(0.5, "column")(x)


def test_rrelu_draws_slopes():
    x = Tensor(np.full((200, 200), -1.0), requires_grad=True)
    layer = nn.RReLU(0.2, 0.6)
    y = layer(x)
    assert -0.6 <= y.array.min() < -0.59 and -0.21 < y.array.max() <= -0.2 and abs(y.array.mean() + 0.4) < 0.01
    y.sum().backward()
    assert np.allclose(x.grad.array, -y.array)
    assert np.allclose(layer.eval()(x).array, -0.4)


def test_gumbel_softmax():
    logits = Tensor(np.log(np.array([[0.7, 0.2, 0.1]] * 4000)), requires_grad=True)
    hard = nn.functional.gumbel_softmax(logits, tau=0.5, hard=True)
    assert np.allclose(np.sort(hard.array, -1), [0, 0, 1]) and np.allclose(
        hard.array.mean(0), [0.7, 0.2, 0.1], atol=0.03
    )
    hard[:, 0].sum().backward()
    assert (logits.grad.array[:, 0] > 0).all()


# --------------------------------------------------------------------------------------------- PyTorch has none of it


def test_focal_loss_by_its_formula():
    random = np.random.default_rng(0)
    x, t = random.standard_normal((5, 4)), random.integers(0, 2, (5, 4)) * 1.0
    p = 1 / (1 + np.exp(-x))
    right = np.where(t == 1, p, 1 - p)  # Lin et al. 2017, equations 2 to 5
    for alpha, weight in ((0.25, np.where(t == 1, 0.25, 0.75)), (-1, 1.0)):
        found = nn.functional.sigmoid_focal_loss(Tensor(x), Tensor(t), alpha, gamma=1.5, reduction="sum")
        assert found.item() == pytest.approx((-weight * (1 - right) ** 1.5 * np.log(right)).sum(), rel=1e-12)
    with pytest.raises(ValueError, match="Invalid alpha"):
        nn.functional.sigmoid_focal_loss(Tensor(x), Tensor(t), 2.0)


def test_dice_loss_by_its_formula():
    random = np.random.default_rng(0)
    p, t = random.uniform(0, 1, (2, 3, 4, 5)), random.integers(0, 2, (2, 3, 4, 5)) * 1.0
    overlap, size = (p * t).sum((2, 3)), p.sum((2, 3)) + t.sum((2, 3))
    found = nn.functional.dice_loss(Tensor(p), Tensor(t), smooth=0.5, reduction="none")
    assert np.allclose(found.array, 1 - (2 * overlap + 0.5) / (size + 0.5), rtol=1e-12)
    assert nn.functional.dice_loss(Tensor(t), Tensor(t), smooth=0.0).item() == pytest.approx(0)
    with pytest.raises(ValueError, match="both be"):
        nn.functional.dice_loss(Tensor(p), Tensor(t[:, :1]))


# --------------------------------------------------------------------------------------------------- in a whole model


class Mixed(nn.Module):
    """Layers of many kinds, as a user's own model might have them."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.excite = nn.SqueezeExcitation(8, 4, scale_activation=nn.Hardsigmoid)
        self.up = nn.Sequential(nn.ConvTranspose2d(8, 4, 2, 2), nn.InstanceNorm2d(4, affine=True), nn.PReLU(4))
        self.resize = nn.Sequential(nn.MaxPool2d(2), nn.GELU(), nn.Upsample(scale_factor=2, mode="bilinear"))
        self.head = nn.Sequential(nn.StochasticDepth(0.2, "row"), nn.LayerNorm(4), nn.Linear(4, 5))

    def forward(self, x):
        x = self.resize(self.up(self.excite(self.depthwise(self.stem(x)))))
        return self.head(x.mean((2, 3)))


def test_a_mixed_model_learns_and_is_compiled():
    random = np.random.default_rng(0)
    mr.manual_seed(0)
    model, x = Mixed(), Tensor(random.standard_normal((8, 3, 16, 16)).astype(np.float32))
    target, optimizer = Tensor(random.integers(0, 5, 8)), optim.RAdam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), target)
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    plain = model.eval()(x).array
    assert np.allclose(compile_inference(model, x)(x).array, plain, atol=1e-4 * abs(plain).max())


def test_resized_pictures_stay_channels_last():
    pictures = nn.Conv2d(3, 8, 3)(Tensor(np.ones((2, 3, 8, 8), np.float32)))
    for mode in ("nearest", "bilinear", "bicubic"):
        larger = nn.functional.interpolate(pictures, scale_factor=2, mode=mode)
        assert larger.array.transpose(0, 2, 3, 1).flags.c_contiguous
