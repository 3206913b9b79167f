"""What runs in a worker process: jobs in, batches out, until the main process hangs up, in whatever way."""

import contextlib
import multiprocessing
import os
import pickle
import queue
import select
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from minires.data.worker_jobs import Job, Prepare
from minires.data.worker_messages import pack_error, send
from minires.io import files

GRACE = 2.0  # seconds for the sample in hand once nobody waits any more
ENDING = 1.0  # seconds that a process may take to end whose connections are closed
IDLE = -1  # in place of a job's number


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """Raised in the midst of a job that nobody waits for any more."""


class Inbox:
    """What the main process sends, read by a thread of its own, so that the main process never waits for a busy worker.

    `jobs`: (number, job), in turn; None once the connection is closed. `cancelled`: numbers that nobody wants. The
    connection ends when the main process closes it or dies, of whatever: a worker that does not end in time then,
    because a sample hangs, is ended from here.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.payload: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.jobs: queue.SimpleQueue[tuple[int, Job] | None] = queue.SimpleQueue()
        self.cancelled: set[int] = set()
        self.closed = False
        threading.Thread(target=self._listen, name="minires-inbox", daemon=True).start()

    def _listen(self) -> None:
        try:
            self.payload.put(self._connection.recv_bytes())
            while True:
                kind, content = self._connection.recv()
                if kind == "job":
                    self.jobs.put(content)
                else:
                    self.cancelled.update(content)
        except (EOFError, OSError):
            self.closed = True
            remove_folder_of_killed_parent()
            self.payload.put(None)
            self.jobs.put(None)
        time.sleep(GRACE)
        os._exit(1)


def remove_folder_of_killed_parent() -> None:
    """The socket that a fork server listens at lies in a folder that multiprocessing removes at the end of the main
    process, unless that is killed: then we do it."""
    parent = multiprocessing.parent_process()
    folder = multiprocessing.current_process()._config.get("tempdir")  # type: ignore[attr-defined]
    if parent is None or parent.is_alive() or folder is None or not has_ended(parent.pid):
        return
    with contextlib.suppress(OSError):  # another worker was quicker
        for name in files.system.list_folder(folder):
            files.system.remove(os.path.join(folder, name))
        files.system.remove_folder(folder)


def has_ended(process: int | None) -> bool:
    """Whether a process comes to its end within a second, though nobody may have asked for its exit status yet.

    It is waited for, since the files of a killed process are closed before it has ended.

    True where the system cannot tell. `is_alive` of a parent is False, too, when the fork server was ended before it.
    """
    if process is None or not hasattr(os, "pidfd_open"):
        return True
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], ENDING)[0])
    finally:
        os.close(descriptor)


def run(connection: Connection, worker: int, at: Any) -> None:
    """The whole life of worker number `worker`. `at`: shared; of each worker the job's number and the place."""
    for name in ("SIGINT", "SIGTERM"):  # both are for the main process, which closes the connection
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    _one_blas_thread()
    inbox = Inbox(connection)
    try:
        send(connection, ("ready", None, None))
        payload = inbox.payload.get()
        if payload is not None:
            _work(connection, inbox, worker, at, payload)
    except (BrokenPipeError, ConnectionResetError):
        pass  # the main process is gone, or does not listen any more
    remove_folder_of_killed_parent()


def _one_blas_thread() -> None:
    """There are as many workers as somebody wants cores to be busy: BLAS threads of each would only be in the way."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)


def _work(connection: Connection, inbox: Inbox, worker: int, at: Any, payload: bytes) -> None:
    prepare: Prepare
    init: Callable[[int], Any] | None
    doing = "unpickling the data set"
    try:
        prepare, init = pickle.loads(payload)
        if init is not None:
            doing = "worker_init_fn"
            init(worker)
    except BaseException as error:
        error.add_note(f"in worker {worker}: {doing}")
        send(connection, ("failed", None, pack_error(error)))
        return
    while (task := inbox.jobs.get()) is not None:
        number, job = task
        kind, content = _do(prepare, inbox, worker, at, number, job)
        try:
            send(connection, (kind, number, content))
        except (BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:  # the batch cannot be pickled
            error.add_note(f"while sending the batch of sample {job.samples[0][0]} from worker {worker}")
            send(connection, ("failed", number, pack_error(error)))
        at[2 * worker] = IDLE
        inbox.cancelled.discard(number)
        del content, task, job


def _do(prepare: Prepare, inbox: Inbox, worker: int, at: Any, number: int, job: Job) -> tuple[str, Any]:
    """("batch", what prepare returns), ("failed", the packed exception) or ("stopped", None)."""

    def checkpoint(place: int) -> None:
        if inbox.closed or number in inbox.cancelled:
            raise Stopped
        at[2 * worker], at[2 * worker + 1] = number, place

    try:
        return "batch", prepare(job, checkpoint)
    except Stopped:
        return "stopped", None
    except BaseException as error:
        error.add_note(f"in worker {worker}")
        return "failed", pack_error(error)
