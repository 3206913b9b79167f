"""Memory that has been freed stays with the process: a new large array then costs no page faults.

glibc asks the system for fresh pages for every array beyond some megabytes, and gives them back when it is freed. The
system must fill each page with zeros first, so that writing 51 MB to a new array takes twice as long as to an old one.
A training step makes and frees hundreds of them, always of the same sizes. Two thresholds of glibc's `mallopt` change
that for the whole process: arrays up to `KEEP` come from the heap, and so much free memory at the heap's end is kept.

A user who has set one of glibc's own variables keeps what they say. Other C libraries are left alone.
Source: the manual page mallopt(3).
"""

import ctypes
import os
import sys
from collections.abc import Mapping

KEEP = (1 << 31) - 1  # bytes: the largest that mallopt takes
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD in malloc.h
VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_")


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Set both thresholds; whether it was done."""
    if any(name in environment for name in VARIABLES) or "malloc" in environment.get("GLIBC_TUNABLES", ""):
        return False
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # no glibc
        return False
    return bool(mallopt(MMAP_THRESHOLD, KEEP)) and bool(mallopt(TRIM_THRESHOLD, KEEP))
