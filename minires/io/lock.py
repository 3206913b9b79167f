"""A lock on a folder: one process at a time works in it.

The lock is the operating system's own (flock on POSIX, msvcrt.locking on Windows) on a file that says who holds it. It
ends with the process that holds it, however that dies, so a lock file left by a killed process stops nobody.
"""

import contextlib
import errno
import os
import socket
import time
import warnings
from types import TracebackType

from minires.errors import UsageError
from minires.io import files

_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, getattr(errno, "EDEADLOCK", errno.EAGAIN))
_FAR_BYTE = 1 << 30  # Windows locks bytes, and nobody could read those that are locked


class FolderLock:
    """Holds `path` (a file, made if need be) from construction until `release` or the end of the process.

    UsageError (code "run.locked") naming the holder's process number and host if somebody else has it. `left_by`: who
    held it last and died without releasing it, or None. On a file system without locks (some network folders) a
    warning is given, and the lock is refused only while the process named in the file lives on this host.
    """

    def __init__(self, path: files.PathLike) -> None:
        self.path = os.fspath(path)
        self.left_by: str | None = None
        try:
            self._descriptor: int | None = files.system.open(self.path, os.O_RDWR | os.O_CREAT | files.BINARY)
        except OSError as error:
            raise files.explain(error, self.path, f"cannot lock {self.path}") from error
        try:
            self._take(self._descriptor)
        except BaseException as error:
            with contextlib.suppress(OSError):  # the first error is the one to report
                files.system.close(self._descriptor)
            self._descriptor = None
            if isinstance(error, OSError):  # the disk is full: there is no room for our name
                raise files.explain(error, self.path, f"cannot lock {self.path}") from error
            raise

    def _take(self, descriptor: int) -> None:
        try:
            _lock(descriptor)
        except OSError as error:
            holder = files.system.read(descriptor, 4096).decode("utf-8", "replace").strip()
            if error.errno in _HELD:
                raise self._refusal(holder) from error
            if _lives_here(holder):
                raise self._refusal(holder) from error
            warnings.warn(f"{self.path}: this file system has no locks ({error.strerror}); do not run twice in this "
                          "folder at once", stacklevel=4)  # fmt: skip
        files.system.seek(descriptor, 0, os.SEEK_SET)
        self.left_by = files.system.read(descriptor, 4096).decode("utf-8", "replace").strip() or None
        self._write(descriptor, _signature())

    def _write(self, descriptor: int, text: str) -> None:
        files.system.truncate(descriptor, 0)
        files.system.seek(descriptor, 0, os.SEEK_SET)
        files.system.write(descriptor, memoryview(text.encode()))

    def _refusal(self, holder: str) -> UsageError:
        folder = os.path.dirname(self.path) or "."
        return UsageError(
            f"{folder} is in use by another process ({holder or 'which does not say its name'})",
            code="run.locked", file=folder, hint="wait for it to end, or choose another --output",
        )  # fmt: skip

    def release(self) -> None:
        """Give the lock up. The file stays, empty: removing it would let two others hold one lock each."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            try:
                files.system.truncate(descriptor, 0)
            finally:
                files.system.close(descriptor)
        except OSError as error:
            raise files.explain(error, self.path, f"cannot write {self.path}") from error

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _signature() -> str:
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return f"pid {os.getpid()} host {socket.gethostname()} since {started}\n"


def _lives_here(holder: str) -> bool:
    """Whether the process that a lock file names is alive on this host."""
    if os.name == "nt":
        return False  # os.kill would end the process there
    words = holder.split()
    if len(words) < 4 or not words[1].isdigit() or words[3] != socket.gethostname():
        return False
    if int(words[1]) == os.getpid():
        return False
    with contextlib.suppress(ProcessLookupError, OverflowError):  # no process has such a number
        try:
            os.kill(int(words[1]), 0)
        except PermissionError:
            return True
        return True
    return False


if os.name == "nt":  # not tried: minires is tested on Linux
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, _FAR_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        os.lseek(descriptor, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
