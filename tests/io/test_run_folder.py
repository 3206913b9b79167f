import csv
import errno
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires.errors import FileFormatError, MiniresError, UsageError
from minires.io import environment, files, lock, toml
from minires.io.lock import FolderLock
from minires.io.run_folder import RunFolder
from tests.io.faults import ERRORS, NEEDS_SPACE, Faulty

pytestmark = pytest.mark.timeout(60)
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


# ------------------------------------------------------------------------------------------------------------- TOML


def test_toml_text():
    table = {"lr": 1e-3, "epochs": 3, "head": [1024, 1024], "amp": False, "none": None, "kw": {"a": "b"}, "a b": 1}
    text = 'lr = 0.001\nepochs = 3\nhead = [1024, 1024]\namp = false\nkw = {a = "b"}\n"a b" = 1\n'
    assert toml.dumps(table) == text
    assert toml.dumps({"x": [float("inf"), -float("inf")]}) == "x = [inf, -inf]\n"
    with pytest.raises(TypeError, match=r"model\.x is of type ndarray"):
        toml.dumps({"model": {"x": np.zeros(1)}})


texts = st.text(st.characters(exclude_categories=("Cs",)))
scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(texts, values, max_size=4))
def test_any_table_comes_back(table):
    assert tomllib.loads(toml.dumps(table)) == table


def test_toml_errors_name_the_file(tmp_path):
    files.write_atomic(tmp_path / "args.toml", "lr = \n")
    with pytest.raises(FileFormatError, match=r"args\.toml.*line 1"):
        toml.load_file(tmp_path / "args.toml")


# ------------------------------------------------------------------------------------------------- making and opening


def test_default_names_are_numbered(tmp_path):
    base = tmp_path / "runs"
    for number in (1, 2, 3):
        with RunFolder.create(name="train-resnet20", base=base) as run:
            assert run.path == str(base / f"train-resnet20-{number}")
    os.rename(base / "train-resnet20-2", base / "other")
    with RunFolder.create(name="train-resnet20", base=base) as run:
        assert run.path.endswith("-2"), "the first free number"


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UsageError, match="not empty") as caught:
        RunFolder.create(tmp_path)
    assert "--resume" in caught.value.hint and "--overwrite" in caught.value.hint
    assert os.listdir(tmp_path) == ["mine.txt"], "nothing was created"
    with pytest.raises(UsageError, match="not a folder"):
        RunFolder.create(tmp_path / "mine.txt")
    (tmp_path / "empty").mkdir()
    RunFolder.create(tmp_path / "empty").close()
    (tmp_path / "empty" / ".args.toml.12-00ff00ff.tmp").write_bytes(b"half")  # the first file of a killed run
    RunFolder.create(tmp_path / "empty").close()  # nothing of worth is there
    assert os.listdir(tmp_path / "empty") == [".lock"]


def test_overwrite_removes_what_runs_write_and_nothing_else(tmp_path):
    with RunFolder.create(tmp_path / "run") as run:
        run.write_args({"a": 1})
        run.save_checkpoint(1, {}, {})
        files.write_atomic(run.file("mine.txt"), "x")
    with RunFolder.create(tmp_path / "run", overwrite=True) as run:
        assert not os.path.exists(run.file("args.toml"))
        assert run.newest_checkpoint() is None
        assert files.read_text(run.file("mine.txt")) == "x"


def test_overwrite_needs_a_run(tmp_path):
    """A folder that merely has a file or folder of such a name is somebody's work."""
    for name in ("model", "checkpoints"):
        (tmp_path / "work" / name).mkdir(parents=True)
        (tmp_path / "work" / name / "thesis.bin").write_bytes(b"mine")
    (tmp_path / "work" / "data.json").write_text("{}")
    (tmp_path / "work" / "notes.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="is not the folder of a run"):
        RunFolder.create(tmp_path / "work", overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before
    with RunFolder.create(tmp_path / "run") as run:
        run.write_history([{"epoch": 1}])
    RunFolder.create(tmp_path / "run", overwrite=True).close()  # it was killed before it had arguments
    assert not (tmp_path / "run" / "history.csv").exists()


def test_resume_needs_a_run(tmp_path):
    with pytest.raises(UsageError, match=r"not a run folder: it has no args\.toml"):
        RunFolder.resume(tmp_path)
    with pytest.raises(UsageError):
        RunFolder.resume(tmp_path / "none")
    assert os.listdir(tmp_path) == []
    with RunFolder.create(tmp_path / "run") as run:
        run.write_args({"lr": 0.1})
    with RunFolder.resume(tmp_path / "run") as run:
        assert run.read_args() == {"lr": 0.1} and run.left_by is None


def test_leftovers_of_a_killed_process_are_cleared_away(tmp_path):
    with RunFolder.create(tmp_path) as run:
        run.write_args({})
        run.save_checkpoint(1, {}, {})
    leftovers = [
        tmp_path / ".args.toml.12-00ff00ff.tmp",
        tmp_path / "checkpoints" / ".step-00000002.safetensors.12-00ff00fe.tmp",
    ]
    for path in leftovers:
        path.write_bytes(b"half")
    RunFolder.resume(tmp_path).close()
    assert not any(path.exists() for path in leftovers)


def test_a_folder_that_cannot_be_read_is_let_go(tmp_path):
    with RunFolder.create(tmp_path) as run:
        run.write_args({})
    before = os.listdir("/proc/self/fd")
    for sticky in (False, True):
        with files.use(Faulty(errno.EIO, 1, sticky, ("list_folder", "truncate"))) as system:
            system.seen = -1  # the lock's own truncate comes first
            with pytest.raises(files.FileAccessError, match="cannot read the folder"):
                RunFolder.resume(tmp_path)
    assert os.listdir("/proc/self/fd") == before
    RunFolder.resume(tmp_path).close()


# ---------------------------------------------------------------------------------------------------------- contents


def test_history(tmp_path):
    rows = [
        {"epoch": 1, "loss": 0.1 + 0.2, "val_loss": None},
        {"epoch": 2, "loss": float("nan"), "val_loss": np.float64(1e-17)},
        {"epoch": 3, "loss": 3, "lr": 0.5, "note": "a,b\n\"c\""},
    ]  # fmt: skip
    with RunFolder.create(tmp_path) as run:
        assert run.read_history() == [] and run.truncate_history(3) == []
        for count in (1, 2, 3):
            run.write_history(rows[:count])
        text = files.read_text(run.file("history.csv"))
        assert text.startswith("epoch,loss,val_loss,lr,note\n1,0.30000000000000004,,,\n2,nan,1e-17,,\n3,3,")
        found = run.read_history()
        assert found[0] == {"epoch": 1, "loss": 0.1 + 0.2, "val_loss": None, "lr": None, "note": None}
        assert math.isnan(found[1]["loss"]) and found[2]["note"] == rows[2]["note"]
        assert [row["epoch"] for row in run.truncate_history(2)] == [1, 2]
        run.write_history([*run.read_history(), rows[2]])
        with open(run.file("history.csv"), newline="") as stream:
            assert [row[0] for row in csv.reader(stream)] == ["epoch", "1", "2", "3"]


def test_json_events_and_log(tmp_path):
    with RunFolder.create(tmp_path) as run:
        run.write_json("metrics.json", {"accuracy": 0.5, "loss": float("inf")})
        assert run.read_json("metrics.json") == {"accuracy": 0.5, "loss": None, "not_finite": ["loss"]}
        files.write_atomic(run.file("env.json"), "{")
        with pytest.raises(FileFormatError, match=r"env\.json"):
            run.read_json("env.json")
        assert run.read_events() == []
        run.event("resume", step=3, note="line\nbreak")
        with open(run.file("events.jsonl"), "a") as stream:
            stream.write('{"torn')
        run.event("nan", loss=float("nan"))
        assert [(event["event"], event.get("note")) for event in run.read_events()] == [
            ("resume", "line\nbreak"), ("nan", None)]  # fmt: skip
        run.log("\x1b[1mepoch 1\x1b[0m\n\nepoch 2\repoch 3")
        lines = files.read_text(run.file("log.txt")).splitlines()
        assert [line.split(" ", 1)[1] for line in lines] == ["epoch 1", "epoch 2", "epoch 3"]
        assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", line) for line in lines)


def test_a_damaged_checkpoint_is_reported_in_the_log(tmp_path):
    with RunFolder.create(tmp_path) as run:
        for step in (1, 2, 3):
            path = run.save_checkpoint(step, {"w": np.ones(3)}, {"step": step})
        assert len(os.listdir(run.checkpoints)) == 2
        files.write_atomic(path, files.read_bytes(path)[:-1])
        with pytest.warns(UserWarning, match="passed over: .*step-00000003"):
            assert run.newest_checkpoint().state == {"step": 2}
        assert path in files.read_text(run.file("log.txt"))
        assert run.read_events()[0]["event"] == "checkpoint_passed_over"


@pytest.mark.parametrize("name", ERRORS)
def test_a_full_disk_names_the_file_and_loses_nothing(tmp_path, name):
    with RunFolder.create(tmp_path) as run:
        run.write_history([{"epoch": 1}])
        for at in range(1, 100):
            with files.use(Faulty(ERRORS[name], at, True, NEEDS_SPACE)) as system:
                try:
                    run.write_history([{"epoch": 1}, {"epoch": 2}])
                except files.FileAccessError as error:
                    assert run.file("history.csv") in str(error)
            assert len(run.read_history()) in (1, 2)
            if not system.fired:
                break
        assert at > 4 and len(run.read_history()) == 2


def test_environment(tmp_path):
    found = environment.describe(["minires", "train"], seed=3)
    assert found["command"] == ["minires", "train"] and found["seed"] == 3
    assert found["packages"]["numpy"] == np.__version__
    assert found["cpu"] and found["cpus"] >= 1
    json.dumps(found, allow_nan=False)
    assert environment.git_commit(str(tmp_path)) is None


# -------------------------------------------------------------------------------------------------------------- lock


HOLDER = """
import sys
sys.path.insert(0, sys.argv[1])
from minires.io.lock import FolderLock
lock = FolderLock(sys.argv[2])
print("held", flush=True)
sys.stdin.read()
lock.release()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, ROOT, str(tmp_path / ".lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.fault(
    "a second process opens a run folder",
    "refused at once, with the process number and host of the first",
)
def test_a_second_process_is_refused_and_told_by_whom(tmp_path, holder):
    with pytest.raises(UsageError, match=f"pid {holder.pid} host {socket.gethostname()} since 20") as caught:
        RunFolder.create(tmp_path)
    assert caught.value.code == "run.locked" and str(tmp_path) in str(caught.value)
    holder.communicate("")
    with FolderLock(tmp_path / ".lock") as lock:
        assert lock.left_by is None, "the other process gave it up in order"


@pytest.mark.fault("a lock file left by SIGKILL", "the lock is taken over")
def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with FolderLock(tmp_path / ".lock") as lock:
        assert f"pid {holder.pid} " in lock.left_by
        assert f"pid {os.getpid()} " in (tmp_path / ".lock").read_text()
        with pytest.raises(UsageError, match=f"pid {os.getpid()} "):
            FolderLock(tmp_path / ".lock")
    assert (tmp_path / ".lock").read_text() == ""
    lock.release()


@pytest.mark.fault("a lock on a file system without flock", "a warning; refused only while its holder lives")
def test_a_file_system_without_locks(tmp_path, monkeypatch, holder):
    def refuse(_descriptor):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "_lock", refuse)
    with pytest.raises(UsageError, match=f"pid {holder.pid} "):
        FolderLock(tmp_path / ".lock")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with pytest.warns(UserWarning, match="has no locks"), FolderLock(tmp_path / ".lock") as own:
        assert f"pid {holder.pid} " in own.left_by


def test_a_refused_lock_leaks_nothing(tmp_path, holder):
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with pytest.raises(UsageError):
            FolderLock(tmp_path / ".lock")
    with pytest.raises(MiniresError, match="none"):
        FolderLock(tmp_path / "none" / ".lock")
    assert os.listdir("/proc/self/fd") == before
