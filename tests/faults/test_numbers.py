"""NaN and infinity at any place of a run; batches of one picture; batch norm that is to stay as it is.

A run stops with step, rate and layer, exit status 1; its newest checkpoint is finite and goes on with a lower rate; a
figure that is not finite is never the best.
"""

import contextlib
import json
import math
import shutil

import numpy as np
import pytest

from minires import models, nn
from minires.autograd import Function
from minires.errors import NumericalError
from minires.finetune import finetune, fitting
from minires.finetune.losses import make_losses
from minires.io import checkpoint, model_directory
from minires.tensor import Tensor
from minires.training import Callback
from tests.faults.leaks import nothing_left
from tests.faults.runs import Place, assert_one_line, check, here

pytestmark = pytest.mark.timeout(60)

STEP = 4  # of the fault: the last of the second epoch
HIGH = 1e-3  # with rates above it the faults below show, as real explosions do


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("numbers") / "place")


class SpoilGradient(Function):
    """y = x;  dx = dy, with an infinite number in it."""

    @staticmethod
    def forward(ctx, x):
        return x.copy()

    @staticmethod
    def backward(ctx, grad):
        grad = grad.copy()
        grad.ravel()[0] = np.inf
        return grad


class Fault(Callback):
    """From step STEP on, while the rate is high, something is not finite."""

    order = -10

    def __init__(self, kind: str, value: float) -> None:
        self.kind, self.value, self.handle = kind, value, None

    def before_fit(self, trainer):
        if self.kind in ("activation", "gradient"):
            self.handle = trainer.model.layer2[0].conv1.register_forward_hook(self.hook(trainer))

    def hook(self, trainer):
        def spoil(module, inputs, output):
            if not self.shows(trainer) or not module.training:
                return None
            if self.kind == "gradient":
                return SpoilGradient.apply(output)
            return output * self.value

        return spoil

    def shows(self, trainer) -> bool:
        return trainer.step + 1 >= STEP and trainer.optimizer.param_groups[0]["initial_lr"] > HIGH

    def before_step(self, trainer):
        if self.kind == "input" and self.shows(trainer):
            images, targets = trainer.batch
            spoiled = images.numpy().copy()
            spoiled.ravel()[5] = self.value
            trainer.batch = (Tensor(spoiled), targets)

    def cleanup(self, trainer):
        if self.handle is not None:
            self.handle.remove()


@contextlib.contextmanager
def planted(kind: str, value: float):
    """Runs of this process have the fault."""
    make = fitting.make_trainer

    def with_fault(*arguments):
        trainer = make(*arguments)
        trainer.events.callbacks.insert(0, Fault(kind, value))
        return trainer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "make_trainer", with_fault)
        if kind == "validation":
            patch.setattr(fitting, "make_losses", spoiled_validation(value))
        yield


def spoiled_validation(value: float):
    calls = []

    def make(*arguments):
        train, plain = make_losses(*arguments)

        def loss(outputs, targets):
            calls.append(1)
            spoil = value if arguments[0].lr > HIGH else 1.0
            return plain(outputs, targets) * spoil

        return train, loss

    return make


PLACES = {
    "input": "the inputs of the batch",
    "activation": "the output of layer2.0.conv1 (Conv2d)",
    "gradient": "the gradient that",
    "validation": "the loss function",
}


@pytest.mark.fault(
    "NaN or infinity in an activation, a gradient, a validation",
    "exit status 1 with step, rate and layer; what is saved is finite, a lower rate goes on",
)
@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("value", [math.nan, pytest.param(math.inf, marks=pytest.mark.slow)])
def test_it_stops_says_where_and_goes_on_with_a_lower_rate(place, tmp_path, kind, value):
    run = tmp_path / "run"
    words = place.words(run, "--log-interval", 1)
    with planted(kind, value), nothing_left(run):
        answer = check(here(words), 1)
    step = 2 if kind == "validation" else STEP
    line = assert_one_line(answer, PLACES[kind], f"in step {step} (epoch", "learning rate 0.0", "--lr")
    (event,) = [event for line in (run / "events.jsonl").read_text().splitlines()
                if (event := json.loads(line))["event"] == "nan"]  # fmt: skip
    assert event["step"] == step and event["lr"] > 0 and event["place"] in line
    assert any(line.split(" ", 1)[1].startswith("error: ") for line in (run / "log.txt").read_text().splitlines())
    saved = checkpoint.newest_valid(run / "checkpoints")
    assert saved.state["step"] == (2 if kind == "validation" else STEP - 1)
    assert all(np.isfinite(array).all() for array in saved.tensors.values())
    best = saved.state["callbacks"]["EarlyStopping"]
    assert best["best"] is None or math.isfinite(best["best"])
    again = tmp_path / "again"
    shutil.copytree(run, again)
    with planted(kind, value):
        assert here(["finetune", "--resume", str(again)]).status == 1, "with the old rate it happens again"
        answer = check(here(["finetune", "--resume", str(run), "--lr", "1e-4"]), 0)
    assert "--lr 0.02 -> 0.0001" in answer.err
    rows = (run / "history.csv").read_text().splitlines()
    assert len(rows) == 5 and "nan" not in "".join(rows) and "inf" not in "".join(rows)
    assert float(rows[-2].rsplit(",", 1)[1]) <= 1e-4
    (change,) = [event for line in (run / "events.jsonl").read_text().splitlines()
                 if (event := json.loads(line))["event"] == "settings_changed"]  # fmt: skip
    assert change["lr"] == {"from": 0.02, "to": 1e-4}
    assert "lr = 0.0001\n" in (run / "args.toml").read_text()
    check(here(["finetune", "--resume", str(run)]), 0)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400"])
def test_a_target_that_is_not_finite_is_found_before_the_first_step(place, tmp_path, value):
    table = tmp_path / "ages.csv"
    pictures = sorted((place.folder / "photos").rglob("*.png"))
    rows = [f"{path},{index}" for index, path in enumerate(pictures)]
    rows[7] = f"{pictures[7]},{value}"
    table.write_text("\n".join(["path,label", *rows]) + "\n")
    run = tmp_path / "run"
    answer = check(here(["finetune", "--data", str(table), "--task", "regression", "--weights",
                         str(place.folder / "weights"), "--output", str(run)]), 1)  # fmt: skip
    assert_one_line(answer, "ages.csv, line 9", "is not finite")
    assert not run.exists()


def test_a_target_that_becomes_infinite_on_the_way(place, tmp_path):
    """As from a transform of the user's: the batch is looked at, and named."""

    class Spoil(Callback):
        def before_step(self, trainer):
            images, targets = trainer.batch
            trainer.batch = (images, Tensor(np.full(targets.shape, np.inf, np.float32)))

    make = fitting.make_trainer

    def spoiled(*arguments):
        trainer = make(*arguments)
        trainer.events.callbacks.insert(0, Spoil())
        return trainer

    pictures = sorted((place.folder / "photos").rglob("*.png"))
    table = tmp_path / "ages.csv"
    table.write_text("\n".join(["path,label", *(f"{path},{i}" for i, path in enumerate(pictures))]) + "\n")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(NumericalError, match="the targets of the batch"):
        patch.setattr(fitting, "make_trainer", spoiled)
        finetune(data=str(table), task="regression", weights=str(place.folder / "weights"), batch_size=6,
                 output=str(tmp_path / "run"))  # fmt: skip


# ----------------------------------------------------------------------------------------------- batches of one picture


@pytest.fixture(scope="module")
def eleven(tmp_path_factory):
    """Eleven training pictures: one less than a whole number of batches of four, one more than of five."""
    found = Place(tmp_path_factory.mktemp("eleven") / "place")
    (found.folder / "photos" / "red" / "5.png").unlink()
    return found


@pytest.mark.fault("one picture more than full batches, with batch norm", "settled and said before the first epoch")
@pytest.mark.parametrize(("batch", "more"), [(5, ()), (10, ()), (5, ("--grad-accum-steps", "2"))])
def test_one_picture_too_many_is_settled_before_the_first_epoch(eleven, tmp_path, batch, more):
    """k * B + 1 pictures: the one that is left over is left out, and that is said."""
    run = tmp_path / "run"
    words = eleven.words(run, "-b", batch, "--epochs", 2, *more)
    answer = check(here(words), 0)
    said, _, later = answer.err.partition("epoch 1/2")
    assert "leaves out one picture" in said and "leaves out" not in later
    steps = 10 // (batch * (2 if more else 1))
    assert f"plan     2 epochs of {steps} steps" in said
    rows = (run / "history.csv").read_text().splitlines()
    assert [int(row.split(",")[1]) for row in rows[1:]] == [steps, 2 * steps]


def test_another_number_of_pictures_loses_none(eleven, tmp_path):
    answer = check(here(eleven.words(tmp_path / "run", "-b", 4, "--epochs", 1)), 0)
    assert "leaves out" not in answer.err and "epochs of 3 steps" in answer.err


# ---------------------------------------------------------------------------------------------------- frozen batch norm


class Meddle(Callback):
    """A user who calls train() and eval() whenever it comes to mind."""

    def before_step(self, trainer):
        trainer.model.train()
        if trainer.step % 3 == 0:
            trainer.model.layer1.train()
        if trainer.step % 7 == 0:
            trainer.model.eval()
            trainer.model.train()


def statistics(folder):
    tensors = model_directory.load_parts(folder)["tensors"]
    return {name: np.asarray(array) for name, array in tensors.items() if "running" in name or "tracked" in name}


@pytest.mark.fault("50 steps with frozen batch norm", "statistics stay bit by bit")
@pytest.mark.parametrize(("more", "moves"), [
    ({"bn": "frozen"}, ()),
    pytest.param({"freeze": "all-but-head"}, (), marks=pytest.mark.slow),
    ({"freeze": "stem,layer1"}, ("layer2.", "layer3.")),
    pytest.param({"bn": "batch", "freeze": "all-but-head"}, ("",), marks=pytest.mark.slow),
])  # fmt: skip
def test_frozen_statistics_stay_bit_by_bit_over_50_steps(place, tmp_path, more, moves):
    make = fitting.make_trainer

    def meddled(*arguments):
        trainer = make(*arguments)
        trainer.events.callbacks.insert(0, Meddle())
        return trainer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "make_trainer", meddled)
        result = finetune(data=str(place.folder / "photos"), weights=str(place.folder / "weights"), batch_size=6,
                          epochs=25, patience=0, output=str(tmp_path / "run"), eval_metric="loss", **more)  # fmt: skip
    assert result.history[-1]["step"] == 50
    before, after = statistics(place.folder / "weights"), statistics(tmp_path / "run" / "model")
    assert before.keys() == after.keys() and len(before) > 10
    for name, array in before.items():
        same = array.tobytes() == after[name].tobytes()
        assert same != bool(moves and name.startswith(moves)), name


def test_the_policy_is_of_the_model_and_not_of_the_loop():
    model = models.create("resnet20", num_classes=3)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.freeze_statistics(True)
    model.train()
    model(Tensor(np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)))
    assert all((norm.running_mean.numpy() == 0).all() and norm.num_batches_tracked.item() == 0 for norm in norms)
    norms[0].freeze_statistics(False)
    model(Tensor(np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)))
    assert not (norms[0].running_mean.numpy() == 0).all() and (norms[1].running_mean.numpy() == 0).all()
