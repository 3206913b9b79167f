"""What a time is read from: the processor's clock, or events in the queue of a GPU, which computes in its own time.

A mark is a moment; how far two of them are apart is known after `settle()`. Between two marks on a GPU lies what it
did, and its waiting where Python did not send for the next launch in time.
"""

import time
from typing import Any, Protocol

from minires import backend, cuda


class Clock(Protocol):
    """Either of the two."""

    def mark(self) -> Any: ...
    def settle(self) -> None: ...
    def seconds(self, first: Any, last: Any) -> float: ...


class Processor:
    """Marks are numbers of `time.perf_counter`."""

    def mark(self) -> float:
        """This moment."""
        return time.perf_counter()

    def settle(self) -> None:
        """Nothing is to be waited for."""

    def seconds(self, first: float, last: float) -> float:
        """From one mark to another."""
        return last - first


class Gpu:
    """Marks are CUDA events in the present stream of one GPU."""

    def __init__(self, device: Any) -> None:
        self.device = device

    def mark(self) -> cuda.Event:
        """The end of the queue as it is now."""
        with cuda.device(self.device):
            event = cuda.Event(enable_timing=True)
            event.record()
        return event

    def settle(self) -> None:
        """Wait until the GPU has come to all marks."""
        cuda.synchronize(self.device)

    def seconds(self, first: cuda.Event, last: cuda.Event) -> float:
        """From one mark to another."""
        return first.elapsed_time(last) / 1e3


def clock_of(device: Any) -> Clock:
    """The clock for work on "cpu", "cuda" or "cuda:1". RuntimeError without that GPU."""
    if backend.device(device).type == "cpu":
        return Processor()
    return Gpu(cuda.devices.index_of(device))
