"""Checkpoints and models of every format that was ever written, in tests/fixtures; and those of a later one."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from minires import models
from minires.io import checkpoint, files, model_directory
from minires.training import ModelCheckpoint
from tests.faults import runs
from tests.faults.leaks import nothing_left
from tests.fixtures import make
from tests.training.helpers import make_loaders, make_trainer

OLD = sorted(make.FOLDER.glob("format-*"))


def test_the_present_formats_have_a_folder():
    assert make.FOLDER / f"format-{checkpoint.FORMAT_VERSION}" in OLD
    assert model_directory.FORMAT_VERSION == 1, "a new format of models needs a folder in tests/fixtures"


@pytest.mark.fault("a checkpoint and a model folder that an earlier version wrote", "every bit and every value is read")
@pytest.mark.parametrize("folder", OLD, ids=lambda folder: folder.name)
def test_old_files_are_read(folder, record_property):
    expected = json.loads((folder / "expected.json").read_text("utf-8"))
    assert make.contents(folder) == expected
    record_property("figures", f"{len(expected['checkpoint']) + len(expected['model'])} tensors of {folder.name}")


@pytest.mark.parametrize("folder", OLD, ids=lambda folder: folder.name)
def test_a_run_goes_on_from_an_old_checkpoint(tmp_path, folder):
    output = shutil.copytree(folder, tmp_path / "run")
    trainer = make_trainer([ModelCheckpoint(output, save_best=False)])
    with nothing_left(output):
        trainer.resume(output)
        assert trainer.step == make.STEPS and trainer.epoch == 1 and len(trainer.history) == 1
        trainer.fit(*make_loaders(), epochs=make.EPOCHS)
    assert trainer.status == "done"


def test_the_check_of_old_files_can_fail(tmp_path):
    folder = shutil.copytree(OLD[-1], tmp_path / "copy")
    expected = json.loads((folder / "expected.json").read_text("utf-8"))
    parts = model_directory.load_parts(folder / "model")
    parts["tensors"]["fc.bias"] = parts["tensors"]["fc.bias"] + np.float16(1e-3)
    model_directory.save_parts(folder / "model", parts["tensors"], parts["config"])
    found = make.contents(folder)
    assert found["checkpoint"] == expected["checkpoint"] and found["model"] != expected["model"]


@pytest.fixture
def from_the_future(monkeypatch):
    """Within the test files are written by minires 9.9, with the next format of everything."""

    def write(work):
        for module in (checkpoint, model_directory):
            monkeypatch.setattr(module, "FORMAT_VERSION", module.FORMAT_VERSION + 1)
            monkeypatch.setattr(module, "__version__", "9.9")
        work()
        monkeypatch.undo()

    return write


def contents_of(folder: pathlib.Path) -> dict[pathlib.Path, bytes]:
    """Files that an attempt must leave alone; the log tells of it."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "log.txt"}


@pytest.mark.fault(
    "--resume where the newest checkpoint is of a later format", "exit status 1; the line names both versions"
)
def test_a_future_checkpoint(tmp_path, from_the_future):
    place = runs.Place(tmp_path / "place")
    output = place.folder / "run"
    runs.check(runs.here(place.words(output, "--max-steps", 2)), 0)
    newest = checkpoint.newest_valid(output / "checkpoints", runs.refuse)
    from_the_future(lambda: checkpoint.save(newest.path, newest.tensors, newest.state))
    before = contents_of(output)
    with nothing_left(output):
        answer = runs.here(["finetune", "--resume", str(output)])
    assert answer.status == 1
    line = runs.assert_one_line(answer, newest.path, "checkpoint format 2 of minires 9.9", "install the version")
    assert "this is minires" in line
    after = contents_of(output)
    assert {path.name for path in before if before[path] != after[path]} <= {"events.jsonl", ".lock"}


@pytest.mark.fault(
    "a model folder of a later format", "predict refuses it, exit status 1; the line names both versions"
)
def test_a_future_model(tmp_path, from_the_future):
    model = models.create("cifar_resnet", depth=8, num_classes=2)
    from_the_future(lambda: model_directory.save(model, tmp_path / "model"))
    answer = runs.here(["predict", str(tmp_path / "model"), str(tmp_path)])
    assert answer.status == 1
    runs.assert_one_line(answer, "model.safetensors", "model format 2 of minires 9.9", "install the version")


def test_a_model_that_does_not_say_its_format_is_of_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(model_directory.json, "dumps", without_version(json.dumps))
    model_directory.save_parts(tmp_path, {"w": np.ones(2)}, {"name": "resnet20"})
    monkeypatch.undo()
    assert b"format_version" not in files.read_bytes(tmp_path / "model.safetensors")
    assert model_directory.load_parts(tmp_path)["config"] == {"name": "resnet20"}


def without_version(dumps):
    def changed(value, **more):
        return dumps({key: item for key, item in value.items() if key != "format_version"}, **more)

    return changed
