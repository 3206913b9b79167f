"""`minires finetune --from RUN` as somebody types it: first screen, dry run, JSON, predict, evaluate, export, again."""

import json

import pytest

from minires import cli
from tests.cli.helpers import tree
from tests.finetune.helpers import make_photos, make_weights


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("continual")
    make_photos(root / "photos")
    make_photos(root / "more", colours={"black": (10, 10, 10), "white": (245, 245, 245)})
    weights = str(make_weights(root / "weights"))
    assert cli.main(["finetune", "--data", str(root / "photos"), "--weights", weights, "--epochs", "2", "-b", "8",
                     "--output", str(root / "first"), "-q"]) == 0  # fmt: skip
    return root


def words(place, *more):
    return ["finetune", "--from", str(place / "first"), "--data", str(place / "more"), "--epochs", "1", "-b", "8",
            *map(str, more)]  # fmt: skip


def test_dry_run_tells_of_it_and_keeps_nothing(place, capsys):
    before = tree(place)
    assert cli.main(words(place, "--distill", "0.5", "--sam", "--dry-run")) == 0
    said = capsys.readouterr()
    assert "its 3 classes keep their numbers 0 to 2, 2 new behind them (black, white)" in said.err
    assert "rehearsal: " in said.err and "--sam 0.05, --distill 0.5" in said.err and "dry run" in said.out
    assert tree(place) == before


def test_the_whole_way(place, tmp_path, capsys):
    run = str(tmp_path / "run")
    assert cli.main(words(place, "--output", run, "--rehearsal", 2, "--json", "-q")) == 0
    record = json.loads(capsys.readouterr().out)
    old = record["old_task"]
    assert old["classes"] == 3 and old["run"] == str(place / "first") and set(old["per_class"]) == {
        "blue", "green", "red"}  # fmt: skip
    assert old["forgetting"] == pytest.approx(old["before"] - old["after"])
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["old_task"] == old
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "old classes (" in log and "forgetting: " in log
    assert cli.main(["predict", run, str(place / "photos" / "red" / "0.png"), "--format", "json"]) == 0
    (named,) = json.loads(capsys.readouterr().out)
    assert named["predictions"][0]["label"] in {"blue", "green", "red", "black", "white"}
    assert cli.main(["evaluate", run, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["samples"] == record["after"]["samples"]
    assert cli.main(["export", run, "--output", str(tmp_path / "model.safetensors"), "-q"]) == 0
    assert cli.main(["report", run]) == 0
    assert "The earlier classes" in (tmp_path / "run" / "report.html").read_text()
    assert cli.main(["finetune", "-c", f"{run}/args.toml", "--output", str(tmp_path / "again"), "-q"]) == 0
    for name in ("model/model.safetensors", "history.csv", "model/classes.txt"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


@pytest.mark.parametrize(
    ("more", "code", "named"),
    [(("--weights", "shapes"), "usage.conflict", "--weights"), (("--compare", "1"), "usage.conflict", "--compare"),
     (("--strategy", "full", "--class-map", "CLASSES"), "data.class_order", "class 0")],
)  # fmt: skip
def test_refusals_name_the_culprit(place, tmp_path, capsys, more, code, named):
    names = tmp_path / "names.txt"
    names.write_text("white\nblack\nblue\ngreen\nred\n")
    given = [str(names) if word == "CLASSES" else word for word in more]
    assert cli.main(words(place, "--output", tmp_path / "run", *given, "--json")) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == code and named in error["message"] and not (tmp_path / "run").exists()


def test_train_has_no_earlier_run(place, capsys):
    assert cli.main(["train", *words(place)[1:]]) == 2
    assert "--from goes with minires finetune" in capsys.readouterr().err
