"""How worker processes are started: never by a bare fork, and so that Ctrl-C finds no half-made process."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

from minires.data.worker_jobs import Prepare

START_METHODS = ("forkserver", "spawn")


def start_context(method: Any = None) -> Any:
    """The multiprocessing context for "spawn", "forkserver" or such a context object.

    None: a fork server on Linux, where it is quick, else "spawn". Raises ValueError for "fork": the copy of a process
    in which BLAS has threads may wait for ever for one that was not copied.
    """
    if method is None:
        method = "forkserver" if sys.platform == "linux" else "spawn"
    name = method if isinstance(method, str) else method.get_start_method()
    if name == "fork":
        raise ValueError(
            'multiprocessing_context="fork" is refused: the copy of a process in which BLAS has threads can wait for '
            'ever; "forkserver" starts as quickly, "spawn" works on every system'
        )
    known = multiprocessing.get_all_start_methods()
    if name not in START_METHODS or name not in known:
        here = [other for other in START_METHODS if other in known]
        raise ValueError(f"multiprocessing_context must be one of {', '.join(here)}, got {name!r}")
    return multiprocessing.get_context(method) if isinstance(method, str) else method


def start_helpers(context: Any) -> None:
    """Start multiprocessing's own helpers, so that no Ctrl-C meets them half-way. They live as long as this process."""
    if os.name == "nt":
        return
    from multiprocessing import forkserver, resource_tracker

    resource_tracker.ensure_running()
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(["__main__", "minires.data.worker_preload"])  # unless it is running already
        with signals_blocked("SIGINT"):
            forkserver.ensure_running()


@contextlib.contextmanager
def signals_blocked(*names: str) -> Iterator[None]:
    """Within the block these signals wait, for this thread and the processes that it starts; not on Windows."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {getattr(signal, name) for name in names})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def pickled(prepare: Prepare, init: Callable[[int], Any] | None) -> bytes:
    """What each worker is sent. Raises TypeError that says what to do where it cannot be pickled."""
    try:
        return pickle.dumps((prepare, init), protocol=5)
    except Exception as error:
        raise TypeError(
            f"the data set, its transforms, collate_fn and worker_init_fn cannot be sent to worker processes: {error} "
            '(use functions of a module instead of lambdas and local functions, or worker_type="thread")'
        ) from error


def how_it_ended(code: int) -> str:
    """An exit code of multiprocessing in words."""
    if code >= 0:
        return f"ended with exit status {code}"
    known = {int(number): number.name for number in signal.Signals}
    return f"was ended by {known.get(-code, f'signal {-code}')}"
