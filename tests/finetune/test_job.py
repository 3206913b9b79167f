"""The whole job through the API: what it writes, that it learns, that it comes back, and that it goes on bit by bit."""

import csv
import json
import math

import numpy as np
import pytest

from minires.errors import DataError, FileFormatError, UsageError
from minires.finetune import evaluate_model, finetune, load_model, predict, train
from minires.io import model_directory, toml
from tests.finetune.helpers import COLOURS, SAME_IN_EQUAL_RUNS, contents, make_photos, make_weights


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    place = tmp_path_factory.mktemp("material")
    return make_photos(place / "photos"), make_weights(place / "weights")


def quick(material, output, **more):
    photos, weights = material
    usual = {"data": str(photos), "weights": str(weights), "epochs": 3, "batch_size": 8, "lr": 0.02, "patience": 0}
    return finetune(**{**usual, "output": str(output), **more})


@pytest.fixture(scope="module")
def run(material, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "first"
    lines: list[str] = []
    return quick(material, folder, epochs=6, say=lines.append), folder, "\n".join(lines)


def test_it_learns(run):
    result, _, _ = run
    assert result.status == "done" and result.epochs_done == 6 and result.split == "test"
    assert result.after["top1"] > 0.8 >= result.before["top1"]
    assert result.after["loss"] < result.before["loss"]
    assert 1 <= result.best_epoch <= 6


def test_first_screen(run):
    _, folder, said = run
    for words in ("train: 27 pictures", "classes: blue, green, red", "parameters are trained", "new head: linear",
                  "6 epochs of 4 steps", "adamw, lr 0.02", str(folder)):  # fmt: skip
        assert words in said


def test_the_run_folder(run):
    result, folder, _ = run
    names = {path.name for path in folder.iterdir()}
    assert {"args.toml", "env.json", "data.json", "splits.csv", "log.txt", "history.csv", "events.jsonl", "checkpoints",
            "model", "metrics.json", "predictions_val.csv", "predictions_test.csv"} <= names  # fmt: skip
    rows = list(csv.DictReader((folder / "history.csv").read_text().splitlines()))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert {"loss", "val_loss", "val_accuracy", "lr"} <= set(rows[0])
    assert len(result.history) == 6
    known = json.loads((folder / "data.json").read_text())
    assert known["classes"] == sorted(COLOURS) and known["fingerprint"]["samples"] == 36
    splits = list(csv.DictReader((folder / "splits.csv").read_text().splitlines()))
    assert len(splits) == 36 and {row["split"] for row in splits} == {"train", "val", "test"}
    predictions = list(csv.DictReader((folder / "predictions_test.csv").read_text().splitlines()))
    assert [row["path"] for row in predictions] == [row["path"] for row in splits if row["split"] == "test"]
    right = sum(row["label"] == row["pred"] for row in predictions) / len(predictions)
    assert right == pytest.approx(result.after["top1"])
    mean_loss = sum(float(row["loss"]) for row in predictions) / len(predictions)
    assert mean_loss == pytest.approx(result.after["loss"], abs=1e-5)
    figures = json.loads((folder / "metrics.json").read_text())
    assert figures["after"] == result.after and figures["before"] == result.before and figures["status"] == "done"
    assert "numpy" in json.loads((folder / "env.json").read_text())["packages"]


def test_the_model_directory(run):
    result, folder, _ = run
    loaded = load_model(folder)
    assert loaded.classes == sorted(COLOURS) and loaded.task == "classification"
    assert loaded.preprocessing.resize == (8, 8) and loaded.preprocessing.mean == (0.5, 0.5, 0.5)
    assert loaded.metrics["test_top1"] == result.after["top1"] and loaded.metrics["best_epoch"] == result.best_epoch
    assert not loaded.model.training


def test_predictions_of_the_saved_model_are_those_of_the_run(run):
    _, folder, _ = run
    rows = list(csv.DictReader((folder / "predictions_test.csv").read_text().splitlines()))
    loaded = load_model(folder / "model")
    root = toml.load_file(folder / "args.toml")["data"]
    found = list(predict(loaded, [f"{root}/{row['path']}" for row in rows], batch_size=8))
    assert [loaded.classes[answer.top(1)[0]] for answer in found] == [row["pred"] for row in rows]
    assert [f"{max(answer.values):.6f}" for answer in found] == [row["prob"] for row in rows]
    assert all(math.isclose(sum(answer.values), 1.0) for answer in found)


def test_evaluate_gives_the_same_figures(run):
    result, folder, _ = run
    found = evaluate_model(folder, batch_size=8)
    assert found.metrics == result.after and found.skipped == {}
    val = evaluate_model(folder / "model", split="val", batch_size=8)
    best = next(row for row in result.history if row["epoch"] == result.best_epoch)
    assert val.metrics["top1"] == pytest.approx(best["val_accuracy"])
    assert val.metrics["loss"] == pytest.approx(best["val_loss"], rel=1e-5, abs=1e-6)


def test_evaluate_on_other_pictures(run, tmp_path):
    _, folder, _ = run
    make_photos(tmp_path / "new", per_class=2)
    assert evaluate_model(folder, str(tmp_path / "new")).metrics["samples"] == 6
    (tmp_path / "new" / "violet").mkdir()
    with pytest.raises(DataError, match="violet"):
        evaluate_model(folder, str(tmp_path / "new"))


def test_the_same_seed_gives_the_same_bits_and_args_toml_repeats_the_run(run, material, tmp_path):
    _, folder, _ = run
    values = toml.load_file(folder / "args.toml")
    assert values.pop("command") == "finetune"
    finetune(**values, output=str(tmp_path / "again"))
    assert contents(tmp_path / "again", *SAME_IN_EQUAL_RUNS) == contents(folder, *SAME_IN_EQUAL_RUNS)
    finetune(**{**values, "workers": 2}, output=str(tmp_path / "threads"))
    assert contents(tmp_path / "threads", *SAME_IN_EQUAL_RUNS) == contents(folder, *SAME_IN_EQUAL_RUNS)
    finetune(**{**values, "seed": 7}, output=str(tmp_path / "other"))
    assert contents(tmp_path / "other", "history.csv") != contents(folder, "history.csv")


@pytest.mark.parametrize("steps", [1, 4, 5, 11])
def test_paused_and_resumed_is_the_same_as_uninterrupted(run, material, tmp_path, steps):
    _, folder, _ = run
    paused = quick(material, tmp_path / "run", epochs=6, max_steps=steps)
    assert paused.status == "paused" and paused.epochs_done == steps // 4
    photos, _ = material
    ended = finetune(resume=True, output=str(tmp_path / "run"), data=str(photos), workers=1)
    assert ended.status == "done" and ended.epochs_done == 6
    assert contents(tmp_path / "run", *SAME_IN_EQUAL_RUNS) == contents(folder, *SAME_IN_EQUAL_RUNS)


def test_a_finished_run_says_so(run, tmp_path):
    result, folder, _ = run
    before = (folder / "model" / "model.safetensors").stat().st_mtime_ns
    said: list[str] = []
    again = finetune(resume=str(folder), say=said.append)
    assert "nothing is left to resume" in said[0]
    assert again.after == result.after and again.best_epoch == result.best_epoch
    assert (folder / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_what_a_resume_refuses(material, tmp_path):
    photos = make_photos(tmp_path / "photos", per_class=4)
    quick((photos, material[1]), tmp_path / "run", max_steps=1)
    with pytest.raises(UsageError, match=r"--momentum 0\.9, not 0\.5"):
        finetune(resume=str(tmp_path / "run"), momentum=0.5)
    with pytest.raises(UsageError, match="was begun by minires finetune"):
        train(resume=str(tmp_path / "run"))
    with pytest.raises(UsageError, match="is not empty"):
        quick((photos, material[1]), tmp_path / "run")
    (photos / "red" / "0.png").write_bytes((photos / "red" / "1.png").read_bytes() + b"more")
    with pytest.raises(UsageError, match=r"changed: 1 \(red/0.png\)"):
        finetune(resume=str(tmp_path / "run"))


def test_auto_resume_and_overwrite(material, tmp_path):
    first = quick(material, tmp_path / "run", resume="auto", max_steps=2)
    assert first.status == "paused"
    assert quick(material, tmp_path / "run", resume="auto").status == "done"
    again = quick(material, tmp_path / "run", overwrite=True, epochs=1)
    assert again.epochs_done == 1 and len((tmp_path / "run" / "history.csv").read_text().splitlines()) == 2


def test_numbered_folders(material, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos, weights = material
    for number in (1, 2):
        result = finetune(data=str(photos), weights=str(weights), epochs=1, batch_size=16)
        assert result.path.replace("\\", "/") == f"runs/finetune-resnet20-{number}"


def test_early_stopping_restores_the_best_weights(material, tmp_path):
    result = quick(material, tmp_path / "run", epochs=40, patience=2, lr=0.05, eval_metric="loss")
    assert result.status == "early-stopped" and result.epochs_done < 40
    assert result.best_epoch == result.epochs_done - 2
    losses = [row["val_loss"] for row in result.history]
    assert losses.index(min(losses)) + 1 == result.best_epoch
    found = evaluate_model(tmp_path / "run", split="val", batch_size=8)
    assert found.metrics["loss"] == pytest.approx(min(losses), rel=1e-5, abs=1e-6)


def test_only_the_head_moves(material, tmp_path):
    quick(material, tmp_path / "run", freeze="all-but-head", head="16", epochs=2)
    before = model_directory.load_parts(material[1])["tensors"]
    after = model_directory.load_parts(tmp_path / "run" / "model")["tensors"]
    body = [name for name in before if not name.startswith("fc")]
    assert all(np.array_equal(before[name], after[name]) for name in body) and len(body) > 30
    assert after["fc.0.weight"].shape == (16, 64) and after["fc.2.weight"].shape == (3, 16)


def test_frozen_statistics_of_a_model_that_is_trained(material, tmp_path):
    quick(material, tmp_path / "run", bn="frozen", epochs=1)
    before = model_directory.load_parts(material[1])["tensors"]
    after = model_directory.load_parts(tmp_path / "run" / "model")["tensors"]
    statistics = [name for name in before if "running" in name or "tracked" in name]
    assert all(np.array_equal(before[name], after[name]) for name in statistics) and statistics
    assert not np.array_equal(before["conv1.weight"], after["conv1.weight"])


@pytest.fixture
def ages(material, tmp_path):
    """A table: the number is 500 for blue, 600 for green, 700 for red pictures."""
    photos, _ = material
    rows = ["path,label"]
    for place, name in enumerate(sorted(COLOURS)):
        rows += [f"{photos / name / f'{index}.png'},{500 + 100 * place}" for index in range(12)]
    (tmp_path / "ages.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "ages.csv"


def test_regression(material, ages, tmp_path):
    result = finetune(data=str(ages), weights=str(material[1]), task="regression", epochs=8, batch_size=8, lr=0.02,
                      patience=0, eval_metric="loss", output=str(tmp_path / "run"))  # fmt: skip
    assert result.after["r2"] > 0.5 and result.after["rmse"] < 60 < result.before["rmse"] < 200
    loaded = load_model(tmp_path / "run")
    assert loaded.task == "regression" and loaded.classes == []
    answer = next(iter(predict(loaded, [str(material[0] / "red" / "0.png")])))
    assert 600 < answer.values[0] < 800
    assert evaluate_model(tmp_path / "run", batch_size=8).metrics["rmse"] == pytest.approx(result.after["rmse"])
    header = (tmp_path / "run" / "predictions_test.csv").read_text().splitlines()[0]
    assert header == "path,label,pred,loss"
    paused = tmp_path / "paused"
    common = {"data": str(ages), "weights": str(material[1]), "task": "regression", "epochs": 8, "batch_size": 8,
              "lr": 0.02, "patience": 0, "eval_metric": "loss"}  # fmt: skip
    assert finetune(**common, output=str(paused), max_steps=6).status == "paused"
    finetune(resume=str(paused))
    assert contents(paused, *SAME_IN_EQUAL_RUNS) == contents(tmp_path / "run", *SAME_IN_EQUAL_RUNS)


def test_few_samples_and_training_from_nothing(material, tmp_path):
    photos, _ = material
    result = train(data=str(photos), samples_per_class=3, epochs=1, batch_size=4, img_size=16,
                   output=str(tmp_path / "run"))  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "run" / "splits.csv").read_text().splitlines()))
    counts = {name: sum(row["split"] == "train" and row["label"] == name for row in rows) for name in COLOURS}
    assert counts == dict.fromkeys(COLOURS, 3)
    assert result.epochs_done == 1 and load_model(tmp_path / "run").preprocessing.output_size == (16, 16)


@pytest.mark.parametrize("sched", ["step", "multistep", "plateau", "onecycle", "constant"])
def test_schedules_resume_bit_by_bit(material, tmp_path, sched):
    more = {"sched": sched, "decay_epochs": 1, "decay_milestones": (1, 2), "warmup_epochs": 0.5, "opt": "sgd",
            "clip_grad": 1.0}  # fmt: skip
    quick(material, tmp_path / "whole", **more)
    assert quick(material, tmp_path / "parts", **more, max_steps=6).status == "paused"
    finetune(resume=str(tmp_path / "parts"))
    assert contents(tmp_path / "parts", *SAME_IN_EQUAL_RUNS) == contents(tmp_path / "whole", *SAME_IN_EQUAL_RUNS)
    rates = [float(row["lr"]) for row in csv.DictReader((tmp_path / "whole" / "history.csv").read_text().splitlines())]
    if sched in ("step", "multistep"):
        assert rates[-1] < rates[0]


def test_weights_that_do_not_fit(material, tmp_path):
    photos, _ = material
    with pytest.raises(FileFormatError, match="do not fit the model resnet32"):
        finetune(data=str(photos), model="resnet32", weights=str(material[1] / "model.safetensors"),
                 output=str(tmp_path / "run"))  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_a_lonely_last_picture_is_left_out_of_the_epoch(material, tmp_path):
    photos = make_photos(tmp_path / "photos", per_class=3)
    result = quick((photos, material[1]), tmp_path / "run", val_split=0, test_split=0, epochs=1, batch_size=4)
    assert result.history[0]["step"] == 2 and result.split == "train"
