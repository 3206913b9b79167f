"""The one place that reads and writes files: everything in minires that touches a disk comes through here.

`write_atomic` is the only way a file comes to be: a temporary file in the same folder, write, flush to the disk
(fsync), rename over the old one, fsync of the folder. After a crash or a full disk the old file or the new one is
there, whole (Pillai et al., OSDI 2014, "All file systems are not created equal", say what goes wrong when one of the
steps is left out). `append_line` is for logs, whose last line may be torn.

Every system call goes through `system` (system.py), which tests replace by one that fails, records or kills
(`with files.use(...)`), so that what is promised here can be tried at every single call.
"""

import contextlib
import errno
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from typing import Any

from minires.errors import MiniresError
from minires.io.system import System

PathLike = str | os.PathLike[str]

BINARY = getattr(os, "OBINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_WAITING = getattr(os, "O_NONBLOCK", 0)  # opening a named pipe must not wait for somebody who writes to it
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_NOT_FOR_FOLDERS = (errno.EINVAL, getattr(errno, "ENOTSUP", errno.EINVAL))
_AT_LEAST = 1 << 16  # bytes asked for in one read
_TEMPORARY = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.tmp")


class FileAccessError(MiniresError):
    """The operating system refuses to read or write a file. `code` says why, `file` where.

    Codes: file.not_found, file.no_permission, file.no_space, file.not_regular, file.io.
    """

    code = "file.io"


system = System()


@contextlib.contextmanager
def use(other: System) -> Iterator[System]:
    """Within the block every file access of this process goes through `other`."""
    global system
    before, system = system, other
    try:
        yield other
    finally:
        system = before


# ---------------------------------------------------------------------------------------------------------- writing


def write_atomic(path: PathLike, data: bytes | bytearray | memoryview | str) -> None:
    """Make the file `path` hold `data` (text as UTF-8): afterwards, even after a power cut, it is there whole.

    If anything fails, the file that was there before is untouched and the temporary file is gone; FileAccessError
    names the path and the bytes needed. Should the very last step fail (fsync of the folder), the new file is in place
    and the error says that it may not survive a power cut.
    """
    target = os.fspath(path)
    content = memoryview(_as_bytes(data)).cast("B")
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name}.{_mark()}.tmp")
    try:
        try:
            _write_new(temporary, content)
            again(system.replace, temporary, target)
        except FileExistsError:  # somebody else's file under the temporary name: leave it alone
            raise
        except BaseException:
            _remove_quietly(temporary)
            raise
    except OSError as error:
        raise write_error(error, target, len(content)) from error
    _settle(target)


def move_into_place(source: PathLike, target: PathLike) -> None:
    """Give the finished file `source` the name `target`, in the same folder, as durably as `write_atomic` does."""
    temporary, final = os.fspath(source), os.fspath(target)
    try:
        with opened(temporary, os.O_RDWR) as descriptor:
            again(system.fsync, descriptor)
        again(system.replace, temporary, final)
    except OSError as error:
        raise explain(error, final, f"cannot write {final}") from error
    _settle(final)


def append_line(path: PathLike, line: str, sync: bool = False) -> None:
    """Add one line to a log. A torn last line, left by a killed process, is ended first.

    `sync`: wait until it has reached the disk (default: no). Raises ValueError if `line` holds a line break.
    """
    if "\n" in line or "\r" in line:
        raise ValueError(f"a log line must not hold a line break: {line!r}")
    target = os.fspath(path)
    content = _as_bytes(line + "\n")
    try:
        with opened(target, os.O_RDWR | os.O_CREAT | os.O_APPEND) as descriptor:
            if again(system.seek, descriptor, 0, os.SEEK_END) > 0:
                again(system.seek, descriptor, -1, os.SEEK_END)
                if again(system.read, descriptor, 1) != b"\n":
                    content = b"\n" + content
            write_all(descriptor, memoryview(content))
            if sync:
                again(system.fsync, descriptor)
    except OSError as error:
        raise write_error(error, target, len(content)) from error


def make_folder(path: PathLike) -> None:
    """Make a folder and the parents it lacks; nothing happens where it exists. FileAccessError names the path."""
    target = os.fspath(path)
    if not target or os.path.isdir(target):
        return
    make_folder(os.path.dirname(target.rstrip(os.sep)) or ".")
    if not make_new_folder(target) and not os.path.isdir(target):  # another process may have been faster
        error = NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        raise explain(error, target, f"cannot make the folder {target}")


def make_new_folder(path: PathLike) -> bool:
    """Make a folder whose parent exists. False, and nothing happens, if the name is taken. FileAccessError names it."""
    target = os.fspath(path)
    try:
        again(system.make_folder, target)
        sync_folder(os.path.dirname(target.rstrip(os.sep)) or ".")
    except FileExistsError:
        return False
    except OSError as error:
        raise explain(error, target, f"cannot make the folder {target}") from error
    return True


def remove(path: PathLike, missing_ok: bool = False) -> None:
    """Remove a file. `missing_ok`: nothing happens if there is none."""
    target = os.fspath(path)
    try:
        again(system.remove, target)
    except FileNotFoundError as error:
        if not missing_ok:
            raise explain(error, target, f"cannot remove {target}") from error
    except OSError as error:
        raise explain(error, target, f"cannot remove {target}") from error


def is_temporary(name: str) -> bool:
    """Whether a file of this name is a half-written one of ours, whose process has been killed or still writes."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_leftovers(folder: PathLike) -> list[str]:
    """Remove the temporary files that killed processes left in `folder` (if it exists); returns their names.

    Only for a folder that this process has for itself: another's write may be under way.
    """
    found = list_folder(folder) if os.path.isdir(folder) else []
    leftovers = [name for name in found if is_temporary(name)]
    for name in leftovers:
        remove(os.path.join(folder, name), missing_ok=True)
    return leftovers


def sync_folder(folder: str) -> None:
    """Make new names and renames in `folder` survive a power cut. OSError if the disk refuses.

    Windows cannot open folders, and some network file systems cannot flush them (EINVAL): there a rename is as durable
    as the system makes it.
    """
    if os.name == "nt":
        return
    with opened(folder, os.O_RDONLY) as descriptor:
        try:
            again(system.fsync, descriptor)
        except OSError as error:
            if error.errno not in _NOT_FOR_FOLDERS:
                raise


# ---------------------------------------------------------------------------------------------------------- reading


def read_bytes(path: PathLike) -> bytes:
    """The whole content of a regular file. FileAccessError for a missing or unreadable one, a folder, a pipe."""
    return b"".join(read_parts(path, None))


def read_parts(path: PathLike, size: int | None) -> Iterator[bytes]:
    """A file's content in parts of `size` bytes; None: in one by its length, and what it has grown by meanwhile."""
    target = os.fspath(path)
    try:
        with opened(target, os.O_RDONLY | _NO_WAITING) as descriptor:
            status = again(system.status, descriptor)
            if not stat.S_ISREG(status.st_mode):
                kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
                raise FileAccessError(f"cannot read {target}: it is {kind}", code="file.not_regular", file=target)
            wanted = max(status.st_size, _AT_LEAST) if size is None else size
            while part := again(system.read, descriptor, wanted):
                yield part
                wanted = _AT_LEAST if size is None else size
    except OSError as error:
        raise explain(error, target, f"cannot read {target}") from error


def read_text(path: PathLike) -> str:
    """A file's content as text; bytes that are not UTF-8 (file names may hold them) come as lone surrogates."""
    return read_bytes(path).decode("utf-8", "surrogateescape")


def list_folder(path: PathLike) -> list[str]:
    """Names in a folder, sorted. FileAccessError if it cannot be read."""
    target = os.fspath(path)
    try:
        return sorted(again(system.list_folder, target))
    except OSError as error:
        raise explain(error, target, f"cannot read the folder {target}") from error


# ----------------------------------------------------------------------------------------------------- small helpers


def _settle(target: str) -> None:
    try:
        sync_folder(os.path.dirname(target) or ".")
    except OSError as error:
        raise explain(error, target, f"{target} is written but may not survive a power cut") from error


def _mark() -> str:
    """A part of a name that nobody else uses. Process numbers alone repeat: in a container they are always the same."""
    return f"{os.getpid()}-{os.urandom(4).hex()}"


def _as_bytes(data: bytes | bytearray | memoryview | str) -> bytes | bytearray | memoryview:
    return data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data


def again(call: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a system call, made once more whenever a signal interrupted it."""
    while True:
        try:
            return call(*arguments)
        except InterruptedError:
            continue


@contextlib.contextmanager
def opened(path: str, flags: int) -> Iterator[int]:
    """A descriptor within the block. Raises OSError."""
    descriptor = again(system.open, path, flags | BINARY)
    try:
        yield descriptor
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to report
            system.close(descriptor)
        raise
    with contextlib.suppress(InterruptedError):  # the descriptor is gone all the same: a second close may hit another's
        system.close(descriptor)


def _write_new(path: str, content: memoryview) -> None:
    with opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as descriptor:
        write_all(descriptor, content)
        again(system.fsync, descriptor)


def write_all(descriptor: int, content: memoryview) -> None:
    """Write every byte, in as many calls as the system wants. Raises OSError."""
    position = 0
    while position < len(content):
        count = again(system.write, descriptor, content[position:])
        if count == 0:
            raise OSError(errno.EIO, "the system took no byte of a write")
        position += count


def _remove_quietly(path: str) -> None:
    with contextlib.suppress(OSError):  # we are on the way out with the error that matters
        again(system.remove, path)


def write_error(error: OSError, path: str, size: int) -> FileAccessError:
    """The error to raise where `size` bytes could not be written; for a full disk with what is free."""
    message = f"cannot write {path} ({size} bytes needed"
    if error.errno in _FULL:
        with contextlib.suppress(OSError):
            message += f", {shutil.disk_usage(os.path.dirname(path) or '.').free} free"
    return explain(error, path, message + ")")


def explain(error: OSError, path: str, message: str) -> FileAccessError:
    """The error to raise for a refused system call: `message`, the system's reason and a stable code."""
    code, hint = "file.io", None
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        code = "file.not_found"
    elif isinstance(error, PermissionError) or error.errno == errno.EROFS:
        code = "file.no_permission"
    elif error.errno in _FULL:
        code, hint = "file.no_space", "free some space or choose another folder"
    return FileAccessError(f"{message}: {error.strerror or error}", code=code, file=path, hint=hint)
