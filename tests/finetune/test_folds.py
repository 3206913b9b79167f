"""k-fold cross-validation: how pictures are dealt out, and what the folds' runs come to together."""

import collections
import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires import cli
from minires.errors import UsageError
from minires.finetune import finetune
from minires.finetune.folds import cross_validate, deal, open_splits, parse_fold
from minires.finetune.settings import Settings
from tests.finetune.helpers import make_photos, make_weights


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("folds")
    make_photos(place / "photos", per_class=7)
    make_weights(place / "weights")
    return place


def given_settings(place, **more):
    return {"data": str(place / "photos"), "weights": str(place / "weights"), "epochs": 2, "batch_size": 8, **more}


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(2, 6), st.integers(0, 5))
def test_every_picture_is_in_one_fold_and_classes_are_spread_evenly(labels, count, seed):
    folds = deal(labels, count, seed, [[index] for index in range(len(labels))])
    assert sorted(index for fold in folds for index in fold) == list(range(len(labels)))
    assert max(map(len, folds)) - min(map(len, folds)) <= 1
    for label in set(labels):
        counts = [sum(labels[index] == label for index in fold) for fold in folds]
        assert max(counts) - min(counts) <= 1


def test_groups_stay_together_and_another_seed_deals_otherwise():
    groups = [[0, 1, 2], [3, 4], [5], [6, 7]]
    folds = deal([0] * 8, 3, 0, groups)
    assert all(any(set(group) <= set(fold) for fold in folds) for group in groups)
    single = [[index] for index in range(30)]
    assert deal(np.linspace(0, 1, 30), 3, 0, single) != deal(np.linspace(0, 1, 30), 3, 1, single)


@pytest.mark.parametrize("text", ["0/5", "6/5", "1/1", "2", "a/b", "-1/3", ""])
def test_what_is_no_fold(text):
    with pytest.raises(UsageError, match="--fold is a part such as 2/5"):
        parse_fold(text)


def test_the_folds_of_a_folder(place):
    names = []
    for number in (1, 2, 3):
        splits = open_splits(Settings(data=str(place / "photos"), fold=f"{number}/3"))
        assert set(splits) == {"train", "val"} and len(splits["train"]) + len(splits["val"]) == 21
        names += [path for path, _ in splits["val"].samples]
        assert min(collections.Counter(splits["val"].targets).values()) >= 2
    assert len(set(names)) == 21
    splits = open_splits(Settings(data=str(place / "photos"), fold="1/3", test_split=0.3))
    assert len(splits["test"]) == 6 and len(splits["train"]) + len(splits["val"]) == 15


def test_digits_and_things_that_do_not_go_together(place):
    assert len(open_splits(Settings(data="digits", fold="1/2"))["val"]) == 899
    with pytest.raises(UsageError, match="--val-split does not go with folds"):
        open_splits(Settings(data=str(place / "photos"), fold="1/3", val_split=0.2))
    with pytest.raises(UsageError, match="cannot be cut into 50 folds"):
        open_splits(Settings(data=str(place / "photos"), fold="1/50"))
    for wrong in ({"fold": "1/2"}, {"max_steps": 1}, {"folds": 1}, {"folds": True}):
        with pytest.raises(UsageError):
            cross_validate(**{"folds": 2, **given_settings(place), **wrong})


def test_the_runs_and_what_they_come_to(place, tmp_path):
    found = cross_validate(3, output=str(tmp_path / "cv"), **given_settings(place))
    assert found.pictures == 21 and len(found.figures["top1"]) == 3
    with open(tmp_path / "cv" / "predictions.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["path"] for row in rows}) == 21
    assert sum(row["label"] == row["pred"] for row in rows) == found.right
    assert (tmp_path / "cv" / "fold-2" / "report.html").exists()
    stamps = [path.stat().st_mtime_ns for path in (tmp_path / "cv").rglob("model.safetensors")]
    again = cross_validate(3, output=str(tmp_path / "cv"), resume=True, **given_settings(place))
    assert again.figures == found.figures
    assert [path.stat().st_mtime_ns for path in (tmp_path / "cv").rglob("model.safetensors")] == stamps
    assert cross_validate(resume=str(tmp_path / "cv")).figures == found.figures, "as it was begun"
    with pytest.raises(UsageError, match=r"begun by minires finetune --folds 3"):
        finetune(resume=str(tmp_path / "cv"))
    with pytest.raises(UsageError, match="is no cross-validation"):
        cross_validate(resume=str(tmp_path / "cv" / "fold-1"))
    with pytest.raises(UsageError, match="begun with other settings"):
        cross_validate(3, output=str(tmp_path / "cv"), resume=True, **given_settings(place, seed=1))


def test_the_command(place, tmp_path, capsys):
    words = ["finetune", "--data", str(place / "photos"), "--weights", str(place / "weights"), "--epochs", "1", "-b",
             "8", "-q"]  # fmt: skip
    assert cli.main([*words, "--folds", "2", "--output", str(tmp_path / "a")]) == 0
    assert "2 folds, 21 pictures" in capsys.readouterr().out
    assert cli.main([*words, "--folds", "2", "--output", str(tmp_path / "b"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["folds"] == 2
    assert cli.main(["finetune", "--folds", "2", "--resume", str(tmp_path / "b"), "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == 21
    assert cli.main([*words, "--folds", "two"]) == 2 and cli.main([*words, "--folds", "2", "--dry-run"]) == 2


@pytest.mark.parametrize("wrong", [{"tune_thresholds": True}, {"opt": "sgd", "opt_betas": (0.8, 0.9)}, {"epoch": 3}])
def test_settings_that_make_no_sense_create_no_folder(place, tmp_path, wrong):
    with pytest.raises(UsageError):
        cross_validate(2, data=str(place / "photos"), output=str(tmp_path / "folds"), batch_size="auto", **wrong)
    assert not (tmp_path / "folds").exists()


def test_folds_of_numbers(place, tmp_path):
    photos = sorted((place / "photos").rglob("*.png"))
    lines = [f"{path},{len(path.parent.name)}" for path in photos]
    (tmp_path / "table.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    wishes = {"data": str(tmp_path / "table.csv"), "weights": str(place / "weights"), "task": "regression"}
    found = cross_validate(2, output=str(tmp_path / "cv"), epochs=1, batch_size=8, **wishes)
    assert found.pictures == 21 and found.right is None and set(found.figures) == {"loss", "rmse", "mae", "r2"}
