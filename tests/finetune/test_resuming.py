"""--resume: which run it means, from which checkpoint, with which settings; and budgets of steps and time."""

import csv
import json
import os
import shutil

import numpy as np
import pytest

from minires.errors import UsageError
from minires.finetune import finetune, fitting, load_model, train
from minires.io import checkpoint, toml
from minires.training.budget import Budget
from tests.finetune.helpers import SAME_IN_EQUAL_RUNS, contents, make_photos, make_weights


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    place = tmp_path_factory.mktemp("material")
    return make_photos(place / "photos"), make_weights(place / "weights")


def quick(material, output, **more):
    photos, weights = material
    usual = {"data": str(photos), "weights": str(weights), "epochs": 3, "batch_size": 8, "lr": 0.02, "patience": 0}
    if output is not None:
        usual["output"] = str(output)
    return finetune(**{**usual, **more})


@pytest.fixture(scope="module")
def whole(material, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    quick(material, folder)
    return folder


def rates(folder):
    return [float(row["lr"]) for row in csv.DictReader((folder / "history.csv").read_text().splitlines())]


def events(folder, kind):
    return [event for line in (folder / "events.jsonl").read_text().splitlines()
            if (event := json.loads(line))["event"] == kind]  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- which run


def test_bare_means_the_run_of_this_command_that_was_written_to_last(material, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="newest run in runs, and there is none of finetune"):
        finetune(resume=True)
    for _ in range(2):
        quick(material, None, max_steps=1)
    train(data=str(material[0]), img_size=8, batch_size=8, epochs=1, max_steps=1)
    os.makedirs("runs/notes")
    os.utime("runs/finetune-resnet20-1/log.txt", ns=(2**62, 2**62))
    assert finetune(resume=True, max_steps=1).path == os.path.join("runs", "finetune-resnet20-1")
    os.utime("runs/finetune-resnet20-1/log.txt", ns=(1, 1))
    for name in ("args.toml", "events.jsonl"):
        os.utime(f"runs/finetune-resnet20-1/{name}", ns=(1, 1))
    assert finetune(resume="", max_steps=1).path == os.path.join("runs", "finetune-resnet20-2")
    assert train(resume=True).path == os.path.join("runs", "train-resnet20-1")


def test_a_checkpoint_file_is_gone_on_from(material, whole, tmp_path):
    run = tmp_path / "run"
    said: list[str] = []
    quick(material, run, checkpoint_interval=1, checkpoint_hist=20, max_steps=9)
    file = run / "checkpoints" / "step-00000005.safetensors"
    result = finetune(resume=str(file), say=said.append)
    assert result.status == "done" and any("epoch 1, step 5" in line for line in said)
    assert contents(run, *SAME_IN_EQUAL_RUNS) == contents(whole, *SAME_IN_EQUAL_RUNS)
    aside = sorted(path.name for path in (run / "checkpoints").glob("set-aside-*"))
    assert aside == [f"set-aside-step-{step:08d}.safetensors" for step in range(6, 10)]
    assert events(run, "resume")[0]["checkpoint"] == str(file)


def test_a_run_that_has_ended_goes_on_from_an_older_checkpoint(whole, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    older = min((run / "checkpoints").glob("step-*"))
    assert finetune(resume=str(older)).status == "done"
    assert contents(run, *SAME_IN_EQUAL_RUNS) == contents(whole, *SAME_IN_EQUAL_RUNS)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("run/model", "is a part of the run .*run, not a run folder"), ("begun", "has only just begun"),
     ("empty", "is not a run folder"), ("missing", "is not a run folder")],
)  # fmt: skip
def test_what_is_no_run_folder_says_why(whole, tmp_path, name, reason):
    shutil.copytree(whole, tmp_path / "run")
    for folder in ("begun", "empty"):
        (tmp_path / folder).mkdir()
    (tmp_path / "begun" / ".lock").touch()
    with pytest.raises(UsageError, match=reason) as found:
        finetune(resume=str(tmp_path / name))
    assert found.value.code == "run.missing"


@pytest.mark.parametrize("name", ["model/model.safetensors", "args.toml", "checkpoints/other.safetensors"])
def test_other_files_are_no_checkpoints(whole, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / "checkpoints" / "other.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match="is no checkpoint of a run"):
        finetune(resume=str(run / name))


def test_a_damaged_checkpoint_that_was_asked_for_is_an_error(whole, tmp_path):
    from minires.errors import FileFormatError

    run = tmp_path / "run"
    shutil.copytree(whole, run)
    file = min((run / "checkpoints").glob("step-*"))
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(FileFormatError, match=file.name):
        finetune(resume=str(file))
    assert not list((run / "checkpoints").glob("set-aside-*"))


# ------------------------------------------------------------------------------------------------------- new settings


RARER = (("onecycle", "adamw"), ("step", "sgd"), ("multistep", "adam"), ("constant", "sgd"))
SLOW = [pytest.param(*each, marks=pytest.mark.slow) for each in RARER]


@pytest.mark.parametrize(("sched", "opt"), [("cosine", "adamw"), ("plateau", "sgd"), *SLOW])
def test_a_lower_rate_lowers_every_coming_step_in_proportion(material, tmp_path, sched, opt):
    more = {"sched": sched, "opt": opt, "decay_epochs": 1, "decay_milestones": (1, 2), "warmup_epochs": 0.5}
    quick(material, tmp_path / "whole", **more)
    quick(material, tmp_path / "parts", **more, max_steps=4)
    finetune(resume=str(tmp_path / "parts"), lr=0.002)
    before, after = rates(tmp_path / "whole"), rates(tmp_path / "parts")
    assert after[0] == before[0]
    assert after[1:] == pytest.approx([rate / 10 for rate in before[1:]], rel=1e-6, abs=1e-12)
    assert events(tmp_path / "parts", "settings_changed")[0]["lr"] == {"from": 0.02, "to": 0.002}
    assert toml.load_file(tmp_path / "parts" / "args.toml")["lr"] == 0.002
    told = "after step 4: --lr 0.02 -> 0.002"
    assert (tmp_path / "parts" / "args.toml").read_text().startswith(f"# {told}\ncommand = ")
    assert told in (tmp_path / "parts" / "report.html").read_text().replace("&gt;", ">")


def test_a_run_that_is_not_at_its_end_names_what_can_be_used_meanwhile(material, tmp_path):
    hints = []
    for strategy in ("full", "lora"):
        run = str(tmp_path / strategy)
        quick(material, run, max_steps=4, strategy=strategy)
        shutil.rmtree(os.path.join(run, "model"))  # as after a kill
        with pytest.raises(UsageError, match="its run has not ended") as found:
            load_model(run)
        hints.append(str(found.value.hint))
        assert f"minires finetune --resume {run}" in hints[-1]
    assert load_model(hints[0].rpartition(": ")[2]).classes == ["blue", "green", "red"]
    assert ".safetensors" not in hints[1], "a checkpoint with adapters is no model"


def test_settings_of_an_earlier_version_that_make_no_sense_now_are_told_with_their_file(material, tmp_path):
    quick(material, tmp_path / "run", max_steps=1)
    args = tmp_path / "run" / "args.toml"
    args.write_text(args.read_text().replace('eval_metric = "top1"', 'eval_metric = "mae"'))
    with pytest.raises(UsageError, match=r"args\.toml: --eval-metric mae does not go with --task classification"):
        finetune(resume=str(tmp_path / "run"))


def test_a_change_outlives_a_second_resume_and_a_kill_before_the_first_checkpoint(material, tmp_path):
    """args.toml says the new rate at once, and the checkpoint still the old one: the rate is that of args.toml."""
    quick(material, tmp_path / "run", max_steps=4, sched="constant", warmup_epochs=0)
    finetune(resume=str(tmp_path / "run"), lr=0.002, max_steps=1)
    newest = max((tmp_path / "run" / "checkpoints").glob("step-*"))
    newest.unlink()  # as if it had been killed before it was written
    finetune(resume=str(tmp_path / "run"))
    assert rates(tmp_path / "run") == [0.02, 0.002, 0.002]


def test_more_epochs_for_a_run_that_has_ended(whole, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    result = finetune(resume=str(run), epochs=5)
    assert result.status == "done" and result.epochs_done == 5 and len(rates(run)) == 5
    assert toml.load_file(run / "args.toml")["epochs"] == 5
    assert finetune(resume=str(run)).epochs_done == 5, "and now it has ended again"
    assert len(events(run, "resume")) == 1


@pytest.mark.slow
def test_more_patience_for_a_run_that_was_stopped_early(material, tmp_path):
    first = quick(material, tmp_path / "run", epochs=30, patience=2, lr=0.05, eval_metric="loss")
    assert first.status == "early-stopped"
    again = finetune(resume=str(tmp_path / "run"), patience=4)
    assert again.epochs_done >= first.epochs_done + 1
    assert finetune(resume=str(tmp_path / "run"), patience=1).epochs_done == again.epochs_done, "less brings no more"


def test_what_would_make_it_another_run_is_refused_by_name(material, whole, tmp_path):
    quick(material, tmp_path / "run", max_steps=2)
    values = {
        "data": "elsewhere", "model": "resnet32", "weights": "none", "seed": 1, "batch_size": 4, "opt": "sgd",
        "freeze": "stem", "bn": "frozen", "head": "8", "val_split": 0.5, "sched": "constant", "smoothing": 0.1,
        "img_size": 16, "loss": "focal", "class_weights": "balanced", "grad_accum_steps": 2, "hflip": 0.1,
        "samples_per_class": 3, "eval_metric": "loss", "weight_decay": 0.5, "interpolation": "nearest",
    }  # fmt: skip
    for name, value in values.items():
        with pytest.raises(UsageError, match=f"keeps its settings.*--{name.replace('_', '-')} ") as caught:
            finetune(resume=str(tmp_path / "run"), **{name: value})
        assert "--lr" in caught.value.hint
    with pytest.raises(UsageError, match="planned for 3 epochs"):
        quick(material, tmp_path / "cycle", sched="onecycle", max_steps=2)
        finetune(resume=str(tmp_path / "cycle"), epochs=5)
    free = {"workers": 1, "checkpoint_hist": 1, "checkpoint_interval": 2, "log_interval": 3, "max_time": 60}
    finetune(resume=str(tmp_path / "run"), **free)
    assert contents(tmp_path / "run", *SAME_IN_EQUAL_RUNS) == contents(whole, *SAME_IN_EQUAL_RUNS)


# ------------------------------------------------------------------------------------------------------------- budgets


def test_max_time_pauses_and_resumes_bit_by_bit(material, whole, tmp_path, monkeypatch):
    """On a clock of its own: every look at it takes a quarter of a second."""
    ticks = iter(range(10**6))

    class Clock:
        @staticmethod
        def monotonic():
            return next(ticks) / 4

    monkeypatch.setattr("minires.finetune.job.time", Clock)
    monkeypatch.setattr(Budget.__init__, "__defaults__",
                        (None, None, 0, Clock.monotonic))  # fmt: skip
    run = tmp_path / "run"
    result = quick(material, run, max_time="1s")
    paused = 0
    while result.status == "paused":
        assert result.headline == "paused: the time allowed is used up" and result.resumable
        assert load_model(run).classes == ["blue", "green", "red"], "the best model so far is there"
        assert toml.load_file(run / "args.toml")["max_time"] == 1.0
        paused += 1
        before = checkpoint.newest_valid(run / "checkpoints").state["step"]
        result = finetune(resume=str(run), max_time=1)
        assert checkpoint.newest_valid(run / "checkpoints").state["step"] > before
    assert paused >= 2 and result.status == "done"
    assert contents(run, *SAME_IN_EQUAL_RUNS) == contents(whole, *SAME_IN_EQUAL_RUNS)


def test_a_limit_holds_for_one_call_only(material, whole, tmp_path):
    quick(material, tmp_path / "run", max_time=1e-3)
    assert checkpoint.newest_valid(tmp_path / "run" / "checkpoints").state["step"] == 1, "one step is always made"
    assert finetune(resume=str(tmp_path / "run")).status == "done"
    assert contents(tmp_path / "run", *SAME_IN_EQUAL_RUNS) == contents(whole, *SAME_IN_EQUAL_RUNS)


def test_checkpoints_by_the_clock(material, tmp_path, monkeypatch):
    saved: list[int] = []
    make = fitting.make_trainer

    def timed(*arguments):
        trainer = make(*arguments)
        (keeper,) = [each for each in trainer.events.callbacks if type(each).__name__ == "ModelCheckpoint"]
        keeper.clock = lambda: 60.0 * trainer.step  # a minute a step
        save = keeper.save
        keeper.save = lambda trainer: (saved.append(trainer.step), save(trainer))[1]
        return trainer

    monkeypatch.setattr(fitting, "make_trainer", timed)
    quick(material, tmp_path / "run", checkpoint_interval="3m", epochs=2)
    assert saved == [3, 4, 7, 8], "three minutes after the last one; and at the end of an epoch"


# -------------------------------------------------------------------------------------------------------- accumulation


def test_accumulated_batches_are_the_large_batch_where_nothing_depends_on_the_batch(material, tmp_path):
    more = {"bn": "frozen", "no_aug": True, "opt": "sgd", "epochs": 2, "lr": 0.05}
    large = quick(material, tmp_path / "large", batch_size=12, **more)
    parts = quick(material, tmp_path / "parts", batch_size=4, grad_accum_steps=3, **more)
    for one, other in zip(large.history, parts.history, strict=True):
        assert one["step"] == other["step"] and one["accuracy"] == other["accuracy"]
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
    first, second = (load_model(tmp_path / name).model.state_dict() for name in ("large", "parts"))
    for name, tensor in first.items():
        np.testing.assert_allclose(second[name].numpy(), tensor.numpy(), rtol=1e-3, atol=1e-5)
    assert (
        quick(material, tmp_path / "paused", batch_size=4, grad_accum_steps=3, **more, max_steps=3).status == "paused"
    )
    finetune(resume=str(tmp_path / "paused"))
    assert contents(tmp_path / "paused", *SAME_IN_EQUAL_RUNS) == contents(tmp_path / "parts", *SAME_IN_EQUAL_RUNS)
