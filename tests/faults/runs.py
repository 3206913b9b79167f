"""Small but real runs of `minires finetune`, in this process or in one of their own, and what two equal runs share."""

import contextlib
import io
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import warnings
from typing import NamedTuple

from minires.cli import main
from minires.io import checkpoint, files, strict_json
from minires.io.system import System
from tests.cli.helpers import ROOT, command, environment
from tests.finetune.helpers import SAME_IN_EQUAL_RUNS, make_photos, make_weights

EPOCHS, STEPS = 4, 2  # of the runs below, and steps in an epoch: 11 training pictures, six a step
LIMIT = 60  # seconds that any one process of these tests may take


class Answer(NamedTuple):
    """What a command line has come to."""

    status: int
    out: str
    err: str


class Place:
    """A folder with photos/ and weights/, and the words of a run on them; `more`: words that go before those here."""

    def __init__(self, folder: pathlib.Path, *more: object, per_class: int = 6) -> None:
        self.folder, self.more = folder, more
        if not folder.exists():
            make_photos(folder / "photos", per_class)
            make_weights(folder / "weights")

    def words(self, output: pathlib.Path, *more: object) -> list[str]:
        """A run of EPOCHS epochs with a checkpoint after every step."""
        found = ["finetune", "--data", self.folder / "photos", "--weights", self.folder / "weights", "--epochs", EPOCHS,
                 "-b", 6, "--lr", 0.02, "--patience", 0, "--eval-metric", "loss", "--checkpoint-interval", 1,
                 "--no-progress", "--output", output, *self.more, *more]  # fmt: skip
        return [str(word) for word in found]

    def whole(self) -> dict[str, object]:
        """The contents of a run that nothing disturbs, made in a process of its own the first time."""
        output = self.folder / "whole"
        if not (output / "metrics.json").exists():
            check(end(start(self.words(output))), 0)
        return contents(output)


def here(words: list[str], system: System | None = None) -> Answer:
    """Run a command line in this process, with `system` under its files."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), files.use(system or System()), \
            warnings.catch_warnings():  # fmt: skip
        warnings.filterwarnings("default", category=UserWarning)  # shown, as in a process of its own
        status = main(words)
    return Answer(status, out.getvalue(), err.getvalue())


def start(words: list[str], **more: str) -> subprocess.Popen:
    """A process of its own, in a session of its own, so that what it leaves behind can be found."""
    return subprocess.Popen(command(*words), env=environment(**more), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            start_new_session=True)  # fmt: skip


def script(text: str, *words: object) -> subprocess.Popen:
    """As `start`, for Python text that gets `words` as sys.argv[1:]."""
    return subprocess.Popen([sys.executable, "-c", text, *map(str, words)], env=environment(), stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, start_new_session=True, cwd=ROOT)  # fmt: skip


def end(process: subprocess.Popen, limit: float = LIMIT) -> Answer:
    """Wait for a process; one that takes too long is killed, and that is a failure."""
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"it has not ended within {limit} s: {err.decode(errors='replace')}") from None
    return Answer(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


def kill_after(process: subprocess.Popen, seconds: float) -> Answer:
    """SIGKILL after so many seconds, if it has not ended by then."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(min(0.001, seconds))
    process.send_signal(signal.SIGKILL)
    return end(process)


def contents(folder: pathlib.Path) -> dict[str, object]:
    """All bits that two equal runs share: weights, optimizer, history, best, predictions."""
    found: dict[str, object] = {name: (folder / name).read_bytes() for name in SAME_IN_EQUAL_RUNS}
    newest = checkpoint.newest_valid(folder / "checkpoints", refuse)
    assert newest is not None
    found |= {f"checkpoint {name}": (array.dtype.str, array.shape, array.tobytes())
              for name, array in newest.tensors.items()}  # fmt: skip
    return {**found, "state": strict_json.dumps(newest.state)}


def check(answer: Answer, status: int) -> Answer:
    """The exit status is as it should be."""
    assert answer.status == status, answer
    return answer


def remove(folder: pathlib.Path) -> None:
    """Make room for the next run; nothing happens if there is no such folder."""
    if folder.exists():
        shutil.rmtree(folder)


def assert_equal(folder: pathlib.Path, whole: dict[str, object]) -> None:
    """The run in `folder` has come to the same bits as `whole`, and its history holds each epoch once."""
    found = contents(folder)
    assert found.keys() == whole.keys()
    assert [name for name in whole if found[name] != whole[name]] == []


def assert_one_line(answer: Answer, *words: str) -> str:
    """The last line of stderr is the error, the only one, without a traceback, and holds `words`; returned."""
    assert "Traceback" not in answer.err, answer.err
    errors = [line for line in answer.err.splitlines() if line.startswith("minires: error:")]
    assert len(errors) == 1 and answer.err.splitlines()[-1] == errors[0], answer.err
    assert all(word in errors[0] for word in words), errors[0]
    return errors[0]


def refuse(message: str) -> None:
    """In place of a warning: nothing may be wrong."""
    raise AssertionError(message)
