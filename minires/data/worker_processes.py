"""Worker processes: started without a bare fork, watched, replaced when one dies, and gone when nobody needs them.

A batch is decided by its `Job` alone, so a batch that a dying worker had in hand is made again by its successor, bit
for bit. Only a batch that ends two workers is given up, by an error that names the sample: it would end a third one.
"""

import atexit
import contextlib
import itertools
import multiprocessing.connection
import multiprocessing.util  # before our own atexit.register: last come, first served
import os
import time
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from minires.data.worker_jobs import Job, Prepare, WorkerError, WorkerTimeoutError
from minires.data.worker_main import GRACE, IDLE, run
from minires.data.worker_messages import receive, unpack_error
from minires.data.worker_starting import how_it_ended, pickled, signals_blocked, start_context, start_helpers

MOST_DEATHS = 2  # at the same batch
START_SECONDS = 60.0  # for a worker to import what it needs, before its time counts
LOOK = 1.0  # seconds between two looks at whether everybody is alive

_open_pools: "weakref.WeakSet[ProcessPool]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """multiprocessing waits at exit for its processes, and ours would wait for us."""
    for pool in list(_open_pools):
        pool.close(wait=False)


@dataclass
class _Worker:
    index: int
    process: Any
    connection: Connection
    started: float = field(default_factory=time.monotonic)
    ready: float | None = None  # when it said so
    jobs: list[int] = field(default_factory=list)  # numbers of the jobs that it has not answered, in order


class ProcessPool:
    """As `ThreadPool`, with processes: `submit` numbers the jobs, `take` waits for one of them.

    `prepare`, with the data set in it, and `init` are pickled once and sent to each worker. Raises TypeError where that
    is impossible (a lambda as a transform), WorkerError for workers that cannot begin.
    """

    def __init__(
        self, prepare: Prepare, count: int, init: Callable[[int], Any] | None = None, context: Any = None
    ) -> None:  # fmt: skip
        self._prepare, self._owner = prepare, os.getpid()
        self._context = start_context(context)
        self._payload = pickled(prepare, init)
        self._at = self._context.RawArray("q", [IDLE, 0] * count)
        self._numbers = itertools.count()
        self._jobs: dict[int, Job] = {}  # those that somebody wants and no worker has answered
        self._results: dict[int, tuple[Any, BaseException | None]] = {}
        self._deaths: Counter[int] = Counter()
        self._fallback_is_said = False
        self._workers: list[_Worker] = []
        _open_pools.add(self)
        start_helpers(self._context)
        try:
            for index in range(count):
                self._workers.append(self._start(index))
        except BaseException:
            self.close(wait=False)
            raise

    def submit(self, job: Job) -> int:
        """Have a job done by the worker with the least to do; returns the number to take its result by."""
        number = next(self._numbers)
        self._jobs[number] = job
        self._give(number, min(self._workers, key=lambda worker: len(worker.jobs)))
        return number

    def take(self, number: int, timeout: float = 0) -> Any:
        """The result of a job. Raises what the worker raised; WorkerTimeoutError after `timeout` seconds (0: wait for
        ever), in which a worker's start does not count; WorkerError if the batch cannot be made."""
        began = time.monotonic()
        while number not in self._results:
            self._listen(self._patience(number, began, timeout))
        result, error = self._results.pop(number)
        if error is None:
            return result
        try:
            raise error
        finally:
            del error  # the exception's traceback holds this frame: without this, a circle

    def cancel(self, numbers: Iterable[int]) -> None:
        """Nobody will take these: they are left off, and their results dropped."""
        unwanted = set(numbers)
        for number in unwanted:
            self._jobs.pop(number, None)
            self._results.pop(number, None)
        for worker in self._workers:
            if worker.ready and (mine := unwanted.intersection(worker.jobs)):
                self._send(worker, ("cancel", sorted(mine)))

    def close(self, wait: bool = True) -> None:
        """End the workers, after the sample that each is at, if it ends soon; without `wait` at once."""
        if os.getpid() != self._owner:
            return  # a forked copy of the main process: they are not its children
        _open_pools.discard(self)
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.connection.close()
        deadline = time.monotonic() + (GRACE if wait else 0)
        for worker in workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
            _bury(worker)

    # ----------------------------------------------------------------------------------------------------- one worker

    def _start(self, index: int) -> _Worker:
        self._at[2 * index] = IDLE
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=run, args=(theirs, index, self._at), name=f"minires-loader-{index}", daemon=True
        )
        try:
            with signals_blocked("SIGINT", "SIGTERM"):  # a new process inherits that: nothing interrupts its imports
                process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return _Worker(index, process, ours)

    def _give(self, number: int, worker: _Worker) -> None:
        worker.jobs.append(number)
        if worker.ready:
            self._send(worker, ("job", (number, self._jobs[number])))

    def _send(self, worker: _Worker, message: Any) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it is dead: `_listen` will find out
            worker.connection.send(message)

    def _greet(self, worker: _Worker) -> None:
        """Send a worker that has begun what it was waiting for."""
        worker.ready = time.monotonic()
        worker.jobs = [number for number in worker.jobs if number in self._jobs]
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            worker.connection.send_bytes(self._payload)
        for number in worker.jobs:
            self._send(worker, ("job", (number, self._jobs[number])))

    # ------------------------------------------------------------------------------------------------------ listening

    def _patience(self, number: int, began: float, timeout: float) -> float:
        """Seconds to wait now for a message. Raises WorkerTimeoutError when the time for the job is over."""
        if not timeout:
            return LOOK
        worker = next(worker for worker in self._workers if number in worker.jobs)
        since = worker.ready or worker.started + START_SECONDS
        left = max(began, since) + timeout - time.monotonic()
        if left <= 0:
            where, file = self._whereabouts(worker)
            message = f"no batch from the loader's workers within {timeout:g} s (worker {worker.index} {where})"
            raise WorkerTimeoutError(message, file=file)
        return min(left, LOOK)

    def _listen(self, seconds: float) -> None:
        """Wait for messages and take them in; if none comes, see whether everybody is alive."""
        connections = {worker.connection: worker for worker in self._workers}
        ready = multiprocessing.connection.wait(list(connections), seconds)
        for connection in ready:
            self._receive(connections[connection])  # type: ignore[index]
        for worker in () if ready else list(self._workers):
            if not worker.process.is_alive():
                self._replace(worker)

    def _receive(self, worker: _Worker) -> None:
        try:
            (kind, number, content), refusal = receive(worker.connection)
        except (EOFError, ConnectionError):
            self._replace(worker)
            return
        if kind == "ready":
            self._greet(worker)
            return
        if refusal is not None and not self._fallback_is_said:
            self._fallback_is_said = True
            warnings.warn(f"no shared memory for the batches ({refusal}): they come through a pipe, which is slower",
                          RuntimeWarning, stacklevel=6)  # fmt: skip
        if number is None:
            raise unpack_error(content)
        worker.jobs.remove(number)
        if self._jobs.pop(number, None) is not None:
            self._deaths.pop(number, None)
            self._results[number] = (None, unpack_error(content)) if kind == "failed" else (content, None)

    def _whereabouts(self, worker: _Worker) -> tuple[str, str | None]:
        """What a worker is, or was, at, and the file."""
        number, place = self._at[2 * worker.index], self._at[2 * worker.index + 1]
        if not worker.ready:
            return "before it had begun", None
        if number not in self._jobs:
            return "before its next batch" if worker.jobs else "with nothing to do", None
        where, file = self._prepare.where(self._jobs[number], place)
        return f"at {where}", file

    def _replace(self, worker: _Worker) -> None:
        """Report a dead worker, start another in its place and give that the jobs; or raise WorkerError."""
        where, file = self._whereabouts(worker)
        number = self._at[2 * worker.index]
        worker.process.join(GRACE)
        if worker.process.is_alive():  # it has closed its end of the pipe, and lives on
            worker.process.kill()
            worker.process.join()
        code = worker.process.exitcode
        worker.connection.close()
        _bury(worker)
        self._workers.remove(worker)
        text = f"worker {worker.index} of the loader {how_it_ended(code)} {where}"
        if not worker.ready and code >= 0:
            raise WorkerError(text, hint="its own message stands above. A script that starts worker processes must do "
                              "so below `if __name__ == '__main__':`, for they import it")  # fmt: skip
        jobs = [other for other in worker.jobs if other in self._jobs]
        guilty = number if number in jobs else next(iter(jobs), None)
        if guilty is not None:
            self._deaths[guilty] += 1
            if self._deaths[guilty] >= MOST_DEATHS:
                hint = "take that sample out; or memory has run out, and fewer workers need less"
                raise WorkerError(f"{text}, and so did the one before it", file=file, hint=hint)
        successor = self._start(worker.index)
        self._workers.append(successor)
        for other in jobs:
            self._give(other, successor)
        warnings.warn(f"{text}: another one makes its batches again", RuntimeWarning, stacklevel=7)


def _bury(worker: _Worker) -> None:
    """Wait for a process that was ended, and give its descriptors back."""
    worker.process.join(GRACE)
    with contextlib.suppress(ValueError):  # it hangs in the system (a dead network drive), where no signal reaches it
        worker.process.close()
