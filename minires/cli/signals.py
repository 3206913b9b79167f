"""SIGTERM and SIGHUP as an exception, so that files are closed and the exit status says what happened."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

WORDS = {"SIGTERM": "terminated", "SIGHUP": "hung up"}  # SIGHUP: the terminal or the connection is gone


class Terminated(BaseException):
    """The process was asked to end by the signal `number`."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def word(self) -> str:
        """What has happened."""
        return WORDS[signal.Signals(self.number).name]

    @property
    def status(self) -> int:
        """The exit status that shells expect: 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + self.number


def _raise(number: int, frame: FrameType | None) -> None:
    raise Terminated(number)


@contextlib.contextmanager
def termination() -> Iterator[None]:
    """Within the block SIGTERM and SIGHUP raise Terminated. In other threads than the main one nothing changes.

    What is ignored (SIGHUP, under nohup) stays ignored; Windows has no SIGHUP.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    for name in WORDS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) not in (None, signal.SIG_IGN):
            before[number] = signal.signal(number, _raise)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
