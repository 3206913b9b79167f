"""Work shared between threads: NumPy and BLAS release the interpreter while they compute.

BLAS has threads of its own, but it uses them for its products only; additions, copies and comparisons would run on one
core. Here a kernel's blocks of rows or images are divided between as many Python threads as BLAS would use at that
moment, and BLAS is held to one thread meanwhile, for a single block too: its own threads wait by spinning for some
milliseconds after each product, and would take half of the processor from ours. So `OMP_NUM_THREADS=1`, or
`threadpoolctl.threadpool_limits(1)` around a piece of code, keeps the kernels on one core as well, without a switch of
their own.

Each thread gets one unbroken range of blocks and results come back in the order of the ranges, so that the same number
of threads gives the same bits. Several threads of a program may call kernels at once: they share the helpers.
"""

import functools
import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import threadpoolctl

Block = TypeVar("Block")
Result = TypeVar("Result")


class _State:
    """The helpers, and how many calls of `over` are under way; made anew in a forked child, which has no threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.active = 0
        self.threads = 1
        self.before: list[int] = []  # the threads of each BLAS library while it is held to one
        self.helpers: ThreadPoolExecutor | None = None
        self.inside = threading.local()


_state = _State()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _state.__init__())  # type: ignore[misc]


@functools.cache
def _blas() -> list[Any]:
    """The controls of the BLAS libraries of this process, found once: looking for them takes milliseconds."""
    return threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers


def blas_threads() -> int:
    """How many threads BLAS would use now; 1 where there is no BLAS whose threads can be set."""
    return max((library.get_num_threads() or 1 for library in _blas()), default=1)


def _hold_blas() -> int:
    """Hold BLAS to one thread; the first to come notes how many each library had. How many threads there may be."""
    with _state.lock:
        if _state.active == 0:
            _state.threads = blas_threads()
            _state.before = [library.get_num_threads() for library in _blas()]
            _set_blas([1] * len(_state.before))
        _state.active += 1
        return _state.threads


def _release_blas() -> None:
    """The last to go gives BLAS its threads back."""
    with _state.lock:
        _state.active -= 1
        if _state.active == 0:
            _set_blas(_state.before)


@contextmanager
def _one_blas_thread() -> Iterator[int]:
    """A block in which BLAS is held to one thread."""
    threads = _hold_blas()
    try:
        yield threads
    finally:
        _release_blas()


def _set_blas(counts: Sequence[int]) -> None:
    for library, before, count in zip(_blas(), _state.before, counts, strict=True):
        if before != 1:  # else it has one thread, and keeps it
            library.set_num_threads(count)


def _helpers() -> ThreadPoolExecutor:
    with _state.lock:
        if _state.helpers is None:
            _state.helpers = ThreadPoolExecutor(max_workers=max(1, (os.cpu_count() or 1)), thread_name_prefix="kernel")
        return _state.helpers


def shares(blocks: Sequence[Block], count: int) -> list[Sequence[Block]]:
    """`blocks` in at most `count` unbroken ranges, as equal as can be; none is empty unless there are no blocks."""
    count = max(1, min(count, len(blocks)))
    edges = [len(blocks) * index // count for index in range(count + 1)]
    return [blocks[start:stop] for start, stop in itertools.pairwise(edges)]


def over(blocks: Sequence[Block], work: Callable[[Sequence[Block]], Result]) -> list[Result]:
    """[work(range of blocks) for each thread], computed at once. `work` must write to places of its own only.

    A single block, and a call from within `work`, is done by the calling thread. An exception of any thread is raised
    once all have ended.
    """
    if getattr(_state.inside, "yes", False):
        return [work(blocks)]
    threads = _hold_blas()
    try:
        own, *others = shares(blocks, threads)
        futures = [_helpers().submit(_inside, work, share) for share in others]
        try:
            first = _inside(work, own)
        finally:
            for future in futures:
                future.exception()  # waits
        return [first, *(future.result() for future in futures)]
    finally:
        _release_blas()


def _inside(work: Callable[[Sequence[Block]], Result], share: Sequence[Block]) -> Result:
    """work(share), marked so that a call of `over` within it does not divide its work again."""
    _state.inside.yes = True
    try:
        return work(share)
    finally:
        _state.inside.yes = False


def ranges(count: int, size: int) -> list[slice]:
    """`count` things in ranges of up to `size`, of equal lengths and as many for each thread: [slice(0, k), ...].

    What fits into half a range stays in one: too little to share.
    """
    threads = current_threads()
    number = -(-count // max(1, size))
    if 2 * count > size:
        number = min(count, -(-number // threads) * threads)
    step = -(-count // max(1, number))
    return [slice(start, min(start + step, count)) for start in range(0, count, max(1, step))]


def current_threads() -> int:
    """Among how many threads `over` would divide its work now."""
    if getattr(_state.inside, "yes", False):
        return 1
    with _state.lock:
        return _state.threads if _state.active else blas_threads()


def added(results: Sequence[np.ndarray]) -> np.ndarray:
    """The sum of the threads' results, in their order; written to the first of them."""
    total, *others = results
    for other in others:
        total += other
    return total


def set_blas_threads(count: int) -> None:
    """How many threads BLAS, and so the kernels, may use from now on. RuntimeError for less than one."""
    if not isinstance(count, int) or count < 1:
        raise RuntimeError(f"set_num_threads expects a positive integer, got {count!r}")
    for library in _blas():
        library.set_num_threads(count)
