"""Threads for a whole network: each goes its way through all layers, and waits for the others only where it must.

`parallel.over` shares out one kernel at a time, and everybody waits for the last at its end; for a network of 50 layers
that is 50 times. A team's members get the whole list of calls. A pair of locks wakes a thread in a third of the time
that queues and futures take.

One team works at a time: a second thread that comes waits for its end. BLAS is held to one thread meanwhile.
"""

import os
import threading
from collections.abc import Callable

from minires.kernels.cpu import parallel


class Meeting:
    """A point where `count` threads wait for each other; may be used again and again."""

    def __init__(self, count: int) -> None:
        self.arrived = [_closed() for _ in range(count - 1)]
        self.leave = [_closed() for _ in range(count - 1)]
        self.broken = False

    def wait(self, index: int) -> None:
        """For the member `index`. RuntimeError if another has failed."""
        if index == 0:
            for lock in self.arrived:
                lock.acquire()
            for lock in self.leave:
                lock.release()
        else:
            self.arrived[index - 1].release()
            self.leave[index - 1].acquire()
        if self.broken:
            raise RuntimeError("another thread of the team has failed")

    def give_up(self, index: int) -> None:
        """A member has failed: the others' next `wait` fails, too."""
        self.broken = True
        for lock in self.leave if index == 0 else [self.arrived[index - 1]]:
            if lock.locked():  # if not, whoever waits for it is about to go through, and to see that it is broken
                lock.release()


def _closed() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


class _Helper:
    """A thread that waits to be given work."""

    def __init__(self) -> None:
        self.start, self.done = _closed(), _closed()
        self.work: Callable[[], None] | None = None
        self.error: BaseException | None = None
        threading.Thread(target=self._serve, daemon=True, name="inference").start()

    def _serve(self) -> None:
        while True:
            self.start.acquire()
            assert self.work is not None
            try:
                self.work()
            except BaseException as error:  # handed to the caller by `together`
                self.error = error
            self.work = None
            self.done.release()


class _State:
    def __init__(self) -> None:
        self.busy = threading.Lock()
        self.helpers: list[_Helper] = []


_state = _State()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _state.__init__())  # type: ignore[misc]


def together(count: int, work: Callable[[int], None]) -> None:
    """work(0), ..., work(count - 1), each in a thread of its own, at once; the caller's own thread does the first.

    Raises the first member's exception (or else another's) once all have ended. Not to be called from within `work`.
    """

    def member(index: int) -> None:
        parallel._inside(lambda share: work(share[0]), [index])

    with _state.busy, parallel._one_blas_thread():
        while len(_state.helpers) < count - 1:
            _state.helpers.append(_Helper())
        helpers = _state.helpers[: count - 1]
        for index, helper in enumerate(helpers, 1):
            helper.work = lambda index=index: member(index)
            helper.start.release()
        failed: BaseException | None = None
        try:
            member(0)
        except BaseException as error:  # raised below, when nobody is at work any more
            failed = error
        for helper in helpers:
            failed = _ended(helper, failed)
    if failed is not None:
        raise failed


def _ended(helper: _Helper, failed: BaseException | None) -> BaseException | None:
    """Waits for a helper; returns the first failure. An interrupt (Ctrl+C) has to wait as well: the helper writes to
    memory that the next call uses."""
    while True:
        try:
            helper.done.acquire()
            break
        except KeyboardInterrupt as interrupt:
            failed = interrupt
    failed, helper.error = failed or helper.error, None
    return failed
