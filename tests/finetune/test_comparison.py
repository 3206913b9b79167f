"""`compare`: four ways on the same few pictures, one table, a picture of the curves; interrupted and resumed."""

import csv
import json
import statistics
import xml.etree.ElementTree as ElementTree

import pytest
from PIL import Image

from minires.errors import UsageError
from minires.finetune import comparison
from minires.finetune.comparison import Comparison, Run, compare
from minires.finetune.loading import load_model
from minires.io import RunFolder, model_directory, toml
from tests.finetune.helpers import make_photos, make_weights

QUICK = {"samples_per_class": 3, "batch_size": 8, "epochs": 2, "seed": 7}


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    place = tmp_path_factory.mktemp("comparison")
    return {"data": str(make_photos(place / "photos")), "weights": str(make_weights(place / "weights"))}


@pytest.fixture(scope="module")
def compared(material, tmp_path_factory):
    said: list[str] = []
    folder = tmp_path_factory.mktemp("runs") / "compared"
    return compare(2, **material, **QUICK, output=folder, say=said.append), folder, said


def test_every_way_is_a_run_of_its_own(compared, material):
    result, _, said = compared
    assert [(run.variant, run.seed) for run in result.runs] == [
        (name, seed) for seed in (7, 8) for name in ("scratch", "head", "full")
    ]
    for run in result.runs:
        args = toml.load_file(f"{run.path}/args.toml")
        assert (args["seed"], args["samples_per_class"], args["patience"], args["epochs"]) == (run.seed, 3, 0, 2)
        assert len(run.history) == 2 and run.seconds > 0
        assert load_model(run.path).classes == ["blue", "green", "red"]
    assert sum(line.startswith("seed ") for line in said) == 6 and said[0].startswith("data")


def test_a_strategy_is_a_fourth_way(material, tmp_path):
    given = {**material, **QUICK, "strategy": "lora", "lora_rank": 2}
    result = compare(1, **given, output=tmp_path / "run")
    assert [run.variant for run in result.runs] == ["scratch", "head", "full", "strategy"] and result.complete
    assert [row["variant"] for row in result.table()][-1] == "strategy lora"
    written = {run.variant: toml.load_file(f"{run.path}/args.toml") for run in result.runs}
    assert written["strategy"]["strategy"] == "lora" and written["strategy"]["lora_rank"] == 2
    assert {written[name]["strategy"] for name in ("scratch", "head", "full")} == {"full"}
    assert "strategy lora" in (tmp_path / "run" / "curves.svg").read_text()
    assert (tmp_path / "run" / "seed-7" / "strategy" / "model" / "delta.safetensors").exists()
    again = compare(resume=tmp_path / "run")
    assert again.to_dict() == result.to_dict() and again.strategy == "lora"
    with pytest.raises(UsageError, match="has --strategy lora, not bitfit"):
        compare(resume=tmp_path / "run", strategy="bitfit", lora_rank=None)
    plain = compare(1, **material, **QUICK, output=tmp_path / "run", overwrite=True)
    assert len(plain.runs) == 3 and not (tmp_path / "run" / "seed-7" / "strategy" / "args.toml").exists()


def test_the_ways_share_pictures_and_differ_in_what_is_trained(compared, material):
    result, folder, _ = compared
    for seed in (7, 8):
        own = [folder / f"seed-{seed}" / name for name in ("scratch", "head", "full")]
        splits = {(path / "splits.csv").read_bytes() for path in own}
        assert len(splits) == 1, "the same few labels, the same test pictures"
    given = model_directory.load_parts(material["weights"])
    scratch, head, full = (model_directory.load_parts(folder / "seed-7" / name / "model")
                           for name in ("scratch", "head", "full"))  # fmt: skip
    kept = [name for name in given["tensors"] if not name.startswith("fc")]
    same = {key: all((part["tensors"][name] == given["tensors"][name]).all() for name in kept)
            for key, part in {"scratch": scratch, "head": head, "full": full}.items()}  # fmt: skip
    assert same == {"scratch": False, "head": True, "full": False}
    assert scratch["config"]["depth"] == head["config"]["depth"] == 8, "from scratch it is the same network"
    assert scratch["preprocessing"] == head["preprocessing"] == given["preprocessing"]
    before = {run.variant: run.before for run in result.runs if run.seed == 7}
    assert before["head"] == before["full"] != before["scratch"]


def test_the_table_is_mean_and_deviation_over_the_seeds(compared):
    result, _, _ = compared
    table = {row["variant"]: row for row in result.table()}
    assert list(table) == ["before training", "trained from scratch", "head only", "fully fine-tuned"]
    figures = [run.after["top1"] for run in result.of("full")]
    assert table["fully fine-tuned"]["top1"] == statistics.fmean(figures)
    assert table["fully fine-tuned"]["spread"] == statistics.stdev(figures)
    assert table["before training"]["top1"] == statistics.fmean(run.before["top1"] for run in result.of("full"))
    assert table["before training"]["seconds"] is None and table["head only"]["seconds"] > 0
    assert result.complete and result.model_path.endswith("full") and "seed-7" in result.model_path


def test_files_of_a_comparison(compared):
    result, folder, _ = compared
    kept = json.loads((folder / "comparison.json").read_text())
    assert kept == json.loads(json.dumps(result.to_dict()))
    rows = list(csv.DictReader((folder / "comparison.csv").read_text().splitlines()))
    assert [float(row["top1"]) for row in rows] == [run.after["top1"] for run in result.runs]
    text = (folder / "curves.svg").read_text()
    assert ElementTree.fromstring(text).tag.endswith("svg")
    for title in ("trained from scratch", "head only", "fully fine-tuned", "accuracy, validation pictures"):
        assert f">{title}</text>" in text
    assert text.count("<polygon") == 6, "a band for each way in both panels"
    with Image.open(folder / "curves.png") as picture:
        assert picture.format == "PNG"


def test_interrupted_and_resumed(material, compared, tmp_path, monkeypatch):
    expected, _, _ = compared
    job, calls = comparison.run_job, []

    def interrupted(command, values, **more):
        calls.append(values["output"])
        if len(calls) == 3:
            job(command, {**values, "max_steps": 1}, **more)  # begun, and then:
            raise KeyboardInterrupt
        return job(command, values, **more)

    monkeypatch.setattr(comparison, "run_job", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare(2, **material, **QUICK, output=tmp_path / "run")
    assert len(json.loads((tmp_path / "run" / "comparison.json").read_text())["runs"]) == 2
    with pytest.raises(UsageError, match=r"has --epochs 2, not 5"):
        compare(resume=tmp_path / "run", epochs=5)
    with pytest.raises(UsageError, match=r"has --compare 2, not 3"):
        compare(3, resume=tmp_path / "run")
    ended = compare(resume=True, output=tmp_path / "run", data=material["data"])
    assert len(calls) == 3 + 4, "what was finished is not trained again"
    assert ended.complete and [run.seconds is None for run in ended.runs] == [False, False, True, False, False, False]
    assert [run.after for run in ended.runs] == [run.after for run in expected.runs]
    assert compare(resume=tmp_path / "run").to_dict() == ended.to_dict() and len(calls) == 7


def test_resume_wants_a_comparison(material, compared, tmp_path):
    with pytest.raises(UsageError, match="is no comparison"):
        compare(resume=compared[0].runs[0].path)
    with pytest.raises(UsageError, match="is not a run folder"):
        compare(resume=tmp_path)


def test_overwrite_starts_afresh(material, tmp_path):
    with RunFolder.create(tmp_path / "run") as folder:
        folder.write_json("comparison.json", {"runs": [], "data": "of another day"})
    with pytest.raises(UsageError, match="is not empty"):
        compare(1, **material, **QUICK, output=tmp_path / "run")
    first = compare(1, **material, **QUICK, output=tmp_path / "run", overwrite=True)
    again = compare(1, **material, **{**QUICK, "epochs": 1}, output=tmp_path / "run", overwrite=True)
    assert [len(run.history) for run in first.runs + again.runs] == [2, 2, 2, 1, 1, 1]
    assert again.table()[1]["spread"] is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"seeds": 0}, "--compare takes the number of seeds"), ({"seeds": 101}, "1 to 100, got 101"),
        ({"seeds": True}, "got True"), ({"freeze": "all-but-head"}, "--freeze does not go with --compare"),
        ({"max_steps": 3}, "--max-steps does not go"), ({"task": "regression"}, "regression"),
        ({"strategy": "head"}, "is among the ways"),
        ({"weights": "none"}, "nothing to compare with"), ({"epoch": 3}, "did you mean 'epochs'"),
        ({"data": "nowhere"}, "no such folder"), ({"weights": "of_nobody"}, "no weights 'of_nobody'"),
    ],
)  # fmt: skip
def test_what_does_not_go_with_a_comparison_creates_nothing(material, tmp_path, more, message):
    with pytest.raises(UsageError, match=message):
        compare(**{**material, **QUICK, **more}, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("steps_per_epoch", [1, 3, 4, 7, 10, 1000])
def test_from_scratch_is_trained_for_at_least_as_long(steps_per_epoch):
    epochs = {name: variant.epochs(steps_per_epoch) for name, variant in comparison.VARIANTS.items()}
    assert epochs["full"] * steps_per_epoch >= 100 and epochs["full"] >= 10
    assert epochs["scratch"] * steps_per_epoch >= 200 and epochs["scratch"] >= 2 * epochs["full"] - 1


def test_few_pictures_are_gone_through_more_often(material, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(comparison, "run_job", lambda command, values, **_: seen.append(values) or 1 / 0)
    for per_class, steps in ((2, 1), (6, 3)):
        with pytest.raises(ZeroDivisionError):
            compare(1, **material, samples_per_class=per_class, batch_size=6, output=tmp_path / str(per_class))
        assert seen[-1]["epochs"] == comparison.VARIANTS["scratch"].epochs(steps)


def test_another_optimizer_brings_its_own_learning_rate():
    def rate(**given):
        return comparison._settings("full", {"data": "d", **given}, 1, 4).resolved("finetune").lr

    assert (rate(), rate(opt="sgd"), rate(opt="sgd", lr=0.3)) == (1e-3, 1e-2, 0.3)


def test_without_validation_the_curves_are_of_the_training_pictures():
    history = [{"epoch": 1, "step": 2, "loss": 1.0, "accuracy": 0.5, "lr": 0.1}]
    figures = {"top1": 0.5, "samples": 4, "loss": 1.0}
    runs = [Run(name, 1, "p", "train", figures, figures, 1, history, 1.0) for name in comparison.VARIANTS]
    text = Comparison("p", "d", [1], runs).chart().svg()
    assert "accuracy, training pictures" in text and "polygon" not in text


@pytest.mark.parametrize("value", [float("nan"), None])
def test_a_figure_that_is_never_defined_is_left_out_of_the_curves(value):
    """As mAP is where no validation picture has a label; null is what a resumed comparison reads."""
    history = [{"epoch": 1, "loss": 0.5, "val_map": value}, {"epoch": 2, "loss": 0.4, "val_map": value}]
    figures = {"map": None, "loss": 0.5}
    runs = [Run(name, 7, "", "test", figures, figures, 1, history, 1.0) for name in ("scratch", "head", "full")]
    found = Comparison("", "tags", [7], runs, figure="map")
    assert "validation" not in found.chart().svg() and "loss, training pictures" in found.chart().svg()
    assert {row["map"] for row in found.table()} == {None}
    runs[0].history = [*history[:1], {**history[1], "val_map": 0.5}]
    assert "map, validation pictures" in found.chart().svg()


def test_overwritten_with_fewer_seeds_nothing_of_the_others_is_left(material, tmp_path):
    quick = {**QUICK, "epochs": 1}
    compare(2, **material, **quick, output=tmp_path / "run")
    (tmp_path / "run" / "seed-8" / "notes.txt").write_text("mine")
    again = compare(1, **material, **quick, output=tmp_path / "run", overwrite=True)
    assert again.seeds == [7] and {run.seed for run in again.runs} == {7}
    left = [path for path in (tmp_path / "run" / "seed-8").rglob("*") if path.is_file() and path.name != ".lock"]
    assert [path.name for path in left] == ["notes.txt"], "what is not a run's own stays"
