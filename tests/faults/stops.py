"""A command line that signals itself at a chosen call: python -m tests.faults.stops CALL PART NTH SIGNALS WORDS."""

import os
import signal
import sys
import time

from minires.cli import main
from minires.io import files
from tests.io.faults import Counting


class Signalling(Counting):
    """At the `nth` call of `name` whose file's path holds `part`, the process gets the signals, one after the other."""

    def __init__(self, name: str, part: str, nth: int, numbers: list[int]) -> None:
        super().__init__()
        self.name, self.part, self.left, self.numbers = name, part, nth, numbers
        self.paths: dict[int, str] = {}

    def open(self, path: str, flags: int) -> int:
        descriptor = self._call("open", path, flags)
        self.paths[descriptor] = path
        return descriptor

    def before(self, name: str, arguments: tuple) -> None:
        if name != self.name or self.part not in str(self.paths.get(arguments[0], arguments[0])):
            return
        self.left -= 1
        if self.left == 0:
            print(f"signalled at {time.monotonic()}", flush=True)
            for number in self.numbers:
                os.killpg(os.getpgrp(), number)  # the workers, too: so does Ctrl-C in a terminal
                time.sleep(0.02)  # for the handler of the first to have run, where it lets us go on


if __name__ == "__main__":
    name, part, nth, numbers, *words = sys.argv[1:]
    with files.use(Signalling(name, part, int(nth), [getattr(signal, word) for word in numbers.split(",")])):
        status = main(words)
    print(f"ended at {time.monotonic()}", flush=True)
    sys.exit(status)
