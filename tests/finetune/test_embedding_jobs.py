"""--loss arcface, cosface, triplet: jobs, figures, resuming, the model afterwards; new classes and nearest pictures."""

import json

import numpy as np
import pytest

from minires import cli, nn
from minires.errors import DataError, UsageError
from minires.finetune import embedding_jobs, evaluate_model, finetune, load_model, predict
from minires.finetune.embeddings import directions
from minires.finetune.new_classes import add_classes
from minires.finetune.settings import Settings
from tests.finetune.helpers import make_photos, make_weights

USUAL = {"epochs": 2, "batch_size": 8, "embedding_size": 16, "lr": 0.005, "val_split": 0.3, "test_split": 0.3}
LOSSES = ("arcface", "cosface", "triplet")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """photos/ of three colours, weights/, and a run of each loss."""
    place = tmp_path_factory.mktemp("embeddings")
    make_photos(place / "photos", per_class=12)
    make_weights(place / "weights")
    for loss in LOSSES:
        finetune(
            data=str(place / "photos"), weights=str(place / "weights"), loss=loss, output=str(place / loss), **USUAL
        )
    return place


def photos(place, name, count=4):
    return [str(place / "photos" / name / f"{n}.png") for n in range(count)]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_job_from_end_to_end(place, loss):
    metrics = json.loads((place / loss / "metrics.json").read_text())
    for name in ("recall_at_1", "recall_at_5", "map_at_r", "top1"):
        assert 0 <= metrics["after"][name] <= 1
    assert metrics["after"]["top1"] > 0.6
    assert metrics["before"]["top1"] > 0.2  # by the means of the classes, not by chance
    loaded = load_model(place / loss)
    head = loaded.model.get_submodule(loaded.model.head_name)
    assert [type(layer) for layer in head] == [nn.Linear, nn.L2Normalize, nn.CosineLinear]
    assert loaded.model.config["head"][2] == ["CosineLinear", 16, 3, 30.0]
    answers = list(predict(loaded, photos(place, "red"), features=True))
    assert all(np.linalg.norm(one.features) == pytest.approx(1, abs=1e-5) for one in answers)
    again = evaluate_model(place / loss).metrics
    assert again["map_at_r"] == pytest.approx(metrics["after"]["map_at_r"])
    page = (place / loss / "report.html").read_text()
    assert "map_at_r" in page and "recall_at_1" in page
    log = (place / loss / "log.txt").read_text()
    assert "embeddings of 16 numbers" in log
    assert (place / loss / "predictions_val.csv").read_text().startswith("path,label,pred,prob,loss")


@pytest.mark.parametrize("loss", ["arcface", "triplet"])
def test_a_resumed_run_ends_with_the_same_bits(place, tmp_path, loss):
    parts = tmp_path / "parts"
    paused = finetune(data=str(place / "photos"), weights=str(place / "weights"), loss=loss, output=str(parts),
                      max_steps=2, **USUAL)  # fmt: skip
    assert paused.resumable
    finetune(resume=str(parts))
    files = [folder / "model" / "model.safetensors" for folder in (parts, place / loss)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_triplets_go_with_averages_small_strategies_and_few_steps(place, tmp_path):
    for number, more in enumerate(({"model_ema": True}, {"strategy": "lora"}, {"val_split": 0.0, "swa_start": 1})):
        result = finetune(data=str(place / "photos"), weights=str(place / "weights"), loss="triplet",
                          output=str(tmp_path / str(number)), **{**USUAL, **more})  # fmt: skip
        assert result.after["samples"] > 0 and result.after["map_at_r"] >= 0
        weight = directions(load_model(tmp_path / str(number)).model).weight.array
        np.testing.assert_allclose(np.linalg.norm(weight, axis=1), 1, rtol=1e-4)  # means, of length 1


def test_batches_of_triplets_have_pairs(place, monkeypatch):
    sampler = embedding_jobs.batches_of_classes(Settings(data="d", loss="triplet", batch_size=8), np.arange(30) % 3, 4)
    assert len(sampler) == 32 and sampler.m == 4 and sampler.classes_per_batch == 2
    with pytest.raises(UsageError, match="needs 4 classes, and there are 3") as found:
        embedding_jobs.batches_of_classes(Settings(data="d", loss="triplet", batch_size=16), np.arange(30) % 3, 4)
    assert found.value.hint == "--batch-size 12"
    assert embedding_jobs.batches_of_classes(Settings(data="d", loss="arcface"), np.arange(30) % 3, 4) is None


def test_of_many_pictures_some_are_compared(monkeypatch):
    monkeypatch.setattr(embedding_jobs, "MOST_PICTURES", 10)
    rows = np.random.default_rng(0).standard_normal((40, 3))
    found = embedding_jobs.figures_of_embeddings([rows[:30], rows[30:]], np.arange(40) % 2)
    assert found["embedding_pictures"] == 10 and 0 < found["map_at_r"] < 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"margin": 0.3}, "--margin goes with --loss arcface, cosface, triplet"),
        ({"embedding_size": 8, "loss": "ce"}, "--embedding-size goes with --loss"),
        ({"loss": "arcface", "m_per_class": 4}, "--m-per-class goes with --loss triplet"),
        ({"loss": "arcface", "smoothing": 0.1}, "--smoothing (does not go with --loss arcface|goes with)"),
        ({"loss": "cosface", "mixup": 0.2}, "--mixup and --cutmix"),
        ({"loss": "triplet", "class_weights": "balanced"}, "--class-weights"),
        ({"loss": "triplet", "head": "64"}, "--head does not go with --loss triplet"),
        ({"loss": "triplet", "sampler": "balanced"}, "makes its batches itself"),
        ({"loss": "triplet", "grad_accum_steps": 2}, "leave --grad-accum-steps out"),
        ({"loss": "triplet", "batch_size": 30}, "--batch-size 30 is not"),
        ({"loss": "triplet", "batch_size": 4}, "two classes at the least"),
        ({"loss": "triplet", "task": "regression"}, "--loss triplet does not go with --task regression"),
        ({"loss": "arcfase"}, "did you mean 'arcface'"),
    ],
)
def test_what_does_not_go_together(given, message):
    with pytest.raises(UsageError, match=message):
        Settings(data="d", **given).check()


# ------------------------------------------------------------------------------------------------- without training


@pytest.fixture
def new(tmp_path):
    """new/yellow/ and new/black/, of which no run has seen anything."""
    make_photos(tmp_path / "new", per_class=5, colours={"yellow": (220, 210, 30), "black": (15, 15, 20)})
    return tmp_path / "new"


def test_new_classes_from_a_few_pictures(place, new, tmp_path):
    found = add_classes(place / "arcface", str(new), tmp_path / "more")
    assert found.added == {"black": 5, "yellow": 5} and found.pictures == 10
    loaded, old = load_model(tmp_path / "more"), load_model(place / "arcface")
    assert loaded.classes == [*old.classes, "black", "yellow"] == found.classes
    known = list(predict(loaded, photos(place, "red")))
    before = list(predict(old, photos(place, "red")))
    for one, other in zip(known, before, strict=True):  # scores of the known classes stay
        shares = np.array(one.values[:3]) / sum(one.values[:3])
        np.testing.assert_allclose(shares, other.values, rtol=1e-4, atol=1e-6)
    said = [one.top(1)[0] for one in predict(loaded, [str(new / "black" / f"{n}.png") for n in range(5)])]
    assert said.count(3) >= 4 and found.right >= 8


def test_new_classes_on_the_command_line(place, new, tmp_path, capsys):
    words = ["add-classes", str(place / "triplet"), "--data", str(new), "--output", str(tmp_path / "more")]
    assert cli.main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["added"] == {"black": 5, "yellow": 5}
    assert cli.main(words) == 2 and "is not empty" in capsys.readouterr().err
    assert cli.main([*words[:-1], str(tmp_path / "other")]) == 0
    assert "5 classes, new are black (5 pictures)" in capsys.readouterr().out
    assert cli.main(["add-classes", str(place / "triplet"), "--data", str(new)]) == 2
    assert "give --output" in capsys.readouterr().err


def test_wrong_use_of_new_classes(place, new, tmp_path):
    with pytest.raises(UsageError, match="knows the class 'blue' already"):
        add_classes(place / "arcface", str(place / "photos"), tmp_path / "more")
    with pytest.raises(UsageError, match="has no embeddings to compare pictures by"):
        add_classes(place / "weights", str(new), tmp_path / "more")
    (new / "black" / "1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1\.png"):
        add_classes(place / "arcface", str(new), tmp_path / "more")
    assert not (tmp_path / "more").exists()


def test_nearest_pictures(place, capsys, tmp_path):
    picture, folder = photos(place, "green", 1)[0], str(place / "photos")
    words = ["predict", str(place / "arcface"), picture, "--nearest", folder, "--topk", "3"]
    assert cli.main([*words, "--format", "json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    cosines = [one["cosine"] for one in answer["nearest"]]
    assert answer["nearest"][0]["path"] == picture and cosines[0] == pytest.approx(1, abs=1e-5)
    assert len(cosines) == 3 and cosines == sorted(cosines, reverse=True)
    assert cli.main(words) == 0
    assert capsys.readouterr().out.startswith(f"{picture}: {picture} 1.000  ")
    assert cli.main([*words, "--format", "csv"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header == "path,nearest_1,cosine_1,nearest_2,cosine_2,nearest_3,cosine_3" and row.startswith(f"{picture},")
    assert cli.main([*words, "--tta", "2"]) == 2 and "--nearest compares single" in capsys.readouterr().err
    rows = []
    for number, fuse in enumerate(([], ["--fuse"])):
        npz = tmp_path / f"{number}.npz"
        assert cli.main(["predict", str(place / "arcface"), picture, "--embeddings", str(npz), "-q", *fuse]) == 0
        with np.load(npz) as content:
            rows.append(content["embeddings"])
    assert rows[0].shape == (1, 16) and np.allclose(*rows, atol=1e-4)


def test_nearest_pictures_of_any_model(place, capsys):
    picture = photos(place, "green", 1)[0]
    assert (
        cli.main(["predict", str(place / "weights"), picture, "--nearest", str(place / "photos"), "--topk", "99"]) == 0
    )
    assert capsys.readouterr().out.count(".png ") == 36


@pytest.mark.parametrize("ending", ["safetensors", "onnx"])
def test_export(place, tmp_path, capsys, ending):
    if ending == "onnx":
        pytest.importorskip("onnx")
    file = tmp_path / f"model.{ending}"
    assert cli.main(["export", str(place / "arcface"), "--output", str(file), "-q"]) == 0, capsys.readouterr().err
    if ending == "safetensors":
        mine, theirs = (list(predict(load_model(path), photos(place, "red"))) for path in (file, place / "arcface"))
        assert [one.values for one in mine] == [one.values for one in theirs]
