"""One process at a time in a run folder, on a file system without locks, too."""

import errno
import os

import pytest

from minires.io import lock
from tests.faults import runs
from tests.faults.leaks import nothing_left


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    found = runs.Place(tmp_path_factory.mktemp("locks") / "place", "--epochs", 2)
    found.whole()
    return found


@pytest.fixture
def no_locks(monkeypatch):
    def refuse(_descriptor):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "_lock", refuse)


@pytest.mark.fault(
    "a run on a file system without flock", "a warning; while the process named in .lock lives, a second one is refused"
)
def test_a_file_system_without_locks(place, no_locks):
    output = place.folder / "unlocked"
    with nothing_left(output):
        answer = runs.check(runs.here(place.words(output, "--max-steps", 1)), 0)
    assert "this file system has no locks (No locks available)" in answer.err
    (output / ".lock").write_text(lock._signature().replace(f"pid {os.getpid()} ", f"pid {os.getppid()} "))
    with nothing_left(output):
        refused = runs.check(runs.here(["finetune", "--resume", str(output)]), 2)
    assert f"pid {os.getppid()} host" in runs.assert_one_line(refused)
    (output / ".lock").write_text(lock._signature().replace(f"pid {os.getpid()} ", "pid 4194304999 "))  # dead
    runs.check(runs.here(["finetune", "--resume", str(output)]), 0)
    runs.assert_equal(output, place.whole())
