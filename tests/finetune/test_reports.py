"""The report of a run, and the next run that reads what somebody decided about its pictures."""

import csv
import os

import numpy as np
import pytest
from PIL import Image

from minires.data import FileDataset
from minires.errors import DataError, UsageError
from minires.finetune import evaluate_model, finetune, reporting
from minires.finetune.review import apply_review
from tests.finetune.helpers import make_photos, make_weights


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """photos/ with a green picture among the red ones, and a run on them."""
    place = tmp_path_factory.mktemp("reports")
    photos = make_photos(place / "photos", per_class=20)
    for name in ("wrong", "wrong2"):
        Image.fromarray(np.full((12, 12, 3), (50, 180, 60), np.uint8)).save(photos / "red" / f"{name}.png")
    make_weights(place / "weights")
    finetune(data=str(photos), weights=str(place / "weights"), epochs=8, batch_size=8, lr=0.02, patience=0,
             val_split=0.3, output=str(place / "run"))  # fmt: skip
    return place


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_run_has_a_report_and_a_table_of_what_to_look_at(place):
    page = (place / "run" / "report.html").read_text("utf-8")
    parts = ["Before and after", "Data", "Training", "Confusion", "Calibration", "Features", "Layers",
             "Hyper-parameters", "Versions", "Training pictures as the model saw them"]  # fmt: skip
    assert [part for part in parts if f">{part}</h" not in page] == []
    assert "seed 42" in page and os.path.getsize(place / "run" / "report.html") < 500_000
    rows = rows_of(place / "run" / "review.csv")
    assert all(row["action"] == "" for row in rows)
    wrong = [row for row in rows if "wrong" in row["path"]]
    assert wrong, "the two equal pictures are duplicates wherever they are, and label errors if they are not trained on"
    assert "<script" not in page and "http://" not in page.replace("http://www.w3.org/2000/svg", "")


def test_a_later_report_is_the_same_and_leaves_decisions_alone(place):
    page, table = ((place / "run" / name) for name in ("report.html", "review.csv"))
    before = page.read_bytes()
    table.write_text("path,label,suggestion,action,reason\nred/1.png,red,,keep,mine\n")
    assert reporting.report_run(str(place / "run")) == str(page)
    assert page.read_bytes() == before and "mine" in table.read_text()


def test_the_next_run_does_what_the_table_says(place, tmp_path):
    table = tmp_path / "review.csv"
    table.write_text("path,label,suggestion,action\nred/wrong.png,red,green,relabel\nred/wrong2.png,red,,delete\n"
                     "red/0.png,red,,keep\nred/1.png,red,blue,\n")  # fmt: skip
    lines = []
    settings = {"data": str(place / "photos"), "weights": str(place / "weights"), "epochs": 1, "batch_size": 8,
                "output": str(tmp_path / "run")}  # fmt: skip
    finetune(**settings, review=str(table), max_steps=1, say=lines.append)
    assert f"review: 1 pictures left out, 1 relabelled, as {table} says" in lines
    labels = {row["path"]: row["label"] for row in rows_of(tmp_path / "run" / "splits.csv")}
    assert labels["red/wrong.png"] == "green" and "red/wrong2.png" not in labels and labels["red/1.png"] == "red"
    assert not (tmp_path / "run" / "report.html").exists(), "a run that pauses has none yet"
    result = finetune(output=str(tmp_path / "run"), resume=True)
    assert result.status == "done" and (tmp_path / "run" / "report.html").exists()
    assert evaluate_model(tmp_path / "run").metrics == result.after


def test_a_class_may_be_spelled_in_either_unicode_form(tmp_path):
    composed, apart = "caf\u00e9", "cafe\u0301"
    part = FileDataset([("a.png", 0), ("b.png", 1)], [composed, "tea"], "")
    (tmp_path / "review.csv").write_text(f"path,action,suggestion\nb.png,relabel,{apart}\n", "utf-8")
    apply_review({"train": part}, str(tmp_path / "review.csv"))
    assert part.samples == [("a.png", 0), ("b.png", 0)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [("red/9999.png,relabel,blue", "the data have no picture red/9999.png"),
     ("red/1.png,relabel,mauve", "'mauve', which is no class"), ("red/1.png,relabel,", "names no class"),
     ("red/1.png,destroy,", "not 'destroy'"), ("red/1.png,delete,\nred/1.png,relabel,blue", "another action")],
)  # fmt: skip
def test_tables_that_make_no_sense(place, tmp_path, rows, message):
    (tmp_path / "review.csv").write_text(f"path,action,suggestion\n{rows}\n")
    with pytest.raises(DataError, match=message) as caught:
        finetune(data=str(place / "photos"), weights=str(place / "weights"), review=str(tmp_path / "review.csv"),
                 output=str(tmp_path / "run"))  # fmt: skip
    assert caught.value.code == "data.review" and not (tmp_path / "run").exists()


def test_a_missing_table_a_missing_column_and_pictures_without_files(place, tmp_path):
    settings = {"data": str(place / "photos"), "weights": str(place / "weights"), "output": str(tmp_path / "run")}
    with pytest.raises(UsageError, match="no such file"):
        finetune(**settings, review=str(tmp_path / "none.csv"))
    (tmp_path / "review.csv").write_text("path,label\nred/1.png,red\n")
    with pytest.raises(DataError, match="no column 'action'"):
        finetune(**settings, review=str(tmp_path / "review.csv"))
    (tmp_path / "review.csv").write_text("path,action\nred/1.png,delete\n")
    with pytest.raises(UsageError, match="--review is for picture files"):
        finetune(data="digits", review=str(tmp_path / "review.csv"), output=str(tmp_path / "run"))


def test_of_a_large_data_set_a_part_is_looked_at(place, monkeypatch):
    monkeypatch.setattr(reporting, "MOST_PICTURES", 5)
    page = place / "run" / "report.html"
    before = page.read_text("utf-8")
    reporting.report_run(str(place / "run"))
    after = page.read_text("utf-8")
    page.write_text(before, "utf-8")
    assert "train: 5 of" in after and "for 5 test pictures" in after and "train: 5 of" not in before
    matrix = before[before.index('class="matrix"') : before.index("Most frequent")]
    assert matrix in after, "figures are of all pictures"


def test_regression_and_runs_that_have_not_ended(place, tmp_path):
    photos = place / "photos"
    rows = [f"{path.relative_to(photos)},{len(path.parent.name)}.5" for path in sorted(photos.rglob("*.png"))]
    (photos / "table.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    try:
        settings = {"data": str(photos / "table.csv"), "task": "regression", "weights": str(place / "weights"),
                    "epochs": 2, "batch_size": 8, "output": str(tmp_path / "run")}  # fmt: skip
        assert finetune(**settings, max_steps=1).resumable
        with pytest.raises(UsageError, match="has not ended"):
            reporting.report_run(str(tmp_path / "run"))
        finetune(output=str(tmp_path / "run"), resume=True)
    finally:
        (photos / "table.csv").unlink()
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert ">Predictions</h2>" in page and ">Confusion</h2>" not in page and "largest errors" in page
    assert {row["reason"].partition(":")[0] for row in rows_of(tmp_path / "run" / "review.csv")} <= {"duplicate"}
