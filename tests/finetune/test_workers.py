"""--workers and --worker-type: what "auto" takes, and that a run with worker processes is the run without."""

import itertools
import os
import signal
import subprocess
import time

import numpy as np
import pytest

from minires.data import ArrayDataset, DataLoader, ImageFolder
from minires.data.transforms import ToTensor
from minires.errors import UsageError
from minires.finetune import evaluate_model, finetune
from minires.finetune import workers as finetune_workers
from minires.finetune.settings import make_settings
from minires.finetune.workers import loader_workers, usable_processors
from tests.cli.helpers import ROOT, command, environment
from tests.finetune.helpers import SAME_IN_EQUAL_RUNS, contents, make_photos, make_weights


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    return {"data": str(make_photos(folder / "photos", 6)), "weights": str(make_weights(folder / "weights")),
            "batch_size": 4, "epochs": 3, "warmup_epochs": 0, "img_size": 8}  # fmt: skip


def test_auto_is_for_pictures_in_files(material, monkeypatch):
    photos = ImageFolder(material["data"], ToTensor())
    in_memory = ArrayDataset(np.zeros((3, 4, 4), np.uint8), [0, 1, 2])
    monkeypatch.setattr(finetune_workers, "usable_processors", lambda: 64)
    assert loader_workers("auto", "process", photos, keep=True) == {
        "num_workers": 8, "worker_type": "process", "persistent_workers": True}  # fmt: skip
    monkeypatch.setattr(finetune_workers, "usable_processors", lambda: 3)
    assert loader_workers("auto", "thread", photos)["num_workers"] == 3
    assert loader_workers("auto", "thread", in_memory, keep=True)["num_workers"] == 0
    for workers in (0, 2):
        assert len(list(DataLoader(photos, 1, **loader_workers(workers, "thread", photos, keep=True)))) == 18
    assert 1 <= usable_processors() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(("name", "value", "text"), [
    ("workers", "lots", '--workers takes a whole number or "auto"'), ("workers", -1, "--workers must be at least 0"),
    ("workers", 1.5, "--workers takes"), ("worker_type", "proces", "did you mean 'process'")])  # fmt: skip
def test_senseless_values(name, value, text):
    with pytest.raises(UsageError, match=text):
        make_settings({"data": "digits", name: value}).check()


@pytest.mark.timeout(120)
def test_a_run_with_processes_interrupted_and_resumed_with_others(material, tmp_path):
    whole, run = tmp_path / "whole", tmp_path / "run"
    finetune(**material, output=str(whole))
    paused = finetune(**material, workers=4, worker_type="process", max_steps=4, output=str(run))
    assert paused.status == "paused"
    finetune(resume=True, output=str(run), workers="auto", worker_type="thread")
    assert contents(run, *SAME_IN_EQUAL_RUNS) == contents(whole, *SAME_IN_EQUAL_RUNS)
    found = [evaluate_model(run, workers=workers, worker_type=kind).metrics
             for workers, kind in ((0, "thread"), (2, "process"))]  # fmt: skip
    assert found[0] == found[1]


def words(material, output) -> list[str]:
    flags = {**material, "epochs": 500, "patience": 0, "workers": 2, "worker_type": "process", "output": output}
    pairs = (("--" + name.replace("_", "-"), str(value)) for name, value in flags.items())
    return command("finetune", "-q", *itertools.chain.from_iterable(pairs))


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_to_the_whole_group_pauses_the_run(material, tmp_path, name, status):
    """What a terminal, and many a batch system, does: the workers are signalled, too."""
    from tests.faults.leaks import no_orphans

    process = subprocess.Popen(words(material, tmp_path / "run"), cwd=ROOT, env=environment(), stderr=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True, start_new_session=True)  # fmt: skip
    deadline = time.monotonic() + 60
    while not list((tmp_path / "run").glob("checkpoints/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, getattr(signal, name))
    _, told = process.communicate(timeout=30)
    no_orphans(process.pid)
    assert process.returncode == status and "Traceback" not in told and len(told.splitlines()) <= 3, told
