"""--workers and --worker-type: how many prepare the batches of a data set, and of which kind."""

import os
from typing import Any

AUTO = "auto"
MOST = 8  # that "auto" takes


def loader_workers(workers: int | str, kind: str, dataset: Any, keep: bool = False) -> dict[str, Any]:
    """The DataLoader's arguments. `keep`: the same workers in every epoch, where there are any.

    "auto": a worker for each processor that this process may use, eight at most, for pictures in files; none for data
    that are in memory already, which are quicker to fetch than to hand over.
    """
    count = int(workers) if workers != AUTO else min(MOST, usable_processors()) if _in_files(dataset) else 0
    return {"num_workers": count, "worker_type": kind, "persistent_workers": keep and count > 0}


def usable_processors() -> int:
    """How many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _in_files(dataset: Any) -> bool:
    return hasattr(dataset, "samples")
