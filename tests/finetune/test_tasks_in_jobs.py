"""Whole jobs with several labels, ranks and numbers: they learn, resume to equal bits, and are known again."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from minires import cli
from minires.cli.compare import last_screen
from minires.errors import DataError, UsageError
from minires.finetune import finetune
from minires.finetune.compared import FIGURES
from minires.finetune.comparison import compare
from minires.finetune.evaluation import evaluate_model
from minires.finetune.folds import cross_validate
from minires.finetune.inference import predict
from minires.finetune.loading import load_model
from minires.finetune.lr_find import lr_find
from minires.finetune.search import search
from minires.io import model_directory
from minires.tensor import Tensor
from tests.finetune.helpers import SAME_IN_EQUAL_RUNS, contents, make_weights

TASKS = {"multi-label": "tags.csv", "ordinal": "grades.csv", "regression": "sizes.csv"}
JUDGED_BY = {"multi-label": "map", "ordinal": "qwk", "regression": "r2"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """pictures/: red, green and blue where the labels say so, and as bright as their grade; the tables; weights/."""
    folder, rng = tmp_path_factory.mktemp("tasks"), np.random.default_rng(2)
    (folder / "pictures").mkdir()
    tables = {"tags.csv": ["filename,labels"], "grades.csv": ["filename,grade"], "sizes.csv": ["filename,light,shade"]}
    for place in range(48):
        own = rng.random(3) < [0.6, 0.5, 0.35]
        grade = place % 4
        pixels = np.full((10, 10, 3), 20.0) + 55 * grade * np.eye(10)[:, :, None].repeat(3, 2)
        for channel in np.flatnonzero(own):
            pixels[:, 3 * channel : 3 * channel + 3, channel] = 230
        pixels[:4] = 20 + 60 * grade
        name = f"{place}.png"
        noisy = (pixels + rng.normal(0, 8, pixels.shape)).clip(0, 255)
        Image.fromarray(noisy.astype(np.uint8)).save(folder / "pictures" / name)
        said = "|".join(colour for colour, has in zip(("red", "green", "blue"), own, strict=True) if has)
        tables["tags.csv"].append(f"{name},{said}")
        tables["grades.csv"].append(f"{name},{grade + 8}")
        tables["sizes.csv"].append(f"{name},{grade * 10 + 100},{-grade}")
    for name, lines in tables.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    make_weights(folder / "weights")
    return folder


def job(place, output, task, **more):
    wishes = {"epochs": 6, "batch_size": 8, "lr": 0.02, "patience": 0, "no_aug": True, **more}
    return finetune(data=str(place / "pictures"), labels=str(place / TASKS[task]), weights=str(place / "weights"),
                    task=task, output=str(output), **wishes)  # fmt: skip


@pytest.fixture(scope="module", params=list(TASKS))
def trained(request, place, tmp_path_factory):
    """A finished run of each task: (task, its folder, its result)."""
    folder = tmp_path_factory.mktemp(request.param) / "run"
    return request.param, folder, job(place, folder, request.param)


def test_training_learns_more_than_the_usual_answer(trained):
    task, folder, result = trained
    name = JUDGED_BY[task]
    after, usual = result.after[name], result.after["baseline"][name]
    assert after > 0.6 and after > result.before[name] and after > usual + 0.3
    interval = result.after["intervals"][name]
    assert interval is None or interval[0] <= after <= interval[1] + 1e-9
    assert json.loads((folder / "model" / "task.json").read_text())["name"] == task


def test_tuned_thresholds_stay_with_the_model(place, tmp_path, capsys):
    given = {"tune_thresholds": True, "epochs": 2, "val_split": 0.3, "threshold": 0.6}
    result = job(place, tmp_path / "run", "multi-label", **given)
    loaded = load_model(tmp_path / "run")
    evaluations = {split: evaluate_model(tmp_path / "run", split=split).metrics for split in ("val", "test")}
    assert loaded.kind.tuned and evaluations["test"] == result.after and result.before.get("untuned") is None
    assert result.after["untuned"]["threshold"] == 0.6
    assert evaluations["val"]["macro_f1"] > evaluations["val"]["untuned"]["macro_f1"]
    assert "tuned on these pictures" in "".join(evaluate_model(tmp_path / "run", split="val").notes)
    assert not evaluate_model(tmp_path / "run", split="val", threshold=0.6).notes
    one = evaluate_model(tmp_path / "run", threshold=0.6).metrics
    assert "untuned" not in one and one["macro_f1"] == result.after["untuned"]["macro_f1"]
    pictures = [str(place / "pictures" / f"{number}.png") for number in range(6)]
    for each in predict(loaded, pictures):
        wanted = [name for name, value, cut in zip(loaded.classes, each.values, loaded.kind.thresholds, strict=True)
                  if value > cut]  # fmt: skip
        assert loaded.kind.said(each.values) == "|".join(wanted)
    plain = job(place, tmp_path / "plain", "multi-label", **{**given, "tune_thresholds": False})
    assert plain.after["macro_f1"] == result.after["untuned"]["macro_f1"]
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("run", "plain")]
    assert load_model(tmp_path / "plain").model.state_dict().keys() == loaded.model.state_dict().keys()
    assert all(
        (tensor.array == other.array).all()
        for tensor, other in zip(
            loaded.model.state_dict().values(), load_model(tmp_path / "plain").model.state_dict().values(), strict=True
        )
    )
    assert len(weights[0]) > len(weights[1]) - 1000
    assert cli.main(["evaluate", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out
    assert "0.6 for every label" in shown and "threshold" in shown
    assert cli.main(["predict", str(tmp_path / "run"), pictures[0], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["thresholds"]["red"] == loaded.kind.thresholds[2]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "its own threshold" in page and "0.6 for every label" in page
    job(place, tmp_path / "parts", "multi-label", **given, max_steps=3)
    finetune(resume=str(tmp_path / "parts"))
    assert contents(tmp_path / "parts", *SAME_IN_EQUAL_RUNS) == contents(tmp_path / "run", *SAME_IN_EQUAL_RUNS)


def rows_of(file):
    with open(file, newline="") as text:
        return list(csv.DictReader(text))


def test_decisions_about_several_labels(place, tmp_path):
    """Planted wrong labels and a copy are listed; what is filled in is done, and a resume still has it."""
    for name in ("pictures", "weights"):
        shutil.copytree(place / name, tmp_path / name)
    shutil.copy(tmp_path / "pictures" / "5.png", tmp_path / "pictures" / "copy.png")
    right = {row["filename"]: row["labels"] for row in rows_of(place / "tags.csv")}
    wrong = {**right, "copy.png": right["5.png"], "6.png": "green" if right["6.png"] != "green" else "red|blue"}
    table = "\n".join(["filename,labels", *(f"{name},{labels}" for name, labels in wrong.items())]) + "\n"
    (tmp_path / "tags.csv").write_text(table)
    job(tmp_path, tmp_path / "run", "multi-label", epochs=1, val_split=0.4)
    found = rows_of(tmp_path / "run" / "review.csv")
    assert any({row["path"], row["reason"].rpartition(": ")[2]} == {"5.png", "copy.png"} for row in found)
    for row in found:
        assert set(row["label"].split("|")) == set(wrong[row["path"]].split("|"))
        if row["reason"].startswith("labels"):
            assert row["suggestion"] and row["suggestion"] != row["label"]
    decided = [("6.png", "relabel", "blue|red"), ("7.png", "relabel", "|"), ("copy.png", "delete", "")]
    (tmp_path / "review.csv").write_text("path,action,suggestion\n" + "".join(f"{','.join(row)}\n" for row in decided))
    given = {"review": str(tmp_path / "review.csv"), "epochs": 2}
    assert job(tmp_path, tmp_path / "again", "multi-label", **given, max_steps=3).resumable
    finetune(resume=str(tmp_path / "again"))
    labels = {row["path"]: row["label"] for row in rows_of(tmp_path / "again" / "splits.csv")}
    assert (labels["6.png"], labels["7.png"], "copy.png" in labels) == ("blue|red", "", False)
    assert {name: own for name, own in labels.items() if name not in ("6.png", "7.png")} == {
        name: "|".join(sorted(own.split("|"), key=["blue", "green", "red"].index)) if own else ""
        for name, own in right.items() if name not in ("6.png", "7.png")}  # fmt: skip
    (tmp_path / "review.csv").write_text("path,action,suggestion\n6.png,relabel,red|mauve\n")
    with pytest.raises(DataError, match=r"'red\|mauve', which is no class of the data"):
        job(tmp_path, tmp_path / "third", "multi-label", review=str(tmp_path / "review.csv"))


def test_a_run_of_numbers_that_an_earlier_version_began_goes_on(place, tmp_path):
    job(place, tmp_path / "whole", "regression", epochs=2)
    job(place, tmp_path / "run", "regression", epochs=2, max_steps=3)
    file = tmp_path / "run" / "args.toml"
    text = file.read_text()
    file.write_text(text.replace('eval_metric = "loss"', 'eval_metric = "top1"'))
    assert file.read_text() != text
    finetune(resume=str(tmp_path / "run"))
    assert contents(tmp_path / "run", *SAME_IN_EQUAL_RUNS) == contents(tmp_path / "whole", *SAME_IN_EQUAL_RUNS)


def test_decisions_about_numbers(place, tmp_path):
    file = tmp_path / "review.csv"
    file.write_text("path,action,suggestion\n6.png,relabel,1.5 -2\n7.png,delete,\n")
    job(place, tmp_path / "run", "regression", epochs=1, review=str(file))
    labels = {row["path"]: row["label"] for row in rows_of(tmp_path / "run" / "splits.csv")}
    assert labels["6.png"].split() == ["1.5", "-2.0"] and "7.png" not in labels and len(labels) == 47
    assert all(row["reason"].startswith("duplicate") for row in rows_of(tmp_path / "run" / "review.csv"))
    for wish in ("3", "1 2 3", "many few", "nan 1"):
        file.write_text(f"path,action,suggestion\n6.png,relabel,{wish}\n")
        with pytest.raises(DataError, match=f"'{wish}', which is no label like the others"):
            job(place, tmp_path / "other", "regression", review=str(file))


@pytest.mark.parametrize(
    "task", ["multi-label", *(pytest.param(task, marks=pytest.mark.slow) for task in ("ordinal", "regression"))]
)
def test_ways_are_compared_by_the_figure_of_the_task(place, tmp_path, task):
    figure = FIGURES[task]
    result = compare(1, data=str(place / "pictures"), labels=str(place / TASKS[task]), task=task, epochs=1,
                     batch_size=16, weights=str(place / "weights"), output=tmp_path / "run")  # fmt: skip
    table = {row["variant"]: row[figure] for row in result.table()}
    assert table["fully fine-tuned"] == result.of("full")[0].after[figure]
    assert result.figure == figure != "top1" and f"{figure}, validation pictures" in result.chart().svg()
    assert figure in last_screen(result) and "accuracy" not in last_screen(result)
    assert f"before_{figure},{figure},loss" in (tmp_path / "run" / "comparison.csv").read_text()
    assert compare(resume=tmp_path / "run").to_dict() == result.to_dict()


@pytest.mark.parametrize(
    ("more", "message"),
    [({"task": "ordinal"}, "is for --task multi-label"), ({"val_split": 0.0}, "needs validation pictures"),
     ({"fold": "1/2"}, "or folds")],
)  # fmt: skip
def test_what_thresholds_are_not_tuned_for(place, tmp_path, more, message):
    with pytest.raises(UsageError, match=message):
        job(place, tmp_path / "run", **{"task": "multi-label", "tune_thresholds": True, **more})
    assert not (tmp_path / "run").exists()


def test_a_run_in_parts_ends_with_the_same_bits(trained, place, tmp_path):
    task, folder, _ = trained
    assert job(place, tmp_path / "parts", task, max_steps=7).status == "paused"
    assert finetune(resume=str(tmp_path / "parts"), max_steps=9).status == "paused"
    finetune(resume=str(tmp_path / "parts"))
    assert contents(tmp_path / "parts", *SAME_IN_EQUAL_RUNS) == contents(folder, *SAME_IN_EQUAL_RUNS)


def test_the_model_knows_its_task(trained, place):
    task, folder, result = trained
    loaded = load_model(folder)
    assert loaded.task == task
    measured = evaluate_model(folder, batch_size=8).metrics
    assert measured[JUDGED_BY[task]] == pytest.approx(result.after[JUDGED_BY[task]])
    again = evaluate_model(folder, str(place / "pictures"), labels=str(place / TASKS[task]))
    assert again.metrics["samples"] == 48 and "no column split" in again.notes[0]
    answers = list(predict(loaded, [str(place / "pictures" / f"{k}.png") for k in range(4)]))
    if task == "ordinal":
        assert loaded.classes == ["8", "9", "10", "11"]  # by size, not as text
        ranks = [loaded.kind.rank(answer.values) for answer in answers]
        assert max(abs(np.array(ranks) - np.arange(4))) <= 1
    if task == "regression":
        assert loaded.kind.names == ["light", "shade"]
        light = [answer.values[0] for answer in answers]
        assert max(abs(np.array(light) - [100, 110, 120, 130])) < 12
    with pytest.raises(UsageError, match=r"is evaluated on a CSV table|there is no such folder"):
        evaluate_model(folder, str(place / ("weights" if task != "ordinal" else "nowhere")))
    views = loaded.with_views(2)
    assert np.isfinite(next(iter(predict(views, [str(place / "pictures" / "0.png")]))).values).all()


def test_the_newest_checkpoint_is_a_model_of_the_task_too(trained, place):
    task, folder, _ = trained
    file = sorted((folder / "checkpoints").glob("step-*.safetensors"))[-1]
    loaded = load_model(file)
    picture = [str(place / "pictures" / "3.png")]
    assert loaded.task == task and loaded.record == load_model(folder).record
    values = next(iter(predict(loaded, picture))).values
    assert len(values) == {"multi-label": 3, "ordinal": 4, "regression": 2}[task]


def test_answers_and_report(trained):
    task, folder, result = trained
    rows = list(csv.DictReader((folder / "predictions_test.csv").read_text().splitlines()))
    assert list(rows[0]) == ["path", "label", "pred", "loss"] and len(rows) == result.after["samples"]
    page = (folder / "report.html").read_text("utf-8")
    shown = {"multi-label": ">Labels</h2>", "ordinal": ">Confusion</h2>", "regression": ">Predictions</h2>"}
    assert shown[task] in page and ">baseline</th>" in page and "nan" not in page.lower().split("<body>")[1].split()


def test_onnx_gives_the_same(trained, place, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    task, folder, _ = trained
    from minires.onnx import export

    loaded = load_model(folder)
    record = {"name": task, **loaded.kind.known}
    export(loaded.model, tmp_path / "m.onnx", (1, 3, 8, 8), class_names=loaded.classes or None, task=record)
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)
    (found,) = session.run(None, {"input": images})
    assert np.allclose(found, loaded.model(Tensor(images)).detach().numpy(), rtol=1e-3, atol=1e-3)
    assert json.loads(session.get_modelmeta().custom_metadata_map["task"]) == record


SLOWER = [pytest.param(more, marks=pytest.mark.slow) for more in ({"strategy": "lp-ft"}, {"model_ema": True})]
WAYS = [{"strategy": "head"}, {"strategy": "lora"}, *SLOWER]
SEVERAL = [{"mixup": 0.4}, {"cutmix": 1.0}, {"class_weights": "balanced"}, {"eval_metric": "map"}]


@pytest.mark.parametrize("more", WAYS)
@pytest.mark.parametrize("task", ["ordinal", "multi-label"])
def test_strategies(place, tmp_path, task, more):
    result = job(place, tmp_path / "run", task, epochs=2, **more)
    assert np.isfinite(result.after["loss"])
    parts = model_directory.load_parts(tmp_path / "run" / "model")
    if task == "ordinal":  # rank-consistent whatever was trained
        weight, bias = parts["tensors"]["fc.weight"], parts["tensors"]["fc.bias"]
        assert np.ptp(weight, axis=0).max() <= 1e-6 and (np.diff(bias) <= 1e-6).all()
    if more.get("strategy") in ("head", "lora"):
        delta = load_model(tmp_path / "run" / "model" / "delta.safetensors", base=place / "weights")
        picture = [str(place / "pictures" / "0.png")]
        own = next(iter(predict(load_model(tmp_path / "run"), picture))).values
        assert delta.task == task and np.allclose(next(iter(predict(delta, picture))).values, own, atol=1e-5)


@pytest.mark.parametrize("more", SEVERAL)
def test_what_several_labels_go_with(place, tmp_path, more):
    result = job(place, tmp_path / "run", "multi-label", epochs=2, **more)
    assert np.isfinite([row["loss"] for row in result.history]).all()
    if "eval_metric" in more:
        values = [row["val_map"] for row in result.history]
        assert result.best_epoch == 1 + values.index(max(values))


def test_the_best_epoch_of_ranks_has_the_smallest_error(place, tmp_path):
    result = job(place, tmp_path / "run", "ordinal", epochs=4, eval_metric="mae")
    values = [row["val_mae"] for row in result.history]
    assert result.best_epoch == 1 + values.index(min(values))


@pytest.mark.slow
def test_folds_and_the_rate(place, tmp_path):
    wishes = {"data": str(place / "pictures"), "labels": str(place / "tags.csv"), "weights": str(place / "weights"),
              "batch_size": 8, "epochs": 1}  # fmt: skip
    found = cross_validate(3, output=str(tmp_path / "folds"), **wishes)
    assert found.pictures == 48 and "map" in found.figures and len(found.figures["map"]) == 3
    assert lr_find(
        command="finetune", steps=20, **{key: value for key, value in wishes.items() if key != "epochs"}
    ).losses


def test_a_search_knows_which_way_is_better(place, tmp_path):
    study = search(["lr=0.000001,0.03"], trials=2, output=str(tmp_path / "search"), data=str(place / "pictures"),
                   labels=str(place / "sizes.csv"), task="regression", eval_metric="rmse", epochs=3, batch_size=8,
                   weights=str(place / "weights"), no_aug=True)  # fmt: skip
    scores = [trial.score for trial in study.trials]
    assert study.metric == "val_rmse" and not study.larger and study.best.score == min(scores)


def test_a_search_takes_the_task_from_the_table(place, tmp_path):
    study = search(["lr=1e-3..1e-2"], trials=1, data=str(place / "pictures"), labels=str(place / "tags.csv"), epochs=1,
                   batch_size=16, weights=str(place / "weights"), output=str(tmp_path / "search"))  # fmt: skip
    assert study.metric == "val_loss" and not study.larger and study.best.score > 0


def test_too_few_pictures_are_not_called_unreadable(place, tmp_path):
    (tmp_path / "tags.csv").write_text("filename,labels\n1.png,red\n2.png,green|red\n")
    given = {"data": str(place / "pictures"), "labels": str(tmp_path / "tags.csv"), "weights": str(place / "weights"),
             "output": str(tmp_path / "run")}  # fmt: skip
    with pytest.raises(DataError, match="too few pictures to give any to the split test") as caught:
        finetune(**given)
    assert "--test-split 0" in caught.value.hint and not (tmp_path / "run").exists()


def test_bad_pictures_and_rows_without_a_picture(place, tmp_path):
    (tmp_path / "pictures").mkdir()
    for file in (place / "pictures").iterdir():
        (tmp_path / "pictures" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "pictures" / "1.png").write_bytes(b"no picture")
    (tmp_path / "tags.csv").write_text((place / "tags.csv").read_text() + "lost.png,red\n")
    (tmp_path / "weights").symlink_to(place / "weights")
    with pytest.raises(DataError, match=r"line 50: no such picture 'lost\.png'"):
        job(tmp_path, tmp_path / "run", "multi-label", epochs=1)
    (tmp_path / "tags.csv").write_text((place / "tags.csv").read_text())
    with pytest.raises(DataError, match=r"1\.png"):
        job(tmp_path, tmp_path / "run", "multi-label", epochs=1)
    assert not (tmp_path / "run").exists()
    (tmp_path / "tags.csv").write_text((place / "tags.csv").read_text() + "lost.png,red\n")
    job(tmp_path, tmp_path / "run", "multi-label", epochs=1, on_bad_image="skip")
    scan = json.loads((tmp_path / "run" / "data.json").read_text())["scan"]
    assert len(scan["unreadable"]) == 2 and sum(scan["pictures"].values()) == 47


def test_a_changed_label_is_noticed_on_a_resume(place, tmp_path):
    table = tmp_path / "tags.csv"
    table.write_text((place / "tags.csv").read_text())
    wishes = {"data": str(place / "pictures"), "labels": str(table), "weights": str(place / "weights"),
              "batch_size": 8, "epochs": 2, "output": str(tmp_path / "run")}  # fmt: skip
    finetune(**wishes, max_steps=2)
    lines = table.read_text().splitlines()
    lines[3] = lines[3].split(",")[0] + ",red|green|blue"
    table.write_text("\n".join(lines) + "\n")
    with pytest.raises(UsageError, match=r"relabelled: 1 \(2\.png\)"):
        finetune(resume=str(tmp_path / "run"))
    assert finetune(resume=str(tmp_path / "run"), accept_data_change=True).status == "done"


@pytest.mark.parametrize(
    ("wish", "message"),
    [({"labels": "nowhere.csv"}, "cannot read the table --labels nowhere.csv: there is no such file"),
     ({"label_columns": ("x",)}, "--label-columns is about a table of labels"),
     ({"task": "multi-label"}, "multi-label takes a CSV table"), ({"task": "ordinal"}, "in which order blue, red are")],
)  # fmt: skip
def test_wrong_use(place, tmp_path, wish, message):
    for name in ("red", "blue"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "0.png").write_bytes((place / "pictures" / "0.png").read_bytes())
    with pytest.raises(UsageError, match=message):
        finetune(data=str(tmp_path / "photos"), weights=str(place / "weights"), output=str(tmp_path / "run"), **wish)


def test_an_order_needs_three_classes(place, tmp_path):
    (tmp_path / "two.csv").write_text("filename,grade\n" + "".join(f"{k}.png,{k % 2}\n" for k in range(20)))
    with pytest.raises(UsageError, match="an order needs at least 3 classes"):
        finetune(data=str(place / "pictures"), labels=str(tmp_path / "two.csv"), weights=str(place / "weights"),
                 task="ordinal", output=str(tmp_path / "run"))  # fmt: skip
