"""Ctrl-C once and twice, and SIGTERM, in every phase of a run: no traceback, nothing torn, nothing left running."""

import contextlib
import itertools
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.cli.helpers import ROOT, environment
from tests.faults import runs
from tests.faults.leaks import no_orphans, nothing_left

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")

PHASES = {  # name: (call, part of the path, which such call, further words)
    "data scan": ("open", "photos", 7, ()),
    "start": ("write", "splits.csv", 1, ()),
    "training": ("open", "photos/red", 16, ()),
    "save": ("write", "step-00000003", 1, ()),
    "history": ("replace", "history.csv", 2, ()),
    "report": ("write", "predictions_test.csv", 1, ()),
    "model": ("write", "config.json", 1, ()),
    "with workers": ("open", "photos/green", 16, ("-j", 2)),
    "with worker processes": ("write", "step-00000003", 1, ("-j", 2, "--worker-type", "process")),
}
STOPS = {"SIGINT": 130, "SIGINT,SIGINT": 130, "SIGTERM": 143}
PROMISE = "no traceback, no orphan, nothing torn; exit status 130 or 143 within 10 s; --resume ends in equal bits"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    found = runs.Place(tmp_path_factory.mktemp("stops") / "place")
    found.whole()
    return found


def stop(place, phase: str, signals: str) -> float:
    """Stop a run in a phase, look at it, let it go on; returns the seconds from the signal to the end."""
    call, part, nth, more = PHASES[phase]
    output = place.folder / "stopped"
    words = ["-m", "tests.faults.stops", call, part, str(nth), signals, *place.words(output, *more)]
    process = subprocess.Popen([sys.executable, *words], cwd=ROOT, env=environment(), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, start_new_session=True)  # fmt: skip
    answer = runs.end(process)
    no_orphans(process.pid)
    assert answer.status == STOPS[signals] and "signalled" in answer.out, answer
    assert "Traceback" not in answer.err and "Exception" not in answer.err, answer.err
    assert answer.err.splitlines()[-1] == f"minires: {'interrupted' if answer.status == 130 else 'terminated'}"
    begun, ended = (float(line.split()[-1]) for line in answer.out.splitlines())
    with nothing_left(output):
        runs.check(runs.end(runs.start(place.words(output, *more, "--resume", "auto"))), 0)
    runs.assert_equal(output, place.whole())
    runs.remove(output)
    return ended - begun


@pytest.mark.fault("SIGINT once or twice, or SIGTERM, in a few phases of a run (the whole: in each)", PROMISE)
@pytest.mark.parametrize(("phase", "signals"), [("data scan", "SIGINT"), ("save", "SIGINT,SIGINT"),
                                                ("save", "SIGTERM"), ("report", "SIGINT"),
                                                ("with worker processes", "SIGINT")])  # fmt: skip
def test_some_phases(place, phase, signals):
    assert stop(place, phase, signals) < 10


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.fault("SIGINT once, SIGINT twice, SIGTERM in each phase: scan, start, training, save, report", PROMISE)
def test_every_phase(place, record_property):
    seconds = [stop(place, *case) for case in itertools.product(PHASES, STOPS)]
    record_property("figures", f"{len(seconds)} stops, the longest took {max(seconds):.2f} s")
    assert max(seconds) < 10


IMPORTING = """
import os, signal, sys
number, module, *sys.argv[1:] = sys.argv[1:]

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), int(number))

sys.meta_path.insert(0, Finder())
import minires_command
sys.exit(minires_command.main())
"""


@pytest.mark.fault("SIGINT or SIGTERM while minires is imported", "one line, exit status 130 or 143, nothing created")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["numpy", "minires.nn", "minires.finetune.recipe"])
def test_while_modules_are_loaded(place, tmp_path, module, number):
    answer = runs.end(runs.script(IMPORTING, int(number), module, *place.words(tmp_path / "run")))
    word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
    assert (answer.status, answer.out, answer.err) == (128 + number, "", f"minires: {word}\n")
    assert not (tmp_path / "run").exists()


COMMAND = "import sys, minires_command; print('loaded', file=sys.stderr, flush=True); sys.exit(minires_command.main())"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.fault("SIGINT at 40 random moments of the command `minires`", PROMISE)
def test_random_moments(place, record_property):
    rng, statuses = np.random.default_rng(3), []
    for number in range(40):
        output = place.folder / f"random-{number}"
        process = runs.script(COMMAND, *place.words(output, "--resume", "auto"))
        assert process.stderr.readline() == b"loaded\n"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0, 0.9))
        process.send_signal(signal.SIGINT)
        answer = runs.end(process)
        statuses.append(answer.status)
        no_orphans(process.pid)
        assert answer.status in (0, 130) and "Traceback" not in answer.err and "Exception" not in answer.err, answer
        with nothing_left(output):
            runs.check(runs.here(place.words(output, "--resume", "auto")), 0)
        runs.assert_equal(output, place.whole())
        runs.remove(output)
    record_property("figures", f"40 signals, {statuses.count(130)} before the end of the run")
    assert statuses.count(130) >= 20
