"""minires against PyTorch on this machine's CPU: one command, one table.

    python benchmarks/cpu.py                         # every row; about five minutes on two cores
    python benchmarks/cpu.py --only resnet18 --rounds 5
    python benchmarks/cpu.py --output benchmarks/results/NAME      # NAME.json and NAME.txt
    python benchmarks/cpu.py --avx2                  # on a processor with AVX-512: as if it had none

Each library runs in a process of its own, and the two take turns of half a second, so that a change of the machine's
speed meets both. A figure is the median of all passes, PyTorch's that of its faster memory format; ratios above 1 mean
that minires is faster. Threads: OMP_NUM_THREADS, by default the number of processors. OPENBLAS_CORETYPE is passed on
if set. Needs torch 2.x.

--avx2 sets each library's own switch for its vector instructions, on both sides. The processor stays what it is: its
caches and its clock are not those of an older one.
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from minires.io import environment
from minires.profiler import measure_roofline

HERE = pathlib.Path(__file__).resolve().parent
SIDES = ("minires", "torch")


class Job(NamedTuple):
    """One row. `goal`: the ratio that we want to reach."""

    name: str
    goal: float
    words: tuple[str, ...]
    pictures: int


JOBS = [
    Job("resnet50 224 inference, batch 16", 1.3, ("inference", "resnet50", "16", "224"), 16),
    Job("resnet50 224 inference, batch 1", 1.0, ("inference", "resnet50", "1", "224"), 1),
    Job("resnet50 224 training, batch 16", 1.2, ("training", "resnet50", "16", "224"), 16),
    Job("resnet18 224 inference, batch 16", 1.1, ("inference", "resnet18", "16", "224"), 16),
    Job("resnet18 224 training, batch 16", 1.1, ("training", "resnet18", "16", "224"), 16),
    Job("resnet20 32 inference, batch 128", 1.0, ("inference", "resnet20", "128", "32"), 128),
    Job("resnet20 32 training, batch 128", 1.0, ("training", "resnet20", "128", "32"), 128),
    Job("image pipeline, JPEG to batch", 1.0, ("pipeline", "{photographs}", "16"), 256),
]
AVX2_ONLY = {
    "OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",  # NumPy 2.4's names
    "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}  # fmt: skip
MEMORY = ("training", "resnet50", "16", "224")


class Side:
    """A process that does its job for a turn whenever it is asked."""

    def __init__(self, side: str, words: tuple[str, ...], threads: int, **variables: str) -> None:
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        given = {**os.environ, **{name: str(threads) for name in names}, **variables}
        given["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), given.get("PYTHONPATH", "")])
        self.process = subprocess.Popen([sys.executable, str(HERE / "side.py"), side, *words], text=True, env=given,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip

    def once(self) -> dict[str, Any]:
        """The seconds of each of its ways, and its peak memory."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{' '.join(map(str, self.process.args))} ended with {self.process.wait()}")
        time.sleep(0.05)  # threads that wait by spinning go to sleep
        return json.loads(answer)

    def close(self) -> None:
        self.process.communicate()


def compare(job: Job, rounds: int, threads: int, folder: str) -> dict[str, Any]:
    """Medians of both sides, taken in turn after a turn to warm up."""
    words = tuple(word.format(photographs=folder) for word in job.words)
    sides = {name: Side(name, words, threads) for name in SIDES}
    seconds: dict[str, dict[str, list[float]]] = {name: {} for name in SIDES}
    try:
        for number in range(rounds + 1):
            for name, side in sides.items():
                for way, values in side.once()["seconds"].items():
                    if number >= 1:
                        seconds[name].setdefault(way, []).extend(values)
    finally:
        for side in sides.values():
            side.close()
    medians = {name: {way: statistics.median(values) for way, values in ways.items()} for name, ways in seconds.items()}
    best = {name: min(ways, key=ways.__getitem__) for name, ways in medians.items()}
    ours, theirs = (medians[name][best[name]] for name in SIDES)
    lowest = [min(seconds[name][best[name]]) for name in SIDES]
    return {
        "job": job.name, "goal": job.goal, "minires": ours, "torch": theirs, "ratio": theirs / ours,
        "ratio_of_best": lowest[1] / lowest[0], "torch_way": best["torch"], "pictures_per_second": job.pictures / ours,
        "seconds": seconds,
    }  # fmt: skip


def compare_memory(threads: int) -> dict[str, Any]:
    """Peak memory of three training steps, each library alone; PyTorch in the format that needs less."""
    peaks: dict[str, dict[str, int]] = {"minires": {}, "torch": {}}
    for name, way in (("minires", ""), ("torch", "channels last"), ("torch", "default layout")):
        side = Side(name, MEMORY, threads, SIDE_FORMAT=way)
        try:
            peaks[name][way or "minires"] = [side.once()["peak"] for _ in range(3)][-1]
        finally:
            side.close()
    ours, theirs = peaks["minires"]["minires"], min(peaks["torch"].values())
    return {"job": "resnet50 224 training, batch 16: peak memory", "goal": 1.0, "minires": ours, "torch": theirs,
            "ratio": theirs / ours, "peaks": peaks}  # fmt: skip


def make_photographs(folder: str, count: int = 256) -> None:
    """JPEG files of 500 x 375 with the spectrum of photographs: noise at every scale, the coarser the stronger."""
    draws = np.random.default_rng(0)
    for number in range(count):
        layers = [Image.fromarray(draws.integers(0, 256, (3 << level, 4 << level, 3), np.uint8)) for level in range(7)]
        grown = [np.asarray(layer.resize((500, 375), Image.Resampling.BICUBIC), np.float32) for layer in layers]
        mixed = sum(picture * 0.5**level for level, picture in enumerate(grown, 1))
        place = pathlib.Path(folder) / f"class{number % 4}"
        place.mkdir(exist_ok=True)
        Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8)).save(place / f"{number:04d}.jpg", quality=90)


def text_of(found: dict[str, Any]) -> str:
    """The table for people."""
    machine = found["machine"]
    kernels = ", ".join(sorted({str(library["architecture"]) for library in machine["blas"]} - {"None"}))
    lines = [
        f"minires {machine['minires']} against PyTorch {found['torch_version']}, {found['date']}",
        f"{machine['cpu']}, {found['threads']} threads, {found['vectors']}; numpy {machine['packages']['numpy']}, "
        f"OpenBLAS {kernels} kernels",
        f"matrix product {found['product_flops'] / 1e9:.0f} GFLOP/s, copy {found['copy_bytes'] / 1e9:.1f} GB/s; "
        f"load of the machine {found['load'][0]:.1f} before, {found['load'][1]:.1f} after",
        "", f"{'':46}{'minires':>10}{'torch':>10}{'ratio':>8}{'best':>8}{'goal':>7}",
    ]  # fmt: skip
    for row in found["rows"]:
        memory = "peaks" in row
        ours, theirs = (f"{row[name] / 1e6:.0f} MB" if memory else f"{1e3 * row[name]:.1f} ms" for name in SIDES)
        best = "" if memory else f"{row['ratio_of_best']:.2f}"
        lines.append(f"{row['job']:46}{ours:>10}{theirs:>10}{row['ratio']:8.2f}{best:>8}{row['goal']:7.1f}")
    lines += ["", "ratio: PyTorch's time (memory) by ours, medians; best: of the shortest times; above 1 we are faster"]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="rows whose names contain this")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (7)")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    parser.add_argument("--output", help="write OUTPUT.json and OUTPUT.txt")
    parser.add_argument("--avx2", action="store_true", help="hold both libraries to AVX2")
    given = parser.parse_args()
    if given.avx2 and any(os.environ.get(name) != value for name, value in AVX2_ONLY.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **AVX2_ONLY})  # read as they are loaded
    roofline = measure_roofline()
    from importlib.metadata import version

    found: dict[str, Any] = {
        "date": datetime.date.today().isoformat(), "machine": environment.describe(command=[], seed=0),
        "torch_version": version("torch"), "threads": given.threads, "rounds": given.rounds,
        "vectors": "held to AVX2" if given.avx2 else "every instruction it has",
        "product_flops": roofline.flops, "copy_bytes": roofline.bytes, "load": [os.getloadavg()[0], 0.0], "rows": [],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        make_photographs(folder)
        for job in JOBS:
            if not given.only or given.only in job.name:
                row = compare(job, given.rounds, given.threads, folder)
                found["rows"].append(row)
                print(f"{job.name}: {row['ratio']:.2f}", file=sys.stderr, flush=True)
        if not given.only or "memory".startswith(given.only):
            found["rows"].append(compare_memory(given.threads))
    found["load"][1] = os.getloadavg()[0]
    text = text_of(found)
    print(text)
    if given.output:
        pathlib.Path(given.output + ".json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        pathlib.Path(given.output + ".txt").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
