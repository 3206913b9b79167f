"""Killed, interrupted, terminated: what is left behind, the exit status, and that --resume gives the same bits."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from minires.io import checkpoint
from tests.cli.helpers import command, environment, minires
from tests.finetune.helpers import SAME_IN_EQUAL_RUNS, contents

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")

WORDS = ["finetune", "--data", "photos", "--weights", "weights", "--epochs", "40", "-b", "8", "--lr", "0.02",
         "--patience", "0", "--checkpoint-interval", "3", "--no-progress"]  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(finished, tmp_path_factory):
    place, _ = finished
    folder = tmp_path_factory.mktemp("whole") / "run"
    answer = minires(*WORDS, "--output", folder, cwd=place)
    assert answer.returncode == 0, answer.stderr
    return contents(folder, *SAME_IN_EQUAL_RUNS)


def stop(place, folder, number: int, checkpoints: int = 2) -> tuple[int, bytes]:
    """Start a run and send it a signal when it has written a few checkpoints: (exit status, stderr)."""
    process = subprocess.Popen(command(*WORDS, "--output", folder), cwd=place, env=environment(),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    seen: set[str] = set()
    deadline = time.monotonic() + 60
    while len(seen) < checkpoints and process.poll() is None and time.monotonic() < deadline:
        seen.update(path.name for path in (folder / "checkpoints").glob("step-*.safetensors"))
        time.sleep(0.002)
    if process.poll() is not None:
        pytest.fail(f"the run ended before it could be stopped: {process.communicate()[1].decode()}")
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    return process.returncode, err


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_resume_gives_the_same_bits(finished, uninterrupted, tmp_path, number, status):
    place, _ = finished
    folder = tmp_path / "run"
    returned, err = stop(place, folder, number)
    assert returned == status and b"Traceback" not in err
    if number != signal.SIGKILL:
        assert f"everything is saved: minires finetune --resume {folder} goes on from here".encode() in err
    assert not (folder / "model" / "model.safetensors").exists()
    answer = minires("finetune", "--resume", folder, "--no-progress", cwd=place)
    assert answer.returncode == 0 and b"(resumed)" in answer.stderr, answer.stderr
    assert b"computed with" not in answer.stderr
    assert contents(folder, *SAME_IN_EQUAL_RUNS) == uninterrupted
    assert not list(folder.rglob("*.tmp"))


@pytest.mark.fault(
    "minires --resume of a run that is running",
    "exit status 2 at once, naming the process; after its death the lock is taken over",
)
def test_a_second_process_in_the_same_folder_is_refused(finished, tmp_path):
    place, _ = finished
    folder = tmp_path / "run"
    long = [*WORDS, "--epochs", "4000", "--output", folder]
    process = subprocess.Popen(command(*long), cwd=place, env=environment(), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not list(folder.glob("checkpoints/step-*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        answer = minires("finetune", "--resume", folder, cwd=place)
        assert answer.returncode == 2 and f"pid {process.pid}".encode() in answer.stderr
    finally:
        process.kill()
        process.wait()
    assert minires("finetune", "--resume", folder, "--max-steps", "1", cwd=place).returncode == 0


def test_a_loss_that_explodes(finished, tmp_path):
    place, _ = finished
    folder = tmp_path / "run"
    words = ["finetune", "--data", "photos", "--weights", "weights", "-b", "8", "--opt", "sgd", "--lr", "1e30",
             "--warmup-epochs", "0", "--sched", "constant", "--checkpoint-interval", "1", "--json",
             "--output", folder]  # fmt: skip
    answer = minires(*words, cwd=place)
    assert answer.returncode == 1
    error = json.loads(answer.stdout)["error"]
    assert error["code"] == "numerics.not_finite" and "learning rate 1e+30" in error["message"]
    (event,) = [event for line in (folder / "events.jsonl").read_text().splitlines()
                if (event := json.loads(line))["event"] == "nan"]  # fmt: skip
    assert event["step"] >= 2 and event["lr"] == 1e30 and event["place"] in error["message"]
    assert b"Traceback" not in answer.stderr and b"warning" not in answer.stderr
    saved = checkpoint.newest_valid(folder / "checkpoints")
    assert saved.state["step"] == event["step"] - 1
    weights = [name for name in saved.tensors if name.startswith("model.") and name.endswith(("weight", "bias"))]
    assert weights and all(np.isfinite(saved.tensors[name]).all() for name in weights)


def test_other_threads_are_said_and_recorded(finished, tmp_path):
    place, _ = finished
    words = ("--data", "photos", "--weights", "weights", "--epochs", 2, "--no-progress", "--output", tmp_path / "run")
    assert minires("finetune", *words, "--max-steps", 1, cwd=place).returncode == 0
    answer = minires("finetune", "--resume", tmp_path / "run", cwd=place, OPENBLAS_NUM_THREADS="2", OMP_NUM_THREADS="2")
    assert answer.returncode == 0, answer.stderr
    assert b"note: computed with 2 BLAS threads instead of 1 BLAS thread: the last digits" in answer.stderr
    (event,) = [line for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines() if '"resume"' in line]
    assert "2 BLAS threads instead of 1 BLAS thread" in event
