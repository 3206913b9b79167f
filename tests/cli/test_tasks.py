"""Several labels, ranks and numbers on the command line: what is said, written and refused."""

import csv
import importlib.util
import json

import pytest

from minires import cli
from tests.cli.helpers import minires
from tests.finetune.helpers import COLOURS, make_photos, make_weights

WARMTH = {"red": "warm", "green": "cold", "blue": "cold"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """photos/, weights/, tables of labels, and a run with several labels that a process of its own has made."""
    folder = tmp_path_factory.mktemp("tasks")
    make_photos(folder / "photos", per_class=8)
    make_weights(folder / "weights")
    names = [(colour, f"{colour}/{index}.png") for colour in COLOURS for index in range(8)]
    tables = {
        "tags.csv": ["filename,labels", *(f"{name},{colour}|{WARMTH[colour]}" for colour, name in names)],
        "sizes.csv": ["filename,age,kg", *(f"{name},{len(colour)}.5,{len(colour) * 10}" for colour, name in names)],
        "grades.csv": ["filename,label", *(f"{name},{len(colour)}" for colour, name in names)],
    }  # fmt: skip
    for name, lines in tables.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    answer = minires("finetune", "--data", "photos", "--labels", "tags.csv", "--weights", "weights", "--epochs", "6",
                     "-b", "8", "--lr", "0.02", "--output", "tags", cwd=folder)  # fmt: skip
    assert answer.returncode == 0, answer.stderr.decode()
    return folder, answer


@pytest.fixture
def here(place, monkeypatch, capsys):
    """Run one command line in the folder; (status, stdout, stderr)."""
    monkeypatch.chdir(place[0])

    def run(*words):
        status = cli.main([str(word) for word in words])
        return status, *capsys.readouterr()

    return run


def test_both_screens_of_a_run_with_several_labels(place):
    screen, last = (text.decode() for text in (place[1].stderr, place[1].stdout))
    assert "data     photos, labels in tags.csv" in screen and "train: 16 pictures, 5 classes" in screen
    assert "any number of labels a picture (multi-label), 2 on average: blue, cold, green, red, warm" in screen
    assert "val_map" in screen
    lines = last.splitlines()
    assert lines[1].split()[-5:] == ["map", "macro_f1", "micro_f1", "exact_match", "loss"]
    assert any(line.strip().startswith("baseline (the usual answer)") for line in lines)


def test_predict_says_the_labels_above_the_threshold(here):
    status, out, _ = here("predict", "tags", "photos/red/0.png")
    assert status == 0 and {word for word in out.split() if not word.endswith("%")} >= {"red", "warm"}
    _, out, _ = here("predict", "tags", "photos/red/0.png", "photos/blue/1.png", "--format", "csv")
    rows = list(csv.DictReader(out.splitlines()))
    assert list(rows[0]) == ["path", "labels", "blue", "cold", "green", "red", "warm"]
    assert [set(row["labels"].split("|")) for row in rows] == [{"red", "warm"}, {"blue", "cold"}]
    _, out, _ = here("predict", "tags", "photos/red/0.png", "--format", "jsonl", "--threshold", "0.000001")
    record = json.loads(out)
    assert len(record["labels"]) == 5 and record["threshold"] == 1e-6
    assert record["predictions"][0]["prob"] >= record["predictions"][1]["prob"]
    status, out, _ = here("predict", "tags", "photos/red/0.png", "--threshold", "0.999999999999")
    assert status == 0 and "no label above" in out


def test_evaluate_with_another_table_and_threshold(here):
    status, out, _ = here("evaluate", "tags", "--data", "photos", "--labels", "tags.csv", "--json")
    found = json.loads(out)["metrics"]
    assert status == 0 and found["samples"] == 24 and found["map"] > 0.9 and "warm" in found["per_class"]
    said = []
    for threshold in ("0.000001", "0.5", "0.999999"):
        status, out, _ = here("evaluate", "tags", "--threshold", threshold, "--json")
        said.append(sum(own["said"] for own in json.loads(out)["metrics"]["per_class"].values()))
    assert said[0] > said[1] >= said[2]
    status, out, _ = here("evaluate", "tags")
    assert status == 0 and "baseline" in out and "precision" in out


def test_export_says_what_the_output_means(here, tmp_path):
    pytest.importorskip("onnx")
    status, out, _ = here("export", "tags", "--output", tmp_path / "tags.onnx")
    assert status == 0 and "output: the logistic function gives each label's probability" in out
    status, out, _ = here("export", "tags", "--output", tmp_path / "tags.safetensors")
    status, out, _ = here("predict", tmp_path / "tags.safetensors", "photos/red/0.png", "--format", "csv")
    assert status == 0 and out.startswith("path,labels,blue")


def test_numbers_and_ranks(here, tmp_path):
    common = ("--data", "photos", "--weights", "weights", "--epochs", 1, "-b", 8, "--lr", 0.02)
    status, out, err = here("finetune", *common, "--labels", "sizes.csv", "--output", tmp_path / "sizes")
    assert status == 0 and "labels are numbers (regression): age, kg" in err and "r2" in out  # 3.5 is no class
    _, out, _ = here("predict", tmp_path / "sizes", "photos/red/0.png", "--format", "csv")
    assert out.splitlines()[0] == "path,age,kg" and len(out.splitlines()[1].split(",")) == 3
    _, out, _ = here("predict", tmp_path / "sizes", "photos/red/0.png", "--format", "jsonl")
    assert list(json.loads(out)["outputs"]) == ["age", "kg"]
    _, out, _ = here("evaluate", tmp_path / "sizes")
    assert "number" in out and "kg" in out
    status, out, err = here("finetune", *common, "--labels", "grades.csv", "--task", "ordinal", "--output",
                            tmp_path / "grades")  # fmt: skip
    assert status == 0 and "classes in this order (ordinal): 3, 4, 5" in err and "qwk" in out
    _, out, _ = here("predict", tmp_path / "grades", "photos/red/0.png", "--format", "csv")
    row = next(csv.DictReader(out.splitlines()))
    assert list(row) == ["path", "label", "rank", "3", "4", "5"]
    assert sum(float(row[name]) for name in "345") == pytest.approx(1, abs=1e-5)
    if importlib.util.find_spec("onnx") is not None:
        status, out, _ = here("export", tmp_path / "grades", "--output", tmp_path / "grades.onnx")
        assert status == 0 and "cumulative_logits" in out and "P(rank > k)" in out


def test_whole_numbers_are_classes_and_the_first_screen_says_so(here, tmp_path):
    status, _, err = here("finetune", "--data", "photos", "--labels", "grades.csv", "--weights", "weights", "--dry-run",
                          "-b", 8)  # fmt: skip
    assert status == 0 and "note: whole numbers are taken for classes: --task regression or ordinal" in err


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [(["--labels", "tags.csv", "--label-columns", "kind"], 1, "tags.csv, line 1: no column 'kind' among filename"),
     (["--labels", "tags.csv", "--task", "regression"], 1, "tags.csv, line 2: 'blue|cold' is no number in the column"),
     (["--labels", "tags.csv", "--samples-per-class", "3"], 2, "--samples-per-class does not go with --task multi"),
     (["--labels", "tags.csv", "--eval-metric", "r2"], 2, "--eval-metric r2 does not go with --task multi-label"),
     (["--task", "ordinal"], 2, "ordinal classes need --class-map"),
     (["--labels", "grades.csv", "--task", "single", "--threshold", "0.3"], 2, "--threshold is for --task multi-label"),
     (["--labels", "nowhere.csv"], 2, "cannot read the table --labels nowhere.csv")],
)  # fmt: skip
def test_what_is_refused(here, tmp_path, words, status, message):
    found, _, err = here("finetune", "--data", "photos", "--weights", "weights", "--output", tmp_path / "run", *words)
    assert found == status and message in err and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_threshold_is_not_for_other_models(here):
    status, _, err = here("predict", "weights", "photos/red/0.png", "--threshold", "0.3")
    assert status == 2 and "--threshold is for multi-label models; weights is for classification" in err
