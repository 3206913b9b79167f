"""Stopped anywhere, in any way, and resumed: the same bits as a run that was never stopped."""

import csv
import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import minires as mr
from minires import nn, optim
from minires.errors import FileFormatError, UsageError
from minires.io import checkpoint, files
from minires.training import Callback, EarlyStopping, HistoryFile, ModelCheckpoint
from minires.training.checkpoints import pack, unpack
from tests.io.faults import Faulty
from tests.training.helpers import STEPS, bits, fingerprint, make_loaders, make_model, make_trainer

EPOCHS = 3
EVENTS = ("before_fit", "before_epoch", "before_step", "after_step", "before_evaluate", "after_evaluate", "after_epoch",
          "after_fit")  # fmt: skip


@pytest.fixture(scope="module")
def whole():
    trainer = make_trainer()
    trainer.fit(*make_loaders(), epochs=EPOCHS)
    return fingerprint(trainer)


def saving(folder, every=None, callbacks=(), **more):
    """A trainer that saves into `folder`, resumed from there if something is there."""
    own = [ModelCheckpoint(folder, every_steps=every), HistoryFile(folder)]
    trainer = make_trainer([*callbacks, *own], **more)
    trainer.resume(folder, missing_ok=True)
    return trainer


@pytest.mark.fault(
    "a pause after every step, a new process state each time, other numbers of workers",
    "weights, optimizer and history of the whole run, bit for bit",
)
def test_paused_at_every_step(whole, tmp_path):
    """Each call makes one step more, in a trainer that knows the folder only."""
    for step in range(1, EPOCHS * STEPS + 1):
        trainer = saving(tmp_path)
        trainer.fit(*make_loaders(workers=step % 3), epochs=EPOCHS, max_steps=1)
        assert trainer.step == step
    assert fingerprint(trainer) == whole
    rows = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    again = saving(tmp_path)
    again.fit(*make_loaders(), epochs=EPOCHS)  # nothing is left
    assert again.step == EPOCHS * STEPS and again.status == "done" and fingerprint(again) == whole


class Bang(Exception):  # noqa: N818
    pass


class Bomb(Callback):
    """Raises at the `at`-th call of an event (from 1), ahead of or after all other callbacks."""

    def __init__(self, event, at, order):
        self.order, self.left = order, at
        setattr(self, event, self.count)

    def count(self, trainer):
        self.left -= 1
        if self.left == 0:
            raise Bang


class Tally(Callback):
    """Counts events, and keeps the counts in the state."""

    def __init__(self):
        self.counts = dict.fromkeys(("after_step", "after_evaluate", "after_epoch"), 0)

    def after_step(self, trainer):
        self.counts["after_step"] += 1

    def after_evaluate(self, trainer):
        self.counts["after_evaluate"] += 1

    def after_epoch(self, trainer):
        self.counts["after_epoch"] += 1

    def state_dict(self):
        return dict(self.counts)

    def load_state_dict(self, state):
        self.counts = dict(state)


@pytest.mark.fault(
    "an exception in any event of the training",
    "what is saved is consistent; a resumed run ends in equal bits and counts no event twice",
)
@pytest.mark.parametrize("every", [None, 2])
@pytest.mark.parametrize("order", [-1, 1000])
@pytest.mark.parametrize("event", EVENTS)
def test_an_exception_in_any_event(whole, tmp_path, event, order, every):
    """What is on the disk then can be loaded, and leads to the same end; no callback counts an event twice."""
    at = 1 if event in ("before_fit", "after_fit") else 2 if "step" not in event else 9
    trainer = saving(tmp_path, every, callbacks=[Tally(), Bomb(event, at, order)])
    with pytest.raises(Bang):
        trainer.fit(*make_loaders(), epochs=EPOCHS)
    assert trainer.status == "failed"
    if not trainer.consistent:
        with pytest.raises(RuntimeError, match="broken off in the middle"):
            trainer.fit(*make_loaders(), epochs=EPOCHS)
    tally = Tally()
    resumed = saving(tmp_path, every, callbacks=[tally])
    assert event == "before_fit" or resumed.step > 0
    resumed.fit(*make_loaders(), epochs=EPOCHS)
    assert fingerprint(resumed) == whole
    assert tally.counts == {"after_step": EPOCHS * STEPS, "after_evaluate": EPOCHS, "after_epoch": EPOCHS}


def test_a_half_finished_epoch_is_not_saved(tmp_path):
    train, _ = make_loaders()
    trainer = saving(tmp_path, callbacks=[Tally(), Bomb("after_epoch", 2, 1)], stopping=False)
    with pytest.raises(Bang):
        trainer.fit(train, epochs=EPOCHS)
    tally = Tally()
    resumed = saving(tmp_path, callbacks=[tally], stopping=False)
    assert (resumed.epoch, resumed.step) == (1, STEPS)
    resumed.fit(train, epochs=EPOCHS)
    assert tally.counts == {"after_step": EPOCHS * STEPS, "after_evaluate": 0, "after_epoch": EPOCHS}


@pytest.mark.fault(
    "an exception when half of the weights have moved",
    "that state is never saved; the resumed run ends in equal bits",
)
def test_a_half_made_step_is_not_saved(whole, tmp_path):
    class Torn(optim.SGD):
        """Fails in the midst of the ninth step, when half of the weights have moved."""

        updates = 0

        def update(self, parameter, gradient, group, state):
            Torn.updates += 1
            if Torn.updates == 8 * 6 + 4:
                raise MemoryError
            super().update(parameter, gradient, group, state)

    model = make_model()
    optimizer = Torn(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    trainer = saving(tmp_path, model=model, optimizer=optimizer)
    with pytest.raises(MemoryError):
        trainer.fit(*make_loaders(), epochs=EPOCHS)
    assert not trainer.consistent
    resumed = saving(tmp_path)
    assert resumed.step == STEPS
    resumed.fit(*make_loaders(), epochs=EPOCHS)
    assert fingerprint(resumed) == whole


def test_callbacks_are_cleaned_up_whatever_happens():
    class Careful(Callback):
        cleaned = failed = 0

        def cleanup(self, trainer):
            self.cleaned += 1

        def on_exception(self, trainer, error):
            self.failed += 1
            raise OSError("a fault in the handler of the fault")

    careful = Careful()
    with pytest.raises(Bang) as caught:
        make_trainer([careful, Bomb("after_step", 2, 0)]).fit(*make_loaders())
    assert (careful.cleaned, careful.failed) == (1, 1)
    assert caught.value.__notes__ == ["and then Careful.on_exception: a fault in the handler of the fault"]
    make_trainer([careful]).fit(*make_loaders())
    assert (careful.cleaned, careful.failed) == (2, 1)


def test_patience_and_best_weights_survive(tmp_path):
    def stopping(folder):
        own = [EarlyStopping("val_loss", patience=3), ModelCheckpoint(folder)]
        trainer = make_trainer(own, stopping=False, lr=2.0, scheduler=None)
        trainer.resume(folder, missing_ok=True)
        return trainer

    first = stopping(tmp_path / "whole")
    first.fit(*make_loaders(), epochs=60)
    assert first.status == "early-stopped"
    for _ in range(200):
        trainer = stopping(tmp_path / "parts")
        trainer.fit(*make_loaders(), epochs=60, max_steps=5)
        if trainer.status != "paused":
            break
    assert fingerprint(trainer) == fingerprint(first)
    best = [(tmp_path / name / "best.safetensors").read_bytes() for name in ("whole", "parts")]
    assert best[0] == best[1]
    weights = {name: tensor.numpy() for name, tensor in mr.load(tmp_path / "whole" / "best.safetensors").items()}
    assert all(np.array_equal(weights[name], tensor.numpy()) for name, tensor in first.model.state_dict().items())
    ended = stopping(tmp_path / "parts")
    ended.fit(*make_loaders(), epochs=1000)
    assert ended.status == "early-stopped" and fingerprint(ended) == fingerprint(first)


def test_other_optimizers_and_the_plateau(tmp_path):
    def trainer(folder):
        model = make_model()
        optimizer = optim.AdamW(model.parameters(), lr=0.1)
        scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
        found = make_trainer([ModelCheckpoint(folder)], model=model, optimizer=optimizer, scheduler=scheduler)
        found.resume(folder, missing_ok=True)
        return found

    first = trainer(tmp_path / "whole")
    first.fit(*make_loaders(), epochs=5)
    assert first.history["lr"][-1] < 0.1
    while (parts := trainer(tmp_path / "parts")).epoch < 5:
        parts.fit(*make_loaders(), epochs=5, max_steps=7)
    parts.fit(*make_loaders(), epochs=5)
    assert fingerprint(parts) == fingerprint(first)


def test_any_iterable_of_batches(tmp_path):
    batches = list(make_loaders()[0])
    first = make_trainer(stopping=False)
    first.fit(batches, epochs=2)
    for _ in range(4):
        trainer = saving(tmp_path, stopping=False)
        trainer.fit(batches, epochs=2, max_steps=3)
    assert fingerprint(trainer) == fingerprint(first)


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO])
def test_a_full_disk_at_any_call_of_a_save(whole, tmp_path, fault):
    """The run ends with the file's name, and goes on later from the checkpoint before."""
    trainer = saving(tmp_path, every=2)
    trainer.fit(*make_loaders(), epochs=EPOCHS, max_steps=8)
    for at in range(1, 30):
        trainer = saving(tmp_path, every=2)
        shim = Faulty(fault, at, sticky=True, calls=("write", "fsync", "replace"))
        with files.use(shim):
            if not shim_fails(trainer):
                break
        assert shim.fired
        kept = checkpoint.newest_valid(tmp_path)
        assert kept is not None and kept.state["step"] >= 8
        assert not list(tmp_path.glob("*.tmp"))
    resumed = saving(tmp_path, every=2)
    resumed.fit(*make_loaders(), epochs=EPOCHS)
    assert fingerprint(resumed) == whole and at > 3


def shim_fails(trainer) -> bool:
    """Whether a fit of two more steps ends with an error of the disk."""
    try:
        trainer.fit(*make_loaders(), epochs=EPOCHS, max_steps=2)
    except files.FileAccessError as error:
        assert error.file
        return True
    return False


def test_damaged_checkpoints(whole, tmp_path):
    trainer = saving(tmp_path, every=2)
    trainer.fit(*make_loaders(), epochs=EPOCHS, max_steps=8)
    newest, older = sorted(tmp_path.glob("step-*"), reverse=True)
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="passed over"):
        resumed = saving(tmp_path, every=2)
    assert resumed.step == checkpoint.step_of(older)
    resumed.fit(*make_loaders(), epochs=EPOCHS)
    assert fingerprint(resumed) == whole
    for path in tmp_path.glob("step-*"):
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(UserWarning), pytest.raises(FileFormatError, match="none of the"):
        saving(tmp_path)


def test_folders(tmp_path):
    with pytest.raises(UsageError, match="no checkpoint in"):
        make_trainer().resume(tmp_path)
    assert make_trainer().resume(tmp_path, missing_ok=True) is False
    saving(tmp_path).fit(*make_loaders(), epochs=1)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(UsageError, match="holds checkpoints of an earlier run"):
        make_trainer([ModelCheckpoint(tmp_path)]).fit(*make_loaders(), epochs=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == before

    class Second(Callback):
        def after_step(self, trainer):
            saving(tmp_path).fit(*make_loaders(), epochs=2)

    with pytest.raises(UsageError, match="in use by another process"):
        saving(tmp_path, callbacks=[Second()]).fit(*make_loaders(), epochs=2)
    for wrong in ({"keep": 0}, {"every_steps": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ModelCheckpoint(tmp_path, **wrong)


def test_how_many_checkpoints_stay(tmp_path):
    trainer = make_trainer([ModelCheckpoint(tmp_path, every_steps=1, keep=3)])
    trainer.fit(*make_loaders(), epochs=1)
    assert [path.name for path in sorted(tmp_path.glob("step-*"))] == [f"step-{n:08}.safetensors" for n in (4, 5, 6)]


def test_states_that_belong_to_something_else():
    state = make_trainer().state_dict()
    before = bits(make_trainer())
    for wrong, words in (
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(6, 3))}, r"1\.bias is of the shape \(12,\) in the state"),
        ({"seed": 8}, "seed=7, this trainer has seed=8"),
        ({"scheduler": None}, "with a scheduler"),
        ({"metrics": []}, "figures loss, accuracy, this trainer loss"),
        ({"stopping": False}, "callback EarlyStopping"),
    ):
        with pytest.raises(ValueError, match=words):
            make_trainer(**wrong).load_state_dict(state)
    trainer = make_trainer()
    trainer.fit(*make_loaders(), max_steps=2)
    other = make_trainer()
    other.load_state_dict(trainer.state_dict())
    with pytest.raises(ValueError, match="epoch of 6 batches, and this loader gives 2"):
        other.fit(list(make_loaders()[0])[:2], make_loaders()[1])
    other.load_state_dict(make_trainer().state_dict())
    assert bits(other) == before


def test_pack_and_unpack():
    state = {"a": {"x": np.arange(3), 1: mr.ones(2)}, "b": [np.float32(2), (np.eye(2), None)], "$tensor": "text"}
    tensors, plain = pack(state)
    assert set(tensors) == {"a.x", "a.1", "b.1.0"}
    again = unpack(tensors, plain)
    assert np.array_equal(again["a"]["x"], np.arange(3)) and np.array_equal(again["a"][1], np.ones(2))
    assert isinstance(again["b"][1], tuple) and again["b"][1][1] is None and again["$tensor"] == "text"
    tensors, plain = pack({"a": {"b": np.zeros(1)}, "a.b": np.ones(1)})
    assert unpack(tensors, plain)["a.b"] == 1 and unpack(tensors, plain)["a"]["b"] == 0


SCRIPT = """
import sys
from tests.training.test_resume import EPOCHS, make_loaders, saving, fingerprint
import hashlib, time
from minires.training import Callback

class Slow(Callback):
    def after_step(self, trainer):
        time.sleep(float(sys.argv[2]))
        print("step", trainer.step, flush=True)

trainer = saving(sys.argv[1], every=1, callbacks=[Slow()])
trainer.fit(*make_loaders(workers=2), epochs=EPOCHS)
print("done", hashlib.sha256(repr(sorted(fingerprint(trainer).items())).encode()).hexdigest())
"""


def start(folder, seconds):
    here = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder), str(seconds)], cwd=here, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_killed_between_and_inside_steps(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(3):
        with start(tmp_path / "killed", 0.02) as process:
            process.stdout.readline()
            time.sleep(float(rng.uniform(0, 0.1)))
            process.send_signal(signal.SIGKILL)
    answers = []
    for folder in ("killed", "whole"):
        with start(tmp_path / folder, 0) as process:
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
            answers.append(out.splitlines()[-1])
    assert answers[0] == answers[1] and answers[0].startswith("done")


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_wait_for_the_end_of_the_step(whole, tmp_path, number):
    class Terminated(BaseException):
        pass

    def terminate(_number, _frame):
        raise Terminated

    class Raise(Callback):
        def before_step(self, trainer):
            if trainer.step == 7:
                signal.raise_signal(number)
                self.still_here = True

    before = signal.signal(number, terminate)
    try:
        sender = Raise()
        trainer = saving(tmp_path, callbacks=[sender])
        with pytest.raises(Terminated):
            trainer.fit(*make_loaders(), epochs=EPOCHS)
        assert sender.still_here and trainer.status == "paused" and trainer.step == 8
        assert signal.getsignal(number) is terminate
    finally:
        signal.signal(number, before)
    resumed = saving(tmp_path)
    assert resumed.step == 8
    resumed.fit(*make_loaders(), epochs=EPOCHS)
    assert fingerprint(resumed) == whole


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_a_second_interrupt_takes_effect_at_once():
    class Impatient(Callback):
        def before_step(self, trainer):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    trainer = make_trainer([Impatient()])
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(*make_loaders())
    assert trainer.status == "failed" and trainer.step == 0 and trainer.consistent
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_an_interrupt_during_validation(whole, tmp_path):
    class Raise(Callback):
        def before_evaluate(self, trainer):
            if trainer.epoch == 1:
                signal.raise_signal(signal.SIGINT)

    trainer = saving(tmp_path, callbacks=[Raise()])
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(*make_loaders(), epochs=EPOCHS)
    assert (trainer.epoch, trainer.position, len(trainer.history)) == (1, STEPS, 1)
    resumed = saving(tmp_path)
    resumed.fit(*make_loaders(), epochs=EPOCHS)
    assert fingerprint(resumed) == whole
