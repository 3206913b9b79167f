"""A file that arrives in pieces: it grows as NAME.part and gets its own name when it is whole and has been checked.

Beside it, NAME.part.json notes what the pieces are pieces of, so that a later process can go on. A .part file without
notes, or with notes that do not fit, is worth nothing.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

from minires.io import files

_READ = 1 << 20  # bytes read at once for a checksum


def sha256(path: files.PathLike) -> str:
    """The SHA-256 of a file's content, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in files.read_parts(path, _READ):
        digest.update(part)
    return digest.hexdigest()


class PartFile:
    """The unfinished form of the file `target`. Nothing is touched before a method is called."""

    def __init__(self, target: str) -> None:
        self.target, self.path, self._notes = target, f"{target}.part", f"{target}.part.json"

    @property
    def size(self) -> int:
        """Bytes that are there; 0 if there is no file."""
        return os.path.getsize(self.path) if os.path.exists(self.path) else 0

    def notes(self) -> dict[str, Any]:
        """What was noted at the beginning; {} if nothing is there to go on from, or a killed process tore the note."""
        if not os.path.isfile(self.path) or not os.path.isfile(self._notes):
            return {}
        try:
            noted = json.loads(files.read_text(self._notes))
        except ValueError:
            return {}
        return noted if isinstance(noted, dict) else {}

    def begin(self, notes: dict[str, Any]) -> None:
        """Start anew, with an empty file."""
        self.discard()
        files.append_line(self._notes, json.dumps(notes))

    @contextlib.contextmanager
    def appending(self, expected: int | None) -> Iterator[Callable[[bytes], None]]:
        """Within the block, a function that adds bytes at the end. `expected`: all there will be, for messages.

        FileAccessError if the disk refuses.
        """
        with self._explained(expected):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | files.BINARY
            descriptor = files.again(files.system.open, self.path, flags)

        def append(data: bytes) -> None:
            with self._explained(expected):
                files.write_all(descriptor, memoryview(data))

        try:
            yield append
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one to report
                files.system.close(descriptor)
            raise
        with self._explained(expected), contextlib.suppress(InterruptedError):  # closed all the same
            files.system.close(descriptor)

    @contextlib.contextmanager
    def _explained(self, expected: int | None) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise files.write_error(error, self.path, max((expected or 0) - self.size, 0)) from error

    def finish(self) -> None:
        """Give the file its name. It survives a power cut from here on."""
        files.remove(self._notes, missing_ok=True)
        files.move_into_place(self.path, self.target)

    def discard(self) -> None:
        """Remove what is there."""
        files.remove(self.path, missing_ok=True)
        files.remove(self._notes, missing_ok=True)
