"""Freed memory stays with the process, unless the user told glibc otherwise."""

import os
import subprocess
import sys

import pytest

from minires.kernels.cpu import allocator

FAULTS = """
import resource
import numpy as np
import minires
def touch():
    np.ones((48, 1 << 20), np.uint8)
for _ in range(3):
    touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(**variables):
    """Of five arrays of 48 MB in a new process, after three others."""
    environment = {**os.environ, **variables}
    run = subprocess.run([sys.executable, "-c", FAULTS], env=environment, capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(not allocator.keep_freed_memory({}), reason="this C library has no such thresholds")
def test_arrays_of_one_size_use_the_same_pages():
    new_pages = page_faults(MALLOC_MMAP_THRESHOLD_="1000000")
    assert new_pages > 5 * 20, "the user's own threshold: fresh pages, of 4 kB or of 2 MB"
    assert page_faults() < new_pages / 10


@pytest.mark.parametrize(
    "environment", [{"MALLOC_TRIM_THRESHOLD_": "1"}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1"}]
)
def test_what_the_user_has_set_stays(environment):
    assert not allocator.keep_freed_memory(environment)
