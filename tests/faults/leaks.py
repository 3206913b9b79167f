"""What a fault must not leave behind: descriptors, threads, children, shared memory, temporary files.

`with nothing_left(folder): ...` looks before and after. Threads and children get a moment to end.
"""

import contextlib
import gc
import os
import pathlib
import threading
import time
from collections.abc import Iterator

GRACE = 5.0  # seconds; a busy machine takes its time to end a thread
SHARED = pathlib.Path("/dev/shm")


@contextlib.contextmanager
def nothing_left(*folders: pathlib.Path) -> Iterator[None]:
    """The block leaves nothing in this process, none of its children, and no temporary file below `folders`."""
    before = census()
    yield
    gc.collect()
    deadline = time.monotonic() + GRACE
    while (left := leaks(before, *folders)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left, left


def census() -> dict[str, set[str]]:
    """Everything that this process holds, by kind."""
    return {
        "descriptor": descriptors(),
        "thread": {f"{thread.name} {thread.ident}" for thread in threading.enumerate()},
        "child": children(),
        "shared memory": shared_memory(),
        "temporary file": set(),  # none is ever all right: see leaks
    }


def leaks(before: dict[str, set[str]], *folders: pathlib.Path) -> dict[str, set[str]]:
    """What there is now and was not before, by kind; and half-written files below `folders`."""
    now = census()
    found = {kind: now[kind] - before[kind] for kind in before}
    found["temporary file"] |= half_files(*folders)
    return {kind: names for kind, names in found.items() if names}


def half_files(*folders: pathlib.Path) -> set[str]:
    """Files that are never left under these names: half-written and half-downloaded ones."""
    return {str(path) for folder in folders for kind in ("*.tmp", "*.part") for path in folder.rglob(kind)}


def descriptors() -> set[str]:
    """Number and target of each open descriptor."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that lists the folder
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
    return {entry for entry in found if not entry.endswith("/fd")}


def children() -> set[str]:
    """Processes that this one has started and not waited for."""
    found: set[str] = set()
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.update(pathlib.Path(f"/proc/self/task/{thread}/children").read_text().split())
    return found


def of_session(leader: int) -> set[str]:
    """Processes of the session that the process `leader` began: after its end, orphans."""
    found = set()
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader and int(folder.name) != leader:
                found.add(f"{folder.name} {(folder / 'cmdline').read_text()}")
    return found


def no_orphans(leader: int) -> None:
    """Nothing of the session of the ended process `leader` lives on."""
    deadline = time.monotonic() + GRACE
    while (left := of_session(leader)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left, left


def shared_memory() -> set[str]:
    """Segments that no other living process has mapped: those are somebody else's business."""
    names = set(os.listdir(SHARED)) if SHARED.is_dir() else set()
    for folder in pathlib.Path("/proc").glob("[0-9]*") if names else ():
        if folder.name != str(os.getpid()):
            with contextlib.suppress(OSError):
                text = (folder / "maps").read_text()
                names = {name for name in names if f"{SHARED}/{name}" not in text}
    return names
