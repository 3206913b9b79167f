"""Losses of a job against torch and against formulas; class weights; figures of the confusion matrix; memory."""

import numpy as np
import pytest

import minires as mr
from minires import models
from minires.errors import UsageError
from minires.finetune.estimates import estimate_memory, show_bytes
from minires.finetune.freezing import freeze
from minires.finetune.losses import class_weights, make_losses
from minires.finetune.settings import Settings
from minires.training.metrics import Averages, make_metric

RNG = np.random.default_rng(3)
SCORES = RNG.normal(size=(7, 4)) * 3
LABELS = RNG.integers(0, 4, 7)
COUNTS = [10, 0, 40, 2]


def both(counts=COUNTS, **more):
    """(value, gradient) of the training and of the validation loss."""
    found = []
    for loss in make_losses(Settings(data="d", **more).check(), counts):
        scores = mr.tensor(SCORES, requires_grad=True)
        value = loss(scores, mr.tensor(LABELS))
        value.backward()
        found.append((value.item(), scores.grad.numpy()))
    return found


def torch_value(function):
    torch = pytest.importorskip("torch")
    scores = torch.tensor(SCORES, requires_grad=True)
    value = function(torch, scores, torch.tensor(LABELS))
    value.backward()
    return value.item(), scores.grad.numpy()


def binary(smoothing):
    def loss(torch, scores, labels):
        wanted = torch.nn.functional.one_hot(labels, 4).double() * (1 - smoothing) + smoothing / 4
        return torch.nn.functional.binary_cross_entropy_with_logits(scores, wanted)

    return loss


def weighted(torch, scores, labels):
    weights = torch.tensor(class_weights(COUNTS, 0.5))
    return (torch.nn.functional.cross_entropy(scores, labels, reduction="none") * weights[labels]).mean()


def weighted_and_smoothed(torch, scores, labels):
    weights = torch.tensor(class_weights(COUNTS, 1.0))
    each = torch.nn.functional.cross_entropy(scores, labels, reduction="none", label_smoothing=0.2)
    return (each * weights[labels]).mean()


def focal(torch, scores, labels):
    plain = torch.nn.functional.cross_entropy(scores, labels, reduction="none")
    return ((1 - (-plain).exp()) ** 2 * plain).mean()


def weighted_focal(torch, scores, labels):
    each = torch.nn.functional.cross_entropy(scores, labels, reduction="none")
    return (torch.tensor(class_weights(COUNTS, 1.0))[labels] * (1 - (-each).exp()) ** 2 * each).mean()


def plain(smoothing):
    return lambda torch, scores, labels: torch.nn.functional.cross_entropy(scores, labels, label_smoothing=smoothing)


@pytest.mark.parametrize(
    ("settings", "train", "val"),
    [
        ({}, plain(0), plain(0)), ({"smoothing": 0.2}, plain(0.2), plain(0)),
        ({"loss": "bce"}, binary(0), binary(0)), ({"loss": "bce", "smoothing": 0.1}, binary(0.1), binary(0)),
        ({"loss": "focal"}, focal, focal), ({"class_weights": "0.5"}, weighted, plain(0)),
        ({"class_weights": "balanced", "smoothing": 0.2}, weighted_and_smoothed, plain(0)),
        ({"mixup": 0.2, "smoothing": 0.2}, plain(0.2), plain(0)),
        ({"loss": "focal", "class_weights": "balanced"}, weighted_focal, focal),
    ],
    ids=["ce", "smoothed", "bce", "bce smoothed", "focal", "weighted", "weighted and smoothed", "mixed",
         "focal weighted"],
)  # fmt: skip
def test_as_torch(settings, train, val):
    for own, other in zip(both(**settings), (torch_value(train), torch_value(val)), strict=True):
        assert own[0] == pytest.approx(other[0], rel=1e-12)
        np.testing.assert_allclose(own[1], other[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_mixed_labels_as_torch(smoothing):
    torch = pytest.importorskip("torch")
    shares = RNG.dirichlet(np.ones(4), 7)
    train = make_losses(Settings(data="d", cutmix=1.0, smoothing=smoothing).check(), COUNTS)[0]
    scores, theirs = mr.tensor(SCORES, requires_grad=True), torch.tensor(SCORES, requires_grad=True)
    value = train(scores, mr.tensor(shares))
    value.backward()
    expected = torch.nn.functional.cross_entropy(theirs, torch.tensor(shares), label_smoothing=smoothing)
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose(scores.grad.numpy(), theirs.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("name", "other"), [("huber", "HuberLoss"), ("l1", "L1Loss"), ("mse", "MSELoss"),
                                             (None, "MSELoss")])  # fmt: skip
def test_losses_of_numbers(name, other):
    torch = pytest.importorskip("torch")
    outputs, targets = RNG.normal(size=(6, 2)) * 2, RNG.normal(size=(6, 2))
    own = mr.tensor(outputs, requires_grad=True)
    loss = make_losses(Settings(data="d", task="regression", loss=name).check())[0](own, mr.tensor(targets))
    loss.backward()
    theirs = torch.tensor(outputs, requires_grad=True)
    expected = getattr(torch.nn, other)()(theirs, torch.tensor(targets))
    expected.backward()
    assert loss.item() == pytest.approx(expected.item())
    np.testing.assert_allclose(own.grad.numpy(), theirs.grad.numpy(), atol=1e-12)


def test_large_scores_stay_finite():
    for name in ("ce", "bce", "focal"):
        loss = make_losses(Settings(data="d", loss=name).check())[0]
        scores = mr.tensor(np.array([[1e4, -1e4], [-1e4, 1e4]], np.float32), requires_grad=True)
        value = loss(scores, mr.tensor(np.array([0, 0])))
        value.backward()
        assert np.isfinite(value.item()) and np.isfinite(scores.grad.numpy()).all(), name


@pytest.mark.parametrize("power", [0.25, 0.5, 1.0])
def test_class_weights_have_the_mean_one_over_the_pictures(power):
    weights = class_weights(COUNTS, power)
    assert weights[1] == 0 and weights[3] > weights[0] > weights[2]
    assert (weights * COUNTS).sum() == pytest.approx(sum(COUNTS))
    assert weights[3] / weights[2] == pytest.approx(20**power)
    if power == 1:
        assert [count * weight for count, weight in zip(COUNTS, weights, strict=True) if count] == pytest.approx(
            [52 / 3] * 3
        )


def test_wrong_class_weights():
    for wrong in ("1.5", "-1", "nan", "often"):
        with pytest.raises(UsageError, match="--class-weights is none, balanced or a power"):
            Settings(data="d", class_weights=wrong).check()


@pytest.mark.parametrize("sizes", [(50,), (7, 20, 23)])
def test_figures_of_classes_are_those_of_scikit_learn(sizes):
    metrics = pytest.importorskip("sklearn.metrics")
    truth, scores = RNG.integers(0, 5, 50), RNG.normal(size=(50, 6))  # class 5 never occurs
    sums = Averages([make_metric("macro_f1"), make_metric("balanced_acc")])
    start = 0
    for size in sizes:
        sums.add(0.0, scores[start : start + size], truth[start : start + size])
        start += size
    again = Averages(sums.metrics)
    again.load_state_dict(sums.state_dict())
    predicted = scores.argmax(axis=1)
    expected = metrics.f1_score(truth, predicted, average="macro", labels=sorted({*truth, *predicted}), zero_division=0)
    for found in (sums.means(), again.means()):
        assert found["macro_f1"] == pytest.approx(expected)
        recalls = metrics.recall_score(truth, predicted, average=None, labels=range(5))
        assert found["balanced_acc"] == pytest.approx(recalls.mean())


def test_memory_grows_with_what_is_kept():
    model = models.create("resnet20", num_classes=3)
    small, large = (estimate_memory(model, Settings(data="d", batch_size=size), (16, 16), 3) for size in (8, 32))
    assert large.batch == pytest.approx(4 * small.batch, rel=1e-6) and large.weights == small.weights
    sgd = estimate_memory(model, Settings(data="d", batch_size=8, opt="sgd"), (16, 16), 3)
    trained = sum(parameter.array.nbytes for parameter in model.parameters())
    assert small.weights - sgd.weights == trained
    parts = estimate_memory(model, Settings(data="d", batch_size=8, grad_accum_steps=4), (16, 16), 3)
    assert parts.batch - small.batch == 3 * 8 * 4 * 3 * 16 * 16, "only the pictures wait"
    taught = estimate_memory(model, Settings(data="d", batch_size=8, distill=1.0), (16, 16), 3)
    assert taught.weights - small.weights == trained + sum(b.array.nbytes for b in model.buffers())
    assert taught.batch > small.batch, "the teacher's layers, one at a time"
    freeze(model, ["stem", "layer1", "layer2"])
    assert estimate_memory(model, Settings(data="d", batch_size=8), (16, 16), 3).total < small.total
    assert [show_bytes(size) for size in (2e3, 3.21e6, 45.6e6, 7.89e9)] == ["2 KB", "3.2 MB", "46 MB", "7.9 GB"]
