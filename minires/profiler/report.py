"""Events made into tables and traces."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minires.io import files
from minires.profiler.costs import Shape
from minires.profiler.roofline import Roofline

if TYPE_CHECKING:
    from minires.profiler.recording import Event

SHOWN = {"kernel": "", "forward": "", "backward": " backward", "step": " step", "range": ""}


@dataclass
class Row:
    """All calls of one name added up. seconds: whole; own_seconds: without what was called within."""

    kind: str
    name: str
    calls: int
    seconds: float
    own_seconds: float
    flops: float
    bytes: float
    shapes: tuple[Shape, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self), "shapes": [list(shape) for shape in self.shapes]}


def key_averages(events: "Iterable[Event]", group_by_input_shape: bool = False) -> list[Row]:
    """Rows of the events, the longest own time first."""
    rows: dict[tuple[Any, ...], Row] = {}
    for event in events:
        shapes = event.shapes if group_by_input_shape else ()
        row = rows.setdefault(
            (event.kind, event.name, shapes), Row(event.kind, event.name, 0, 0.0, 0.0, 0.0, 0.0, shapes)
        )
        row.calls += 1
        row.seconds += event.seconds
        row.own_seconds += event.own_seconds
        row.flops += event.flops
        row.bytes += event.bytes
    return sorted(rows.values(), key=lambda row: -row.own_seconds)


def table(rows: Sequence[Row], roofline: Roofline, row_limit: int = 30) -> str:
    """Name, calls, milliseconds (whole and own), share of the own time, GFLOP/s, GB/s, and how near to which roof.

    "roof": the least time that the machine allows for the operations and bytes counted, as a part of the time taken;
    above 100 % for an algorithm that needs fewer operations than the definition (Winograd) or data in the cache.
    """
    total = sum(row.own_seconds for row in rows) or 1.0
    lines = [["name", "calls", "ms", "own ms", "own", "GFLOP/s", "GB/s", "roof"]]
    for row in rows[:row_limit]:
        own = row.own_seconds or 1e-12
        counted = row.flops > 0 or row.bytes > 0
        roof = roofline.least_seconds(row.flops, row.bytes) / own
        shapes = " " + " ".join("x".join(map(str, shape)) for shape in row.shapes) if row.shapes else ""
        lines.append([
            row.name + SHOWN[row.kind] + shapes, str(row.calls), f"{1e3 * row.seconds:.1f}", f"{1e3 * own:.1f}",
            f"{row.own_seconds / total:.1%}", f"{row.flops / own / 1e9:.1f}" if row.flops else "",
            f"{row.bytes / own / 1e9:.1f}" if row.bytes else "",
            f"{roof:.0%} {roofline.bound(row.flops, row.bytes)}" if counted else "",
        ])  # fmt: skip
    if len(rows) > row_limit:
        rest = rows[row_limit:]
        own = sum(row.own_seconds for row in rest)
        lines.append([f"{len(rest)} others", str(sum(row.calls for row in rest)), "", f"{1e3 * own:.1f}",
                      f"{own / total:.1%}", "", "", ""])  # fmt: skip
    head = (f"{1e3 * total:.1f} ms in all; this machine, {roofline.where}: "
            f"{roofline.flops / 1e9:.0f} GFLOP/s in products, {roofline.bytes / 1e9:.1f} GB/s in copies")  # fmt: skip
    return head + "\n" + _columns(lines)


def _columns(lines: Sequence[Sequence[str]]) -> str:
    """The first column aligned left, the others right."""
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) if place else cell.ljust(width)
                  for place, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    )  # fmt: skip


def write_chrome_trace(events: "Iterable[Event]", path: str) -> None:
    """Chrome's trace format: complete events ("ph": "X"), times in microseconds, one line of boxes a thread."""
    threads: dict[int, int] = {}
    found = [
        {
            "name": event.name + SHOWN[event.kind], "cat": event.kind, "ph": "X", "pid": 1,
            "tid": threads.setdefault(event.thread, len(threads) + 1),
            "ts": 1e6 * event.start, "dur": 1e6 * event.seconds,
            "args": {"shapes": [list(shape) for shape in event.shapes], "flops": event.flops, "bytes": event.bytes},
        }
        for event in events
    ]  # fmt: skip
    files.write_atomic(path, json.dumps({"traceEvents": found, "displayTimeUnit": "ms"}))
