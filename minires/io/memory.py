"""How much memory this process may still take, as far as the system tells."""

import os

from minires.io import files

_MEMINFO, _CGROUP = "/proc/meminfo", "/sys/fs/cgroup"


def available_memory() -> int | None:
    """Bytes: the least of what the machine has free, a container leaves, and a limit on the process allows.

    None where none of them is known.
    """
    found = [room for room in (_machine(), _container(), _limit()) if room is not None]
    return max(0, min(found)) if found else None


def _machine() -> int | None:
    if not os.path.exists(_MEMINFO):
        return None
    for line in files.read_text(_MEMINFO).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _container() -> int | None:
    """What is left of a control group's limit (version 2)."""
    limit, used = (os.path.join(_CGROUP, name) for name in ("memory.max", "memory.current"))
    if not (os.path.exists(limit) and os.path.exists(used)):
        return None
    text = files.read_text(limit).strip()
    return None if text == "max" else int(text) - int(files.read_text(used))


def _limit() -> int | None:
    """What is left of the limit on the address space (ulimit -v)."""
    try:
        import resource
    except ImportError:  # Windows has none
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY or not os.path.exists("/proc/self/statm"):
        return None
    return limit - int(files.read_text("/proc/self/statm").split()[0]) * resource.getpagesize()
