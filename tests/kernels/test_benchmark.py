"""benchmarks/kernels.py runs and prints its table."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_it_prints_a_line_for_every_layer():
    command = [sys.executable, "benchmarks/kernels.py", "--network", "resnet20", "--only", "norm", "--repeats", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.strip().splitlines()
    assert "batch 128" in lines[0]
    assert sum(line.startswith("norm+relu") for line in lines) == 12
    assert lines[-1].startswith("all of them")
