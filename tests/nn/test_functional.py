"""nn.functional and its neighbours: torch's names, arguments, order and defaults; wrong input; empty tensors."""

import inspect
import warnings

import numpy as np
import pytest

import minires as mr
from minires.nn import functional as F

torch = pytest.importorskip("torch")
T = torch.nn.functional
OURS = (
    "arcface_loss", "batch_hard_triplet_loss", "cosface_loss", "dice_loss",
    "sigmoid_focal_loss", "stochastic_depth",  # these two are in torchvision.ops
)  # fmt: skip


def shown(function):
    """Names and defaults, None where torch's function is written in C++ or chooses between two."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return None
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        return None
    public = [p for p in parameters if p.name not in ("_stacklevel", "out")]
    return [(p.name, None if p.default is p.empty else p.default) for p in public]


def test_no_file_hides_a_function_of_its_name():
    files = [name for name in dir(mr) if inspect.ismodule(getattr(mr, name))]
    hidden = [name for name in files if inspect.isroutine(getattr(torch, name, None))]
    assert hidden == [] and mr.norm(mr.tensor([3.0, 4.0])).item() == 5


def test_every_name_is_torch_s():
    assert [name for name in F.__all__ if not hasattr(T, name)] == list(OURS)
    assert len(F.__all__) > 90


@pytest.mark.parametrize("name", [name for name in F.__all__ if name not in OURS])
def test_arguments_as_in_torch(name):
    expected = shown(getattr(T, name))
    if expected is None:
        named = (getattr(T, name).__doc__ or "").partition("(")[2].partition(")")[0]
        words = [part.partition("=")[0].strip() for part in named.split(",")]
        ours = [argument for argument, _ in shown(getattr(F, name))]
        assert not named or not words[0] or words == ours or name in ("one_hot",) or "*" in named
    else:
        assert shown(getattr(F, name)) == expected


def ones(lib, *shape, dtype="float32"):
    return lib.ones(shape, dtype=getattr(lib, dtype))


# Each is called with (library, its nn.functional). torch raises for all of them.
WRONG = {
    "conv1d of channels": lambda lib, f: f.conv1d(ones(lib, 1, 3, 5), ones(lib, 4, 2, 3)),
    "conv1d of a picture": lambda lib, f: f.conv1d(ones(lib, 1, 3, 5, 5), ones(lib, 4, 3, 3)),
    "conv1d same and stride": lambda lib, f: f.conv1d(ones(lib, 1, 2, 5), ones(lib, 4, 2, 3), padding="same", stride=2),
    "conv_transpose2d of channels": lambda lib, f: f.conv_transpose2d(ones(lib, 1, 3, 5, 5), ones(lib, 2, 4, 3, 3)),
    "conv_transpose2d of output_padding": lambda lib, f: f.conv_transpose2d(
        ones(lib, 1, 2, 5, 5), ones(lib, 2, 4, 3, 3), output_padding=1
    ),
    "conv_transpose2d to nothing": lambda lib, f: f.conv_transpose2d(
        ones(lib, 1, 2, 1, 1), ones(lib, 2, 4, 1, 1), padding=1
    ),
    "conv_transpose2d of bias": lambda lib, f: f.conv_transpose2d(
        ones(lib, 1, 2, 5, 5), ones(lib, 2, 4, 3, 3), ones(lib, 2)
    ),
    "max_pool1d of padding": lambda lib, f: f.max_pool1d(ones(lib, 1, 2, 5), 2, padding=2),
    "adaptive_max_pool2d of a matrix": lambda lib, f: f.adaptive_max_pool2d(ones(lib, 5, 5), 2),
    "pixel_shuffle of channels": lambda lib, f: f.pixel_shuffle(ones(lib, 1, 3, 2, 2), 2),
    "pixel_unshuffle of height": lambda lib, f: f.pixel_unshuffle(ones(lib, 1, 3, 3, 2), 2),
    "interpolate without a size": lambda lib, f: f.interpolate(ones(lib, 1, 1, 2, 2)),
    "interpolate with both": lambda lib, f: f.interpolate(ones(lib, 1, 1, 2, 2), size=3, scale_factor=2.0),
    "interpolate of axes": lambda lib, f: f.interpolate(ones(lib, 1, 1, 2), size=3, mode="bilinear"),
    "interpolate of a size": lambda lib, f: f.interpolate(ones(lib, 1, 1, 2, 2), size=(3, 3, 3)),
    "interpolate to nothing": lambda lib, f: f.interpolate(ones(lib, 1, 1, 2, 2), size=(0, 3)),
    "interpolate nearest aligned": lambda lib, f: f.interpolate(ones(lib, 1, 1, 2, 2), size=3, align_corners=True),
    "interpolate nearest smoothly": lambda lib, f: f.interpolate(ones(lib, 1, 1, 2, 2), size=3, antialias=True),
    "grid_sample of a mode": lambda lib, f: f.grid_sample(ones(lib, 1, 1, 2, 2), ones(lib, 1, 2, 2, 2), mode="cubic"),
    "grid_sample of padding": lambda lib, f: f.grid_sample(
        ones(lib, 1, 1, 2, 2), ones(lib, 1, 2, 2, 2), padding_mode="x"
    ),
    "grid_sample of batches": lambda lib, f: f.grid_sample(ones(lib, 2, 1, 2, 2), ones(lib, 1, 2, 2, 2)),
    "affine_grid of a matrix": lambda lib, f: f.affine_grid(ones(lib, 1, 3, 3), (1, 1, 2, 2)),
    "layer_norm of a shape": lambda lib, f: f.layer_norm(ones(lib, 2, 3), (2,)),
    "layer_norm of a weight": lambda lib, f: f.layer_norm(ones(lib, 2, 3), (3,), ones(lib, 2)),
    "instance_norm of one place": lambda lib, f: f.instance_norm(ones(lib, 2, 3, 1)),
    "local_response_norm of a matrix": lambda lib, f: f.local_response_norm(ones(lib, 2, 3), 2),
    "embedding of real numbers": lambda lib, f: f.embedding(ones(lib, 2), ones(lib, 2, 3)),
    "embedding beyond": lambda lib, f: f.embedding(lib.tensor([2]), ones(lib, 2, 3)),
    "prelu of a weight": lambda lib, f: f.prelu(ones(lib, 2, 3), ones(lib, 2)),
    "glu of an odd length": lambda lib, f: f.glu(ones(lib, 2, 3)),
    "gelu of a word": lambda lib, f: f.gelu(ones(lib, 2), approximate="erf"),
    "softshrink below 0": lambda lib, f: f.softshrink(ones(lib, 2), -1.0),
    "elu of integers": lambda lib, f: f.elu(lib.tensor([1, 2])),
    "celu of 0": lambda lib, f: f.celu(ones(lib, 2), 0.0),
    "dropout2d of probability": lambda lib, f: f.dropout2d(ones(lib, 2, 3, 4, 4), 1.5),
    "bce of shapes": lambda lib, f: f.binary_cross_entropy(ones(lib, 2), ones(lib, 2, 1)),
    "bce of no probability": lambda lib, f: f.binary_cross_entropy(ones(lib, 2) * 2, ones(lib, 2)),
    "bce_with_logits of shapes": lambda lib, f: f.binary_cross_entropy_with_logits(ones(lib, 2), ones(lib, 2, 1)),
    "huber_loss of delta": lambda lib, f: f.huber_loss(ones(lib, 2), ones(lib, 2), delta=0.0),
    "huber_loss of weights": lambda lib, f: f.huber_loss(ones(lib, 2), ones(lib, 2), weight=ones(lib, 3)),
    "mse_loss of weights": lambda lib, f: f.mse_loss(ones(lib, 2), ones(lib, 2), weight=ones(lib, 3)),
    "smooth_l1_loss of beta": lambda lib, f: f.smooth_l1_loss(ones(lib, 2), ones(lib, 2), beta=-1.0),
    "kl_div of a reduction": lambda lib, f: f.kl_div(ones(lib, 2), ones(lib, 2), reduction="avg"),
    "triplet_margin_loss of margin": lambda lib, f: f.triplet_margin_loss(*(ones(lib, 2, 3) for _ in "abc"), margin=0),
    "cosine_embedding_loss of axes": lambda lib, f: f.cosine_embedding_loss(
        ones(lib, 2, 3), ones(lib, 2, 3), ones(lib, 2, 1)
    ),
    "multi_margin_loss of p": lambda lib, f: f.multi_margin_loss(ones(lib, 2, 3), lib.tensor([0, 1]), p=3),
    "gaussian_nll_loss of a variance": lambda lib, f: f.gaussian_nll_loss(ones(lib, 2), ones(lib, 2), -ones(lib, 2)),
    "cross_entropy of shares and ignore_index": lambda lib, f: f.cross_entropy(
        ones(lib, 2, 3), ones(lib, 2, 3), ignore_index=1
    ),
    "cross_entropy of shares and weights": lambda lib, f: f.cross_entropy(
        ones(lib, 2, 3), ones(lib, 2, 3), ones(lib, 2)
    ),
    "max_unpool2d beyond": lambda lib, f: f.max_unpool2d(ones(lib, 1, 1, 1, 1), lib.tensor([[[[9]]]]), 2),
}  # fmt: skip
KINDS = (IndexError, ValueError, TypeError, RuntimeError, NotImplementedError)


def raised_by(compute, lib, functional):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return compute(lib, functional)
        except Exception as error:
            return error


@pytest.mark.parametrize("name", list(WRONG))
def test_wrong_input_raises_as_in_torch(name):
    theirs, ours = raised_by(WRONG[name], torch, T), raised_by(WRONG[name], mr, F)
    assert isinstance(theirs, Exception), f"torch gives {theirs}"
    assert isinstance(ours, Exception), f"we give {ours}, torch raises {type(theirs).__name__}: {theirs}"
    family = next(kind for kind in KINDS if isinstance(theirs, kind))
    assert isinstance(ours, family), f"{type(ours).__name__}: {ours}; torch: {type(theirs).__name__}: {theirs}"
    assert len(str(ours)) > 10 and "\n" not in str(ours)


EMPTY = {
    **{name: (lambda lib, f, name=name: getattr(f, name)(ones(lib, 0, 4)))
       for name in ("leaky_relu", "elu", "gelu", "silu", "mish", "softplus", "hardswish", "glu", "softsign")},
    "conv1d": lambda lib, f: f.conv1d(ones(lib, 0, 2, 5), ones(lib, 4, 2, 3)),
    "conv_transpose2d": lambda lib, f: f.conv_transpose2d(ones(lib, 0, 2, 5, 5), ones(lib, 2, 4, 3, 3), ones(lib, 4)),
    "max_pool1d": lambda lib, f: f.max_pool1d(ones(lib, 0, 2, 6), 2),
    "adaptive_max_pool2d": lambda lib, f: f.adaptive_max_pool2d(ones(lib, 0, 2, 6, 6), 2),
    "interpolate": lambda lib, f: f.interpolate(ones(lib, 0, 2, 3, 3), size=(5, 4), mode="bilinear"),
    "grid_sample": lambda lib, f: f.grid_sample(ones(lib, 0, 2, 3, 3), ones(lib, 0, 2, 2, 2), align_corners=False),
    "layer_norm": lambda lib, f: f.layer_norm(ones(lib, 0, 3), (3,), ones(lib, 3)),
    "instance_norm": lambda lib, f: f.instance_norm(ones(lib, 0, 3, 4)),
    "embedding": lambda lib, f: f.embedding(lib.zeros((0,), dtype=lib.int64), ones(lib, 2, 3)),
    "pixel_shuffle": lambda lib, f: f.pixel_shuffle(ones(lib, 0, 4, 2, 2), 2),
    "bce_with_logits": lambda lib, f: f.binary_cross_entropy_with_logits(ones(lib, 0, 3), ones(lib, 0, 3)),
    "smooth_l1_loss": lambda lib, f: f.smooth_l1_loss(ones(lib, 0), ones(lib, 0), reduction="sum"),
    "normalize": lambda lib, f: f.normalize(ones(lib, 0, 3)),
    "cosine_similarity": lambda lib, f: f.cosine_similarity(ones(lib, 0, 3), ones(lib, 0, 3)),
    "cross_entropy of shares": lambda lib, f: f.cross_entropy(ones(lib, 0, 3), ones(lib, 0, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", list(EMPTY))
def test_empty_tensors_as_in_torch(name):
    theirs, ours = raised_by(EMPTY[name], torch, T), raised_by(EMPTY[name], mr, F)
    if isinstance(theirs, Exception):
        assert isinstance(ours, Exception), f"torch: {theirs}"
        return
    assert not isinstance(ours, Exception), repr(ours)
    assert ours.shape == tuple(theirs.shape)
    assert np.array_equal(np.array(ours.tolist()), np.array(theirs.tolist()), equal_nan=True)


EXTREME = np.array([-np.inf, -1e30, -1e4, -100.0, -30.0, -0.0, 0.0, 30.0, 100.0, 1e4, 1e30, np.inf, np.nan])


@pytest.mark.parametrize("name", ["leaky_relu", "elu", "celu", "selu", "hardtanh", "relu6", "hardsigmoid", "hardswish",
                                  "hardshrink", "softshrink", "silu", "mish", "gelu", "softplus", "logsigmoid",
                                  "softsign", "tanhshrink"])  # fmt: skip
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_values_as_in_torch(name, dtype):
    values = EXTREME.astype(dtype)
    ours, theirs = getattr(F, name)(mr.tensor(values)), getattr(T, name)(torch.from_numpy(values)).numpy()
    known = [name != "gelu" or value != np.inf for value in values]  # where torch's GELU in float32 is NaN
    assert np.allclose(ours.array[known], theirs[known], rtol=1e-5, equal_nan=True), (ours.array, theirs)


@pytest.mark.parametrize("name", ["binary_cross_entropy", "binary_cross_entropy_with_logits", "smooth_l1_loss",
                                  "huber_loss", "kl_div", "soft_margin_loss", "mse_loss", "l1_loss", "poisson_nll_loss",
                                  "hinge_embedding_loss"])  # fmt: skip
@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_targets_of_other_types_as_in_torch(name, dtype):
    x, target = np.array([0.2, 0.7, 0.4], np.float32), np.array([1, 0, 1], dtype)
    theirs = raised_by(lambda lib, f: getattr(f, name)(lib.tensor(x), lib.tensor(target)), torch, T)
    ours = raised_by(lambda lib, f: getattr(f, name)(lib.tensor(x), lib.tensor(target)), mr, F)
    if isinstance(theirs, Exception):
        assert isinstance(ours, RuntimeError) and name in str(ours)
    else:
        assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch.")
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_losses_of_certain_and_wrong_predictions_are_finite():
    x = np.array([0.0, 1.0, 1e-30])
    pairs = (F, mr.tensor), (T, torch.tensor)
    losses = [f.binary_cross_entropy(t(x), t(1 - x), reduction="none") for f, t in pairs]
    assert np.allclose(losses[0].array, losses[1].numpy()) and losses[0].array.max() == 100
    logits = np.array([1e4, -1e4, 50.0])
    for target in (0.0, 1.0):
        results = [
            f.binary_cross_entropy_with_logits(t(logits), t(logits * 0 + target), reduction="none") for f, t in pairs
        ]
        assert np.allclose(results[0].array, results[1].numpy(), rtol=1e-12)
