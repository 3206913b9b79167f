"""Systems to put under minires.io.files: one that fails at call N, one that kills, one that records."""

import errno
import os
import signal

from minires.io.system import System

CALLS = ("open", "read", "write", "seek", "truncate", "fsync", "status", "close", "replace", "remove", "make_folder",
         "list_folder", "remove_folder")  # fmt: skip
NEEDS_SPACE = ("open", "write", "fsync", "replace", "make_folder")  # what a full disk can refuse


class Counting(System):
    """Does what the system does, and calls `before(name, arguments)` ahead of each call. `names`: the calls so far."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def before(self, name: str, arguments: tuple):
        """Return a function to be called in place of the real one, or None."""

    def _call(self, name: str, *arguments):
        self.names.append(name)
        instead = self.before(name, arguments)
        return (instead or getattr(System, name))(self, *arguments)


for _name in CALLS:
    setattr(Counting, _name, lambda self, *arguments, _name=_name: self._call(_name, *arguments))


class Faulty(Counting):
    """Call number `at` (from 1) of those in `calls` fails with `number`; `sticky`: so do all that come after it.

    Removing never fails when sticky, as on a full disk. A failing `close` has closed, as on Linux.
    """

    def __init__(self, number: int, at: int, sticky: bool, calls=CALLS) -> None:
        super().__init__()
        self.number, self.at, self.sticky, self.calls = number, at, sticky, calls
        self.seen, self.fired = 0, False

    def before(self, name: str, arguments: tuple):
        if name not in self.calls or (self.sticky and name == "remove"):
            return None
        self.seen += 1
        if self.seen == self.at or (self.sticky and self.seen > self.at):
            self.fired = True
            return self.fail_after_closing if name == "close" else self.fail
        return None

    def fail(self, *_arguments):
        raise OSError(self.number, os.strerror(self.number))

    def fail_after_closing(self, _self, descriptor):
        os.close(descriptor)
        self.fail()


class FullDisk(Faulty):
    """As Faulty, for the calls that need space: opening a file fails only where that would make one."""

    def __init__(self, number: int, at: int, sticky: bool) -> None:
        super().__init__(number, at, sticky, NEEDS_SPACE)

    def before(self, name: str, arguments: tuple):
        if name == "open" and not arguments[1] & os.O_CREAT:
            return None
        return super().before(name, arguments)


class ShortWrites(Counting):
    """Write number `at` (or, sticky, each from there on) takes only part of the bytes."""

    def __init__(self, at: int, sticky: bool, size: int = 7) -> None:
        super().__init__()
        self.at, self.sticky, self.size, self.seen, self.fired = at, sticky, size, 0, False

    def before(self, name: str, arguments: tuple):
        if name != "write":
            return None
        self.seen += 1
        if self.seen == self.at or (self.sticky and self.seen > self.at):
            self.fired = True
            return lambda _self, descriptor, data: os.write(descriptor, data[: self.size])
        return None


class Killing(Counting):
    """The process kills itself in place of call number `at`."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def before(self, name: str, arguments: tuple):
        if len(self.names) == self.at:
            if name == "write":
                os.write(arguments[0], arguments[1][: len(arguments[1]) // 2])  # half-way through
            os.kill(os.getpid(), signal.SIGKILL)


class Recording(Counting):
    """Keeps what reached the disk and in which order, for crash_states.py."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[tuple] = []
        self._paths: dict[int, str] = {}  # descriptor -> path

    def open(self, path, flags):
        new = flags & os.O_CREAT and not os.path.exists(path)
        descriptor = System.open(self, path, flags)
        self._paths[descriptor] = path
        if new:
            self.log.append(("create", path))
        if flags & os.O_TRUNC:
            self.log.append(("truncate", path))
        return descriptor

    def write(self, descriptor, data):
        count = System.write(self, descriptor, data)
        self.log.append(("write", self._paths[descriptor], bytes(data[:count])))
        return count

    def fsync(self, descriptor):
        path = self._paths[descriptor]
        System.fsync(self, descriptor)
        self.log.append(("fsync_folder" if os.path.isdir(path) else "fsync", path))

    def replace(self, source, target):
        System.replace(self, source, target)
        self.log.append(("replace", source, target))
        self._paths = {key: target if path == source else path for key, path in self._paths.items()}

    def remove(self, path):
        System.remove(self, path)
        self.log.append(("remove", path))


ERRORS = {"ENOSPC": errno.ENOSPC, "EDQUOT": errno.EDQUOT, "EIO": errno.EIO}
