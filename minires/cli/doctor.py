"""`minires doctor`: what this installation stands on, and whether it runs as fast as this machine allows."""

import importlib.metadata
import os
from collections.abc import Sequence
from typing import Any

from minires import processor
from minires.cli import output
from minires.cli.options import Parser, add_common
from minires.io import download, environment

EXAMPLES = "  minires doctor\n  minires doctor --json > doctor.json"
AVX512_CORES = {"skylakex", "cooperlake", "sapphirerapids", "zen5", "graniterapids"}
AVX2_CORES = {"haswell", "zen", "excavator"} | AVX512_CORES

EXTRAS = {  # pip install "minires[NAME]" -> what for, and the packages
    "cuda12": ("NVIDIA GPUs", ("cupy-cuda12x", "ml_dtypes", "nvidia-cuda-nvrtc-cu12", "nvidia-cuda-runtime-cu12")),
    "cuda13": ("NVIDIA GPUs", ("cupy-cuda13x", "ml_dtypes", "nvidia-cuda-nvrtc", "nvidia-cuda-runtime")),
    "onnx": ("minires export to .onnx", ("onnx",)), "digits": ("--data digits", ("scikit-learn",)),
    "search": ("minires search --sampler-of-trials optuna", ("optuna",)),
}  # fmt: skip


def run(name: str, words: Sequence[str]) -> int:
    """The command. Exit status 1 if something is wrong."""
    parser = Parser(name, "Show versions, BLAS, threads, GPU and cache folder, and say what is wrong.", EXAMPLES)
    add_common(parser)
    given = parser.read(words)
    facts = examine()
    if given.get("json"):
        output.result_json(facts)
    else:
        output.result(describe(facts))
    return 1 if facts["problems"] else 0


def examine() -> dict[str, Any]:
    """All facts, with the lists "problems" (exit status 1) and "notes"."""
    facts = environment.describe(command=["minires", "doctor"])
    del facts["command"], facts["seed"], facts["git_commit"]
    flags = processor.flags()
    facts["cpu_instructions"] = sorted(flags & (processor.AVX512 | {"avx2", "avx512_bf16", "fma", "asimd", "sve"}))
    facts["extras"] = {name: extra(packages) for name, (_, packages) in EXTRAS.items()}
    facts["cache_folder"], cache_problem = cache_folder()
    problems, notes = [], []
    verdict = blas_verdict([library["architecture"] for library in facts["blas"]
                            if library["internal_api"] == "openblas"], flags)  # fmt: skip
    facts["blas_uses_best_instructions"] = verdict is None
    if verdict:
        notes.append(verdict)
    if not facts["blas"]:
        notes.append("threadpoolctl finds no BLAS library: matrix products may be slow")
    threads = max((library["num_threads"] or 1 for library in facts["blas"]), default=1)
    if threads > facts["cpus"]:
        notes.append(f"BLAS uses {threads} threads on {facts['cpus']} processors: OPENBLAS_NUM_THREADS={facts['cpus']} "
                     "would be faster")  # fmt: skip
    if cache_problem:
        problems.append(cache_problem)
    return {**facts, "problems": problems, "notes": notes}


def extra(packages: Sequence[str]) -> dict[str, str] | None:
    """package -> version of those that an extra installs; None if one is missing."""
    try:
        return {name: importlib.metadata.version(name) for name in packages}
    except importlib.metadata.PackageNotFoundError:
        return None


def blas_verdict(cores: Sequence[str | None], flags: frozenset[str]) -> str | None:
    """One line if OpenBLAS runs below what the processor can do, else None."""
    for core in cores:
        used = (core or "").lower()
        if flags >= processor.AVX512 and used not in AVX512_CORES:
            return (f"OpenBLAS uses its {core} kernels on a processor with AVX-512: SkylakeX should be faster"
                    f" ({_how_to_set()})")  # fmt: skip
        if "avx2" in flags and used not in AVX2_CORES:
            return (f"OpenBLAS uses its {core} kernels on a processor with AVX2: "
                    "OPENBLAS_CORETYPE=Haswell should be faster")  # fmt: skip
    return None


def _how_to_set() -> str:
    """What keeps minires from choosing the kernels itself (minires/processor.py), and what to do about it."""
    if processor.CORE in os.environ:
        return f"the variable {processor.CORE} asks for them: unset it, or set it to SkylakeX"
    return f"NumPy was imported before minires: import minires first, or set {processor.CORE}=SkylakeX"


def cache_folder() -> tuple[str, str | None]:
    """$MINIRES_HOME, else $XDG_CACHE_HOME/minires, else ~/.cache/minires; and what is wrong with it, if anything."""
    folder = download.cache_folder()
    place = folder
    while not os.path.lexists(place) and os.path.dirname(place) != place:
        place = os.path.dirname(place)
    if not os.path.isdir(place):
        return folder, f"the cache folder {folder} cannot be made: {place} is not a folder (set MINIRES_HOME)"
    if not os.access(place, os.W_OK):
        return folder, f"the cache folder {folder} cannot be written (set MINIRES_HOME)"
    return folder, None


def describe(facts: dict[str, Any]) -> str:
    """The facts for people."""
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    card = facts["gpu"]
    rows = [
        ("minires", facts["minires"]), ("Python", facts["python"]), ("packages", packages),
        ("system", facts["platform"]), ("CPU", f"{facts['cpu']}, {facts['cpus']} processors"),
        ("instructions", " ".join(facts["cpu_instructions"]) or "not known"),
    ]  # fmt: skip
    for library in facts["blas"]:
        text = f"{library['internal_api']} {library['version']}, {library['num_threads']} threads"
        rows.append(("BLAS" if library["internal_api"] != "openmp" else "OpenMP",
                     text + (f", {library['architecture']} kernels" if library["architecture"] else "")))  # fmt: skip
    for name, found in facts["extras"].items():
        there = ", ".join(f"{package} {version}" for package, version in (found or {}).items())
        missing = f'not installed: pip install "minires[{name}]"'
        rows.append((f"[{name}]", f"{EXTRAS[name][0]}: {there or missing}"))
    devices = "; ".join(card["devices"]) or card.get("error") or "none seen by a driver"
    cupy = "there" if card["cupy"] else "not installed"
    rows.append(("GPU", f"{devices}; driver {card['driver'] or 'none'}; CuPy {cupy}"))
    rows.append(("cache", facts["cache_folder"]))
    lines = [f"{name:<13}{value}" for name, value in rows]
    lines += [f"problem: {text}" for text in facts["problems"]] + [f"note: {text}" for text in facts["notes"]]
    if not facts["problems"] and not facts["notes"]:
        lines.append("all is well")
    return "\n".join(lines)
