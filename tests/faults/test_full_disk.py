"""The disk fails, at every call of a whole run: one line names file and bytes, and nothing that was saved is lost."""

import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from minires.io import checkpoint
from tests.cli.helpers import command, environment
from tests.faults import runs
from tests.faults.leaks import nothing_left
from tests.io.faults import CALLS, ERRORS, Faulty, FullDisk, ShortWrites

PROMISE = ("one line names the file and the bytes needed; exit status 1; no half-written file, no leak; checkpoints "
           "can be read, and --resume ends in equal bits")  # fmt: skip


LOGS = ("log.txt", "events.jsonl", "env.json", ".lock")


def make_place(folder: pathlib.Path, *more: object, per_class: int = 6) -> runs.Place:
    found = runs.Place(folder, *more, per_class=per_class)
    found.whole()
    found.resumed_from = []
    runs.check(runs.here(found.words(found.folder / "first")), 0)  # so that threads that stay are there
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two epochs of two steps."""
    return make_place(tmp_path_factory.mktemp("full") / "place", "--epochs", 2)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """One epoch of two steps, few pictures: for faults at each of the many calls that read."""
    return make_place(tmp_path_factory.mktemp("full") / "small", "--epochs", 1, "-b", 3, per_class=4)


def fault_at(place, system, output) -> int:
    """A run on a faulty system, and then --resume on a sound one; returns the first exit status."""
    with nothing_left(output):
        answer = runs.here(place.words(output), system)
    if not system.fired:
        runs.remove(output)
        return -1
    begun = (output / "args.toml").exists()
    if answer.status == 0:  # what failed was of no consequence: an old checkpoint looked at before it is removed
        runs.assert_equal(output, place.whole())
    else:
        line = runs.assert_one_line(answer)
        assert answer.status == (1 if begun or "run folder" not in line else 2), answer
        assert str(place.folder) in line or "/proc/" in line, line
        if isinstance(system, FullDisk):
            assert re.search(r"\(\d+ bytes needed, \d+ free\)|make the (run )?folder|a power cut|cannot lock", line), (
                line
            )
    checkpoint.newest_valid(output / "checkpoints", runs.refuse)
    left = what_matters(output)
    if left not in place.resumed_from:
        place.resumed_from.append(left)
        with nothing_left(output):
            runs.check(runs.here(place.words(output, "--resume", "auto")), 0)
        runs.assert_equal(output, place.whole())
    runs.remove(output)
    return answer.status


def what_matters(output: pathlib.Path) -> dict[str, bytes]:
    """The files that a resume reads. Many faults leave the same ones: a resume from there is tried once."""
    found = (path for path in sorted(output.rglob("*")) if path.is_file() and path.name not in LOGS)
    return {str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).digest() for path in found}


def faults_at_calls(place, make, calls) -> dict[int, int]:
    """How often a fault at one of `calls` ended in each exit status. Ends when there is no such call any more."""
    statuses: dict[int, int] = {}
    for at in calls:
        status = fault_at(place, make(at), place.folder / "faulty")
        if status == -1:
            break
        statuses[status] = statuses.get(status, 0) + 1
    return statuses


MAKERS = {
    **{f"{name} {how}": (lambda at, number=ERRORS[name], sticky=how == "for good": FullDisk(number, at, sticky))
       for name in ("ENOSPC", "EDQUOT") for how in ("once", "for good")},
    **{f"EIO {how}": (lambda at, sticky=how == "for good": Faulty(ERRORS["EIO"], at, sticky, CALLS))
       for how in ("once", "for good")},
}  # fmt: skip


@pytest.mark.fault("ENOSPC, EDQUOT, EIO, once or for good, at a few calls of a run (the whole: at every call)", PROMISE)
@pytest.mark.parametrize(("name", "first", "step"), [
    ("ENOSPC for good", 9, 50), ("ENOSPC once", 11, 60), ("EDQUOT once", 20, 70), ("EIO once", 151, 190),
    ("EIO for good", 230, 260),
])  # fmt: skip
def test_some_calls_fail(place, name, first, step):
    statuses = faults_at_calls(place, MAKERS[name], range(first, 10_000, step))
    assert statuses.pop(1) >= 2 and set(statuses) <= {0}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.fault("ENOSPC, EDQUOT, EIO, once or for good, at every call of a run", PROMISE)
@pytest.mark.parametrize("name", MAKERS)
def test_every_call_fails(place, small, name, record_property):
    place = small if name.startswith("EIO") else place
    statuses = faults_at_calls(place, MAKERS[name], range(1, 10_000))
    record_property("figures", f"{name}: {sum(statuses.values())} calls")
    assert statuses.pop(1) > 100 and set(statuses) <= {0, 2}
    assert statuses.get(0, 0) == 0 or name == "EIO once"


@pytest.mark.fault("the system takes only part of a write, once at some write, or always", "the run ends in equal bits")
def test_short_writes(place):
    whole, output = place.whole(), place.folder / "short"
    for at, sticky in ((1, False), (9, False), (20, False), (1, True)):
        system = ShortWrites(at, sticky, 100_000 if sticky else 7)
        with nothing_left(output):
            runs.check(runs.here(place.words(output), system), 0)
        assert system.fired
        runs.assert_equal(output, whole)
        runs.remove(output)


LIMITED = """
import resource, sys
from minires.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits are POSIX")
@pytest.mark.fault("a limit on the size of files (RLIMIT_FSIZE) that the next checkpoint passes", PROMISE)
def test_a_limit_on_the_size_of_files(place):
    output = place.folder / "limited"
    runs.check(runs.here(place.words(output, "--max-steps", 1)), 0)
    (saved,) = checkpoint.list_checkpoints(output / "checkpoints")
    with open(saved, "rb") as stream:
        before = stream.read()
    answer = runs.end(runs.script(LIMITED, "finetune", "--resume", output))
    assert answer.status == 1
    assert re.search(r"step-00000002.safetensors \(\d+ bytes needed\): File too large", runs.assert_one_line(answer))
    with open(saved, "rb") as stream:
        assert stream.read() == before
    with nothing_left(output):
        runs.check(runs.here(["finetune", "--resume", str(output)]), 0)
    runs.assert_equal(output, place.whole())


def unshared(folder, *scripts: str) -> subprocess.CompletedProcess:
    """Shell commands in a name space of their own, where a file system can be mounted at `folder`."""
    return subprocess.run(["unshare", "-rm", "sh", "-c", "\n".join(scripts), "sh", str(folder)], capture_output=True,
                          text=True, env=environment(), check=False, timeout=runs.LIMIT)  # fmt: skip


@pytest.mark.fault("a real file system that is full: 2.5 MB of tmpfs, later made larger", PROMISE)
def test_a_file_system_that_is_full(place):
    if shutil.which("unshare") is None or unshared(os.sep, "mount -t tmpfs none /mnt").returncode:
        pytest.skip("no file system may be mounted here")
    mounted = place.folder / "mounted"
    mounted.mkdir()
    words = [word.replace("'", "'\\''") for word in command(*place.words(mounted / "run", "--resume", "auto"))]
    run = " ".join(f"'{word}'" for word in words)
    answer = unshared(mounted, 'mount -t tmpfs -o size=2500k none "$1"', run, 'echo "status $?"',
                      'find "$1" -name "*.tmp" -o -name "step-*" | sort', 'mount -o remount,size=20m "$1"', run,
                      'echo "status $?"', f"cp -r \"$1/run\" '{place.folder / 'copied'}'")  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert re.search(r"error: cannot write \S+ \(\d+ bytes needed, \d+ free\): No space left on device", answer.stderr)
    assert "status 1" in answer.stdout and "status 0" in answer.stdout and ".tmp" not in answer.stdout
    assert "Traceback" not in answer.stderr
    runs.assert_equal(place.folder / "copied", place.whole())
