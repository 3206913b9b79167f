"""The order of work on GPUs, as the stand-in for CuPy keeps it: devices, streams, events, and memory used too early.

A stream does its work in its order; between two streams, or a stream and Python, there is no order unless one waits for
the other. The stand-in does everything at once, so that a missing wait would change no result. It is found by vector
clocks instead (as race detectors do: Flanagan and Freund 2009, "FastTrack"): each stream, and Python, counts its work
and knows up to where it has waited for the others; `Unordered` is raised

- where work uses memory that another stream has written, or changes what it has read, without waiting for it;
- where the pool could give out memory that a stream may still be using. As CuPy's, the pool takes memory back when its
  last array has gone, and gives it to the next array of the *same* stream, whoever else has used it meanwhile;
- where pinned memory could be given out that a stream has not yet copied.

`ORDER.slow = True`: the GPU finishes nothing that nobody waits for, so that `event.done` is False until then.
"""

import contextlib
import sys
import threading
import types
import weakref

from minires.backend import memory_owner

Clock = dict  # of each queue, how much of its work is known to be done


class Unordered(AssertionError):  # noqa: N818
    """A wait is missing."""


def must_be_done(uses, clock, who, what):
    """Everything in `uses` must be known, by this clock, to be done."""
    for queue, time in uses.items():
        if clock.get(queue, 0) < time:
            raise Unordered(f"{who} {what} while stream {queue} may not have done with it: nobody has waited for that")


def merge(clock, other):
    for queue, time in other.items():
        if clock.get(queue, 0) < time:
            clock[queue] = time


class Order:
    """What is known of all queues, from the beginning of a test on."""

    def __init__(self):
        self.replayed = []  # streams that a graph was launched in
        self.test = 0
        self.start()

    def start(self, devices=1):
        self.test += 1  # what is left of earlier ones has no history
        self.devices, self.slow, self.capturing = devices, False, None
        self.host, self.clocks = Clock(), {}
        self.freed, self.freed_pinned, self.pinned = {}, [], {}
        self.log = []  # ("record", queue), ("wait", queue, the queue waited for), ("copy", queue)
        self.now = threading.local()

    @property
    def device(self):
        return getattr(self.now, "device", 0)

    def streams(self, device=None):
        """The stack of streams that this thread has entered on a device."""
        stacks = self.now.__dict__.setdefault("streams", {})
        return stacks.setdefault(self.device if device is None else device, [Stream.null])

    def queue(self, stream=None):
        """(device, number) of a stream; the present one's unless given."""
        stream = stream or self.streams()[-1]
        return (self.device if stream.device_id < 0 else stream.device_id, stream.ptr)

    def clock(self, queue):
        return self.clocks.setdefault(queue, Clock())

    def work(self, queue, reads=(), writes=()):
        """One piece of work in a queue: what it reads and writes must be ready for it."""
        if self.capturing == queue[1]:
            self.captured.append((reads, writes))
        clock = self.clock(queue)
        merge(clock, self.host)
        clock[queue] = clock.get(queue, 0) + 1
        for memory in (*reads, *writes):
            memory.forget_earlier_tests()
        for memory in reads:
            must_be_done(memory.written, clock, f"stream {queue}", "reads memory")
            memory.read[queue] = clock[queue]
        for memory in writes:
            must_be_done(memory.uses(), clock, f"stream {queue}", "changes memory")
            memory.written, memory.read = {queue: clock[queue]}, {}

    def is_done(self, clock):
        """Whether this much is done; Python knows it then."""
        if self.slow:
            return all(self.host.get(queue, 0) >= time for queue, time in clock.items())
        self.wait(clock)
        return True

    def wait(self, clock):
        """Python waits until this much is done."""
        merge(self.host, clock)


ORDER = Order()


class Memory:
    """One piece of a GPU's memory: who has written it last, and read it since."""

    def __init__(self, nbytes):
        self.nbytes, self.queue = nbytes, ORDER.queue()
        self.written, self.read, self.test = {}, {}, ORDER.test
        pool, clock = ORDER.freed.get(self.queue, []), ORDER.clock(self.queue)
        merge(clock, ORDER.host)
        for old in [old for old in pool if nbytes and old.nbytes >= nbytes]:
            must_be_done(old.uses, clock, f"stream {self.queue}", "is given memory by the pool")
            pool.remove(old)

    @property
    def device(self):
        return self.queue[0]

    def uses(self):
        together = Clock(self.written)
        merge(together, self.read)
        return together

    def forget_earlier_tests(self):
        if self.test != ORDER.test:
            self.written, self.read, self.test = {}, {}, ORDER.test

    def __del__(self, order=ORDER, ending=sys.is_finalizing):
        if not ending() and self.test == order.test and any(queue != self.queue for queue in self.uses()):
            kept = types.SimpleNamespace(nbytes=self.nbytes, uses=self.uses())
            order.freed.setdefault(self.queue, []).append(kept)


class Stream:
    """A queue; see CuPy. Only the null stream may wait for others unasked."""

    numbers = iter(range(1, 1 << 30))

    def __init__(self, null=False, non_blocking=False, ptds=False):
        assert null or non_blocking, "the stand-in knows no streams that wait for the null stream"
        self.ptr, self.device_id = (0, -1) if null else (next(Stream.numbers), ORDER.device)

    def __eq__(self, other):
        return isinstance(other, Stream) and self.ptr == other.ptr

    def __hash__(self):
        return self.ptr

    def __enter__(self):
        if self.device_id not in (-1, ORDER.device):
            raise RuntimeError(f"The device that the stream is created on ({self.device_id}) does not match with the "
                               f"current device ({ORDER.device})")  # fmt: skip
        ORDER.now.__dict__.setdefault("entered", []).append(ORDER.device)
        ORDER.streams().append(self)
        return self

    def __exit__(self, *_):
        ORDER.streams(ORDER.now.entered.pop()).pop()

    @property
    def done(self):
        return ORDER.is_done(ORDER.clock(ORDER.queue(self)))

    def begin_capture(self, mode=None):
        ORDER.capturing, ORDER.captured = self.ptr, []

    def end_capture(self):
        """The stand-in has done what a GPU would only note: nobody has to wait for it, and a launch is that work."""
        ORDER.capturing, works = None, ORDER.captured
        ORDER.wait(ORDER.clock(ORDER.queue(self)))

        def launch(stream=None):
            for reads, writes in works:
                ORDER.work(ORDER.queue(stream), reads, writes)
            ORDER.replayed.append(stream)

        return types.SimpleNamespace(launch=launch)

    def is_capturing(self):
        return ORDER.capturing == self.ptr

    def synchronize(self):
        assert ORDER.capturing != self.ptr, "operation not permitted when stream is capturing"
        ORDER.wait(ORDER.clock(ORDER.queue(self)))

    def record(self, event=None):
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event):
        queue = ORDER.queue(self)
        ORDER.log.append(("wait", queue, event.queue))
        merge(ORDER.clock(queue), event.clock)


class Event:
    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.device, self.queue, self.clock = ORDER.device, None, Clock()

    def record(self, stream=None):
        self.queue = ORDER.queue(stream)
        if self.queue[0] != self.device:
            raise RuntimeError("cudaErrorInvalidResourceHandle: an event is recorded by streams of its own device")
        ORDER.log.append(("record", self.queue))
        self.clock = Clock(ORDER.clock(self.queue))
        merge(self.clock, ORDER.host)

    @property
    def done(self):
        return ORDER.is_done(self.clock)

    def synchronize(self):
        ORDER.wait(self.clock)


class Device:
    compute_capability = "90"
    attributes = {"MaxSharedMemoryPerBlockOptin": 232448, "L2CacheSize": 1 << 10}  # noqa: RUF012
    mem_info = (70 << 30, 80 << 30)

    def __init__(self, number=None):
        self.id = ORDER.device if number is None else int(number)
        if not 0 <= self.id < ORDER.devices:
            raise RuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        self.before = []

    def __enter__(self):
        self.before.append(ORDER.device)
        set_device(self.id)
        return self

    def __exit__(self, *_):
        set_device(self.before.pop())

    def synchronize(self):
        for queue, clock in list(ORDER.clocks.items()):
            if queue[0] == self.id:
                ORDER.wait(clock)


def set_device(number):
    if not 0 <= number < ORDER.devices:
        raise RuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
    ORDER.now.device = number


def empty_pinned(make, shape, dtype):
    """Pinned memory, made by `make`; what was let go of before must have been copied by now."""
    array = make(shape, dtype)
    for old in [old for old in ORDER.freed_pinned if old.nbytes >= array.nbytes]:
        must_be_done(old.read, ORDER.host, "Python", "is given pinned memory by the pool")
        ORDER.freed_pinned.remove(old)
    kept = types.SimpleNamespace(nbytes=array.nbytes, read=Clock())
    ORDER.pinned[array.ctypes.data] = kept
    weakref.finalize(array, give_back_pinned, array.ctypes.data, kept)
    return array


def give_back_pinned(address, kept):
    if ORDER.pinned.get(address) is kept:
        del ORDER.pinned[address]
        ORDER.freed_pinned.append(kept)


def note_copy_from(array, queue):
    """The work that this queue has done last reads a NumPy array."""
    assert ORDER.capturing != queue[1], "a graph's replay would read memory of the CPU"
    ORDER.log.append(("copy", queue))
    kept = ORDER.pinned.get(memory_owner(array).ctypes.data)
    if kept is not None:
        kept.read[queue] = ORDER.clock(queue)[queue]


def runtime(properties):
    return types.SimpleNamespace(getDevice=lambda: ORDER.device, getDeviceCount=lambda: ORDER.devices,
                                 setDevice=set_device, getDeviceProperties=lambda number: properties,
                                 runtimeGetVersion=lambda: 12090)  # fmt: skip


@contextlib.contextmanager
def slow():
    """Within the block the GPU finishes nothing unless somebody waits for it."""
    ORDER.slow = True
    try:
        yield
    finally:
        ORDER.slow = False


Stream.null = Stream(null=True)
