"""The command line run as a user runs it, and folders of pictures for it."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def environment(**more: str) -> dict[str, str]:
    """The test's environment with one BLAS thread, and this copy of minires found from every folder."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "MINIRES_DEBUG": "", **more}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "minires.cli", *map(str, words)]


def minires(*words, cwd=None, stdin: bytes | None = None, **more: str) -> subprocess.CompletedProcess:
    """Run one command line in a process of its own."""
    return subprocess.run(command(*words), capture_output=True, cwd=cwd, input=stdin, env=environment(**more),
                          check=False, timeout=100)  # fmt: skip


def tree(folder: pathlib.Path) -> list[str]:
    """Everything below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
