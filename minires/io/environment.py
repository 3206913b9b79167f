"""What a run depended on beside its arguments: versions, the machine, the command line."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import threadpoolctl

from minires.io import files
from minires.version import __version__

_PACKAGES = ("numpy", "pillow", "safetensors", "threadpoolctl", "tqdm", "scikit-learn", "cupy-cuda12x", "cupy-cuda13x")
_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE", "MINIRES_THREADS", "CUDA_VISIBLE_DEVICES")


def describe(command: Sequence[str] | None = None, seed: int | None = None) -> dict[str, Any]:
    """The content of env.json. `command`: the words of the command line (default: this process's)."""
    return {
        "minires": __version__,
        "python": platform.python_version(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "blas": [_library(library) for library in threadpoolctl.threadpool_info()],
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "gpu": gpu(),
        "git_commit": git_commit(),
        "command": list(sys.argv if command is None else command),
        "seed": seed,
    }


def gpu() -> dict[str, Any]:
    """Whether CuPy is installed and which GPUs the driver shows. CuPy is not imported."""
    try:
        cupy = importlib.util.find_spec("cupy") is not None
    except (ImportError, ValueError):
        cupy = False
    found: dict[str, Any] = {"cupy": cupy, "driver": None, "devices": []}
    if shutil.which("nvidia-smi") is None:
        return found
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        found["error"] = " ".join(str(error).split())
        return found
    rows = [[cell.strip() for cell in line.split(",")] for line in answer.splitlines() if line.count(",") >= 2]
    found["devices"] = [f"{row[0]}, {row[2]}" for row in rows]
    found["driver"] = rows[0][1] if rows else None
    return found


def cpu_name() -> str:
    """The processor's name as the system tells it; the architecture where it does not."""
    names: list[str] = []
    if os.path.exists("/proc/cpuinfo"):  # Linux
        lines = files.read_text("/proc/cpuinfo").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def git_commit(folder: str = ".") -> str | None:
    """The commit checked out in `folder`, with "+changes" if files differ from it; None outside a repository."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None  # no git, or no repository: then there is no commit to name


def _git(folder: str, *words: str) -> str:
    answer = subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, timeout=10, check=True)
    return answer.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _library(library: dict[str, Any]) -> dict[str, Any]:
    return {key: library.get(key) for key in ("internal_api", "version", "architecture", "num_threads")}
