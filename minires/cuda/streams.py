"""Streams: queues of work on a GPU that run beside each other; and events, places in a queue."""

from typing import Any

from minires.backend import gpu_module


class Event:
    """A place in a stream's queue, to be waited for; with `enable_timing` two of them measure a time."""

    def __init__(self, enable_timing: bool = False, blocking: bool = False) -> None:
        self.enable_timing = enable_timing
        self.event = gpu_module().cuda.Event(block=blocking, disable_timing=not enable_timing)

    def record(self, stream: "Stream | None" = None) -> None:
        """Put this event at the end of the queue of a stream, the present one unless said otherwise."""
        self.event.record(None if stream is None else stream.stream)

    def synchronize(self) -> None:
        """Wait until the GPU has come to this place."""
        self.event.synchronize()

    def query(self) -> bool:
        """Whether the GPU has come to this place."""
        return bool(self.event.done)

    def elapsed_time(self, end_event: "Event") -> float:
        """Milliseconds from this event to another. RuntimeError where either was made without `enable_timing`."""
        if not (self.enable_timing and end_event.enable_timing):
            raise RuntimeError("both events must be made with enable_timing=True")
        return float(gpu_module().cuda.get_elapsed_time(self.event, end_event.event))


class Stream:
    """A queue of work on a GPU. `with mr.cuda.stream(s):` puts work into it; the queues do not wait for each other."""

    def __init__(self, stream: Any = None) -> None:
        self.stream = gpu_module().cuda.Stream(non_blocking=True) if stream is None else stream

    @property
    def cuda_stream(self) -> int:
        """The stream's handle, for other libraries."""
        return int(self.stream.ptr)

    def synchronize(self) -> None:
        """Wait until all work of this queue is done."""
        self.stream.synchronize()

    def wait_stream(self, stream: "Stream") -> None:
        """What is put into this queue from now on waits for what is in the other one now."""
        self.stream.wait_event(stream.stream.record())

    def wait_event(self, event: Event) -> None:
        """What is put into this queue from now on waits for the event."""
        self.stream.wait_event(event.event)

    def record_event(self, event: Event | None = None) -> Event:
        """An event (a new one) at the end of this queue."""
        event = Event() if event is None else event
        event.record(self)
        return event


class stream:  # noqa: N801 - PyTorch's name
    """`with mr.cuda.stream(s):` work goes into the stream s inside the block; None changes nothing."""

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream

    def __enter__(self) -> None:
        if self.stream is not None:
            self.stream.stream.__enter__()

    def __exit__(self, *exception: object) -> None:
        if self.stream is not None:
            self.stream.stream.__exit__(*exception)


def current_stream() -> Stream:
    """The stream that work goes into."""
    return Stream(gpu_module().cuda.get_current_stream())


def default_stream() -> Stream:
    """The stream that work goes into outside of all blocks."""
    return Stream(gpu_module().cuda.Stream.null)
