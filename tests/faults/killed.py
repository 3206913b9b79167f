"""Runs that die at a chosen place. Used by a process that imports minires once and then only forks: each run, and each
resume, has a process of its own, without the time that Python needs to start.

`report(at_every_change(...))` prints one JSON object a death, for the test that started the process.
"""

import io
import json
import os
import pathlib
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from minires.finetune import fitting
from minires.io import checkpoint
from minires.training import Callback
from tests.faults import runs
from tests.io.faults import Counting

CHANGES = (
    "open",
    "write",
    "truncate",
    "replace",
    "remove",
    "make_folder",
    "remove_folder",
)  # calls that can change the disk


def forked(work: Callable[[], None]) -> int:
    """Exit status of a child that does `work`: 0, 1 after an exception, or minus the signal that killed it."""
    child = os.fork()
    if child == 0:
        sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
        try:
            work()
        except BaseException:
            os.write(2, traceback.format_exc().encode())
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class KilledAtChange(Counting):
    """Dies at change number `at` of the disk (from 1; 0: never): ahead of it, or for a write half-way through."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.changes = at, 0

    def before(self, name: str, arguments: tuple) -> None:
        if name not in CHANGES or (name == "open" and not arguments[1] & os.O_CREAT):
            return
        self.changes += 1
        if self.changes == self.at:
            if name == "write":
                os.write(arguments[0], arguments[1][: len(arguments[1]) // 2])
            die()


def changes_of(words: list[str]) -> int:
    """How often a run changes the disk."""
    reading, writing = os.pipe()

    def count() -> None:
        system = KilledAtChange(0)
        runs.check(runs.here(words, system), 0)
        os.write(writing, str(system.changes).encode())

    assert forked(count) == 0
    os.close(writing)
    with os.fdopen(reading) as stream:
        return int(stream.read())


def at_every_change(place: runs.Place, first: int, stride: int) -> Iterator[dict[str, Any]]:
    """Kill a run at changes `first`, `first` + `stride`, ... of the disk; look at what is there; let it go on."""
    whole = place.whole()
    for at in range(first, changes_of(place.words(place.folder / "counted")) + 1, stride):
        output = place.folder / f"killed-{at}"
        words = place.words(output)
        status = forked(lambda words=words, at=at: runs.check(runs.here(words, KilledAtChange(at)), 0))
        yield {"at": at, "status": status, **what_is_left(output), **resumed(place, output, whole)}
        runs.remove(output)


def what_is_left(output: pathlib.Path) -> dict[str, Any]:
    """Step of the newest checkpoint file, which must be readable."""
    found = checkpoint.list_checkpoints(output / "checkpoints")
    return {"step": checkpoint.load(found[0])[1]["step"] if found else 0}


class Watch(Callback):
    """Counts steps into a pipe, and dies at the `at`-th call of an event (`at` 0: never)."""

    def __init__(self, event: str = "after_fit", at: int = 0, order: int = 0, pipe: int | None = None) -> None:
        self.order, self.left, self.pipe = order, at, pipe
        setattr(self, event, self.count) if event != "after_step" else None
        self.event = event

    def after_step(self, trainer: Any) -> None:
        if self.pipe is not None:
            os.write(self.pipe, b".")
        if self.event == "after_step":
            self.count(trainer)

    def count(self, _trainer: Any) -> None:
        self.left -= 1
        if self.left == 0:
            die()


def watched(watch: Watch, words: list[str]) -> Callable[[], None]:
    """A run with a callback more."""

    def work() -> None:
        class Watched(fitting.Trainer):
            def __init__(self, *arguments: Any, callbacks: Any, **more: Any) -> None:
                super().__init__(*arguments, callbacks=[*callbacks, watch], **more)

        fitting.Trainer = Watched  # type: ignore[misc]
        runs.check(runs.here(words), 0)

    return work


def resumed(place: runs.Place, output: pathlib.Path, whole: dict[str, object]) -> dict[str, Any]:
    """Go on with the same words and --resume auto: the steps that were made, and whether all bits are those of `whole`.

    A second call must find that nothing is left to do.
    """
    reading, writing = os.pipe()
    status = forked(watched(Watch(pipe=writing), place.words(output, "--resume", "auto")))
    os.close(writing)
    with os.fdopen(reading) as stream:
        steps = len(stream.read())
    found = runs.contents(output) if status == 0 else {}
    different = [name for name in whole if found.get(name) != whole[name]]
    left = [str(path) for path in output.rglob("*.tmp")]
    return {"resumed": status, "steps": steps, "different": different, "left": left}


EVENTS = {  # name: (event, which call of it, order: ahead of all other callbacks, or after them)
    "start of the run": ("before_fit", 1, -1000),
    "start of an epoch": ("before_epoch", 2, 1000),
    "last step of an epoch, before the checkpoint": ("after_step", 2 * runs.STEPS, -1000),
    "before validation": ("before_evaluate", 2, 1000),
    "after validation": ("after_evaluate", 2, -1000),
    "end of an epoch, before the checkpoint": ("after_epoch", 2, -1000),
    "end of an epoch, after the checkpoint": ("after_epoch", 2, 1000),
    "last step of the run": ("after_step", runs.EPOCHS * runs.STEPS, 1000),
    "last epoch, before the checkpoint": ("after_epoch", runs.EPOCHS, -1000),
    "last epoch, after the checkpoint": ("after_epoch", runs.EPOCHS, 1000),
    "end of the run": ("after_fit", 1, 1000),
}


def at_events(place: runs.Place, names: list[str]) -> Iterator[dict[str, Any]]:
    """Kill a run at each of the named events."""
    whole = place.whole()
    for name in names:
        event, at, order = EVENTS[name]
        output = place.folder / "killed"
        status = forked(watched(Watch(event, at, order), place.words(output)))
        yield {"event": name, "status": status, **what_is_left(output), **resumed(place, output, whole)}
        runs.remove(output)


def report(lines: Iterator[dict[str, Any]]) -> None:
    """One JSON object a line on stdout."""
    for line in lines:
        print(json.dumps(line), flush=True)
