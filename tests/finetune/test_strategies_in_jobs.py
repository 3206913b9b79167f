"""Strategies and their company in whole jobs: paused and resumed to the same bits; what is kept; the command line."""

import json
import re

import numpy as np
import pytest

from minires import cli
from minires.errors import UsageError
from minires.finetune import finetune, load_model, predict, train
from minires.finetune.adapters import apply_delta
from minires.finetune.adapters.delta import read_delta
from minires.finetune.settings import Settings
from minires.io import toml
from minires.tensor import Tensor
from tests.cli.helpers import tree
from tests.finetune.helpers import SAME_IN_EQUAL_RUNS, contents, make_photos, make_weights


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    place = tmp_path_factory.mktemp("material")
    return make_photos(place / "photos"), make_weights(place / "weights")


def quick(material, output, **more):
    photos, weights = material
    usual = {"data": str(photos), "weights": str(weights), "epochs": 3, "batch_size": 8, "lr": 0.02, "patience": 0}
    return finetune(**{**usual, "output": str(output), **more})


COMPANIES = {
    "gradual": {"strategy": "gradual", "layer_decay": 0.7, "l2_sp": 0.01, "model_ema": True, "model_ema_warmup": True,
                "mixup": 0.2, "cutmix": 1.0, "drop_path": 0.3},
    "lp-ft": {"strategy": "lp-ft", "swa_start": 2, "bn": "reestimate", "sampler": "balanced", "aa": "ra"},
    "lora": {"strategy": "lora", "lora_rank": 2, "bn": "frozen", "model_ema": True, "model_ema_decay": 0.5,
             "cutmix": 1.0, "mixup_off_epoch": 1, "aa": "ta_wide", "loss": "bce", "smoothing": 0.1},
    "ssf": {"strategy": "ssf", "freeze": "stem", "unfreeze_at": ("1:stem",), "sched": "plateau", "opt": "sgd"},
    "bitfit": {"strategy": "bitfit", "sched": "onecycle", "bn": "reestimate", "grad_accum_steps": 2, "mixup": 1.0},
}  # fmt: skip
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("ssf", "bitfit")]


@pytest.mark.parametrize("name", ["gradual", "lp-ft", "lora", *SLOW])
def test_paused_and_resumed_to_the_same_bits(material, tmp_path, name):
    whole = quick(material, tmp_path / "whole", **COMPANIES[name])
    assert whole.status == "done"
    quick(material, tmp_path / "parts", **COMPANIES[name], max_steps=3, checkpoint_interval=2)
    for workers, steps in ((2, 3), (0, None)):
        finetune(resume=str(tmp_path / "parts"), workers=workers, max_steps=steps)
    names = [*SAME_IN_EQUAL_RUNS, *(["model/delta.safetensors"] if name not in ("gradual", "lp-ft") else [])]
    assert contents(tmp_path / "parts", *names) == contents(tmp_path / "whole", *names)


@pytest.mark.parametrize("strategy", ["lora", "ssf", "bitfit"])
def test_the_model_is_a_plain_one_and_its_delta_makes_it_of_the_base(material, tmp_path, strategy):
    run = tmp_path / "run"
    result = quick(material, run, strategy=strategy, lr=0.05)
    loaded = load_model(run)
    assert not [name for name, _ in loaded.model.named_parameters() if "lora" in name or "ssf" in name]
    base = load_model(material[1])
    assert base.model.config["num_classes"] == 5
    record = apply_delta(base.model, run / "model" / "delta.safetensors")
    assert record["classes"] == loaded.classes == ["blue", "green", "red"]
    x = Tensor(np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32))
    assert np.array_equal(base.model.eval()(x).detach().numpy(), loaded.model.eval()(x).detach().numpy())
    sizes = [(run / "model" / name).stat().st_size for name in ("delta.safetensors", "model.safetensors")]
    assert sizes[0] < sizes[1] / 4
    assert result.after["top1"] == load_model(run).metrics["test_top1"]


def test_what_the_first_screen_says(material, tmp_path):
    said = []
    more = {"model_ema": True, "mixup": 0.25, "aa": "ta_wide"}
    quick(material, tmp_path / "run", strategy="gradual", epochs=4, say=said.append, **more)
    text = "\n".join(said)
    assert "parameters are trained in the first epoch" in text
    assert "also: --model-ema, --mixup 0.25, --aa ta_wide" in text
    assert "strategy gradual: head; from epoch 2: layer2, layer3; from epoch 3: stem, layer1" in text
    assert "on trained, too: " in text and "everything were trained" not in text
    quick(material, tmp_path / "head", strategy="head", epochs=1, say=said.append)
    whole = re.search(r"memory   about (.*?) \(.*; if everything were trained (.*)", "\n".join(said))
    few, all_of_it = (float(text.split()[0]) * {"KB": 1, "MB": 1000}[text.split()[1]] for text in whole.groups())
    assert few < all_of_it


def test_early_stopping_waits_for_what_is_to_come(material, tmp_path):
    patient = quick(material, tmp_path / "run", strategy="lp-ft", epochs=8, patience=1, min_delta=10.0, lr=1e-6)
    assert patient.status == "early-stopped" and patient.epochs_done == 5, "not before the body has had its epoch"
    plain = quick(material, tmp_path / "plain", epochs=8, patience=1, min_delta=10.0, lr=1e-6)
    assert plain.epochs_done == 2


def test_epochs_stay_where_they_were_planned(material, tmp_path):
    quick(material, tmp_path / "run", strategy="lp-ft", max_steps=2)
    with pytest.raises(UsageError, match="was planned for 3 epochs"):
        finetune(resume=str(tmp_path / "run"), epochs=5)


def test_a_checkpoint_of_adapters_is_no_plain_model(material, tmp_path):
    quick(material, tmp_path / "run", strategy="lora", max_steps=2)
    newest = max((tmp_path / "run" / "checkpoints").glob("step-*"))
    with pytest.raises(Exception, match=r"do not fit the model|lora_A"):
        load_model(newest)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"strategy": "lora", "weights": "none"}, "--strategy lora needs pretrained weights"),
        ({"l2_sp": 0.1, "weights": "none"}, "--l2-sp needs pretrained weights"),
        ({"lora_rank": 4}, "--lora-rank is for --strategy lora"),
        ({"model_ema": True, "swa_start": 2}, "give one of them"),
        ({"model_ema_decay": 0.9}, "goes with --model-ema"),
        ({"swa_start": 9, "epochs": 3}, "after the last of 3 epochs"),
        ({"mixup_off_epoch": 3}, "goes with --mixup or --cutmix"),
        ({"mixup": 0.2, "task": "regression"}, "for classification"),
        ({"cutmix": 0.2, "loss": "focal"}, "not with focal"),
        ({"sampler": "balanced", "class_weights": "balanced"}, "does not go with --sampler balanced"),
        ({"strategy": "loraa"}, "did you mean 'lora'"),
        ({"aa": "rand"}, "--aa is one of none, ra, ta_wide"),
    ],
)
def test_settings_that_do_not_go_together(wrong, expected):
    with pytest.raises(UsageError, match=expected):
        Settings(data="d", **wrong).check().resolved("finetune")


def test_nothing_to_adapt_where_training_begins_from_nothing(material, tmp_path):
    with pytest.raises(UsageError, match="needs pretrained weights"):
        train(data=str(material[0]), strategy="head", output=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_from_the_command_line(material, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    photos, weights = map(str, material)
    words = ["finetune", "--data", photos, "--weights", weights, "--epochs", "2", "-b", "8", "--output", "run",
             "--json", "--strategy", "lora", "--lora-rank", "2", "--lora-alpha", "4", "--freeze", "stem",
             "--unfreeze-at", "1:stem", "--layer-decay", "0.8", "--bn", "frozen", "--l2-sp", "0.01", "--model-ema",
             "--model-ema-decay", "0.9",
             "--model-ema-warmup", "--mixup-alpha", "0.2", "--cutmix-alpha", "1", "--mixup-off-epoch", "1",
             "--auto-augment", "ta_wide", "--drop-path", "0.1", "--sampler", "balanced"]  # fmt: skip
    assert cli.main(words) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "done"
    kept = toml.load_file(tmp_path / "run" / "args.toml")
    assert (kept["strategy"], kept["unfreeze_at"], kept["aa"]) == ("lora", ["1:stem"], "ta_wide") and kept["model_ema"]
    assert "delta.safetensors" in {path.name for path in (tmp_path / "run" / "model").iterdir()}
    assert read_delta(tmp_path / "run" / "model" / "delta.safetensors")[1]["adapters"]["rank"] == 2
    assert cli.main(["predict", "run", f"{photos}/red/0.png", "--json"]) == 0
    again = cli.main(["finetune", "-c", "run/args.toml", "--output", "again", "-q"])
    assert again == 0
    assert contents(tmp_path / "again", *SAME_IN_EQUAL_RUNS) == contents(tmp_path / "run", *SAME_IN_EQUAL_RUNS)


def test_a_dry_run_with_mixed_pictures(material, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    photos, weights = map(str, material)
    words = ["finetune", "--data", photos, "--weights", weights, "--mixup", "0.2", "--strategy", "gradual", "--dry-run"]
    assert cli.main(words) == 0
    assert tree(tmp_path) == []
    capsys.readouterr()
    assert list(predict(load_model(weights), [f"{photos}/red/0.png"]))
