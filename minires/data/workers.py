"""A few threads that prepare jobs ahead; the results are taken in whatever order somebody asks for them."""

import itertools
import queue
import threading
from collections.abc import Callable, Iterable
from typing import Any

from minires.data.worker_jobs import Job, Prepare, WorkerTimeoutError

Init = Callable[[int], Any]  # worker_init_fn


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """Raised inside a worker when nobody waits for its result any more."""


class ThreadPool:
    """`count` threads run `prepare(job, checkpoint)`; `submit` numbers the jobs, `take` waits for one of them.

    The checkpoint before each sample notes what the thread is at, for messages, and ends the job early by `Stopped`
    when it is cancelled. Whatever `prepare` raises, `take` raises in its turn. `init(worker)` runs first in each.
    """

    def __init__(self, prepare: Prepare, count: int, init: Init | None = None) -> None:
        self._prepare, self._init = prepare, init
        self._numbers = itertools.count()
        self._jobs: queue.SimpleQueue[tuple[int, Job] | None] = queue.SimpleQueue()
        self._wanted: set[int] = set()
        self._results: dict[int, tuple[Any, BaseException | None]] = {}
        self._failure: BaseException | None = None  # of an init: there is nothing to wait for then
        self._changed = threading.Condition()
        self._at: dict[int, tuple[Job, int]] = {}  # worker -> job and place in it
        self._threads = [
            threading.Thread(target=self._work, args=(index,), name=f"minires-loader-{index}", daemon=True)
            for index in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> int:
        """Have a job done; returns the number to take its result by."""
        number = next(self._numbers)
        self._wanted.add(number)
        self._jobs.put((number, job))
        return number

    def take(self, number: int, timeout: float = 0) -> Any:
        """The result of a job. Raises what the worker raised, or WorkerTimeoutError naming the samples in hand after
        `timeout` seconds (0: wait for ever)."""
        with self._changed:
            if not self._changed.wait_for(lambda: number in self._results or self._failure, timeout or None):
                raise self._too_late(timeout)
            if number not in self._results:
                assert self._failure is not None
                raise self._failure
            result, error = self._results.pop(number)
            self._wanted.discard(number)
        if error is None:
            return result
        try:
            raise error
        finally:
            del error  # the exception's traceback holds this frame: without this, a circle

    def cancel(self, numbers: Iterable[int]) -> None:
        """Nobody will take these: they are left off, and their results dropped."""
        with self._changed:
            for number in numbers:
                self._wanted.discard(number)
                self._results.pop(number, None)

    def close(self, wait: bool = True) -> None:
        """End the threads, after the sample that each is at; `wait` until they have ended."""
        self.cancel(list(self._wanted))
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads if wait else ():
            thread.join()

    def _too_late(self, timeout: float) -> WorkerTimeoutError:
        places = [(worker, *self._prepare.where(*at)) for worker, at in sorted(self._at.items())]
        busy = ", ".join(f"worker {worker} at {where}" for worker, where, _ in places) or "none at work"
        message = f"no batch from the loader's workers within {timeout:g} s ({busy})"
        return WorkerTimeoutError(message, file=next((file for *_, file in places if file), None))

    def _work(self, worker: int) -> None:
        try:
            if self._init is not None:
                self._init(worker)
        except BaseException as failure:
            failure.add_note(f"in worker_init_fn of worker {worker}")
            with self._changed:
                self._failure = failure
                self._changed.notify_all()
            return

        while (task := self._jobs.get()) is not None:
            number, job = task

            def checkpoint(place: int, number: int = number, job: Job = job) -> None:
                if number not in self._wanted:
                    raise Stopped
                self._at[worker] = (job, place)

            result, error = None, None
            try:
                result = self._prepare(job, checkpoint)
            except BaseException as raised:  # handed to whoever waits for this job
                error = raised
            self._at.pop(worker, None)
            with self._changed:
                if number in self._wanted:
                    self._results[number] = (result, error)
                self._changed.notify_all()
            del result, error, task, checkpoint, job
