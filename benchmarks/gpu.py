"""minires against PyTorch on an NVIDIA GPU: one command, one table, less than 8 minutes.

    python benchmarks/gpu.py                              # all rows; needs CuPy and a CUDA build of torch 2.x
    python benchmarks/gpu.py --only conv --minutes 3
    python benchmarks/gpu.py --output benchmarks/results/h200      # h200.json and h200.txt
    python benchmarks/gpu.py --no-autotune                # rules of thumb instead of the fastest way of each shape
    python benchmarks/gpu.py --dry                        # tiny sizes without a GPU: its steps, not its figures

Both libraries run in this process and take turns, round by round, so that a change of the clock meets both. A figure is
the median of the rounds, each timed by CUDA events around several calls. Ratios above 1 mean that minires is faster.
PyTorch runs channels_last with cuDNN's search on, minires with its own; the way that it chose is in the row, those of
whole networks and the time of each way are in the JSON. "compiled" is torch.compile, "graph" our own step from a CUDA
graph.
Rows say their type: bfloat16 and float16 (mixed precision on both sides), or tf32 (float32, tf32 allowed on both).
Beside the times: bytes/s and FLOP/s that were reached, and their share of the copy bandwidth and the matrix rate that
were measured first. What there was no time for is listed as such. None of this has run on a GPU yet.
"""

import argparse
import collections
import datetime
import json
import pathlib
import statistics
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import minires as mr  # noqa: E402
from benchmarks import gpu_rows  # noqa: E402
from minires import backend, kernels  # noqa: E402
from minires.kernels.cuda import autotune  # noqa: E402


class Clock:
    """Times calls on the GPU; in a dry run, on the CPU, once."""

    def __init__(self, dry: bool, rounds: int) -> None:
        self.dry, self.rounds = dry, 1 if dry else rounds

    def milliseconds(self, call, repeats: int) -> float:
        """Of one of `repeats` calls in a row."""
        if self.dry:
            started = time.perf_counter()
            call()
            return max(1e-6, (time.perf_counter() - started) * 1000)
        start, end = mr.cuda.Event(enable_timing=True), mr.cuda.Event(enable_timing=True)
        mr.cuda.synchronize()
        start.record()
        for _ in range(repeats):
            call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / repeats

    def repeats(self, call) -> int:
        """How many calls take about 20 ms; the first calls compile and search, and do not count."""
        for _ in range(1 if self.dry else 3):
            call()
        return 1 if self.dry else max(1, min(100, int(20 / max(1e-3, self.milliseconds(call, 2)))))

    def compare(self, sides: dict) -> dict[str, float]:
        """Median milliseconds of each side; they take turns."""
        repeats = {name: self.repeats(call) for name, call in sides.items()}
        times: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(self.rounds):
            for name, call in sides.items():
                times[name].append(self.milliseconds(call, repeats[name]))
        return {name: statistics.median(values) for name, values in times.items()}


def roof(clock: Clock, dry: bool) -> dict[str, float]:
    """Bytes/s of a copy, and FLOP/s of matrix products in all types, by CuPy on this GPU."""
    cupy = backend.gpu_module()
    length, side = (1 << 10, 16) if dry else (1 << 28, 8192)
    source, target = cupy.zeros(length, np.float32), cupy.empty(length, np.float32)
    found = {"bytes": 2 * source.nbytes / clock.compare({"copy": lambda: cupy.copyto(target, source)})["copy"] * 1e3}
    for dtype in ("float32", "tf32", "float16", "bfloat16"):
        mr.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
        a = gpu_rows.ours(side, side, dtype=dtype)
        times = clock.compare({"product": lambda a=a: kernels.matmul(a.array, a.array)})
        found[dtype] = 2 * side**3 / times["product"] * 1e3
    mr.backends.cuda.matmul.allow_tf32 = mr.backends.cudnn.allow_tf32 = True  # as on the other side
    return found


def figures(row, times: dict[str, float], limits: dict[str, float]) -> dict:
    """One row of the report: times, ratios, and what was reached of the limits."""
    ours = times["minires"] / 1e3
    others = {name: value for name, value in times.items() if name != "minires"}
    found = {"name": row.name, "type": row.type, "milliseconds": times,
             "ratios": {name: value / times["minires"] for name, value in others.items()}}  # fmt: skip
    if row.bytes:
        found |= {"bytes_per_s": row.bytes / ours, "of_copy": row.bytes / ours / limits["bytes"]}
    if row.flops:
        found |= {"flops_per_s": row.flops / ours, "of_matrix": row.flops / ours / limits[row.type]}
    if row.pictures:
        found["pictures_per_s"] = row.pictures / ours
    return found


def line(found: dict) -> str:
    """One line of the table."""
    if "reason" in found:
        return f"{found['name']:<44} {found['reason']}"
    times = " ".join(f"{name} {value:.3f}" for name, value in found["milliseconds"].items())
    ratios = " ".join(f"{value:.2f}x {name}" for name, value in found["ratios"].items())
    shares = [f"{found[key]:.0%} of {what}" for key, what in (("of_copy", "copy"), ("of_matrix", "matrix rate"))
              if key in found]  # fmt: skip
    pictures = [f"{found['pictures_per_s']:.0f} pictures/s"] if "pictures_per_s" in found else []
    chosen = collections.Counter(str(trial["chosen"]) for trial in found.get("ways", {}).values())
    by = ["by " + " ".join(way if len(found["ways"]) == 1 else f"{way} ({count})" for way, count in chosen.items())]
    return f"{found['name']:<44} ms: {times}   {ratios}   {', '.join(shares + pictures + by * bool(chosen))}"


def run(dry: bool, only: str, minutes: float, rounds: int, search: bool = True) -> dict:
    """The whole report."""
    began, clock = time.monotonic(), Clock(dry, rounds)
    if search:  # anew: nothing from the memory in the cache folder, and nothing into it
        autotune.switch_on(lambda machine: {}, lambda machine, choices: None)
    limits = roof(clock, dry)
    torch = gpu_rows.Torch("cpu" if dry else "cuda", dry)
    report = {"when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "dry": dry,
              "gpu": mr.cuda.get_device_name(), "torch": torch.version, "minires": mr.__version__, "autotune": search,
              "roof": limits, "rows": []}  # fmt: skip
    for row in gpu_rows.rows(dry):
        if only not in row.name:
            continue
        if time.monotonic() - began > minutes * 60:
            found = {"name": row.name, "reason": "not measured: no time left"}
        else:
            autotune.trials.clear()
            try:
                found = figures(row, clock.compare(row.sides(torch)), limits)
                found |= {"ways": {layer: trial._asdict() for layer, trial in autotune.trials.items()}}
            except TimeoutError as error:  # a kernel that does not end: the GPU takes nothing more
                report["rows"].append({"name": row.name, "reason": f"failed, and with it all that follows: {error}"})
                print(line(report["rows"][-1]), flush=True)
                return report
            except (RuntimeError, MemoryError) as error:  # one row that fails is told, and costs no other
                if dry:
                    raise
                found = {"name": row.name, "reason": f"failed: {type(error).__name__}: {str(error)[:200]}"}
        report["rows"].append(found)
        print(line(found), flush=True)
        mr.cuda.empty_cache()
        torch.release()
    autotune.switch_off()
    return report


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--minutes", type=float, default=7.5, help="begin no row after so many minutes")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each row")
    parser.add_argument("--autotune", action=argparse.BooleanOptionalAction, default=True,
                        help="time each way of a convolution once, and use the fastest (default)")  # fmt: skip
    parser.add_argument("--output", help="path without suffix for the JSON and the table")
    parser.add_argument("--dry", action="store_true", help="tiny sizes on a stand-in for CuPy: no GPU, no figures")
    given = parser.parse_args(words)
    if given.dry:
        from tests.cuda import fake_cupy

        sys.modules.setdefault("cupy", fake_cupy.MODULE)
    try:
        backend.gpu_module()
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    report = run(given.dry, given.only, given.minutes, given.rounds, given.autotune)
    if given.dry and not given.output:
        return 0
    default = ROOT / "benchmarks" / "results" / report["gpu"].lower().replace(" ", "-")
    target = pathlib.Path(given.output) if given.output else default
    target.parent.mkdir(parents=True, exist_ok=True)
    target.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    head = ["A dry run: the times are those of an emulator and mean nothing"] if given.dry else []
    head += [f"{report['gpu']}, {report['when']}, torch {report['torch']}, minires {report['minires']}",
            f"copy {report['roof']['bytes'] / 1e9:.1f} GB/s; TFLOP/s: " + ", ".join(
                f"{name} {value / 1e12:.2f}" for name, value in report["roof"].items() if name != "bytes")]  # fmt: skip
    target.with_suffix(".txt").write_text("\n".join([*head, *map(line, report["rows"])]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
