"""Settings that change what a run does: each leaves its trace; and the dry run, which leaves none."""

import csv
import json

import pytest

from minires import cli
from minires.errors import NumericalError, UsageError
from minires.finetune import evaluate_model, finetune, load_model, trial
from minires.finetune.pictures import input_preprocessing
from minires.finetune.recipe import dry_run
from minires.finetune.setting_values import seconds
from minires.finetune.settings import Settings
from tests.cli.helpers import tree
from tests.finetune.helpers import make_photos, make_weights


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    place = tmp_path_factory.mktemp("material")
    return make_photos(place / "photos"), make_weights(place / "weights")


def quick(material, output, **more):
    photos, weights = material
    usual = {"data": str(photos), "weights": str(weights), "epochs": 2, "batch_size": 8, "lr": 0.02, "patience": 0}
    return finetune(**{**usual, "output": str(output), **more})


@pytest.mark.parametrize("name", ["macro_f1", "balanced_acc", "loss", "top1"])
def test_the_figure_that_chooses_the_best_epoch(material, tmp_path, name):
    result = quick(material, tmp_path / "run", eval_metric=name, epochs=4)
    column = {"top1": "val_accuracy"}.get(name, f"val_{name}")
    values = [row[column] for row in result.history]
    best = min(values) if name == "loss" else max(values)
    assert result.best_epoch == values.index(best) + 1
    found = evaluate_model(tmp_path / "run", split="val").metrics
    assert found[name] == pytest.approx(best, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("given", "noted"),
    [({}, True), ({"sampler": "balanced"}, False), ({"class_weights": "0.5"}, False), ({"loss": "focal"}, False),
     ({"eval_metric": "macro_f1"}, False)],
)  # fmt: skip
def test_rare_classes_are_pointed_out_unless_they_are_heeded(tmp_path, given, noted):
    photos = make_photos(tmp_path / "photos", per_class=16)
    for number in range(3, 16):
        (photos / "red" / f"{number}.png").unlink()
    said = []
    dry_run("finetune", {"data": str(photos), "batch_size": 8, "val_split": 0.25, **given}, said.append)
    assert ("times the pictures of the smallest: --sampler balanced" in "\n".join(said)) == noted


def test_validation_every_third_epoch(material, tmp_path):
    result = quick(material, tmp_path / "run", val_interval=3, epochs=5, sched="plateau")
    rows = list(csv.DictReader((tmp_path / "run" / "history.csv").read_text().splitlines()))
    assert [bool(row["val_loss"]) for row in rows] == [False, False, True, False, True]
    assert result.best_epoch in (3, 5)


@pytest.mark.slow
def test_other_losses_train(material, tmp_path):
    for name in ("bce", "focal"):
        assert quick(material, tmp_path / name, loss=name, epochs=6).after["top1"] > 0.6
    balanced = quick(material, tmp_path / "balanced", class_weights="balanced", epochs=1)
    plain = quick(material, tmp_path / "plain", epochs=1)
    assert balanced.history[0]["loss"] == pytest.approx(plain.history[0]["loss"], rel=1e-5), "equal classes: no change"


def test_a_rate_for_another_batch_size():
    sgd = Settings(data="d", opt="sgd", lr_base=0.1, batch_size=64, grad_accum_steps=2).check().resolved("finetune")
    adam = Settings(data="d", opt="adamw", lr_base=0.1, batch_size=64, lr_base_size=128).check().resolved("finetune")
    assert sgd.lr == pytest.approx(0.05) and adam.lr == pytest.approx(0.1 * 0.5**0.5)
    assert sgd.lr_base is None and Settings(**sgd.to_dict()).check() == sgd


def test_the_constants_of_adam():
    from minires import models
    from minires.finetune.optimizers import make_optimizer

    settings = Settings(data="d", opt_betas="0.8,0.95", opt_eps="1e-6").check().resolved("finetune")
    (group, *_) = make_optimizer(models.create("resnet20", num_classes=2), settings).param_groups
    assert group["betas"] == (0.8, 0.95) and group["eps"] == 1e-6
    for wrong in ("0.9", "0.9,1", "0.9,0.99,0.999"):
        with pytest.raises(UsageError, match="--opt-betas"):
            Settings(data="d", opt_betas=wrong).check()


@pytest.mark.parametrize(
    ("more", "resize", "size"),
    [
        ({"img_size": 16}, (16, 16), (16, 16)), ({"val_crop_size": 16, "img_size": 8}, (16, 16), (16, 16)),
        ({"val_resize_size": 20}, 20, (8, 8)), ({"val_resize_size": 20, "val_crop_size": 16}, 20, (16, 16)),
    ],
)  # fmt: skip
def test_sizes(material, more, resize, size):
    own = load_model(material[1]).preprocessing
    found = input_preprocessing(own, Settings(data="d", **more).check())
    assert found.resize == resize and found.output_size == size and found.interpolation == own.interpolation
    nearest = input_preprocessing(own, Settings(data="d", interpolation="nearest", **more).check())
    assert nearest.interpolation == "nearest"


def test_a_resize_that_is_too_small(material):
    own = load_model(material[1]).preprocessing
    with pytest.raises(UsageError, match="--val-resize-size 8 is too small to cut 16 x 16"):
        input_preprocessing(own, Settings(data="d", img_size=16, val_resize_size=8).check())


def test_training_pictures_of_another_size(material, tmp_path):
    result = quick(material, tmp_path / "run", train_crop_size=16, val_resize_size=12, epochs=1)
    known = load_model(tmp_path / "run").preprocessing
    assert known.resize == 12 and known.output_size == (8, 8)
    plain = quick(material, tmp_path / "plain", epochs=1, val_resize_size=12)
    assert result.history[0]["loss"] != plain.history[0]["loss"]
    quick(material, tmp_path / "still", train_crop_size=16, no_aug=True, epochs=1)


def test_options_of_the_model(material, tmp_path, capsys):
    common = ["train", "--data", str(material[0]), "--img-size", "8", "--epochs", "1", "--max-steps", "1"]
    words = [*common, "--output", str(tmp_path / "run"), "--model-kwargs", "shortcut=B", "zero_init_residual=true"]
    assert cli.main(words) == 0
    config = load_model(tmp_path / "run").model.config
    assert config["shortcut"] == "B" and config["zero_init_residual"] is True
    assert cli.main(["train", "--resume", str(tmp_path / "run"), "--model-kwargs", "shortcut=A"]) == 2
    assert "keeps its settings" in capsys.readouterr().err
    assert cli.main(["train", "--resume", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    for wrong, expected in (("colour=red", "is not for resnet20"), ("shortcut", "takes name=value"),
                            ("num_classes=3", "the data decide it"), ("in_channels=1", "--in-chans")):  # fmt: skip
        assert cli.main([*common, "--output", str(tmp_path / "other"), "--model-kwargs", wrong]) == 2
        assert expected in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_times():
    texts = ("90", "90s", "1.5m", "2h", "1h30m", "1d", " 2 M ")
    assert [seconds(text) for text in texts] == [90, 90, 90, 7200, 5400, 86400, 120]
    for wrong in ("", "m", "5 minutes", "1h x", "h1"):
        with pytest.raises(ValueError):
            seconds(wrong)


def test_evaluate_means_the_pictures_that_a_run_of_few_trained_on(tmp_path):
    result = finetune(data="digits", samples_per_class=2, epochs=1, batch_size=10, freeze="all-but-head",
                      val_split=0.02, test_split=0.02, output=str(tmp_path / "run"))  # fmt: skip
    assert result.status == "done"
    assert evaluate_model(tmp_path / "run", split="train").metrics["samples"] == 20


# ------------------------------------------------------------------------------------------------------------ dry run


def words(material, *more):
    photos, weights = material
    return [str(word) for word in ("finetune", "--data", photos, "--weights", weights, "-b", 8, "--dry-run", *more)]


def test_a_dry_run_keeps_nothing(material, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words(material)) == 0
    out, err = capsys.readouterr()
    assert "one batch of 8 pictures: loss " in out and "nothing is kept" in out and "80 steps take about" in out
    assert "train: 27 pictures" in err and "memory   about" in err and "plan     20 epochs of 4 steps" in err
    assert cli.main(words(material, "--json", "-q", "--grad-accum-steps", "2", "--output", "run")) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert err == "" and found["dry_run"] and found["pictures"] == 16 and found["steps"] == 40
    assert found["memory"]["total"] == found["memory"]["weights"] + found["memory"]["batch"]
    assert tree(tmp_path) == []


def test_its_batch_is_the_first_of_the_real_run(material, tmp_path, capsys):
    assert cli.main(words(material, "--json", "-q")) == 0
    tried = json.loads(capsys.readouterr().out)
    result = quick(material, tmp_path / "run", lr=1e-3, epochs=20, max_steps=1, log_interval=1)
    (event,) = [event for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()
                if (event := json.loads(line))["event"] == "step"]  # fmt: skip
    assert tried["loss"] == pytest.approx(event["loss"], rel=1e-6) and result.status == "paused"


def test_a_dry_run_finds_what_is_wrong(material, tmp_path, capsys, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    assert cli.main(words(material, "--output", tmp_path / "full")) == 2
    assert "is not empty" in capsys.readouterr().err
    monkeypatch.setattr(trial, "gradient_norm", lambda parameters: float("nan"))
    with pytest.raises(NumericalError, match="gradient of the norm nan"):
        from minires.finetune.recipe import dry_run

        dry_run("finetune", {"data": str(material[0]), "weights": str(material[1])})
    assert tree(tmp_path) == ["full", "full/thesis.txt"]
