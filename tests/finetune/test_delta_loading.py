"""A delta used as a model, together with its base, from Python and the command line."""

import json

import numpy as np
import pytest

from minires import cli
from minires.errors import FileFormatError, UsageError
from minires.finetune import evaluate_model, finetune, load_model, predict, strategies
from minires.finetune.adapters import Base, save_delta
from minires.finetune.adapters.delta import DeltaError
from minires.io import weights as weight_files
from tests.finetune.helpers import make_photos, make_weights


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """photos/, weights/ and two runs: lora/ of the weights, built-in/ of the built-in ones."""
    place = tmp_path_factory.mktemp("deltas")
    make_photos(place / "photos")
    make_weights(place / "weights")
    usual = {"data": str(place / "photos"), "epochs": 1, "batch_size": 8, "lr": 0.02, "strategy": "lora"}
    finetune(**usual, weights=str(place / "weights"), output=str(place / "lora"))
    finetune(**usual, output=str(place / "built-in"), max_steps=1)
    return place


def answers(loaded, place):
    return [each.values for each in predict(loaded, [str(place / "photos" / "red" / f"{n}.png") for n in range(4)])]


BASES = (("lora", "weights"), ("lora", "weights/model.safetensors"), ("built-in", None))


@pytest.mark.parametrize(("run", "base"), BASES)
def test_it_predicts_as_the_model_of_the_run(place, run, base):
    path = place / run / "model" / "delta.safetensors"
    loaded = load_model(path, base="shapes" if base is None else place / base)
    whole = load_model(place / run)
    assert answers(loaded, place) == answers(whole, place)
    assert loaded.classes == whole.classes and loaded.preprocessing == whole.preprocessing


def test_numbers_instead_of_classes(place):
    rows = [f"photos/{name}/{n}.png,{n / 3 + shift}" for shift, name in enumerate(("blue", "red")) for n in range(8)]
    (place / "table.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    finetune(data=str(place / "table.csv"), task="regression", weights=str(place / "weights"), strategy="bitfit",
             epochs=2, batch_size=4, output=str(place / "numbers"))  # fmt: skip
    loaded = load_model(place / "numbers" / "model" / "delta.safetensors", base=place / "weights")
    assert loaded.task == "regression"
    assert answers(loaded, place) == answers(load_model(place / "numbers"), place)


def test_classes_without_names(place, tmp_path):
    model = load_model(place / "weights").model
    base = Base.of(model)
    model.metadata = {}
    save_delta(strategies.head(model).model, tmp_path / "delta.safetensors", base)
    assert load_model(tmp_path / "delta.safetensors", base=place / "weights").classes == ["0", "1", "2", "3", "4"]


def test_from_the_command_line(place, capsys):
    delta, weights = str(place / "lora" / "model" / "delta.safetensors"), str(place / "weights")
    picture = str(place / "photos" / "red" / "1.png")
    shown = []
    for words in ([delta, picture, "--base", weights], [str(place / "lora"), picture]):
        assert cli.main(["predict", *words, "--format", "csv"]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert cli.main(["evaluate", delta, "--base", weights, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == evaluate_model(place / "lora").metrics


def test_what_is_refused(place, capsys):
    delta, picture = str(place / "lora" / "model" / "delta.safetensors"), str(place / "photos" / "red" / "1.png")
    assert cli.main(["predict", delta, picture]) == 2
    assert "needs that one, too" in capsys.readouterr().err
    assert cli.main(["predict", str(place / "lora"), picture, "--base", str(place / "weights")]) == 2
    assert "is no delta" in capsys.readouterr().err
    assert cli.main(["predict", delta, picture, "--base", str(place / "lora"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] in ("delta.base", "delta.classes")
    with pytest.raises(DeltaError):
        load_model(delta, base=make_weights(place / "other", classes=9))
    with pytest.raises(UsageError, match="there is no such"):
        load_model(delta, base="nowhere/at.all")
    (place / "torn.safetensors").write_bytes((place / "lora" / "model" / "delta.safetensors").read_bytes()[:-9])
    with pytest.raises(FileFormatError, match="torn"):
        load_model(place / "torn.safetensors", base=place / "weights")


@pytest.mark.parametrize(("run", "base"), BASES)
@pytest.mark.parametrize("ending", ["safetensors", "pth", "onnx"])
def test_export_writes_the_merged_model(place, tmp_path, capsys, run, base, ending):
    if ending == "onnx":
        pytest.importorskip("onnx")
    given = "shapes" if base is None else str(place / base)
    file = tmp_path / f"merged.{ending}"
    words = ["export", str(place / run / "model" / "delta.safetensors"), "--base", given, "--output", str(file)]
    assert cli.main([*words, "-q"]) == 0, capsys.readouterr().err
    if ending == "onnx":
        return  # compared with the model where onnxruntime is
    whole = load_model(place / run)
    tensors, expected = weight_files.load(file), whole.model.state_dict()
    assert set(tensors) == set(expected)  # no adapter is left
    assert all(np.array_equal(tensor.array, expected[key].array) for key, tensor in tensors.items())
    if ending == "safetensors":
        assert answers(load_model(file), place) == answers(whole, place)


def test_export_keeps_the_base_and_wants_one(place, capsys):
    delta, weights = str(place / "lora" / "model" / "delta.safetensors"), str(place / "weights")
    before = (place / "weights" / "model.safetensors").read_bytes()
    assert cli.main(["export", delta, "--base", weights, "--output", f"{weights}/model.safetensors"]) == 2
    assert (
        "is a file of" in capsys.readouterr().err and (place / "weights" / "model.safetensors").read_bytes() == before
    )
    assert cli.main(["export", delta, "--output", str(place / "m.onnx")]) == 2
    assert "--base" in capsys.readouterr().err
    assert cli.main(["export", weights, "--base", weights, "--output", str(place / "m.pth")]) == 2
    assert "is no delta and has no base" in capsys.readouterr().err
