"""Bugs put into the code on purpose: each must turn one of the checks red, or the checks are worth nothing."""

import contextlib
import os
import pathlib
import signal
import threading
import time

import numpy as np
import pytest

import minires as mr
from minires import optim, random
from minires.data import ArrayDataset, DataLoader
from minires.io import RunFolder, checkpoint, files
from minires.training import Callback, EarlyStopping, HistoryFile, ModelCheckpoint, state
from minires.training import checkpoints as training_checkpoints
from minires.training import interrupts as training_interrupts
from minires.training import trainer as training_trainer
from tests.faults.leaks import nothing_left
from tests.io import test_checkpoint, test_files
from tests.io.faults import ERRORS, FullDisk, Recording, ShortWrites
from tests.training.helpers import STEPS, Noisy, fingerprint, make_arrays, make_loaders, make_trainer

# ------------------------------------------------------------------------------------------------------------- checks


def check_power_cut(folder: pathlib.Path) -> None:
    """Whatever the disk has lost after a save, an intact checkpoint is there."""
    assert test_checkpoint.crash_violations(folder, Recording()) == set()


def check_full_disk(folder: pathlib.Path) -> None:
    """A save that fails at any call leaves the old checkpoint, nothing half-written, no descriptor."""
    for at in range(1, 30):
        with RunFolder.create(folder / str(at)) as run:
            test_checkpoint.write_run(run, 1)
            with nothing_left(folder), files.use(FullDisk(ERRORS["ENOSPC"], at, sticky=True)) as system, \
                    contextlib.suppress(files.FileAccessError):  # fmt: skip
                test_checkpoint.write_run(run, 2)
            found = run.newest_checkpoint(pytest.fail)
            assert found is not None and found.state["step"] in (1, 2)
            if not system.fired:
                return
    raise AssertionError("the calls never end")


def check_short_writes(folder: pathlib.Path) -> None:
    """A system that takes part of a write gets the rest."""
    with files.use(ShortWrites(1, sticky=True)):
        path = test_checkpoint.write(folder, 1)
    assert checkpoint.load(path)[1]["step"] == 1


def check_damage(folder: pathlib.Path) -> None:
    """A flipped bit in a weight is found."""
    path = pathlib.Path(test_checkpoint.write(folder, 1))
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with contextlib.suppress(mr.errors.FileFormatError):
        checkpoint.load(path)
        raise AssertionError("a flipped bit was not found")


def in_parts(folder: pathlib.Path, steps: int, make, epochs: int = 3):
    """A trainer made anew for every few steps; the last one."""
    for _ in range(40):
        random.manual_seed(0)
        trainer = make([ModelCheckpoint(folder), HistoryFile(folder)])
        trainer.resume(folder, missing_ok=True)
        trainer.fit(*make_loaders(), epochs=epochs, max_steps=steps)
        if trainer.status != "paused":
            return trainer
    raise AssertionError("the steps never end")


def check_resume(folder: pathlib.Path) -> None:
    """Paused after every fourth step: the bits of the whole run, and its history."""
    random.manual_seed(0)
    whole = make_trainer([ModelCheckpoint(folder / "whole"), HistoryFile(folder / "whole")])
    whole.fit(*make_loaders(), epochs=3)
    parts = in_parts(folder / "parts", 4, make_trainer)
    assert fingerprint(parts) == fingerprint(whole)
    for name in ("best.safetensors", "history.csv"):
        assert (folder / "parts" / name).read_bytes() == (folder / "whole" / name).read_bytes()


def check_patience(folder: pathlib.Path) -> None:
    """Patience and best value count on after a pause at every epoch."""

    def make(callbacks):
        return make_trainer([EarlyStopping("val_loss", patience=3), *callbacks], stopping=False, lr=2.0, scheduler=None)

    whole = make([ModelCheckpoint(folder / "whole")])
    whole.fit(*make_loaders(), epochs=60)
    assert whole.status == "early-stopped"
    parts = in_parts(folder / "parts", STEPS, make, epochs=60)
    assert fingerprint(parts) == fingerprint(whole)
    assert (folder / "parts" / "best.safetensors").read_bytes() == (folder / "whole" / "best.safetensors").read_bytes()


class Uneven(ArrayDataset):
    """Samples that take their time, so that workers finish in another order than they began."""

    def __getitem__(self, index):
        time.sleep(0.002 * (index % 3))
        return super().__getitem__(index)


def check_workers(_folder: pathlib.Path) -> None:
    """The number of workers changes no bit."""
    found = []
    for workers in (0, 1, 3):
        random.manual_seed(0)
        trainer = make_trainer()
        dataset = Uneven(*make_arrays(), transform=Noisy())
        trainer.fit(DataLoader(dataset, 4, shuffle=True, seed=5, num_workers=workers), make_loaders()[1], epochs=1)
        found.append(fingerprint(trainer))
    assert found[0] == found[1] == found[2]


def check_signal(folder: pathlib.Path) -> None:
    """SIGTERM waits for the end of the step, which is then saved."""

    class Stop(BaseException):
        pass

    def stop(_number, _frame):
        raise Stop

    class Send(Callback):
        def before_step(self, trainer):
            if trainer.step == 7:
                signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with contextlib.suppress(Stop):
            make_trainer([Send(), ModelCheckpoint(folder)]).fit(*make_loaders(), epochs=3)
    finally:
        signal.signal(signal.SIGTERM, before)
    found = checkpoint.newest_valid(folder, pytest.fail)
    assert found is not None and found.state["step"] == 8


CHECKS = [check_power_cut, check_full_disk, check_short_writes, check_damage, check_resume, check_patience,
          check_workers, check_signal]  # fmt: skip


@pytest.mark.parametrize("check", CHECKS)
def test_the_code_as_it_is_passes(tmp_path, check):
    with nothing_left(tmp_path):
        check(tmp_path)


# --------------------------------------------------------------------------------------------------------------- bugs


def no_fsync(patch):
    def write_new(path, content):
        with files.opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as descriptor:
            files.write_all(descriptor, content)

    patch(files, "_write_new", write_new)


def no_fsync_of_the_folder(patch):
    patch(files, "sync_folder", lambda folder: None)


def rename_before_write(patch):
    patch(files, "write_atomic", test_files.rename_before_write)


def write_in_place(patch):
    def write(path, data):
        try:
            with files.opened(os.fspath(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as descriptor:
                files.write_all(descriptor, memoryview(data))
        except OSError as error:
            raise files.write_error(error, path, len(data)) from error

    patch(files, "write_atomic", write)


def remove_the_old_one_first(patch):
    save = RunFolder.save_checkpoint

    def save_checkpoint(self, *arguments, **more):
        for path in checkpoint.list_checkpoints(self.checkpoints):
            files.remove(path)
        return save(self, *arguments, **more)

    patch(RunFolder, "save_checkpoint", save_checkpoint)


def half_written_files_stay(patch):
    patch(files, "_remove_quietly", lambda path: None)


def descriptors_stay_open_after_an_error(patch):
    @contextlib.contextmanager
    def opened(path, flags):
        descriptor = files.again(files.system.open, path, flags | files.BINARY)
        yield descriptor
        files.system.close(descriptor)

    patch(files, "opened", opened)


def a_write_is_one_call(patch):
    patch(files, "write_all", lambda descriptor, content: files.system.write(descriptor, content))


def no_checksum(patch):
    patch(checkpoint, "_digest", lambda tensors, record: "")


def forgets(patch, kind, *names):
    """A state without some of its entries: they are as in an object that is new."""
    fresh, load = kind().state_dict(), kind.load_state_dict
    patch(kind, "load_state_dict", lambda self, found: load(self, {**found, **{name: fresh[name] for name in names}}))


def no_best_metric_in_the_state(patch):
    forgets(patch, EarlyStopping, "best")


def no_patience_in_the_state(patch):
    forgets(patch, EarlyStopping, "waited")


def no_best_of_the_checkpoints(patch):
    patch(ModelCheckpoint, "load_state_dict", lambda self, found: None)


def no_momentum_in_the_state(patch):
    load = optim.SGD.load_state_dict
    patch(optim.SGD, "load_state_dict", lambda self, found: load(self, {**found, "state": {}}))


def no_schedule_in_the_state(patch):
    patch(optim.lr_scheduler.CosineAnnealingLR, "load_state_dict", lambda self, found: None)


def no_statistics_in_the_state(patch):
    patch(state, "named_tensors", lambda model: list(model.named_parameters()))


def no_position_in_the_state(patch):
    patch(state, "PLACE", tuple(name for name in state.PLACE if name != "position"))


def no_partial_sums_in_the_state(patch):
    patch(training_trainer.Averages, "load_state_dict", lambda self, found: None)


def no_history_in_the_state(patch):
    patch(training_trainer.History, "load_state_dict", lambda self, found: None)


def one_random_stream_for_all_workers(patch):
    stream = np.random.default_rng(0)
    patch(random, "generator", lambda explicit=None: stream)


def a_random_stream_for_the_steps(patch):
    patch(random, "address", lambda *position: contextlib.nullcontext())


def signals_do_not_wait(patch):
    patch(training_interrupts.Interrupts, "_install", lambda self: None)


def nothing_is_saved_at_a_pause(patch):
    patch(training_checkpoints.ModelCheckpoint, "on_pause", lambda self, trainer: None)


BUGS = [
    (no_fsync, check_power_cut), (no_fsync_of_the_folder, check_power_cut), (rename_before_write, check_power_cut),
    (write_in_place, check_power_cut), (write_in_place, check_full_disk), (remove_the_old_one_first, check_full_disk),
    (half_written_files_stay, check_full_disk), (descriptors_stay_open_after_an_error, check_full_disk),
    (a_write_is_one_call, check_short_writes), (no_checksum, check_damage),
    (no_best_metric_in_the_state, check_patience), (no_patience_in_the_state, check_patience),
    (no_best_of_the_checkpoints, check_patience), (no_momentum_in_the_state, check_resume),
    (no_schedule_in_the_state, check_resume), (no_statistics_in_the_state, check_resume),
    (no_position_in_the_state, check_resume), (no_partial_sums_in_the_state, check_resume),
    (no_history_in_the_state, check_resume), (a_random_stream_for_the_steps, check_resume),
    (one_random_stream_for_all_workers, check_workers), (signals_do_not_wait, check_signal),
    (nothing_is_saved_at_a_pause, check_signal),
]  # fmt: skip


@pytest.mark.fault("bugs put into the code: no fsync, rename before write, no best metric in the state, one random "
                   "stream for all workers, ...", "each of them turns a check red")  # fmt: skip
@pytest.mark.parametrize(("bug", "check"), BUGS, ids=lambda value: value.__name__)
def test_planted_bugs_are_found(tmp_path, monkeypatch, bug, check):
    monkeypatch.setattr("tests.faults.leaks.GRACE", 0.05)
    bug(monkeypatch.setattr)
    with pytest.raises((AssertionError, ValueError, mr.errors.MiniresError, pytest.fail.Exception)):
        check(tmp_path)


# -------------------------------------------------------------------------------------- the check of what is left over


def leaves_a_descriptor(folder):
    return os.close, os.open(folder, os.O_RDONLY)


def leaves_a_thread(folder):
    event = threading.Event()
    threading.Thread(target=event.wait).start()
    return lambda _: event.set(), None


def leaves_a_child(folder):
    import subprocess

    process = subprocess.Popen(["sleep", "60"])
    return lambda _: (process.kill(), process.wait()), None


def leaves_a_file(folder):
    (folder / ".a.1-00000000.tmp").write_bytes(b"")
    return lambda _: None, None


def leaves_shared_memory(folder):
    path = pathlib.Path("/dev/shm/minires-planted-leak")
    path.write_bytes(b"x")
    return lambda _: path.unlink(), None


@pytest.mark.parametrize("leak", [leaves_a_descriptor, leaves_a_thread, leaves_a_child, leaves_a_file,
                                  leaves_shared_memory])  # fmt: skip
def test_leaks_are_found(tmp_path, monkeypatch, leak):
    monkeypatch.setattr("tests.faults.leaks.GRACE", 0.05)
    undo, argument = None, None
    try:
        with pytest.raises(AssertionError), nothing_left(tmp_path):
            undo, argument = leak(tmp_path)
    finally:
        if undo is not None:
            undo(argument)
