"""Files of the user's data, opened without ever waiting: regular files only, and errors that name the file."""

import contextlib
import errno
import io
import os
import stat
from typing import BinaryIO

from minires.errors import DataError
from minires.io import files

MAX_FILE_BYTES = 1 << 30

_KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
          stat.S_IFDIR: "a folder"}  # fmt: skip


def unreadable(path: object, reason: str, what: str = "picture", code: str = "data.unreadable_image") -> DataError:
    """The error for a file that cannot be used; its text names the file."""
    hint = None
    if what == "picture":
        hint = "mend or remove the file, or have such pictures skipped: --on-bad-image skip (on_bad_image='skip')"
    elif code == "data.unreadable_image":
        code = "data.unreadable_file"
    return DataError(f"cannot read the {what} {path}: {reason}", code=code, file=str(path), hint=hint)


class _SystemFile(io.RawIOBase):
    """An open descriptor as a file object whose every call goes through `minires.io.files.system`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = files.system.read(self._descriptor, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return files.system.seek(self._descriptor, offset, whence)

    def close(self) -> None:
        if not self.closed:
            super().close()
            with contextlib.suppress(OSError):  # nothing was written, so that nothing can be lost
                files.system.close(self._descriptor)


def open_regular_file(path: str | os.PathLike[str], what: str = "picture") -> BinaryIO:
    """A regular file that is neither empty nor larger than `MAX_FILE_BYTES`, opened for reading; never waits.

    Raises DataError that names the file for anything else.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | files.BINARY  # a FIFO opens at once, unread
    try:
        file = _SystemFile(files.system.open(os.fspath(path), flags))
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise unreadable(path, _why_not_opened(path, error), what) from error
    try:
        _check_regular(path, files.system.status(file._descriptor), what)
    except BaseException as error:
        file.close()
        if isinstance(error, OSError):
            raise unreadable(path, error.strerror or one_line(error), what) from error
        raise
    return io.BufferedReader(file)


def _check_regular(path: str | os.PathLike[str], status: os.stat_result, what: str) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise unreadable(path, f"it is {_KINDS.get(kind, 'no file')}, not a regular file", what)
    if status.st_size == 0:
        raise unreadable(path, "the file is empty", what)
    if status.st_size > MAX_FILE_BYTES:
        too_large = f"{status.st_size} bytes are more than the limit of {MAX_FILE_BYTES}"
        raise unreadable(path, too_large, what, "data.image_too_large")


def read_bytes(path: str | os.PathLike[str], what: str = "picture") -> bytes:
    """All bytes of a file. Raises DataError as `open_regular_file` does, or where the disk fails."""
    with open_regular_file(path, what) as file:
        try:
            return file.read()
        except OSError as error:
            raise unreadable(path, error.strerror or one_line(error), what) from error


def read_text(path: str | os.PathLike[str], what: str) -> str:
    """A text file in UTF-8 (a byte order mark is dropped; bytes that are file names in no encoding survive)."""
    return read_bytes(path, what).decode("utf-8-sig", errors="surrogateescape")


def one_line(error: BaseException) -> str:
    """An exception's text on one line, or its name where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def _why_not_opened(path: str | os.PathLike[str], error: OSError | ValueError) -> str:
    number = getattr(error, "errno", None)
    if number == errno.ENOENT:
        return "it is a link that points nowhere" if os.path.islink(path) else "there is no such file"
    if number in (errno.EACCES, errno.EPERM):
        return "no permission to read it"
    return getattr(error, "strerror", None) or one_line(error)
