"""A power cut in the midst of a whole run: what was not flushed is lost. The run folder is put back in that state and
resumed. (tests/io/crash_states.py takes a single save apart, into every combination of what may be lost.)
"""

import os
import pathlib

import pytest

from minires.io import checkpoint
from tests.faults import runs
from tests.faults.leaks import nothing_left
from tests.io.faults import Recording

PROMISE = "every save that had returned is there, and --resume ends in equal bits"


class Lost:
    """A file: what processes see, and what the disk has for certain."""

    def __init__(self) -> None:
        self.content = self.durable = b""


def replay(log: list[tuple]) -> tuple[dict[str, Lost], dict[str, Lost], int]:
    """(names as processes see them, names that the disk has for certain, step of the newest save that had returned)."""
    names: dict[str, Lost] = {}
    durable: dict[str, Lost] = {}
    saved = renamed = 0
    for kind, path, *rest in log:
        if kind == "create":
            names[path] = Lost()
        elif kind == "write":
            names[path].content += rest[0]
        elif kind == "fsync":
            names[path].durable = names[path].content
        elif kind == "replace":
            names[rest[0]] = names.pop(path)
            if os.path.basename(rest[0]).startswith("step-"):
                renamed = checkpoint.step_of(rest[0])
        elif kind == "remove":
            del names[path]
        elif kind == "fsync_folder":
            durable = {name: file for name, file in durable.items() if os.path.dirname(name) != path}
            durable |= {name: file for name, file in names.items() if os.path.dirname(name) == path}
            saved = renamed if path.endswith("checkpoints") else saved
    return names, durable, saved


def after_power_cut(log: list[tuple], keep_names: bool) -> tuple[dict[str, bytes], int]:
    """(files on the disk, step of the newest save that had returned). `keep_names`: new names came through, empty."""
    names, durable, saved = replay(log)
    return {path: file.durable for path, file in (names if keep_names else durable).items()}, saved


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A place, the folder of a recorded run, and what it did to the disk."""
    place = runs.Place(tmp_path_factory.mktemp("power") / "place")
    place.whole()
    output, system = place.folder / "recorded", Recording()
    runs.check(runs.here(place.words(output), system), 0)
    runs.assert_equal(output, place.whole())
    return place, output, system.log


def cut_power(recorded, length: int, keep_names: bool) -> int:
    """Step of the newest checkpoint that is left when the power fails after so many changes; the run then goes on."""
    place, output, log = recorded
    state, saved = after_power_cut(log[:length], keep_names)
    runs.remove(output)
    output.mkdir()
    for path, content in state.items():
        pathlib.Path(path).parent.mkdir(exist_ok=True)
        pathlib.Path(path).write_bytes(content)
    found = checkpoint.newest_valid(output / "checkpoints", runs.refuse)
    step = 0 if found is None else found.state["step"]
    assert step >= saved, f"the save of step {saved} had returned, and step {step} is left"
    with nothing_left(output):
        runs.check(runs.here(place.words(output, "--resume", "auto")), 0)
    runs.assert_equal(output, place.whole())
    return step


@pytest.mark.fault(
    "a power cut after every 80th change of the disk in a run (the whole: each), names lost or not", PROMISE
)
def test_some_power_cuts(recorded):
    steps = {cut_power(recorded, length, keep) for length in range(30, len(recorded[2]), 80) for keep in (False, True)}
    assert len(steps) >= 2


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.fault("a power cut after every change of the disk in a run, new names lost with the data or not", PROMISE)
def test_every_power_cut(recorded, record_property):
    cuts = [(length, keep) for length in range(len(recorded[2]) + 1) for keep in (False, True)]
    steps = {cut_power(recorded, *cut) for cut in cuts}
    record_property("figures", f"{len(cuts)} power cuts, {len(cuts)} runs ended in equal bits")
    assert steps == set(range(runs.EPOCHS * runs.STEPS + 1))


def test_without_fsync_power_cuts_lose_saves(recorded):
    """The check can fail: the same record with its fsyncs taken out."""
    place, output, log = recorded
    lazy = [entry for entry in log if entry[0] != "fsync"]
    with pytest.raises((AssertionError, checkpoint.FileFormatError)):
        cut_power((place, output, lazy), len(lazy), True)
