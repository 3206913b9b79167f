"""Worker processes: the same bits as without, whatever dies; who is at fault is named; nothing stays behind."""

import contextlib
import functools
import gc
import itertools
import os
import pathlib
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable

import numpy as np
import pytest

import minires as mr
from minires.data import DataLoader, worker_jobs, worker_main
from minires.data.worker_jobs import WorkerError, WorkerTimeoutError
from minires.data.worker_messages import MOST_MAPPED, _Pickler
from minires.errors import DataError, FileFormatError
from tests.faults.leaks import children, no_orphans, nothing_left
from tests.faults.worker_faults import BATCH, MARK, PICTURES, Blas, Faulty, Tell, as_lambda, small_files_only

pytestmark = [pytest.mark.timeout(100), pytest.mark.skipif(sys.platform == "win32", reason="kills by POSIX signals")]
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
slow = pytest.mark.slow
METHODS = ["forkserver", pytest.param("spawn", marks=slow)]
PATIENCE = 30.0  # seconds, where nothing is to hang: on a busy machine all takes its time


def loader(dataset=None, workers: int = 2, kind: str = "process", **settings) -> DataLoader:
    """A loader of shuffled, augmented pictures."""
    settings = {"batch_size": BATCH, "shuffle": True, "seed": 5, "timeout": PATIENCE if workers else 0, **settings}
    return DataLoader(dataset or Faulty(), num_workers=workers, worker_type=kind, **settings)


def bits(batches) -> list[tuple[bytes, tuple[int, ...], list[int]]]:
    """Everything that can make a difference to what is computed from the batches: content and memory order."""
    return [(images.array.tobytes(), images.array.strides, targets.tolist()) for images, targets in batches]


@functools.cache
def expected(epoch: int) -> list[tuple[bytes, tuple[int, ...], list[int]]]:
    whole = loader(workers=0)
    whole.set_epoch(epoch)
    return bits(whole)


@pytest.fixture(scope="module", autouse=True)
def helpers_of_multiprocessing():
    """The fork server and the resource tracker live as long as the process that needed them first."""
    next(iter(loader(workers=1)))
    gc.collect()


@pytest.fixture(autouse=True)
def clean(helpers_of_multiprocessing):
    with nothing_left():
        yield


# ---------------------------------------------------------------------------------------------------------- same bits


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("workers", "ahead", "keep"), [(1, 1, False), (2, 3, True)])
def test_processes_give_the_bits_of_none(method, workers, ahead, keep):
    given = loader(None, workers, prefetch_factor=ahead, persistent_workers=keep, multiprocessing_context=method)
    assert [bits(given), bits(given)] == [expected(0), expected(1)]
    assert len(children() & {str(child.pid) for child in workers_now()}) <= (workers if keep else 0)
    given.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_may_be_written_to(workers):
    for dataset in (Faulty(), Faulty(size=120)):  # through the pipe, and through shared memory
        images, _ = next(iter(loader(dataset, workers)))
        images += 1
        assert images.array.flags.writeable


def test_the_check_can_fail(monkeypatch):
    """One random stream for all workers, the classic mistake: the bits depend on who draws first."""
    right = expected(0)
    monkeypatch.setattr(worker_jobs, "address", lambda *position: contextlib.nullcontext())
    mr.manual_seed(0)
    assert bits(loader(workers=0)) != right


def train(steps: int, state: dict | None = None, **settings) -> dict:
    """So many steps of a small model from `state` on; what a checkpoint would hold."""
    given = loader(**settings)
    model = mr.nn.Sequential(mr.nn.Flatten(), mr.nn.Linear(108, PICTURES))
    optimizer = mr.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    if state is None:
        draw = np.random.default_rng(1)
        for parameter in model.parameters():
            parameter.data = mr.tensor(draw.standard_normal(parameter.shape).astype(np.float32) * 0.1)
    else:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        given.load_state_dict(state["loader"])
    batches = itertools.chain.from_iterable(itertools.repeat(given))
    for images, targets in itertools.islice(batches, steps):
        optimizer.zero_grad()
        mr.nn.functional.cross_entropy(model(images), targets).backward()
        optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "loader": given.state_dict()}
    state = pickle.loads(pickle.dumps(state))
    batches.close() if hasattr(batches, "close") else None
    given.close()
    return state


def weights(state: dict) -> list[bytes]:
    return [value.array.tobytes() for value in state["model"].values()]


@functools.cache
def undisturbed() -> list[bytes]:
    return weights(train(17, workers=0))


RESUMED = [("process", 0, 2, 4), ("process", 1, 1, 9), ("thread", 8, 4, 4)]
RESUMED += [pytest.param(kind, workers, ahead, at, marks=slow) for kind in ("thread", "process")
            for workers, ahead, at in itertools.product((0, 1, 8), (1, 5), (4, 6, 9))]  # fmt: skip


@pytest.mark.fault("stopped with 4 workers, resumed with 0, 1 or 8, threads or processes, other prefetch", "equal bits")
@pytest.mark.parametrize(("kind", "workers", "ahead", "at"), RESUMED)
def test_interrupted_with_four_workers_and_resumed_with_others(kind, workers, ahead, at):
    before = train(at, workers=4)
    after = train(17 - at, before, kind=kind, workers=workers, prefetch_factor=ahead)
    assert weights(after) == undisturbed() and after["loader"] == {"epoch": 2, "position": 5}


@pytest.mark.fault(
    "a worker process is killed in the midst of a batch",
    "its batches are made again, bit for bit; training goes on",
)
@pytest.mark.parametrize("fault", ["SIGKILL", pytest.param("SIGSEGV", marks=slow), pytest.param("exit", marks=slow)])
@pytest.mark.parametrize("method", METHODS)
def test_training_goes_on_where_a_worker_dies(tmp_path, fault, method):
    dataset = Faulty(fault, str(tmp_path / "once"))
    with pytest.warns(RuntimeWarning, match=rf"worker \d .* at sample {MARK} \(photos/{MARK}\.png\): another one"):
        state = train(17, dataset=dataset, workers=3, multiprocessing_context=method, persistent_workers=True)
    assert weights(state) == undisturbed()


def workers_now() -> list:
    import multiprocessing

    return [child for child in multiprocessing.active_children() if child.name.startswith("minires-")]


@pytest.mark.parametrize("position", [0, 3])
def test_workers_killed_from_outside(position):
    given = loader(workers=2, prefetch_factor=1)
    batches = iter(given)
    got = [next(batches) for _ in range(position + 1)]
    for child in workers_now():
        os.kill(child.pid, signal.SIGKILL)
    with warnings.catch_warnings(record=True) as told:  # they may have finished all that they had to do
        warnings.simplefilter("always")
        got += batches
    assert bits(got) == expected(0)
    assert all("SIGKILL" in str(warning.message) for warning in told) and len(told) <= 2


# -------------------------------------------------------------------------------------------------- who is at fault


@pytest.mark.fault("a picture that ends every worker", "the error names worker and picture; nothing is left")
@pytest.mark.parametrize("fault", ["SIGKILL", pytest.param("exit", marks=slow)])
def test_a_sample_that_ends_every_worker_is_named(fault):
    start = time.monotonic()
    named = rf"worker \d of the loader .* at sample {MARK} \(photos/{MARK}\.png\)"
    with pytest.warns(RuntimeWarning, match=f"{named}: another one"), pytest.raises(WorkerError, match=named) as caught:
        list(loader(Faulty(fault)))
    assert caught.value.code == "data.worker_died" and caught.value.file == f"photos/{MARK}.png"
    assert ("SIGKILL" if fault == "SIGKILL" else "exit status 3") in str(caught.value)
    assert time.monotonic() - start < PATIENCE


@pytest.mark.fault("a worker hangs, or is stopped", "the error names it within the timeout; nothing is left")
@pytest.mark.parametrize(("kind", "fault"), [("process", "hang"), pytest.param("process", "stop", marks=slow)])
def test_a_worker_that_hangs_is_named_within_the_timeout(kind, fault):
    given = loader(Faulty(fault), kind=kind, timeout=0.5, shuffle=False)
    start = time.monotonic()
    named = rf"within 0\.5 s \(worker \d at sample {MARK} \(photos/{MARK}\.png\)\)"
    with pytest.raises(TimeoutError, match=named) as caught:
        list(given)
    assert isinstance(caught.value, WorkerTimeoutError) and caught.value.file == f"photos/{MARK}.png"
    assert time.monotonic() - start < 15


@pytest.mark.fault(
    "an exception in a worker, one that cannot be pickled, too",
    "it arrives with worker, sample, file and traceback",
)
@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [("ValueError", ValueError, "no such crop"), ("MemoryError", MemoryError, "no room"),
     ("SystemExit", SystemExit, "3"), ("UnpicklableError", WorkerError, "UnpicklableError: broken transform"),
     ("ReadOnceError", WorkerError, "ReadOnceError: broken transform at 3")],
)  # fmt: skip
def test_exceptions_arrive_with_worker_sample_file_and_traceback(fault, kind, text):
    with pytest.raises(kind, match=text) as caught:
        list(loader(Faulty(fault), 2))
    notes = " ".join(caught.value.__notes__)
    if kind is not SystemExit:
        assert f"while loading sample {MARK} (photos/{MARK}.png)" in notes
    assert "in worker " in notes
    assert "worker_faults.py" in str(caught.value.__cause__)
    if kind is WorkerError:
        assert f"photos/{MARK}.png" in str(caught.value)


@pytest.mark.parametrize("error", [
    DataError("cannot read a.png", code="data.unreadable_image", file="a.png", hint="mend it"),
    FileFormatError("b.npz", 12, "no such magic"), OSError(5, "Input/output error", "c.png"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")])  # fmt: skip
def test_our_own_errors_travel(error):
    from minires.data.worker_messages import pack_error, unpack_error

    error.add_note("in worker 1")
    came = unpack_error(pack_error(error))
    assert str(error) in str(came) and came.__notes__ == ["in worker 1"]
    if isinstance(error, DataError):
        assert (type(came), came.code, came.file, came.hint) == (DataError, error.code, error.file, error.hint)


def test_what_cannot_be_pickled():
    with pytest.raises(TypeError, match=r'cannot be sent to worker processes: .*lambda.* or worker_type="thread"'):
        list(loader(Faulty(), worker_init_fn=lambda worker: None))
    with pytest.raises(Exception, match="pickle") as caught:
        list(loader(Faulty(), collate_fn=as_lambda))
    assert any("while sending the batch of sample" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_worker_init_fn(tmp_path, kind):
    path = tmp_path / "told"
    given = loader(kind=kind, worker_init_fn=Tell(str(path)), persistent_workers=True)
    assert [bits(given), bits(given)] == [expected(0), expected(1)]
    lines = [line.split() for line in path.read_text().splitlines()]
    assert sorted(line[0] for line in lines) == ["0", "1"]
    assert (len({line[1] for line in lines} - {str(os.getpid())}) == 2) == (kind == "process")
    given.close()
    with pytest.raises(ValueError, match="no such crop") as caught:
        list(loader(kind=kind, worker_init_fn=Tell(str(path), "ValueError")))
    assert "worker_init_fn" in " ".join(caught.value.__notes__)


@slow
def test_workers_that_die_before_their_first_sample():
    with pytest.warns(RuntimeWarning), pytest.raises(WorkerError, match="exit status 3 before its next batch"):
        list(loader(worker_init_fn=Tell("/dev/null", "exit")))


UNGUARDED = """
from minires.data import DataLoader
from tests.faults.worker_faults import Faulty
print(len(list(DataLoader(Faulty(), 4, num_workers=2, worker_type="process", multiprocessing_context="spawn"))))
"""


@slow
def test_a_script_without_its_guard_is_told(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    found = subprocess.run([sys.executable, script], cwd=ROOT, env=environment(), capture_output=True, text=True,
                           timeout=60, check=False)  # fmt: skip
    assert found.returncode == 1
    assert re.search(r"worker [01] of the loader ended with exit status 1 before it had begun", found.stderr)


@pytest.mark.parametrize(("settings", "text"), [
    ({"worker_type": "fibre"}, "worker_type"), ({"timeout": -1}, "timeout"), ({"timeout": float("nan")}, "timeout"),
    ({"persistent_workers": True}, "persistent_workers needs num_workers > 0"),
    ({"multiprocessing_context": "spawn"}, 'is for worker_type="process" with num_workers > 0'),
    ({"multiprocessing_context": "spawn", "num_workers": 2}, 'is for worker_type="process"'),
    ({"multiprocessing_context": "fork", "num_workers": 2, "worker_type": "process"}, '"fork" is refused'),
    ({"multiprocessing_context": "sprawl", "num_workers": 2, "worker_type": "process"}, "one of forkserver, spawn"),
])  # fmt: skip
def test_senseless_settings(settings, text):
    with pytest.raises(ValueError, match=text):
        DataLoader(Faulty(), **settings)


# ------------------------------------------------------------------------------------------------------------- memory


def test_without_shared_memory_batches_come_through_the_pipe():
    dataset = Faulty(size=120)
    with pytest.warns(RuntimeWarning, match="no shared memory for the batches .File too large.: they come") as told:
        got = bits(loader(dataset, worker_init_fn=small_files_only))
    assert got == bits(loader(dataset, workers=0)) and len(told) == 1


def test_many_batches_held_at_once_use_few_descriptors():
    given = loader(Faulty(size=40, count=100), 2, batch_size=1)
    before = len(os.listdir("/proc/self/fd"))
    got = list(given)
    assert len(got) == 100 and len(os.listdir("/proc/self/fd")) - before <= MOST_MAPPED + 5
    assert bits(got) == bits(loader(Faulty(size=40, count=100), 0, batch_size=1))


SMALL_SHM = """
import os, sys
from minires.data import DataLoader
from tests.faults.worker_faults import Large
if __name__ == "__main__":
    with open("/dev/shm/filler", "wb") as file:
        file.write(bytes({filled} << 20))
    free = os.statvfs("/dev/shm")
    assert free.f_bavail * free.f_frsize <= (64 - {filled}) << 20
    batches = list(DataLoader(Large(), 24, num_workers=2, worker_type="process", timeout=60))
    print([float(images.array[:, 0, 0, 0].sum()) for images, _ in batches], os.listdir("/dev/shm"))
"""


@pytest.mark.fault("64 MB of /dev/shm, empty or filled", "batches arrive all the same")
@slow
@pytest.mark.parametrize("filled", [0, 63, 64])
def test_the_64_megabytes_of_a_container(tmp_path, filled):
    """96 MB of batches held at once, in a /dev/shm of 64 MB that has some room, hardly any, and none."""
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc"]
    mount = "mount -t tmpfs -o size=64m tmpfs /dev/shm"
    if subprocess.run([*unshare, "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace can be made here")
    script = tmp_path / "script.py"
    script.write_text(SMALL_SHM.format(filled=filled))
    found = subprocess.run([*unshare, "sh", "-c", f'{mount} && exec "$0" "$1"', sys.executable, script], cwd=ROOT,
                           env=environment(), capture_output=True, text=True, timeout=90, check=False)  # fmt: skip
    sums = [float(sum(range(start, start + 24))) for start in range(0, 96, 24)]
    assert found.stdout == f"{sums} ['filler']\n", found.stderr


@pytest.mark.parametrize("array", [
    np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.arange(24.0).reshape(4, 6).T, np.arange(40)[::2],
    np.arange(24).reshape(2, 3, 4)[:, ::-1], np.broadcast_to(np.arange(3), (2, 3)), np.array(3.5), np.zeros((0, 3)),
    np.arange(3, dtype=">f8"), np.array(["2020-01-01"], "datetime64[D]"), np.array([True, False]),
    np.arange(120, dtype=np.int8).reshape(2, 3, 4, 5).transpose(0, 3, 1, 2),
    np.array([{"an": "object"}], dtype=object)])  # fmt: skip
def test_arrays_of_every_kind_arrive_in_their_memory_order(array):
    import io

    stream, buffers = io.BytesIO(), []
    _Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(("a", array))
    _, came = pickle.loads(stream.getvalue(), buffers=[memoryview(bytearray(buffer.raw())) for buffer in buffers])
    assert came.dtype == array.dtype and came.shape == array.shape
    np.testing.assert_array_equal(came, array)
    order = np.argsort(-np.abs(array.strides), kind="stable")
    if array.size and array.transpose(order).flags.c_contiguous:  # no gaps
        assert came.strides == array.strides
    assert array.dtype.hasobject or (came.flags.writeable and len(buffers) == 1)


# ---------------------------------------------------------------------------------------------------- nothing is left


def leave_by_break(given: DataLoader) -> None:
    for _ in given:
        break


def leave_by_exception(given: DataLoader) -> None:
    with contextlib.suppress(ZeroDivisionError):
        for _ in given:
            raise ZeroDivisionError


def leave_open(given: DataLoader) -> None:
    batches = iter(given)
    next(batches)
    del batches


@pytest.mark.parametrize("leave", [leave_by_break, leave_by_exception, leave_open])
@pytest.mark.parametrize("keep", [False, True])
def test_iterations_that_are_abandoned(leave: Callable, keep: bool):
    given = loader(persistent_workers=keep, prefetch_factor=4)
    for _ in range(3):
        leave(given)
        gc.collect()
        assert len(workers_now()) == (2 if keep else 0)
    assert bits(given) == expected(3)
    del given
    gc.collect()
    assert workers_now() == []


def test_two_iterations_of_one_loader_at_the_same_time():
    given = loader(persistent_workers=True)
    first, second = iter(given), iter(given)
    pairs = list(zip(first, second, strict=True))
    assert bits([one for one, _ in pairs]) == expected(0) and bits([other for _, other in pairs]) == expected(1)
    given.close()


def test_the_loader_works_on_after_a_fault(tmp_path):
    given = loader(Faulty("ValueError", str(tmp_path / "once")), persistent_workers=True)
    with pytest.raises(ValueError, match="no such crop"):
        list(given)
    given.set_epoch(0)
    assert bits(given) == expected(0)
    given.close()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


MAIN = """
import sys, time
from minires.data import DataLoader
from tests.faults.worker_faults import Faulty
if __name__ == "__main__":
    method, fault, keep = sys.argv[1:]
    loader = DataLoader(Faulty(fault, count=10_000), 4, num_workers=2, worker_type="process", timeout=60,
                        persistent_workers=bool(int(keep)), multiprocessing_context=method)
    print("begun", flush=True)
    for number, (images, targets) in enumerate(loader):
        print("batch", number, flush=True)
        time.sleep(0.01)
"""


@contextlib.contextmanager
def main_process(tmp_path: pathlib.Path, method: str, fault: str = "none", keep: int = 0, **more: str):
    """A process that iterates over a loader, in a session of its own as a terminal gives it."""
    script = tmp_path / "script.py"
    script.write_text(MAIN)
    process = subprocess.Popen(
        [sys.executable, script, method, fault, str(keep)], cwd=ROOT, env={**environment(), **more},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        process.stderr.close()


def read_until(process: subprocess.Popen, text: str) -> None:
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"ended before {text!r}: {process.stderr.read()}")


@pytest.mark.fault("SIGKILL of the main process while workers work or hang", "no worker outlives it")
@pytest.mark.parametrize(("method", "fault"), [
    ("forkserver", "hang"), pytest.param("forkserver", "none", marks=slow), pytest.param("spawn", "none", marks=slow),
    pytest.param("spawn", "hang", marks=slow)])  # fmt: skip
def test_no_worker_outlives_a_main_process_that_was_killed(tmp_path, method, fault):
    with tempfile.TemporaryDirectory() as own, main_process(tmp_path, method, fault, TMPDIR=own) as process:
        read_until(process, "batch 0")
        process.kill()
        process.wait()
        no_orphans(process.pid)
        assert not list(pathlib.Path(own).glob("pymp-*"))  # where a fork server listened


def test_an_ended_process_is_known_before_and_after_its_exit_status_is_asked_for():
    assert not worker_main.has_ended(os.getpid())
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert worker_main.has_ended(process.pid)
    process.wait()
    assert worker_main.has_ended(process.pid)


MOMENTS = [(method, name, moment, keep) for method in ("forkserver", "spawn") for name in ("SIGINT", "SIGTERM")
           for moment, keep in ((0.0, 0), (0.3, 0), (0.8, 1), ("batch 3", 0), ("batch 3", 1))]  # fmt: skip
QUICK = [("forkserver", "SIGINT", 0.3, 0), ("forkserver", "SIGINT", "batch 3", 1),
         ("forkserver", "SIGTERM", "batch 3", 0)]  # fmt: skip


@pytest.mark.fault("Ctrl-C or SIGTERM to main process and workers at once", "all end, only the main process speaks")
@pytest.mark.parametrize(
    ("method", "name", "moment", "keep"),
    [*QUICK, *(pytest.param(*one, marks=slow) for one in MOMENTS if one not in QUICK)],
)
def test_a_signal_to_the_whole_group_ends_all_and_only_the_main_process_speaks(tmp_path, method, name, moment, keep):
    number = getattr(signal, name)
    with main_process(tmp_path, method, keep=keep) as process:
        read_until(process, moment if isinstance(moment, str) else "begun")
        if not isinstance(moment, str):
            time.sleep(moment)
        os.killpg(process.pid, number)
        process.wait(20)
        text = process.stderr.read()
        no_orphans(process.pid)
    assert process.returncode in (-number, 130 if name == "SIGINT" else -number)
    assert text.count("Traceback") == (1 if name == "SIGINT" else 0), text
    assert name != "SIGINT" or text.endswith("KeyboardInterrupt\n")


# --------------------------------------------------------------------------------------------------------------- BLAS


def test_blas_has_one_thread_in_a_worker():
    ((_, threads),) = DataLoader(Blas(), 8, num_workers=1, worker_type="process", timeout=PATIENCE)
    assert threads.tolist() == [1] * 8


ROUNDS = [("forkserver", 4, 1), pytest.param("forkserver", 200, 1, marks=slow),
          pytest.param("spawn", 20, 10, marks=slow)]  # fmt: skip


@pytest.mark.fault("BLAS in the main process and in workers, 200 starts", "no deadlock")
@pytest.mark.parametrize(("method", "starts", "epochs"), ROUNDS)
@pytest.mark.timeout(300)
def test_blas_in_parent_and_workers_does_not_lock_up(method, starts, epochs):
    """So many times: BLAS here, start workers, BLAS on both sides at the same time; that is 200 rounds at least."""
    here = np.random.default_rng(0).random((200, 200))
    stop = threading.Event()

    def keep_busy() -> None:
        while not stop.is_set():
            here @ here

    busy = threading.Thread(target=keep_busy)
    busy.start()
    try:
        reference = [images.array.tobytes() for images, _ in DataLoader(Blas(), 2)]
        for _ in range(starts):
            given = DataLoader(Blas(), 2, num_workers=2, worker_type="process", multiprocessing_context=method,
                               timeout=PATIENCE, persistent_workers=epochs > 1)  # fmt: skip
            for _ in range(epochs):
                given.set_epoch(0)
                assert [images.array.tobytes() for images, _ in given] == reference
                here @ here
            given.close()
    finally:
        stop.set()
        busy.join()
