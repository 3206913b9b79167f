"""Strategies and their company in a process that is killed: --resume ends in the bits of a run that was not."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.cli.helpers import command, environment, minires
from tests.finetune.helpers import SAME_IN_EQUAL_RUNS, contents, make_photos, make_weights

FLAGS = {
    "lp-ft": ["--strategy", "lp-ft", "--model-ema", "--mixup", "0.4", "--drop-path", "0.2", "--aa", "ra",
              "--sampler", "balanced", "--layer-decay", "0.8"],
    "lora": ["--strategy", "lora", "--swa-start", "2", "--bn", "reestimate", "--cutmix", "1", "--aa", "ta_wide"],
    "from": ["--strategy", "gradual", "--rehearsal", "4", "--distill", "1", "--sam", "--mixup", "0.2"],
}  # fmt: skip


def newest(run):
    """The step of the newest checkpoint, 0 if there is none."""
    return max((int(path.stem.removeprefix("step-")) for path in (run / "checkpoints").glob("step-*.safetensors")),
               default=0)  # fmt: skip


@pytest.mark.fault(
    "SIGKILL in the midst of fine-tuning with strategies, averages, mixed pictures, --from; other workers after it",
    "--resume ends in equal bits",
)
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize("name", FLAGS)
def test_killed_and_resumed(tmp_path, name):
    make_photos(tmp_path / "photos")
    make_weights(tmp_path / "weights")
    start = ["--data", "photos", "--weights", "weights"]
    if name == "from":
        make_photos(tmp_path / "more", colours={"black": (10, 10, 10), "white": (245, 245, 245)})
        assert minires("finetune", *start, "--epochs", "1", "--output", "first", cwd=tmp_path).returncode == 0
        start = ["--from", "first", "--data", "more"]
    words = ["finetune", *start, "--epochs", "4", "-b", "8", "--lr", "0.02", "--patience", "0",
             "--checkpoint-interval", "1", *FLAGS[name]]  # fmt: skip
    assert minires(*words, "--output", "whole", cwd=tmp_path).returncode == 0
    kills = 0
    resumed = ["finetune", "--resume", "run"]
    for step, more in ((3, []), (7, ["-j", "2"]), (11, ["-j", "1", "--worker-type", "process"])):
        line = [*words, "--output", "run"] if not kills else [*resumed, *more]
        process = subprocess.Popen(command(*line), cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while process.poll() is None and newest(tmp_path / "run") < step and time.monotonic() < until:
            time.sleep(0.002)
        assert newest(tmp_path / "run") >= step
        os.kill(process.pid, signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills, "it was killed before its end"
    answer = minires(*resumed, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr.decode()
    names = [*SAME_IN_EQUAL_RUNS, *(["model/delta.safetensors"] if name == "lora" else [])]
    assert contents(tmp_path / "run", *names) == contents(tmp_path / "whole", *names)
