"""Signals that wait: Ctrl-C, SIGTERM and SIGHUP take effect between two steps, when everything can be saved."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP


class Interrupts:
    """What has arrived so far: `pending` is the number of the signal that waits, 0 if none does."""

    def __init__(self) -> None:
        self.pending = 0
        self.handlers: dict[int, Any] = {}

    def _arrive(self, number: int, frame: FrameType | None) -> None:
        """The first signal waits. A second one takes effect at once: somebody is impatient."""
        if self.pending:
            self._restore()
            signal.raise_signal(number)
            return
        self.pending = number

    def _install(self) -> None:
        for name in SIGNALS:
            number = getattr(signal, name, None)
            handler = None if number is None else signal.getsignal(number)
            if number is not None and handler not in (None, signal.SIG_IGN):  # what is ignored stays ignored
                self.handlers[number] = handler
                signal.signal(number, self._arrive)

    def _restore(self) -> None:
        while self.handlers:
            signal.signal(*self.handlers.popitem())

    def deliver(self) -> None:
        """Give the waiting signal to the handler that was there before; as a rule this raises."""
        self._restore()
        if self.pending:
            number, self.pending = self.pending, 0
            signal.raise_signal(number)


@contextlib.contextmanager
def held_back() -> Iterator[Interrupts]:
    """Within the block signals wait; at its end one that still waits takes effect, unless an exception is on its way.

    In other threads than the main one nothing changes: they get no signals.
    """
    interrupts = Interrupts()
    if threading.current_thread() is threading.main_thread():
        interrupts._install()
    try:
        yield interrupts
    except BaseException:
        interrupts._restore()
        raise
    interrupts.deliver()
