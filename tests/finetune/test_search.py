"""The search: its space in words, draws, pruning, failures, and going on after an interruption."""

import importlib.util
import json
import math

import pytest

from minires import cli
from minires.errors import UsageError
from minires.finetune import search as module
from minires.finetune.search import MedianPruning, Study, Trial, best_so_far, search
from minires.finetune.space import Dimension, parse_space
from tests.finetune.helpers import make_photos, make_weights

HAS_OPTUNA = importlib.util.find_spec("optuna") is not None


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("search")
    make_photos(place / "photos", per_class=6)
    make_weights(place / "weights")
    return place


def given_settings(place, **more):
    return {"data": str(place / "photos"), "weights": str(place / "weights"), "epochs": 2, "batch_size": 8, **more}


@pytest.mark.parametrize(
    ("word", "dimension"),
    [("lr=1e-4..1e-1", Dimension("lr", "log", 1e-4, 1e-1)), ("lr=0.1..0.5", Dimension("lr", "linear", 0.1, 0.5)),
     ("lr=0.1..0.5:log", Dimension("lr", "log", 0.1, 0.5)), ("lr=0.001..1:linear", Dimension("lr", "linear", 0.001, 1)),
     ("momentum=0..0.9", Dimension("momentum", "linear", 0.0, 0.9)),
     ("epochs=5..20", Dimension("epochs", "int", 5, 20)),
     ("weight-decay=0,0.1", Dimension("weight_decay", "choice", choices=(0.0, 0.1))),
     ("opt=sgd,adamw", Dimension("opt", "choice", choices=("sgd", "adamw"))),
     ("no_aug=true,false", Dimension("no_aug", "choice", choices=(True, False)))],
)  # fmt: skip
def test_a_space_in_words(word, dimension):
    assert parse_space([word]) == [dimension]


@pytest.mark.parametrize(
    ("words", "message"),
    [(["lr"], "NAME=LOW..HIGH"), (["lr="], "NAME=LOW"), (["epoch=1,2"], "did you mean epochs"),
     (["lr=0.1..0.01"], "LOW below"),
     (["lr=0.1..0.2:cubic"], "perhaps :log"), (["momentum=0..0.9:log"], "begins above 0"), (["opt=a..b"], "no number"),
     (["opt=sgd,lyon"], "--opt is one of"), (["epochs=1..9:log"], "drawn evenly"), (["data=a,b"], "cannot be searched"),
     (["scale=0.5,1"], "cannot be searched"), (["lr=1,2", "lr=3,4"], "twice"), ([], "is missing"),
     (["no_aug=maybe"], "true or false")],
)  # fmt: skip
def test_spaces_that_make_no_sense(words, message):
    with pytest.raises(UsageError, match=message):
        parse_space(words)


def test_draws_stay_in_their_range_and_are_spread():
    log, whole = parse_space(["lr=1e-4..1e-1", "epochs=2..4"])
    drawn = [log.draw(1, number) for number in range(300)]
    assert all(1e-4 <= value <= 1e-1 for value in drawn)
    assert 0.4 < sum(value < math.sqrt(1e-5) for value in drawn) / 300 < 0.6, "equal ratios are equally likely"
    assert {whole.draw(1, number) for number in range(50)} == {2, 3, 4}
    assert drawn[:5] == [log.draw(1, number) for number in range(5)] != [log.draw(2, number) for number in range(5)]


def test_the_best_so_far():
    assert best_so_far([None, 0.5, 0.4, None, math.nan, 0.9], True) == [-math.inf, 0.5, 0.5, 0.5, 0.5, 0.9]
    assert best_so_far([2.0, 3.0, 1.0], False) == [2.0, 2.0, 1.0]


class Rows:
    def __init__(self, values):
        self.rows = [{"val_accuracy": value} for value in values]


class FakeTrainer:
    """As much of a trainer as pruning looks at."""

    def __init__(self, values):
        self.history, self.epoch, self.stop_reason = Rows(values), len(values), None

    def stop(self, reason):
        self.stop_reason = reason


@pytest.mark.parametrize(
    ("values", "others", "stops"),
    [([0.1] * 4, [[0.5] * 4] * 4, True), ([0.6] * 4, [[0.5] * 4] * 4, False), ([0.5] * 4, [[0.5] * 4] * 4, False),
     ([0.1] * 3, [[0.5] * 4] * 4, False), ([0.1] * 4, [[0.5] * 4] * 3, False), ([0.1] * 5, [[0.5] * 4] * 9, False)],
)  # fmt: skip
def test_what_is_worse_than_the_median_is_stopped(values, others, stops):
    pruning, trainer = MedianPruning("val_accuracy", True, others), FakeTrainer(values)
    pruning.after_epoch(trainer)
    assert pruning.pruned == stops == (trainer.stop_reason is not None)


def test_a_search_and_its_continuation(place, tmp_path):
    space = ["lr=1e-4..1e-1", "opt=sgd,adamw"]
    whole = search(space, 3, output=str(tmp_path / "a"), **given_settings(place))
    assert [trial.number for trial in whole.trials] == [1, 2, 3] and whole.best.score == max(
        t.score for t in whole.trials
    )
    assert (tmp_path / "a" / "search.svg").exists() and (tmp_path / "a" / "search.csv").read_text().count("\n") == 4
    search(space, 2, output=str(tmp_path / "b"), **given_settings(place))
    resumed = search(space, 3, output=str(tmp_path / "b"), resume=True, **given_settings(place))
    assert [(trial.values, trial.score) for trial in resumed.trials] == [(t.values, t.score) for t in whole.trials]
    with pytest.raises(UsageError, match="begun with another space"):
        search(["lr=1e-4..1e-2"], 3, output=str(tmp_path / "b"), resume=True, **given_settings(place))
    with pytest.raises(UsageError, match="needs the folder"):
        search(space, 3, resume=True, **given_settings(place))


def test_a_search_goes_on_with_what_it_was_begun_with(place, tmp_path):
    folder = str(tmp_path / "b")
    first = search(["lr=1e-4..1e-1"], 3, prune=False, output=folder, **given_settings(place))
    kept = first.trials[:1]
    (tmp_path / "b" / "search.json").write_text(json.dumps({**first.to_dict(), "trials": [kept[0].__dict__]}))
    resumed = search(resume=folder)
    assert [(trial.values, trial.score) for trial in resumed.trials] == [(t.values, t.score) for t in first.trials]
    assert len(search(resume=folder, trials=4).trials) == 4 and len(search(resume=folder).trials) == 4
    with pytest.raises(UsageError, match="begun with another space or other settings"):
        search(resume=folder, epochs=7)
    with pytest.raises(UsageError, match="two folders"):
        search(resume=folder, output=str(tmp_path / "c"))
    with pytest.raises(UsageError, match="is no search: it was begun by minires finetune"):
        search(resume=first.trials[0].path)


def test_a_trial_that_explodes_has_failed_and_the_others_go_on(place, tmp_path):
    found = search(["lr=1e30,0.01"], 4, output=str(tmp_path / "s"), **given_settings(place, opt="sgd", seed=3))
    failed = [trial for trial in found.trials if trial.score is None]
    assert failed and all(trial.status.startswith("failed: ") and trial.values["lr"] == 1e30 for trial in failed)
    assert found.best.values["lr"] == 0.01 and found.ranked()[-1].score is None
    json.loads((tmp_path / "s" / "search.json").read_text())


def test_all_failed():
    study = Study(
        "s", "val_loss", False, parse_space(["lr=1e-4..1"]), [Trial(1, {"lr": 1.0}, None, "failed", "p", 0.1)]
    )
    assert study.best is None and study.chart() is None and study.to_csv().count("\n") == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"trials": 0}, "--trials is a number"), ({"sampler_of_trials": "grid"}, "one of random, optuna"),
     ({"lr": 0.1}, "--lr does not go"), ({"max_steps": 3}, "--max-steps does not go"), ({"epoch": 1}, "did you mean"),
     ({"val_split": 0.0}, "needs validation pictures")],
)  # fmt: skip
def test_wishes_that_make_no_sense(place, tmp_path, wrong, message):
    with pytest.raises(UsageError, match=message):
        search(["lr=1e-4..1e-1"], **{"trials": 1, "output": str(tmp_path / "s"), **given_settings(place), **wrong})


@pytest.mark.skipif(not HAS_OPTUNA, reason="optuna is not installed")
def test_optuna_learns_and_goes_on_as_if_uninterrupted():
    space = parse_space(["lr=1e-4..1", "opt=sgd,adamw", "epochs=1..9"])

    def run(study, upto):
        for number in range(len(study.trials) + 1, upto + 1):
            values = module.draw_with_optuna(study, 7, number)
            score = -((math.log10(values["lr"]) + 2) ** 2)
            study.trials.append(Trial(number, values, score, "done", "p", 0.0))
        return study

    whole = run(Study("s", "val_accuracy", True, space), 25)
    first = run(Study("s", "val_accuracy", True, space), 10)
    assert run(Study("s", "val_accuracy", True, space, list(first.trials)), 25).trials == whole.trials
    assert abs(math.log10(whole.best.values["lr"]) + 2) < 0.4


def test_without_optuna(place, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(UsageError, match="needs the package optuna") as caught:
        search(["lr=1e-4..1"], sampler_of_trials="optuna", output=str(tmp_path / "s"), **given_settings(place))
    assert caught.value.code == "dependency.missing" and not (tmp_path / "s").exists()


def test_the_command(place, tmp_path, capsys):
    words = ["search", "--data", str(place / "photos"), "--weights", str(place / "weights"), "--epochs", "1", "-b", "8",
             "-q", "--trials", "2"]  # fmt: skip
    assert cli.main([*words, "--space", "lr=1e-3..1e-1", "--output", str(tmp_path / "s")]) == 0
    text = capsys.readouterr().out
    assert "val_accuracy" in text and "minires finetune -c" in text
    scores = [trial["score"] for trial in json.loads((tmp_path / "s" / "search.json").read_text())["trials"]]
    for resumed in (["--resume", str(tmp_path / "s")], ["--output", str(tmp_path / "s"), "--resume"]):
        assert cli.main(["search", *resumed, "-q", "--json"]) == 0
        assert [trial["score"] for trial in json.loads(capsys.readouterr().out)["trials"]] == scores
    assert cli.main(words) == 2 and "--space is missing" in capsys.readouterr().err


def test_a_search_stops_what_is_hopeless(place, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TO_PRUNE", 1)
    monkeypatch.setattr(module, "draw_random", lambda study, seed, number: {"lr": 0.02 if number < 3 else 1e-7})
    wishes = given_settings(place, epochs=4, patience=0)
    found = search(["lr=1e-7..1e-1"], 3, output=str(tmp_path / "s"), **wishes)
    assert [trial.status for trial in found.trials[:2]] == ["done", "done"] and found.trials[2].status == "pruned"
    assert (
        len(found.trials[2].scores) < 4 and "pruned after epoch" in (tmp_path / "s" / "trial-3" / "log.txt").read_text()
    )
    kept = search(["lr=1e-7..1e-1"], 3, output=str(tmp_path / "t"), prune=False, **wishes)
    assert [trial.status for trial in kept.trials] == ["done"] * 3 and len(kept.trials[2].scores) == 4
