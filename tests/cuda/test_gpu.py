"""On a GPU: the families' tests once more, with the kernels launched by CuPy instead of the emulator."""

import os
import pathlib
import subprocess
import sys

import pytest

FOLDER = pathlib.Path(__file__).parent
FAMILIES = ("norms", "losses", "optims", "pools", "pictures", "convs", "wgmma")


@pytest.mark.gpu
@pytest.mark.timeout(600)
@pytest.mark.parametrize("family", FAMILIES)
def test_family_on_the_gpu(family):
    cupy = pytest.importorskip("cupy")
    if not cupy.cuda.is_available():
        pytest.skip("CuPy finds no GPU")
    command = [sys.executable, "-m", "pytest", "-q", str(FOLDER / f"test_{family}.py")]
    done = subprocess.run(command, env={**os.environ, "MINIRES_KERNELS_ON": "gpu"}, cwd=FOLDER.parent.parent,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]


def test_no_family_is_forgotten():
    names = [path.stem.removeprefix("test_") for path in FOLDER.glob("test_*.py")]
    mark = "pytestmark = needs_" + "kernels"
    assert {name for name in names if mark in (FOLDER / f"test_{name}.py").read_text()} == set(FAMILIES)
