"""docs/reliability.md: each fault, what is promised, the test that tries it, and what it found last.

    python -m tests.faults.report              run all these tests, the slow ones too, and write their figures down
    python -m tests.faults.report FILE ...     only the tests of some files; the other figures stay
    python -m tests.faults.report --keep       run nothing: the table anew, with the figures that it has

A test has a line if it is marked `@pytest.mark.fault(fault, promise)`. Its figures are what it gave to
`record_property("figures", ...)`, the number of its cases if there are several, and the seconds it took.
"""

import importlib
import os
import pathlib
import platform
import sys
from typing import NamedTuple

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = ROOT / "docs" / "reliability.md"
FOLDERS = ("tests/faults", "tests/io", "tests/training", "tests/cli", "tests/finetune")
HEADER = ["| fault | promise | test | last figures |", "| --- | --- | --- | --- |"]


class Row(NamedTuple):
    """One line of the table. `test`: as pytest names it, without a case's parameters."""

    fault: str
    promise: str
    test: str


def marked_files() -> list[str]:
    """The files with tests that have a line, in the order of the table."""
    found = [path for folder in FOLDERS for path in sorted((ROOT / folder).glob("test_*.py"))]
    return [path.relative_to(ROOT).as_posix() for path in found if "@pytest.mark.fault(" in path.read_text("utf-8")]


def rows() -> list[Row]:
    """The lines of all marked tests, in the order in which they stand."""
    found = []
    for name in marked_files():
        module = importlib.import_module(name.removesuffix(".py").replace("/", "."))
        for key, function in vars(module).items():
            marks = {mark.name: mark.args for mark in getattr(function, "pytestmark", [])} if callable(function) else {}
            if "fault" in marks and function.__module__ == module.__name__:
                found.append(Row(*marks["fault"], f"{name}::{key}"))
    return found


class Recorder:
    """A plugin of pytest that notes what became of each marked test."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.outcomes: dict[str, list[str]] = {}
        self.notes: dict[str, list[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = report.nodeid.partition("[")[0]
        self.seconds[test] = self.seconds.get(test, 0) + report.duration
        if report.when == "call" or not report.passed:
            self.outcomes.setdefault(test, []).append(report.outcome)
        if report.when == "call":
            self.notes.setdefault(test, []).extend(
                str(value) for name, value in report.user_properties if name == "figures"
            )

    def figures(self) -> dict[str, str]:
        """One text a test."""
        return {test: self.text(test) for test in self.outcomes}

    def text(self, test: str) -> str:
        outcomes = self.outcomes[test]
        if "failed" in outcomes:
            return "FAILED"
        if "skipped" in outcomes:
            return "skipped on this machine"
        parts = [f"{len(outcomes)} cases"] if len(outcomes) > 1 else []
        return "; ".join([*parts, *self.notes.get(test, []), f"{self.seconds[test]:.1f} s"])


def render(found: list[Row], figures: dict[str, str], where: str) -> str:
    """The whole file."""
    cells = [(row.fault, row.promise, f"`{row.test}`", figures.get(row.test, "")) for row in found]
    table = [f"| {' | '.join(text.replace('|', chr(92) + '|') for text in line)} |" for line in cells]
    return "\n".join([*INTRODUCTION.strip().splitlines(), "", f"Last figures: {where}", "", *HEADER, *table, ""])


def read_back(text: str) -> tuple[dict[str, str], str]:
    """The figures of a written file by test, and where they were measured."""
    found, where = {}, ""
    for line in text.splitlines():
        if line.startswith("Last figures: "):
            where = line.removeprefix("Last figures: ")
        cells = line.removeprefix("| ").removesuffix(" |").split(" | ")
        if len(cells) == 4 and cells[2].startswith("`tests/"):
            found[cells[2].strip("`")] = cells[3].strip(" |")
    return found, where


INTRODUCTION = """
# What a run survives

People leave a fine-tuning run alone for hours: on a laptop, on a machine that may be taken away at any moment, on a
disk that fills up. This page lists what can go wrong, what minires promises then, and the test that tries it.

How it is done:

- **One function writes files** (`minires.io.files.write_atomic`): a temporary file in the same folder, write, fsync,
  rename, fsync of the folder. After a crash the old file is there or the new one, whole.
- **One checkpoint is one file**: tensors, state, checksum, version of the format. The newest valid one is found by
  reading, not by a pointer that could be torn. Two are kept; the next is written before the oldest goes.
- **Everything that a decision depends on is in it**: weights, optimizer, schedule, position, figures so far, best
  value, best weights, patience.
- **Random numbers are addresses** (seed; epoch, sample) and (seed; step), so that neither the number of workers nor a
  resume can change a bit.
- **Fault points are enumerated, not sampled**: every file call of minires goes through one object, which the tests
  replace by one that fails, records, cuts short or kills at call number 1, 2, 3, ... of a whole run.
- After each fault the tests look for what must not be left: open descriptors, threads, child processes, shared memory,
  temporary files (`tests/faults/leaks.py`). And bugs are planted to see that the tests notice.

The quick set has a sample of the long tests. All of them, and this table with their figures anew:

    python -m tests.faults.report
"""


def main(words: list[str]) -> int:
    """Run the tests and write the file; returns pytest's exit status."""
    old, where = read_back(TARGET.read_text("utf-8")) if TARGET.exists() else ({}, "none yet")
    status, figures = 0, dict(old)
    if words != ["--keep"]:
        recorder = Recorder()
        status = int(pytest.main(["-q", "-m", "slow or not slow", *(words or marked_files())], plugins=[recorder]))
        figures |= recorder.figures()
        where = (f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.system()}, "
                 f"{os.cpu_count()} processors")  # fmt: skip
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(render(rows(), figures, where), "utf-8")  # rows() last: pytest wants to be the first to import
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
