"""Streams: queues of work on a GPU that run beside each other; and events, places in a queue."""

import contextlib
from typing import Any

from minires import backend
from minires.backend import gpu_module
from minires.cuda.devices import index_of


class Event:
    """A place in a stream's queue, to be waited for; with `enable_timing` two of them measure a time.

    It is of the GPU whose stream it is recorded in; before, there is nothing to wait for.
    """

    def __init__(self, enable_timing: bool = False, blocking: bool = False) -> None:
        gpu_module()
        self.enable_timing, self.blocking = enable_timing, blocking
        self.event: Any = None

    def record(self, stream: "Stream | None" = None) -> None:
        """Put this event at the end of the queue of a stream, the present one unless said otherwise."""
        stream = current_stream() if stream is None else stream
        with stream.on_its_device():
            if self.event is None:
                self.event = gpu_module().cuda.Event(block=self.blocking, disable_timing=not self.enable_timing)
            self.event.record(stream.stream)

    def wait(self, stream: "Stream | None" = None) -> None:
        """What is put into a stream, the present one unless said otherwise, from now on waits for this place."""
        (current_stream() if stream is None else stream).wait_event(self)

    def synchronize(self) -> None:
        """Wait until the GPU has come to this place."""
        if self.event is not None:
            self.event.synchronize()

    def query(self) -> bool:
        """Whether the GPU has come to this place."""
        return self.event is None or bool(self.event.done)

    def elapsed_time(self, end_event: "Event") -> float:
        """Milliseconds from this event to another. RuntimeError where either lacks `enable_timing` or a `record`."""
        if not (self.enable_timing and end_event.enable_timing):
            raise RuntimeError("both events must be made with enable_timing=True")
        if self.event is None or end_event.event is None:
            raise RuntimeError("both events must be recorded before their distance is asked for")
        return float(gpu_module().cuda.get_elapsed_time(self.event, end_event.event))


class Stream:
    """A queue of work on a GPU. `with mr.cuda.stream(s):` puts work into it; the queues do not wait for each other.

    device: whose queue it is, the present GPU unless said otherwise. A tensor is made in the stream that is present
    then; whoever uses it in another one calls `wait_stream` before, and `Tensor.record_stream` if it may be let go of.
    """

    def __init__(self, device: Any = None) -> None:
        self.number = index_of(device)
        with self.on_its_device():
            self.stream = gpu_module().cuda.Stream(non_blocking=True)

    @classmethod
    def of(cls, stream: Any, number: int) -> "Stream":
        """A stream of CuPy's, of the GPU of this number."""
        made = cls.__new__(cls)
        made.stream, made.number = stream, number
        return made

    def on_its_device(self) -> Any:
        """A block in which the stream's GPU is the present one. (The default streams of all GPUs have one name.)"""
        return gpu_module().cuda.Device(self.number)

    @property
    def device(self) -> backend.device:
        """Whose queue this is."""
        return backend.device(f"cuda:{self.number}")

    @property
    def cuda_stream(self) -> int:
        """The stream's handle, for other libraries."""
        return int(self.stream.ptr)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and (self.cuda_stream, self.number) == (other.cuda_stream, other.number)

    def __hash__(self) -> int:
        return hash((self.cuda_stream, self.number))

    def query(self) -> bool:
        """Whether all work of this queue is done."""
        with self.on_its_device():
            return bool(self.stream.done)

    def synchronize(self) -> None:
        """Wait until all work of this queue is done."""
        with self.on_its_device():
            self.stream.synchronize()

    def wait_stream(self, stream: "Stream") -> None:
        """What is put into this queue from now on waits for what is in the other one now."""
        self.wait_event(stream.record_event())

    def wait_event(self, event: Event) -> None:
        """What is put into this queue from now on waits for the event."""
        if event.event is not None:
            with self.on_its_device():
                self.stream.wait_event(event.event)

    def record_event(self, event: Event | None = None) -> Event:
        """An event (a new one) at the end of this queue."""
        event = Event() if event is None else event
        event.record(self)
        return event


class stream:  # noqa: N801 - PyTorch's name
    """`with mr.cuda.stream(s):` work goes into the stream s, and to its GPU, inside the block; None changes nothing."""

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream
        self.blocks = contextlib.ExitStack()

    def __enter__(self) -> None:
        if self.stream is not None:
            self.blocks.enter_context(self.stream.on_its_device())
            self.blocks.enter_context(self.stream.stream)

    def __exit__(self, *exception: object) -> None:
        self.blocks.close()


def current_stream(device: Any = None) -> Stream:
    """The stream that work on a GPU, the present one unless said otherwise, goes into."""
    number = index_of(device)
    return Stream.of(gpu_module().cuda.get_current_stream(number), number)


def default_stream(device: Any = None) -> Stream:
    """The stream that work goes into outside of all blocks; every GPU has one, under the same name."""
    number = index_of(device)
    return Stream.of(gpu_module().cuda.Stream.null, number)
