"""The command `minires`: it stands outside the package, so that Ctrl-C is answered while the package still loads."""

import os
import signal
from types import FrameType


def main() -> int:
    """Load minires and run this process's command line; returns its exit status."""
    caught = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not signal.SIG_IGN]
    for number in caught:
        signal.signal(number, _leave)
    from minires.cli import main as run

    for number in caught:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    try:
        return run()
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_IGN)  # all is done, and Python's end is no place for exceptions


def _leave(number: int, frame: FrameType | None) -> None:
    """Nothing has been begun: go at once, with the exit status that a stopped run has."""
    word = b"interrupted" if number == signal.SIGINT else b"terminated"
    os.write(2, b"minires: " + word + b"\n")
    os._exit(128 + number)


if __name__ == "__main__":
    raise SystemExit(main())
