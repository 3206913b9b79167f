"""SIGKILL: at random moments, at every change of the disk, at every boundary of the training. Then `--resume`."""

import json
import os
import pathlib
import time

import numpy as np
import pytest

from minires.io import checkpoint
from tests.faults import killed, runs
from tests.faults.leaks import no_orphans, nothing_left

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills and forks are POSIX")

EQUAL_BITS = "no unreadable newest file; after --resume the weights, optimizer, history and best of an undisturbed run"


def newest_is_readable(output: pathlib.Path) -> int:
    """Step of the newest checkpoint file; 0 if there is none."""
    return killed.what_is_left(output)["step"]


def wait_for_step(process, output: pathlib.Path, step: int) -> None:
    """Until the run has saved this step or a later one, or has ended."""
    deadline = time.monotonic() + runs.LIMIT
    while process.poll() is None and time.monotonic() < deadline:
        found = checkpoint.list_checkpoints(output / "checkpoints")
        if found and checkpoint.step_of(found[0]) >= step:
            return
        time.sleep(0.001)


def kill_at_random_moments(place: runs.Place, kills: int, seed: int) -> list[int]:
    """So many SIGKILLs, two for each run: the steps that the newest checkpoint had after each.

    The first comes at a random moment of the process, the second at one after a random step of the training.
    """
    whole = place.whole()
    begun = time.monotonic()
    runs.check(runs.end(runs.start(place.words(place.folder / "timed"))), 0)
    seconds = time.monotonic() - begun
    rng, steps = np.random.default_rng(seed), []
    for number in range(kills // 2):
        output = place.folder / f"random-{number}"
        words = place.words(output, "--resume", "auto")
        with nothing_left(output):
            for kill in range(2):
                process = runs.start(words)
                if kill == 1:
                    wait_for_step(process, output, int(rng.integers(1, runs.EPOCHS * runs.STEPS)))
                wait = rng.uniform(0.35, 1.0) if kill == 0 else rng.uniform(0, 0.1)  # a third is the start of Python
                runs.kill_after(process, float(wait) * seconds)
                no_orphans(process.pid)
                steps.append(newest_is_readable(output))
            runs.check(runs.end(runs.start(words)), 0)
        runs.assert_equal(output, whole)
        runs.remove(output)
    return steps


@pytest.mark.fault("SIGKILL at 4 random moments of a run (the whole: 100)", EQUAL_BITS)
def test_a_few_random_moments(tmp_path):
    assert len(kill_at_random_moments(runs.Place(tmp_path / "place"), 4, seed=1)) == 4


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.fault("SIGKILL at 100 random moments of a run", EQUAL_BITS)
def test_a_hundred_random_moments(tmp_path, record_property):
    steps = kill_at_random_moments(runs.Place(tmp_path / "place"), 100, seed=2)
    last = runs.EPOCHS * runs.STEPS
    inside = sum(0 < step < last for step in steps)
    record_property("figures", f"{len(steps)} kills, {inside} of them between the first and the last step; "
                    "50 of 50 runs ended in equal bits")  # fmt: skip
    assert len(steps) == 100 and inside >= 25


def deaths(function: str, place: runs.Place, *words: object) -> list[dict]:
    """What killed.py reports of the deaths that `function` brings about."""
    text = "import sys, pathlib, json; from tests.faults import killed, runs\n" \
           "folder, more, words = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])\n" \
           f"killed.report(killed.{function}(runs.Place(pathlib.Path(folder), *more), *words))"  # fmt: skip
    process = runs.script(text, place.folder, json.dumps(place.more), json.dumps(words))
    answer = runs.end(process, limit=600)
    assert answer.status == 0, answer.err
    no_orphans(process.pid)
    return [json.loads(line) for line in answer.out.splitlines()]


def assert_all_resumed(found: list[dict]) -> None:
    assert found
    for death in found:
        assert death["status"] == -9 and death["resumed"] == 0, death
        assert death["different"] == [] and death["left"] == [], death


@pytest.mark.fault("SIGKILL ahead of and half-way through every 40th change of the disk (the whole: each)", EQUAL_BITS)
def test_some_changes_of_the_disk(tmp_path):
    place = runs.Place(tmp_path / "place")
    place.whole()
    found = deaths("at_every_change", place, 3, 40)
    assert_all_resumed(found)
    assert len({death["step"] for death in found}) >= 3


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.fault("SIGKILL ahead of and half-way through every change of the disk in a run", EQUAL_BITS)
def test_every_change_of_the_disk(tmp_path, record_property):
    place = runs.Place(tmp_path / "place")
    place.whole()
    found = deaths("at_every_change", place, 1, 1)
    assert_all_resumed(found)
    record_property("figures", f"{len(found)} changes, {len(found)} runs ended in equal bits")
    assert {death["step"] for death in found} == set(range(runs.EPOCHS * runs.STEPS + 1))


def assert_exact_steps(found: list[dict], total: int) -> None:
    assert_all_resumed(found)
    for death in found:
        assert death["steps"] == total - death["step"], death


STEPS_EXACT = "--resume makes exactly the steps that the newest checkpoint lacks, and ends in equal bits"
STAYS = "the same, and a run that has stopped early stays stopped"


@pytest.mark.fault("SIGKILL at boundaries of epochs, around validation, at the last step, at the end", STEPS_EXACT)
def test_boundaries(tmp_path, record_property):
    place = runs.Place(tmp_path / "place", "--checkpoint-interval", 1000)  # one an epoch only
    found = deaths("at_events", place, list(killed.EVENTS))
    assert_exact_steps(found, runs.EPOCHS * runs.STEPS)
    steps = {death["event"]: death["step"] for death in found}
    assert steps["before validation"] == steps["after validation"] == runs.STEPS
    assert steps["end of an epoch, after the checkpoint"] == 2 * runs.STEPS
    assert steps["end of the run"] == runs.EPOCHS * runs.STEPS
    record_property("figures", f"{len(found)} places")


@pytest.mark.fault("SIGKILL as early stopping strikes, before and after its checkpoint", STAYS)
def test_an_early_stop(tmp_path):
    place = runs.Place(tmp_path / "place", "--patience", 1, "--lr", 0.02, "--checkpoint-interval", 1000)
    place.whole()
    history = (place.folder / "whole" / "history.csv").read_text().splitlines()
    assert len(history) - 1 == 2 < runs.EPOCHS, "the second epoch is worse than the first and ends the run"
    names = ["end of an epoch, before the checkpoint", "end of an epoch, after the checkpoint", "end of the run"]
    found = deaths("at_events", place, names)
    assert_exact_steps(found, 2 * runs.STEPS)


@pytest.mark.fault("--resume of a run that has ended", "it says so, exit status 0, not one file changes")
def test_a_finished_run(tmp_path):
    place = runs.Place(tmp_path / "place")
    place.whole()
    output = place.folder / "whole"
    found = [path for path in output.rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in found if path.name not in ("log.txt", ".lock")}
    with nothing_left(output):
        answer = runs.here(["finetune", "--resume", str(output)])
    assert answer.status == 0 and "this run has ended (done): nothing is left to resume" in answer.err
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert checkpoint.step_of(checkpoint.list_checkpoints(output / "checkpoints")[0]) == runs.EPOCHS * runs.STEPS
