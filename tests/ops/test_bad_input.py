"""Wrong input to operations: the same kind of error as torch, naming the culprit; and what is allowed stays allowed."""

import warnings

import numpy as np
import pytest

import minires as mr
from minires.nn import functional as F
from tests.ops.helpers import floats

torch = pytest.importorskip("torch")
T = torch.nn.functional


def zeros(lib, *shape, dtype="float32"):
    return lib.zeros(shape, dtype=getattr(lib, dtype))


def whole(lib, values):
    return lib.tensor(values, dtype=lib.int64)


# Each is called with (library, its nn.functional). torch raises for all of them.
WRONG = {
    "add of shapes": lambda lib, f: zeros(lib, 2, 3) + zeros(lib, 2, 4),
    "maximum of shapes": lambda lib, f: lib.maximum(zeros(lib, 2), zeros(lib, 3)),
    "where of shapes": lambda lib, f: lib.where(zeros(lib, 2) > 0, zeros(lib, 3), zeros(lib, 4)),
    "matmul of shapes": lambda lib, f: zeros(lib, 2, 3) @ zeros(lib, 4, 2),
    "matmul of vectors": lambda lib, f: zeros(lib, 3) @ zeros(lib, 4),
    "matmul of stacks": lambda lib, f: zeros(lib, 2, 2, 3) @ zeros(lib, 3, 3, 2),
    "matmul of a number": lambda lib, f: zeros(lib) @ zeros(lib, 3),
    "matmul of types": lambda lib, f: zeros(lib, 2, 3) @ zeros(lib, 3, 2, dtype="float64"),
    "linear of shapes": lambda lib, f: f.linear(zeros(lib, 2, 3), zeros(lib, 4, 5)),
    "linear of types": lambda lib, f: f.linear(zeros(lib, 2, 3), zeros(lib, 4, 3, dtype="float64")),
    "linear of bias": lambda lib, f: f.linear(zeros(lib, 2, 3), zeros(lib, 4, 3), zeros(lib, 3)),
    "clamp without bounds": lambda lib, f: lib.clamp(zeros(lib, 2)),
    "sum of an axis": lambda lib, f: zeros(lib, 2, 3).sum(dim=2),
    "sum of axes twice": lambda lib, f: zeros(lib, 2, 3).sum(dim=(0, 0)),
    "mean of integers": lambda lib, f: whole(lib, [1, 2]).mean(),
    "max of nothing": lambda lib, f: zeros(lib, 0).max(),
    "max of an empty axis": lambda lib, f: zeros(lib, 2, 0).max(dim=1),
    "amax of nothing": lambda lib, f: lib.amax(zeros(lib, 0), 0),
    "argmax of nothing": lambda lib, f: zeros(lib, 0).argmax(dim=0),
    "softmax of an axis": lambda lib, f: f.softmax(zeros(lib, 2, 3), dim=2),
    "softmax of integers": lambda lib, f: f.softmax(whole(lib, [1, 2]), dim=0),
    "cumsum of an axis": lambda lib, f: zeros(lib, 2).cumsum(dim=1),
    "reshape to another size": lambda lib, f: zeros(lib, 2, 3).reshape(4, 2),
    "reshape with two unknowns": lambda lib, f: zeros(lib, 2, 3).reshape(-1, -1),
    "reshape with -2": lambda lib, f: zeros(lib, 2, 3).reshape(-2, 3),
    "reshape of nothing": lambda lib, f: zeros(lib, 0, 3).reshape(-1, 0),
    "view to another size": lambda lib, f: zeros(lib, 2, 3).view(-1, 4),
    "permute of an axis twice": lambda lib, f: zeros(lib, 2, 3).permute(0, 0),
    "permute of too few": lambda lib, f: zeros(lib, 2, 3).permute(0),
    "transpose of an axis": lambda lib, f: zeros(lib, 2, 3).transpose(0, 2),
    "t of three axes": lambda lib, f: zeros(lib, 2, 3, 4).t(),
    "mT of a vector": lambda lib, f: zeros(lib, 2).mT,
    "expand of another length": lambda lib, f: zeros(lib, 2, 3).expand(2, 4),
    "expand to fewer axes": lambda lib, f: zeros(lib, 2, 3).expand(3),
    "flatten backwards": lambda lib, f: zeros(lib, 2, 3).flatten(1, 0),
    "unsqueeze beyond": lambda lib, f: zeros(lib, 2).unsqueeze(3),
    "squeeze beyond": lambda lib, f: zeros(lib, 2).squeeze(1),
    "flip of an axis": lambda lib, f: zeros(lib, 2).flip(1),
    "cat of nothing": lambda lib, f: lib.cat([]),
    "cat of shapes": lambda lib, f: lib.cat([zeros(lib, 2, 3), zeros(lib, 2, 4)]),
    "cat of numbers": lambda lib, f: lib.cat([zeros(lib), zeros(lib)]),
    "cat along an axis": lambda lib, f: lib.cat([zeros(lib, 2)], dim=1),
    "stack of nothing": lambda lib, f: lib.stack([]),
    "stack of shapes": lambda lib, f: lib.stack([zeros(lib, 2), zeros(lib, 3)]),
    "split of lengths": lambda lib, f: zeros(lib, 5).split([2, 2]),
    "split of a negative length": lambda lib, f: zeros(lib, 5).split(-1),
    "chunk of none": lambda lib, f: zeros(lib, 5).chunk(0),
    "pad of an odd count": lambda lib, f: f.pad(zeros(lib, 2, 3), (1, 2, 3)),
    "pad of too many": lambda lib, f: f.pad(zeros(lib, 2), (1, 1, 1, 1)),
    "pad that cuts too much": lambda lib, f: f.pad(zeros(lib, 2), (-2, -1)),
    "pad of another mode": lambda lib, f: f.pad(zeros(lib, 2), (1, 1), mode="nowhere"),
    "gather out of range": lambda lib, f: zeros(lib, 3).gather(0, whole(lib, [3])),
    "gather of axes": lambda lib, f: zeros(lib, 3, 3).gather(0, whole(lib, [0])),
    "gather of real numbers": lambda lib, f: zeros(lib, 3).gather(0, zeros(lib, 1)),
    "topk of too many": lambda lib, f: zeros(lib, 3).topk(4),
    "sort of an axis": lambda lib, f: lib.sort(zeros(lib, 3), dim=1),
    "conv2d of channels": lambda lib, f: f.conv2d(zeros(lib, 1, 3, 5, 5), zeros(lib, 4, 2, 3, 3)),
    "conv2d of a matrix": lambda lib, f: f.conv2d(zeros(lib, 5, 5), zeros(lib, 4, 2, 3, 3)),
    "conv2d of a weight": lambda lib, f: f.conv2d(zeros(lib, 1, 2, 5, 5), zeros(lib, 4, 2, 3)),
    "conv2d of a small image": lambda lib, f: f.conv2d(zeros(lib, 1, 2, 2, 2), zeros(lib, 4, 2, 3, 3)),
    "conv2d of groups": lambda lib, f: f.conv2d(zeros(lib, 1, 4, 5, 5), zeros(lib, 3, 2, 3, 3), groups=2),
    "conv2d of no groups": lambda lib, f: f.conv2d(zeros(lib, 1, 4, 5, 5), zeros(lib, 4, 4, 3, 3), groups=0),
    "conv2d of bias": lambda lib, f: f.conv2d(zeros(lib, 1, 2, 5, 5), zeros(lib, 4, 2, 3, 3), zeros(lib, 3)),
    "conv2d of no stride": lambda lib, f: f.conv2d(zeros(lib, 1, 2, 5, 5), zeros(lib, 4, 2, 3, 3), stride=0),
    "conv2d of a negative padding": lambda lib, f: f.conv2d(zeros(lib, 1, 2, 5, 5), zeros(lib, 4, 2, 3, 3), padding=-1),
    "conv2d of types": lambda lib, f: f.conv2d(zeros(lib, 1, 2, 5, 5), zeros(lib, 4, 2, 3, 3, dtype="float64")),
    "conv2d same and stride": lambda lib, f: f.conv2d(
        zeros(lib, 1, 2, 5, 5), zeros(lib, 4, 2, 3, 3), padding="same", stride=2
    ),
    "conv2d of a padding word": lambda lib, f: f.conv2d(zeros(lib, 1, 2, 5, 5), zeros(lib, 4, 2, 3, 3), padding="some"),
    "max_pool2d of a small image": lambda lib, f: f.max_pool2d(zeros(lib, 1, 1, 2, 2), 3),
    "max_pool2d of padding": lambda lib, f: f.max_pool2d(zeros(lib, 1, 1, 5, 5), 2, padding=2),
    "max_pool2d of a matrix": lambda lib, f: f.max_pool2d(zeros(lib, 5, 5), 2),
    "max_pool2d of no window": lambda lib, f: f.max_pool2d(zeros(lib, 1, 1, 5, 5), 0),
    "avg_pool2d of padding": lambda lib, f: f.avg_pool2d(zeros(lib, 1, 1, 5, 5), 2, padding=2),
    "avg_pool2d of no divisor": lambda lib, f: f.avg_pool2d(zeros(lib, 1, 1, 5, 5), 2, divisor_override=0),
    "batch_norm of one value": lambda lib, f: f.batch_norm(zeros(lib, 1, 3), None, None, training=True),
    "batch_norm of one pixel": lambda lib, f: f.batch_norm(zeros(lib, 1, 3, 1, 1), None, None, training=True),
    "batch_norm without statistics": lambda lib, f: f.batch_norm(zeros(lib, 2, 3), None, None),
    "batch_norm of statistics": lambda lib, f: f.batch_norm(zeros(lib, 2, 3), zeros(lib, 4), zeros(lib, 4)),
    "batch_norm of weights": lambda lib, f: f.batch_norm(
        zeros(lib, 2, 3), zeros(lib, 3), zeros(lib, 3), zeros(lib, 2), zeros(lib, 3)
    ),
    "cross_entropy of a large label": lambda lib, f: f.cross_entropy(zeros(lib, 2, 3), whole(lib, [0, 3])),
    "cross_entropy of a negative label": lambda lib, f: f.cross_entropy(zeros(lib, 2, 3), whole(lib, [0, -1])),
    "cross_entropy of counts": lambda lib, f: f.cross_entropy(zeros(lib, 2, 3), whole(lib, [0, 1, 2])),
    "cross_entropy of weights": lambda lib, f: f.cross_entropy(zeros(lib, 2, 3), whole(lib, [0, 1]), zeros(lib, 2)),
    "cross_entropy of pixels": lambda lib, f: f.cross_entropy(zeros(lib, 2, 3, 4), whole(lib, [[0, 1], [0, 1]])),
    "cross_entropy of booleans": lambda lib, f: f.cross_entropy(zeros(lib, 2, 3), zeros(lib, 2) > 0),
    "cross_entropy of integers": lambda lib, f: f.cross_entropy(whole(lib, [[0, 1]]), whole(lib, [0])),
    "cross_entropy of smoothing": lambda lib, f: f.cross_entropy(
        zeros(lib, 2, 3), whole(lib, [0, 1]), label_smoothing=1.5
    ),
    "cross_entropy of reduction": lambda lib, f: f.cross_entropy(zeros(lib, 2, 3), whole(lib, [0, 1]), reduction="avg"),
    "nll_loss of a large label": lambda lib, f: f.nll_loss(zeros(lib, 2, 3), whole(lib, [0, 3])),
    "nll_loss of a vector": lambda lib, f: f.nll_loss(zeros(lib, 3), whole(lib, [0, 1])),
    "mse_loss of shapes": lambda lib, f: f.mse_loss(zeros(lib, 2, 3), zeros(lib, 2, 4)),
    "mse_loss of reduction": lambda lib, f: f.mse_loss(zeros(lib, 2), zeros(lib, 2), reduction="avg"),
    "dropout of probability": lambda lib, f: f.dropout(zeros(lib, 2), 1.5),
}

# Where torch raises one kind and we, on purpose, another that says more.
OTHERWISE = {
    "matmul of a number": (RuntimeError,),
    "stack of nothing": (RuntimeError,),
    "cat of nothing": (ValueError, RuntimeError),
    "pad of another mode": (NotImplementedError,),
    "cross_entropy of booleans": (RuntimeError,),
}


def raised_by(compute, lib, functional):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = compute(lib, functional)
        except Exception as error:
            return error
    return result


def family(error):
    """The class that users catch: torch's NotImplementedError is a RuntimeError, and its errors have subclasses."""
    for kind in (IndexError, ValueError, TypeError, RuntimeError):
        if isinstance(error, kind):
            return kind
    return type(error)


@pytest.mark.parametrize("name", list(WRONG))
def test_wrong_input_raises_as_in_torch(name):
    theirs, ours = raised_by(WRONG[name], torch, T), raised_by(WRONG[name], mr, F)
    assert isinstance(theirs, Exception), f"torch gives {theirs}"
    assert isinstance(ours, Exception), f"we give {ours}, torch raises {type(theirs).__name__}: {theirs}"
    allowed = OTHERWISE.get(name, (family(theirs),))
    assert isinstance(ours, allowed), f"{type(ours).__name__}: {ours}; torch: {type(theirs).__name__}: {theirs}"
    assert len(str(ours)) > 10 and "\n" not in str(ours)


# ---------------------------------------------------------------------------------------------------- nothing at all

EMPTY = {
    "add": lambda lib, f: zeros(lib, 0, 3) + zeros(lib, 3),
    "add to one": lambda lib, f: zeros(lib, 0, 3) + zeros(lib, 1, 1),
    "mul": lambda lib, f: zeros(lib, 2, 0) * 2,
    "exp": lambda lib, f: lib.exp(zeros(lib, 0)),
    "relu": lambda lib, f: f.relu(zeros(lib, 0, 3)),
    "where": lambda lib, f: lib.where(zeros(lib, 0) > 0, zeros(lib, 0), zeros(lib, 1)),
    "sum": lambda lib, f: zeros(lib, 0, 3).sum(),
    "sum of an axis": lambda lib, f: zeros(lib, 0, 3).sum(0),
    "mean": lambda lib, f: zeros(lib, 0, 3).mean(),
    "mean of an axis": lambda lib, f: zeros(lib, 0, 3).mean(0),
    "var": lambda lib, f: zeros(lib, 0, 3).var(),
    "var of an axis": lambda lib, f: zeros(lib, 0, 3).var(0),
    "max of the other axis": lambda lib, f: zeros(lib, 0, 3).max(1).values,
    "amax of the other axis": lambda lib, f: zeros(lib, 0, 3).amax(1),
    "argmax of the other axis": lambda lib, f: zeros(lib, 0, 3).argmax(1),
    "logsumexp": lambda lib, f: zeros(lib, 2, 0).logsumexp(1),
    "norm": lambda lib, f: zeros(lib, 0, 3).norm(),
    "cumsum": lambda lib, f: zeros(lib, 0, 3).cumsum(0),
    "softmax": lambda lib, f: f.softmax(zeros(lib, 0, 3), 1),
    "softmax of nothing": lambda lib, f: f.softmax(zeros(lib, 3, 0), 1),
    "log_softmax": lambda lib, f: f.log_softmax(zeros(lib, 0, 3), 1),
    "matmul": lambda lib, f: zeros(lib, 0, 3) @ zeros(lib, 3, 2),
    "matmul over nothing": lambda lib, f: zeros(lib, 2, 0) @ zeros(lib, 0, 3),
    "matmul of stacks": lambda lib, f: zeros(lib, 0, 2, 3) @ zeros(lib, 0, 3, 2),
    "linear": lambda lib, f: f.linear(zeros(lib, 0, 3), zeros(lib, 2, 3), zeros(lib, 2)),
    "linear of nothing": lambda lib, f: f.linear(zeros(lib, 2, 0), zeros(lib, 3, 0), zeros(lib, 3)),
    "reshape": lambda lib, f: zeros(lib, 0, 3).reshape(3, 0),
    "reshape with an unknown": lambda lib, f: zeros(lib, 0, 3).reshape(-1, 3),
    "flatten": lambda lib, f: zeros(lib, 0, 3, 2).flatten(1),
    "permute": lambda lib, f: zeros(lib, 0, 3).permute(1, 0),
    "expand": lambda lib, f: zeros(lib, 1, 3).expand(0, 3),
    "cat": lambda lib, f: lib.cat([zeros(lib, 0, 3), zeros(lib, 2, 3)]),
    "cat with an empty vector": lambda lib, f: lib.cat([zeros(lib, 0), zeros(lib, 2, 3)]),
    "stack": lambda lib, f: lib.stack([zeros(lib, 0), zeros(lib, 0)]),
    "split": lambda lib, f: zeros(lib, 0, 3).split(2)[0],
    "pad": lambda lib, f: f.pad(zeros(lib, 0, 3), (1, 1)),
    "index": lambda lib, f: zeros(lib, 3)[[]],
    "gather": lambda lib, f: zeros(lib, 3).gather(0, whole(lib, [])),
    "sort": lambda lib, f: lib.sort(zeros(lib, 0, 3), 1)[0],
    "topk": lambda lib, f: zeros(lib, 2, 3).topk(0)[0],
    "conv2d": lambda lib, f: f.conv2d(zeros(lib, 0, 2, 5, 5), zeros(lib, 4, 2, 3, 3), zeros(lib, 4), padding=1),
    "max_pool2d": lambda lib, f: f.max_pool2d(zeros(lib, 0, 2, 5, 5), 2),
    "avg_pool2d": lambda lib, f: f.avg_pool2d(zeros(lib, 0, 2, 5, 5), 2),
    "adaptive": lambda lib, f: f.adaptive_avg_pool2d(zeros(lib, 0, 2, 5, 5), 1),
    "batch_norm at inference": lambda lib, f: f.batch_norm(zeros(lib, 0, 3, 2, 2), zeros(lib, 3), lib.ones(3)),
    "cross_entropy": lambda lib, f: f.cross_entropy(zeros(lib, 0, 3), whole(lib, [])),
    "cross_entropy each": lambda lib, f: f.cross_entropy(zeros(lib, 0, 3), whole(lib, []), reduction="none"),
    "cross_entropy sum": lambda lib, f: f.cross_entropy(zeros(lib, 0, 3), whole(lib, []), reduction="sum"),
    "nll_loss": lambda lib, f: f.nll_loss(zeros(lib, 0, 3), whole(lib, [])),
    "mse_loss": lambda lib, f: f.mse_loss(zeros(lib, 0, 3), zeros(lib, 0, 3)),
    "dropout": lambda lib, f: f.dropout(zeros(lib, 0, 3), 0.5),
}


@pytest.mark.parametrize("name", list(EMPTY))
def test_empty_tensors_as_in_torch(name):
    made = {}

    def leafy(lib):
        """The library with a `zeros` whose real tensors require gradients, so that backward can be tried."""

        class Library:
            def __getattr__(self, attribute):
                return getattr(lib, attribute)

            def zeros(self, shape, dtype):
                tensor = lib.zeros(shape, dtype=dtype, requires_grad="float" in str(dtype))
                made.setdefault(lib.__name__, []).append(tensor)
                return tensor

        return Library()

    theirs, ours = raised_by(EMPTY[name], leafy(torch), T), raised_by(EMPTY[name], leafy(mr), F)
    if isinstance(theirs, Exception):
        assert isinstance(ours, family(theirs)), f"{ours}; torch: {theirs}"
        return
    assert not isinstance(ours, Exception), repr(ours)
    assert ours.shape == tuple(theirs.shape)
    assert np.array_equal(np.array(ours.tolist()), np.array(theirs.tolist()), equal_nan=True)
    if floats(theirs) and theirs.requires_grad:
        ours.backward(mr.ones_like(ours))
        theirs.backward(torch.ones_like(theirs))
        for a, b in zip(made["minires"], made["torch"], strict=True):
            assert (a.grad is None) == (b.grad is None) or not a.numel()
            if a.grad is not None:
                assert np.array_equal(a.grad.array, b.grad.numpy(), equal_nan=True)


# ------------------------------------------------------------------------------------------------- said in the text


@pytest.mark.parametrize(
    ("compute", "words"),
    [
        (lambda: F.cross_entropy(mr.zeros(3, 4), mr.tensor([0, 7, 1])), r"target 7 of row 1 .* 4 classes"),
        (lambda: F.conv2d(mr.zeros(1, 3, 5, 5), mr.zeros(4, 2, 3, 3)), r"expected input to have 2 channels, but got 3"),
        (lambda: mr.zeros(2, 3) @ mr.zeros(4, 2), r"\(2, 3\) and \(4, 2\)"),
        (lambda: mr.cat([mr.zeros(2, 3), mr.zeros(2, 4)]), r"tensor 1 has shape \(2, 4\)"),
        (
            lambda: F.batch_norm(mr.zeros(2, 3), mr.zeros(4), mr.zeros(4)),
            r"running_mean should contain 3 elements not 4",
        ),
        (lambda: F.max_pool2d(mr.zeros(1, 1, 2, 2), 3), r"window of 3 .* does not fit into 2 places"),
        (lambda: F.adaptive_avg_pool2d(mr.zeros(5, 5), 1), r"expected 3D .* got shape \(5, 5\)"),
        (lambda: mr.zeros(2, 3).reshape(4, 2), r"\[4, 2\] is invalid for input of size 6"),
        (lambda: mr.zeros(2, 3) + mr.zeros(2, 4), r"\(2, 3\).*\(2, 4\)"),
    ],
)
def test_the_message_names_the_culprit(compute, words):
    with pytest.raises((RuntimeError, IndexError, ValueError), match=words):
        compute()


def test_an_error_records_nothing():
    x = mr.ones(2, requires_grad=True)
    y = x * 2
    with pytest.raises((RuntimeError, ValueError)):
        y + mr.ones(3)
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_an_empty_batch_leaves_the_running_statistics_alone():
    ours, theirs = mr.nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3)
    assert ours(mr.zeros(0, 3, 2, 2)).shape == tuple(theirs(torch.zeros(0, 3, 2, 2)).shape)
    assert ours.running_mean.tolist() == theirs.running_mean.tolist() == [0, 0, 0]
    assert ours.running_var.tolist() == theirs.running_var.tolist() == [1, 1, 1]


def test_a_whole_network_on_an_empty_batch():
    model = mr.models.resnet20(num_classes=3).eval()
    x = mr.zeros(0, 3, 16, 16, requires_grad=True)
    y = model(x)
    assert y.shape == (0, 3)
    y.sum().backward()
    assert x.grad.shape == x.shape and all(not p.grad.array.any() for p in model.parameters())
