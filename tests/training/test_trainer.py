"""The loop: the same bits as the plain one, figures that count samples, schedules, budgets, and modes left alone."""

import math

import numpy as np
import pytest

import minires as mr
from minires import nn, optim, random
from minires.autograd import no_grad
from minires.data import ArrayDataset, DataLoader
from minires.errors import DataError, UsageError
from minires.nn import functional as F
from minires.training import Callback, EarlyStopping
from minires.training.gradients import clip_gradients, gradient_norm
from tests.training.helpers import STEPS, bits, fingerprint, make_arrays, make_loaders, make_model, make_trainer


def test_it_is_the_plain_loop():
    trainer = make_trainer(scheduler=None, stopping=False)
    trainer.fit(make_loaders()[0], epochs=2)
    model, loader = make_model(), make_loaders()[0]
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    step, means = 0, []
    for _ in range(2):
        total = 0.0
        for inputs, targets in loader:
            with random.address(7, "step", step):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(inputs), targets)
                loss.backward()
                optimizer.step()
            step, total = step + 1, total + loss.item() * len(targets)
        means.append(total / len(loader.dataset))
    own = dict(trainer.model.state_dict())
    assert all(np.array_equal(own[name].numpy(), tensor.numpy()) for name, tensor in model.state_dict().items())
    assert trainer.history["loss"] == pytest.approx(means)
    assert trainer.step == step == 2 * STEPS and trainer.status == "done"


def test_the_same_seed_gives_the_same_bits_for_any_number_of_workers():
    runs = []
    for workers, seed in ((0, 7), (0, 7), (3, 7), (0, 8)):
        mr.manual_seed(len(runs))  # has no say
        trainer = make_trainer(seed=seed)
        trainer.fit(*make_loaders(workers), epochs=3)
        runs.append(fingerprint(trainer))
    assert runs[0] == runs[1] == runs[2] != runs[3]


def test_figures_count_samples_and_not_batches():
    trainer = make_trainer(model=nn.Sequential(nn.Flatten(), nn.Linear(6, 3)), lr=1e-30, stopping=False, scheduler=None)
    images, targets = make_arrays()
    val = DataLoader(ArrayDataset(images, targets), 4)
    row = trainer.fit(val, val, epochs=2).rows[1]
    with no_grad():
        outputs = trainer.model(mr.tensor(images))
        loss = F.cross_entropy(outputs, mr.tensor(targets)).item()
    right = (outputs.numpy().argmax(1) == targets).mean()
    for name, expected in (("loss", loss), ("accuracy", right)):
        assert row[name] == pytest.approx(expected, rel=1e-6) and row[f"val_{name}"] == pytest.approx(row[name])
    assert trainer.evaluate(val) == trainer.evaluation
    summed = make_trainer(model=trainer.model, loss_fn=nn.CrossEntropyLoss(reduction="sum"), stopping=False)
    assert summed.evaluate(val)["loss"] == pytest.approx(loss, rel=1e-6)


def test_evaluate_and_predict_leave_the_model_as_it_is():
    trainer = make_trainer()
    _, val = make_loaders()
    trainer.model.train()
    trainer.model[2].eval()  # a mode of its own
    before = fingerprint(trainer)
    outputs = trainer.predict(val)
    trainer.evaluate(val)
    assert fingerprint(trainer) == before and outputs.shape == (9, 3) and not outputs.requires_grad
    assert [module.training for module in trainer.model.modules()] == [True, True, True, False, True, True, True]
    again = trainer.predict([inputs for inputs, _ in make_loaders()[1]])
    assert np.array_equal(again.numpy(), outputs.numpy())  # without targets, and without dropout
    assert trainer.evaluate(val) == trainer.evaluate(val)


def test_evaluation_inside_a_fit_changes_nothing():
    class Curious(Callback):
        def after_step(self, trainer):
            trainer.evaluate(loaders[1])

    loaders = make_loaders()
    plain, curious = make_trainer(), make_trainer([Curious()])
    plain.fit(*make_loaders(), epochs=2)
    curious.fit(*loaders, epochs=2)
    assert fingerprint(plain) == fingerprint(curious)


def test_frozen_batch_norm_stays_in_training():
    trainer = make_trainer()
    norm = trainer.model[2].freeze_statistics()
    before = {name: buffer.numpy().tobytes() for name, buffer in norm.named_buffers()}
    trainer.fit(*make_loaders(), epochs=2)
    assert norm.training and {name: buffer.numpy().tobytes() for name, buffer in norm.named_buffers()} == before


def test_schedules():
    def rates(scheduler, **more):
        model = make_model()
        optimizer = optim.SGD(model.parameters(), lr=1.0)
        trainer = make_trainer(model=model, optimizer=optimizer, scheduler=scheduler(optimizer), stopping=False, **more)
        return trainer.fit(*make_loaders(), epochs=4)["lr"]

    schedules = optim.lr_scheduler
    assert rates(lambda o: schedules.StepLR(o, 2), schedule_per="epoch") == pytest.approx([1, 1, 0.1, 0.1])
    # the row has the rate of the epoch's last step, and steps are counted from 0
    assert rates(lambda o: schedules.StepLR(o, STEPS), schedule_per="step") == pytest.approx([1, 0.1, 0.01, 0.001])
    worse = {"schedule_per": "epoch", "plateau_on": "epoch"}  # the number of the epoch never falls
    assert rates(lambda o: schedules.ReduceLROnPlateau(o, patience=0), **worse) == pytest.approx([1, 1, 0.1, 0.01])
    with pytest.raises(UsageError, match="no figure 'val_f1'"):
        rates(schedules.ReduceLROnPlateau, plateau_on="val_f1")
    with pytest.raises(ValueError, match="schedule_per='epoch'"):
        rates(schedules.ReduceLROnPlateau, schedule_per="step")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_norm_and_clipping_agree_with_torch(dtype):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in ((3, 4, 2, 2), (5,), ())]
    ours = [nn.Parameter(np.zeros_like(array)) for array in arrays]
    theirs = [torch.zeros(array.shape, dtype=getattr(torch, dtype), requires_grad=True) for array in arrays]
    for largest in (100.0, 0.5):
        for parameter, other, array in zip(ours, theirs, arrays, strict=True):
            channels_last = np.asarray(array.transpose(0, 2, 3, 1) if array.ndim == 4 else array).copy()
            parameter.grad = mr.tensor(channels_last.transpose(0, 3, 1, 2) if array.ndim == 4 else channels_last)
            other.grad = torch.from_numpy(array.copy())
        norm = gradient_norm(ours)
        clip_gradients(ours, largest, norm)
        assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(theirs, largest).item(), rel=1e-6)
        for parameter, other in zip(ours, theirs, strict=True):
            assert np.allclose(parameter.grad.numpy(), other.grad.numpy(), rtol=1e-6, atol=0)


def test_a_large_gradient_is_not_taken_for_an_infinite_one():
    parameter = nn.Parameter(np.zeros(3, np.float32))
    parameter.grad = mr.tensor(np.full(3, 1e30, np.float32))
    assert gradient_norm([parameter, nn.Parameter(np.zeros(2, np.float32))]) == pytest.approx(math.sqrt(3) * 1e30)
    parameter.grad.array[1] = np.inf
    assert gradient_norm([parameter]) == math.inf


def test_clipping_in_a_fit():
    lengths = []

    class Look(Callback):
        def after_step(self, trainer):
            lengths.append(gradient_norm(trainer.model.parameters()))

    make_trainer([Look()], clip_grad=0.01).fit(*make_loaders(), epochs=1)
    assert max(lengths) <= 0.01 and max(lengths) == pytest.approx(0.01, rel=1e-3)


def test_budgets_pause(monkeypatch):
    trainer, whole = make_trainer(), make_trainer()
    whole.fit(*make_loaders(), epochs=3)
    trainer.fit(*make_loaders(), epochs=3, max_steps=4)
    assert (trainer.status, trainer.step, trainer.epoch, trainer.position) == ("paused", 4, 0, 4)
    trainer.fit(*make_loaders(), epochs=3, max_time=1e-9)  # at least one step
    assert (trainer.status, trainer.step) == ("paused", 5)
    trainer.fit(*make_loaders(), epochs=3, max_steps=1)  # the last one of the epoch: it is finished first
    assert (trainer.status, trainer.step, trainer.epoch, trainer.position) == ("paused", 6, 1, 0)
    assert len(trainer.history) == 1
    trainer.fit(*make_loaders(), epochs=3, max_steps=2 * STEPS)
    assert trainer.status == "done" and fingerprint(trainer) == fingerprint(whole)


def test_the_best_weights_come_back_at_the_end_and_not_at_a_pause():
    trainer = make_trainer(stopping=False, callbacks=[EarlyStopping("val_loss", patience=2)], lr=3.0, scheduler=None)
    train, val = make_loaders()
    trainer.fit(train, val, epochs=30)
    assert trainer.status == "early-stopped" and "has not improved for 2 epochs" in trainer.stop_reason
    losses = trainer.history["val_loss"]
    assert trainer.evaluate(val)["loss"] == min(losses) != losses[-1]
    rows = len(trainer.history)
    trainer.fit(train, val, epochs=40)
    assert len(trainer.history) == rows and trainer.status == "early-stopped"


def test_callbacks_see_what_they_are_promised():
    seen = []

    class Witness(Callback):
        def __getattribute__(self, name):
            if name in ("before_fit", "before_epoch", "before_step", "after_step", "before_evaluate", "after_evaluate",
                        "after_epoch", "after_fit", "cleanup", "on_pause", "on_exception"):  # fmt: skip
                return lambda trainer, *rest: seen.append((name, trainer.step, trainer.epoch, trainer.position))
            return super().__getattribute__(name)

    trainer = make_trainer([Witness()])
    train, val = make_loaders()
    trainer.fit(list(train)[:2], val, epochs=1)
    assert seen == [
        ("before_fit", 0, 0, 0), ("before_epoch", 0, 0, 0), ("before_step", 0, 0, 0), ("after_step", 1, 0, 1),
        ("before_step", 1, 0, 1), ("after_step", 2, 0, 2), ("before_evaluate", 2, 0, 2), ("after_evaluate", 2, 0, 2),
        ("after_epoch", 2, 1, 0), ("after_fit", 2, 1, 0), ("cleanup", 2, 1, 0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ([], DataError, "gives no batches"),
        (iter(()), DataError, "gives no batches"),
        ([mr.ones(4, 1, 3, 2)], TypeError, "a pair"),
        ([(mr.ones(4, 1, 3, 2),)], TypeError, "a pair"),
        ([(mr.ones(4, 1, 3, 2), mr.zeros(3))], ValueError, "as many targets as inputs"),
        ([(mr.ones(4, 1, 3, 3), mr.zeros(4).long())], Exception, "9"),
    ],
)
def test_batches_that_make_no_sense(wrong, error, words):
    trainer = make_trainer(stopping=False)
    before = bits(trainer)
    with pytest.raises(error, match=words):
        trainer.fit(wrong)
    assert trainer.status == "failed" and trainer.consistent and bits(trainer) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"schedule_per": "day"}, "schedule_per"), ({"clip_grad": 0}, "clip_grad"), ({"metrics": ["acc"]}, "no metric")],
)
def test_wrong_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        make_trainer(**arguments)
    for call in ({"epochs": 0}, {"max_steps": 0}, {"max_time": 0.0}):
        with pytest.raises(ValueError, match=next(iter(call))):
            make_trainer(stopping=False).fit(make_loaders()[0], **call)


def test_a_loss_that_is_not_one_number():
    trainer = make_trainer(loss_fn=nn.CrossEntropyLoss(reduction="none"))
    with pytest.raises(ValueError, match=r"one number.*\(4,\)"):
        trainer.fit(*make_loaders())


def test_a_figure_that_the_run_does_not_make_is_refused_before_the_first_step():
    trainer = make_trainer()  # its early stopping watches val_loss
    with pytest.raises(UsageError, match="no figure 'val_loss'"):
        trainer.fit(make_loaders()[0])
    assert trainer.step == 0
