"""A few threads that prepare jobs ahead; the results are taken in the order of the jobs."""

import queue
import threading
from collections.abc import Callable
from typing import Any

Prepare = Callable[[Any, Callable[[str], None]], Any]


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """Raised inside a worker when nobody waits for its result any more."""


class WorkerPool:
    """`count` threads run `prepare(job, checkpoint)`; `submit` numbers the jobs, `take` waits for one of them.

    `prepare` calls `checkpoint(name)` before each file: this notes what the thread is at, for messages, and ends the
    job early by `Stopped` when the pool is being closed. Whatever `prepare` raises, `take` raises in its turn.
    """

    def __init__(self, prepare: Prepare, count: int) -> None:
        self._prepare = prepare
        self._jobs: queue.SimpleQueue[tuple[int, Any] | None] = queue.SimpleQueue()
        self._results: dict[int, tuple[Any, BaseException | None]] = {}
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._at: dict[str, str] = {}  # thread -> what it is at
        self._threads = [
            threading.Thread(target=self._work, name=f"minires-loader-{index}", daemon=True) for index in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, number: int, job: Any) -> None:
        """Have a job done; its result is kept under `number`."""
        self._jobs.put((number, job))

    def take(self, number: int, timeout: float = 0) -> Any:
        """The result of a job. Raises what the worker raised, or TimeoutError naming the files in hand after `timeout`
        seconds (0: wait for ever)."""
        with self._changed:
            if not self._changed.wait_for(lambda: number in self._results, timeout or None):
                at = ", ".join(f"{thread} at {name}" for thread, name in sorted(self._at.items())) or "none at work"
                raise TimeoutError(f"no batch from the loader's workers within {timeout:g} s ({at})")
            result, error = self._results.pop(number)
        if error is None:
            return result
        try:
            raise error
        finally:
            del error  # the exception's traceback holds this frame: without this, a circle

    def close(self, wait: bool = True) -> None:
        """End the threads, after the picture that each is at; `wait` until they have ended."""
        self._closing.set()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads if wait else ():
            thread.join()

    def _work(self) -> None:
        me = threading.current_thread().name

        def checkpoint(name: str) -> None:
            if self._closing.is_set():
                raise Stopped
            self._at[me] = name

        while (task := self._jobs.get()) is not None:
            number, job = task
            result, error = None, None
            try:
                result = self._prepare(job, checkpoint)
            except BaseException as raised:  # handed to whoever waits for this job
                error = raised
            self._at.pop(me, None)
            with self._changed:
                self._results[number] = (result, error)
                self._changed.notify_all()
            del result, error, task
