"""What is recorded while a profile runs: one Event for each kernel, operation, optimizer step and named range."""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from minires import observe
from minires.profiler import report
from minires.profiler.clocks import clock_of
from minires.profiler.costs import Shape, bytes_moved, operations, shapes_of
from minires.profiler.roofline import Roofline, measure_roofline

_numbers = itertools.count()


@dataclass
class Event:
    """One call. Times in seconds since the profile began; known when it has ended.

    kind: "kernel", "forward", "backward", "step" (of an optimizer) or "range" (record_function). flops, bytes: of a
    kernel, and of an operation that computes without kernels; else 0. inside: seconds spent in events within this one.
    """

    kind: str
    name: str
    thread: int
    depth: int
    marks: list[Any] = field(default_factory=list)  # of the profile's clock: its beginning and its end
    within: "Event | None" = None
    parts: int = 0  # events directly within this one
    start: float = 0.0
    stop: float = 0.0
    inside: float = 0.0
    flops: float = 0.0
    bytes: float = 0.0
    shapes: tuple[Shape, ...] = ()
    number: int = field(default_factory=lambda: next(_numbers))

    @property
    def seconds(self) -> float:
        """From its beginning to its end."""
        return self.stop - self.start

    @property
    def own_seconds(self) -> float:
        """Without the events within it."""
        return self.seconds - self.inside


class profile:  # noqa: N801 - PyTorch's name
    """A `with` block in which everything that minires computes, in any thread, is recorded in `events`.

    device: "cuda" for work on a GPU. Times are then those between events in its queue: what it did, and its waiting
    for Python where that was slower.

    RuntimeError if another profile is running, and without a GPU. Recording costs some microseconds a call, which are
    not taken off.
    """

    def __init__(self, device: Any = "cpu") -> None:
        self.events: list[Event] = []
        self._open = threading.local()
        self._clock = clock_of(device)
        self._begin: Any = None

    def __enter__(self) -> "profile":
        if observe.observer is not None:
            raise RuntimeError("a profile is running already: they cannot be nested")
        self._begin = self._clock.mark()
        observe.observer = self._observe
        return self

    def __exit__(self, *exception: object) -> None:
        observe.observer = None
        self._clock.settle()
        self.events.sort(key=lambda event: event.number)
        for event in self.events:
            event.start, event.stop = (self._clock.seconds(self._begin, mark) for mark in event.marks)
            if event.within is not None:
                event.within.inside += event.seconds

    def _observe(
        self, kind: str, name: str, function: Callable[..., Any], arguments: Sequence[Any], settings: dict[str, Any]
    ) -> Any:
        with self.recorded(kind, name) as event:
            result = function(*arguments, **settings)
        if kind == "kernel" or event.parts == 0:  # what kernels moved is counted with them
            saved = getattr(arguments[0], "saved_arrays", ()) if kind == "backward" else ()
            event.shapes = shapes_of(arguments)
            event.bytes = bytes_moved((*arguments, *saved), result)
            event.flops = operations(name, arguments, result) if kind == "kernel" else 0.0
        return result

    @contextmanager
    def recorded(self, kind: str, name: str) -> Iterator[Event]:
        """Record the block as one event."""
        stack: list[Event] = self._open.__dict__.setdefault("stack", [])
        event = Event(kind, name, threading.get_ident(), len(stack), within=stack[-1] if stack else None)
        if event.within is not None:
            event.within.parts += 1
        stack.append(event)
        event.marks.append(self._clock.mark())
        try:
            yield event
        finally:
            event.marks.append(self._clock.mark())
            stack.pop()
            self.events.append(event)

    def key_averages(self, group_by_input_shape: bool = False) -> "list[report.Row]":
        """Calls of the same name (and, `group_by_input_shape`, shapes) added up, the longest own time first."""
        return report.key_averages(self.events, group_by_input_shape)

    def table(
        self, row_limit: int = 30, group_by_input_shape: bool = False, roofline: Roofline | None = None
    ) -> str:  # fmt: skip
        """The averages for people. `roofline`: what the machine can do (default: the processor's, measured now, about
        a second)."""
        rows = self.key_averages(group_by_input_shape)
        return report.table(rows, measure_roofline() if roofline is None else roofline, row_limit)

    def export_chrome_trace(self, path: str) -> None:
        """Write all events as JSON for chrome://tracing or ui.perfetto.dev."""
        report.write_chrome_trace(self.events, path)


class record_function:  # noqa: N801 - PyTorch's name
    """A `with` block that appears in the running profile under `name`; without one nothing happens."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._block: Any = None

    def __enter__(self) -> "record_function":
        running = getattr(observe.observer, "__self__", None)
        if isinstance(running, profile):
            self._block = running.recorded("range", self.name)
            self._block.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._block is not None:
            self._block.__exit__(*(exception or (None, None, None)))
            self._block = None
