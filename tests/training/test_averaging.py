"""EMA, SWA, statistics made anew, mixup and cutmix: what they compute, and that a resume changes no bit of it."""

import numpy as np
import pytest

import minires as mr
from minires import nn, optim
from minires.data import ArrayDataset, DataLoader
from minires.random import philox
from minires.tensor import Tensor
from minires.training import (
    Callback,
    EarlyStopping,
    ExponentialAverage,
    Mixing,
    ModelCheckpoint,
    Reestimate,
    StochasticAverage,
    reestimate,
)  # fmt: skip
from minires.training.metrics import make_metric
from minires.training.mixing import rectangle
from minires.training.weights import copy_weights
from tests.training.helpers import STEPS, fingerprint, make_arrays, make_loaders, make_model, make_trainer

EPOCHS = 3


def plain_loader():
    return DataLoader(ArrayDataset(*make_arrays()), 8)


CALLBACKS = {
    "ema": lambda: [ExponentialAverage(0.8)],
    "ema-warmup": lambda: [ExponentialAverage(0.99, warmup=True)],
    "swa": lambda: [StochasticAverage(2), Reestimate(plain_loader())],
    "reestimate": lambda: [Reestimate(plain_loader())],
    "mixing": lambda: [Mixing(3, mixup=0.4, cutmix=1.0, off_epoch=2)],
}


def soft_loss(outputs, targets):
    """Cross entropy for class numbers and for probabilities."""
    if targets.ndim == 1:
        return nn.functional.cross_entropy(outputs, targets)
    return -(nn.functional.log_softmax(outputs, dim=1) * targets).sum() / len(outputs)


def trainer_with(name, more=()):
    return make_trainer([*CALLBACKS[name](), *more], loss_fn=soft_loss)


@pytest.mark.parametrize("name", CALLBACKS)
def test_paused_at_every_step_and_in_other_numbers_of_workers(name, tmp_path):
    whole = trainer_with(name)
    whole.fit(*make_loaders(), epochs=EPOCHS)
    plain = make_trainer(loss_fn=soft_loss)
    plain.fit(*make_loaders(), epochs=EPOCHS)
    assert fingerprint(whole) != fingerprint(plain)
    for step in range(1, EPOCHS * STEPS + 1):
        parts = trainer_with(name, [ModelCheckpoint(tmp_path)])
        parts.resume(tmp_path, missing_ok=True)
        parts.fit(*make_loaders(workers=step % 2), epochs=EPOCHS, max_steps=1)
    assert fingerprint(parts) == fingerprint(whole)


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("ema", "reestimate")]


@pytest.mark.parametrize("name", ["swa", *SLOW])
@pytest.mark.parametrize("event", ["before_evaluate", "after_evaluate", "after_epoch"])
@pytest.mark.parametrize("order", [-1, 4, 1000])
def test_an_exception_while_the_average_is_in_the_model(name, event, order, tmp_path):
    class Bang(Callback):
        def fail(self, trainer):
            if trainer.step == 2 * STEPS:
                raise ArithmeticError("bang")

    whole = trainer_with(name)
    whole.fit(*make_loaders(), epochs=EPOCHS)
    bang = Bang()
    bang.order = order
    setattr(bang, event, bang.fail)
    broken = trainer_with(name, [ModelCheckpoint(tmp_path, every_steps=4), bang])
    with pytest.raises(ArithmeticError):
        broken.fit(*make_loaders(), epochs=EPOCHS)
    again = trainer_with(name, [ModelCheckpoint(tmp_path)])
    assert again.resume(tmp_path)
    again.fit(*make_loaders(), epochs=EPOCHS)
    assert fingerprint(again) == fingerprint(whole)


class Weights(Callback):
    """Copies of the weights after every step, and of those that are validated."""

    order = 4

    def __init__(self):
        self.after, self.measured = [], []

    def after_step(self, trainer):
        self.after.append(copy_weights(trainer.model))

    def before_evaluate(self, trainer):
        self.measured.append(copy_weights(trainer.model))


@pytest.mark.parametrize("warmup", [False, True])
def test_the_exponential_average_against_its_formula(warmup):
    weights = Weights()
    trainer = make_trainer([ExponentialAverage(0.9, warmup), weights], stopping=False)
    trainer.fit(*make_loaders(), epochs=2)
    average = {name: array.astype(np.float64) for name, array in weights.after[0].items()}
    for count, now in enumerate(weights.after[1:], start=1):
        keep = min(0.9, 1 - (1 + count) ** (-2 / 3)) if warmup else 0.9
        average = {name: keep * average[name] + (1 - keep) * now[name] for name in now}
    last = weights.after[-1]
    for name, array in weights.measured[-1].items():
        expected = last[name] if array.dtype.kind == "i" else average[name]
        assert np.allclose(array, expected, atol=1e-5), name
    assert all(np.array_equal(array, weights.measured[-1][name]) for name, array in copy_weights(trainer.model).items())
    plain = Weights()
    make_trainer([plain], stopping=False).fit(*make_loaders(), epochs=2)
    assert all(np.array_equal(one[name], two[name]) for one, two in zip(plain.after, weights.after, strict=True)
               for name in one), "the training itself is not touched"  # fmt: skip


def test_the_stochastic_average_is_the_mean_of_the_last_epochs():
    weights = Weights()
    trainer = make_trainer([StochasticAverage(2), weights], stopping=False)
    trainer.fit(*make_loaders(), epochs=4)
    ends = weights.after[STEPS - 1 :: STEPS]
    assert all(np.array_equal(weights.measured[0][name], ends[0][name]) for name in ends[0]), "no average yet"
    for name, array in weights.measured[-1].items():
        if array.dtype.kind == "f":
            assert np.allclose(array, np.mean([end[name] for end in ends[1:]], axis=0), atol=1e-5)


def test_frozen_weights_are_their_own_average():
    model = make_model()
    model[1].weight.requires_grad_(False)
    start = model[1].weight.array.copy()
    optimizer = optim.SGD([each for each in model.parameters() if each.requires_grad], lr=0.1)
    trainer = make_trainer([ExponentialAverage(0.7)], model=model, optimizer=optimizer)
    trainer.fit(*make_loaders(), epochs=2)
    assert np.array_equal(trainer.model[1].weight.array, start)


def test_what_is_kept_is_the_average(tmp_path):
    stopping, average, weights = EarlyStopping("val_loss", None), ExponentialAverage(0.9), Weights()
    trainer = make_trainer([stopping, average, weights, ModelCheckpoint(tmp_path)], stopping=False)
    trainer.fit(*make_loaders(), epochs=3)
    best = weights.measured[stopping.best_epoch - 1]
    assert all(np.array_equal(array, best[name]) for name, array in stopping.best_weights.items())
    saved = mr.load(tmp_path / "best.safetensors")
    assert all(np.array_equal(saved[name].numpy(), array) for name, array in best.items())
    assert all(np.array_equal(array, best[name]) for name, array in copy_weights(trainer.model).items())


@pytest.mark.parametrize("wrong", [1.0, -0.1, float("nan")])
def test_a_decay_that_makes_no_sense(wrong):
    with pytest.raises(ValueError, match="decay"):
        ExponentialAverage(wrong)
    with pytest.raises(ValueError, match="start"):
        StochasticAverage(0)


# ------------------------------------------------------------------------------------------------------ statistics


def test_statistics_made_anew_are_the_means_over_the_batches():
    images, _ = make_arrays()
    model = make_model()
    linear, norm = model[1], model[2]
    batches = [Tensor(images[start : start + 8]) for start in range(0, 16, 8)]
    weights = linear.weight.array.copy()
    norm.running_mean.fill_(7)
    model.train()
    reestimate(model, batches)
    hidden = [batch.array.reshape(8, -1) @ weights.T + linear.bias.array for batch in batches]
    assert np.allclose(norm.running_mean.array, np.mean([each.mean(axis=0) for each in hidden], axis=0), atol=1e-5)
    variances = [each.var(axis=0, ddof=1) for each in hidden]
    assert np.allclose(norm.running_var.array, np.mean(variances, axis=0), atol=1e-5)
    assert norm.num_batches_tracked.item() == 2 and norm.momentum == 0.1
    assert model.training and norm.training and model[4].training
    assert np.array_equal(linear.weight.array, weights)
    first = norm.running_mean.array.copy()
    reestimate(model.eval(), batches)
    assert np.array_equal(norm.running_mean.array, first) and not norm.training
    norm.freeze_statistics()
    reestimate(model, [Tensor(images + 5)])
    assert np.array_equal(norm.running_mean.array, first), "frozen ones stay"


@pytest.mark.parametrize("val", [True, False])
def test_statistics_of_averages_alone_cost_nothing_before_there_is_one(val):
    passes = []

    class Counted(list):
        def __iter__(self):
            passes.append(trainer.epoch)
            return super().__iter__()

    trainer = make_trainer(
        [StochasticAverage(3), Reestimate(Counted(plain_loader()), of_averages=True)], stopping=False
    )
    trainer.fit(*make_loaders(val=val), epochs=4)
    assert passes == ([2, 3] if val else [3, 4])  # epochs that are over by then


def test_without_validation_too():
    trainer = make_trainer([StochasticAverage(1), Reestimate(plain_loader())], stopping=False)
    train, _ = make_loaders(val=False)
    trainer.fit(train, epochs=2)
    got = copy_weights(trainer.model)
    reestimate(trainer.model, list(plain_loader()))
    assert all(np.array_equal(array, got[name]) for name, array in copy_weights(trainer.model).items())


# --------------------------------------------------------------------------------------------------- mixup, cutmix


def pictures(count=5):
    rng = np.random.default_rng(2)
    return Tensor(rng.standard_normal((count, 2, 6, 8)).astype(np.float32)), Tensor(np.arange(count) % 3)


def test_mixup_against_its_formula():
    images, targets = pictures()
    mixed, labels = Mixing(3, mixup=0.8).mix(images, targets, philox(1, "mixing", 0))
    rng = philox(1, "mixing", 0)
    order, share = rng.permutation(5), rng.beta(0.8, 0.8)
    assert np.allclose(mixed.array, share * images.array + (1 - share) * images.array[order], atol=1e-6)
    eye = np.eye(3)[targets.array]
    assert np.allclose(labels.array, share * eye + (1 - share) * eye[order], atol=1e-6)


def test_cutmix_shares_the_label_by_the_area():
    images, targets = pictures()
    for step in range(20):
        mixed, labels = Mixing(3, cutmix=1.0).mix(images, targets, philox(1, "mixing", step))
        order = philox(1, "mixing", step).permutation(5)
        foreign = (mixed.array != images.array).any(axis=1) & (order != np.arange(5))[:, None, None]
        assert np.array_equal(mixed.array[:, :, ~foreign.any(axis=0)], images.array[:, :, ~foreign.any(axis=0)])
        place = int(np.flatnonzero(order != np.arange(5))[0])
        part = foreign[place].mean()
        assert np.array_equal(mixed.array[place][:, foreign[place]], images.array[order[place]][:, foreign[place]])
        expected = (1 - part) * np.eye(3)[targets.array[place]] + part * np.eye(3)[targets.array[order[place]]]
        assert np.allclose(labels.array[place], expected, atol=1e-6)
        assert np.allclose(labels.array.sum(axis=1), 1, atol=1e-6)


def test_rectangles_stay_inside():
    for step in range(100):
        rng = philox(3, "rectangle", step)
        top, bottom, left, right = rectangle(6, 9, float(rng.random()), rng)
        assert 0 <= top <= bottom <= 6 and 0 <= left <= right <= 9
    assert rectangle(6, 8, 1.0, philox(0, "r"))[1::2] == rectangle(6, 8, 1.0, philox(0, "r"))[0::2], "share 1: nothing"


def test_figures_of_mixed_batches_take_the_likeliest_class():
    outputs = np.array([[2.0, 1.0], [0.0, 3.0], [4.0, 1.0]], np.float32)
    mixed = np.array([[0.7, 0.3], [0.6, 0.4], [0.9, 0.1]], np.float32)
    for name in ("accuracy", "top1", "balanced_acc"):
        metric = make_metric(name)
        assert np.array_equal(metric.total(outputs, mixed), metric.total(outputs, mixed.argmax(axis=1)))


@pytest.mark.parametrize(("mixup", "cutmix"), [(0, 0), (-0.1, 1), (float("nan"), 0)])
def test_alphas_that_make_no_sense(mixup, cutmix):
    with pytest.raises(ValueError, match="mixup and cutmix"):
        Mixing(3, mixup, cutmix)
