"""`minires export`, and what `minires predict` writes for other programs: files that those read with equal results."""

import csv
import io
import json
import sys

import numpy as np
import pytest

import minires as mr
from minires import cli, models
from minires.finetune import loading
from minires.finetune.loading import load_model
from minires.io import model_directory, weights
from tests.cli.helpers import minires
from tests.finetune.helpers import COLOURS

CLASSES = sorted(COLOURS)


@pytest.fixture
def place(finished, monkeypatch):
    monkeypatch.chdir(finished[0])
    return finished[0]


def run(capsys, *words):
    status = cli.main([str(word) for word in words])
    out, err = capsys.readouterr()
    return status, out, err


def probabilities(capsys, *words):
    """path -> the probabilities that `minires predict ...` prints, by class."""
    status, out, err = run(capsys, "predict", *words, "--format", "json")
    assert status == 0, err
    return {record["path"]: {answer["label"]: answer["prob"] for answer in record["predictions"]}
            for record in json.loads(out)}  # fmt: skip


def test_onnx(place, capsys, tmp_path):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    file = tmp_path / "model.onnx"
    status, out, err = run(capsys, "export", "run", "--output", file)
    assert (status, err) == (0, "") and "input (batch, 3, 8, 8), output logits" in out and "run by onnxruntime" in out
    metadata = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    assert json.loads(metadata["class_names"]) == CLASSES
    loaded = load_model("run")
    assert json.loads(metadata["preprocessing"]) == loaded.preprocessing.to_config()
    paths = [f"photos/{name}/1.png" for name in CLASSES]
    images = np.stack([loaded.preprocessing.load(path).numpy() for path in paths])
    scores = onnxruntime.InferenceSession(str(file)).run(["logits"], {"input": np.ascontiguousarray(images)})[0]
    exponents = np.exp(scores.astype(np.float64))
    expected = probabilities(capsys, "run", *paths)
    for path, row in zip(paths, exponents / exponents.sum(1, keepdims=True), strict=True):
        assert [expected[path][name] for name in CLASSES] == pytest.approx(row, abs=1e-5)


def test_onnx_of_another_size_as_json(place, capsys, tmp_path):
    pytest.importorskip("onnx")
    file = tmp_path / "m.onnx"
    status, out, _ = run(capsys, "export", "run/model", "--output", file, "--img-size", "20", "--json")
    found = json.loads(out)
    assert status == 0 and found["input"] == ["batch", 3, 20, 20] and found["bytes"] == file.stat().st_size


def test_onnx_for_pictures_of_any_size_and_an_older_opset(place, capsys, tmp_path):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    file = tmp_path / "m.onnx"
    status, out, _ = run(capsys, "export", "run", "--output", file, "--dynamic-size", "--opset", "19", "--json")
    found = json.loads(out)
    assert (status, found["input"], found["opset"]) == (0, ["batch", 3, "height", "width"], 19)
    assert found["difference"] < 1e-4 and onnx.load(file).opset_import[0].version == 19
    model, session = load_model("run").model, onnxruntime.InferenceSession(str(file))
    for shape in ((1, 3, 8, 8), (5, 3, 9, 31), (2, 3, 64, 48)):
        images = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        expected = model(mr.tensor(images)).detach().numpy()
        assert np.allclose(session.run(None, {"input": images})[0], expected, atol=1e-4)


def test_a_file_that_differs_from_the_model_is_a_failure(place, capsys, tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.setattr("minires.onnx.compare", lambda *arguments: float("nan"))
    monkeypatch.setattr("minires.onnx.comparing.has_onnxruntime", lambda: True)
    status, out, err = run(capsys, "export", "run", "--output", tmp_path / "m.onnx")
    assert (status, out) == (1, "") and "is not to be used" in err
    monkeypatch.setattr("minires.onnx.comparing.has_onnxruntime", lambda: False)
    status, out, _ = run(capsys, "export", "run", "--output", tmp_path / "m.onnx")
    assert status == 0 and "not compared" in out


def test_without_onnx(place, capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    status, out, err = run(capsys, "export", "run", "--output", tmp_path / "m.onnx")
    assert (status, out) == (1, "") and "pip install 'minires[onnx]'" in err
    assert list(tmp_path.iterdir()) == []


def test_pth_is_read_by_torch_with_the_same_bits(place, capsys, tmp_path):
    torch = pytest.importorskip("torch")
    status, out, err = run(capsys, "export", "run", "--output", tmp_path / "m.pt", "--format", "pth")
    assert (status, err) == (0, "") and "m.pt: 0." in out
    state, ours = torch.load(tmp_path / "m.pt", weights_only=True), load_model("run").model.state_dict()
    assert list(state) == list(ours)
    for name, tensor in ours.items():
        assert np.array_equal(state[name].numpy(), tensor.array) and state[name].numpy().dtype == tensor.dtype


def test_safetensors_predicts_without_anything_else(place, capsys, tmp_path):
    file = tmp_path / "m.safetensors"
    assert run(capsys, "export", "run", "--output", file)[0] == 0
    assert probabilities(capsys, file, "photos/red") == probabilities(capsys, "run", "photos/red")
    assert set(weights.load(file)) == set(load_model("run").model.state_dict())
    status, _, err = run(capsys, "predict", file, "photos/red", "--class-map", "names.txt")
    assert status == 2 and "knows its classes" in err
    status, _, _ = run(capsys, "export", file, "--output", tmp_path / "again.safetensors")
    assert status == 0 and (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()


def test_a_plain_safetensors_file_is_still_one(tmp_path, capsys, place):
    model = models.create("resnet20", num_classes=3)
    weights.save(model.state_dict(), tmp_path / "plain.safetensors")
    assert model_directory.load_file(tmp_path / "plain.safetensors") is None
    assert load_model(tmp_path / "plain.safetensors", name="resnet20").classes == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run"], "give --output FILE"),
        (["run", "--output", "m.xyz"], "must end in .onnx, .pth, .safetensors"),
        (["run", "--output", "m.onnx", "--format", "pth"], "must end in .pth, .pt, .bin"),
        (["run", "--output", "m.pth", "--format", "tflite"], "--format is one of onnx, pth, safetensors"),
        (["run", "--output", "no/m.onnx"], "there is no folder no"),
        (["run", "--output", "m.onnx", "--img-size", "big"], "--img-size must be a whole number"),
        (["run", "--output", "m.pth", "--img-size", "8"], "--img-size is for ONNX files"),
        (["run", "--output", "m.pth", "--opset", "21"], "--opset is for ONNX files"),
        (["run", "--output", "m.safetensors", "--dynamic-size"], "--dynamic-size is for ONNX files"),
        (["run", "--output", "m.onnx", "--opset", "new"], "--opset must be a whole number"),
        (["run", "--output", "m.onnx", "--opset", "12"], "--opset is from 18 to"),
        (["nowhere", "--output", "m.pth"], "no model nowhere"),
        (["run", "--output", "run/model/model.safetensors"], "is a file of run, the model to be exported"),
        (["run/model", "--output", "run/model/model.safetensors"], "is a file of run/model, the model"),
    ],
)
def test_wrong_use(place, capsys, words, expected):
    if expected == "--opset is from 18 to":  # up to what the installed onnx knows
        pytest.importorskip("onnx")
    status, out, err = run(capsys, "export", *words)
    assert (status, out) == (2, "") and expected in err and len(err.splitlines()) == 1
    assert not any((place / name).exists() for name in ("m.onnx", "m.pth", "m.xyz"))


# ------------------------------------------------------------------------------------------- predict's other results


def test_embeddings(place, capsys, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    file = tmp_path / "found.npz"
    pictures = ["photos/red/1.png", tmp_path / "broken.png", "photos/blue/2.png", "photos/green/3.png"]
    words = ["predict", "run", *pictures, "-b", "2", "--format", "csv"]
    status, out, err = run(capsys, *words, "--embeddings", file)
    assert status == 3 and "1 of 4 pictures could not be read" in err and "3 embeddings written to" in err
    assert out == run(capsys, *words)[1] and len(list(csv.DictReader(io.StringIO(out)))) == 3
    with np.load(file) as found:
        paths, embeddings = found["paths"], found["embeddings"]
    assert paths.tolist() == ["photos/red/1.png", "photos/blue/2.png", "photos/green/3.png"]
    assert embeddings.shape == (3, 64) and embeddings.dtype == np.float32 and embeddings.min() >= 0
    loaded = load_model("run")
    weight, bias = (tensor.detach().numpy() for tensor in (loaded.model.fc.weight, loaded.model.fc.bias))
    scores = embeddings @ weight.T + bias
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [loaded.classes[best] for best in scores.argmax(1)] == [row["label"] for row in rows]


def test_paths_on_stdin_may_hold_odd_characters_and_may_be_gone(finished, tmp_path):
    place, _ = finished
    odd = tmp_path / "a\u2028b\x0bc.png"
    odd.write_bytes((place / "photos/red/1.png").read_bytes())
    lines = f"{odd}\n{tmp_path / 'gone.png'}\r\n\nphotos/blue/2.png".encode()
    answer = minires("predict", "run", "-", "--format", "jsonl", cwd=place, stdin=lines)
    records = [json.loads(line) for line in answer.stdout.split(b"\n") if line]
    assert answer.returncode == 3 and b"1 of 3 pictures could not be read" in answer.stderr
    assert [record["path"] for record in records] == [str(odd), str(tmp_path / "gone.png"), "photos/blue/2.png"]
    assert ["error" in record for record in records] == [False, True, False]


def test_embeddings_of_nothing(place, capsys, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    status, _, _ = run(capsys, "predict", "run", tmp_path / "broken.png", "--embeddings", tmp_path / "e.npz")
    with np.load(tmp_path / "e.npz") as found:
        assert status == 3 and found["embeddings"].shape == (0, 64) and found["paths"].shape == (0,)


def test_folded_norms_give_the_same_probabilities(place, capsys, tmp_path):
    plain = probabilities(capsys, "run", "photos/red")
    fused = probabilities(capsys, "run", "photos/red", "--fuse", "--embeddings", tmp_path / "fused.npz")
    assert list(plain) == list(fused)
    for path, answers in plain.items():
        assert fused[path] == pytest.approx(answers, abs=1e-5)
    run(capsys, "predict", "run", "photos/red", "--embeddings", tmp_path / "plain.npz")
    with np.load(tmp_path / "plain.npz") as one, np.load(tmp_path / "fused.npz") as two:
        assert np.allclose(one["embeddings"], two["embeddings"], atol=1e-5)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--embeddings", "e.txt"], "--embeddings writes a .npz file"),
        (["--embeddings", "no/e.npz"], "there is no folder no"),
        (["--embeddings", "e.npz", "--output", "./e.npz"], "are the same file"),
    ],
)
def test_wrong_use_of_embeddings(place, capsys, words, expected):
    status, out, err = run(capsys, "predict", "run", "photos/red", *words)
    assert (status, out) == (2, "") and expected in err
    assert not (place / "e.npz").exists()


def test_a_weights_file_says_what_is_taken_for_granted_and_takes_class_names(place, capsys, tmp_path):
    """A .pth has neither preprocessing nor class names: that is said wherever one is written, used or measured."""
    file, names = tmp_path / "model.pth", tmp_path / "names.txt"
    status, out, _ = run(capsys, "export", "run", "--output", file)
    assert status == 0 and "tensors alone: class names and preprocessing are in the model's folder" in out
    weights.save(models.create("resnet20", num_classes=3), file)
    line = f"{file}: resnet20, 3 classes; pictures resized to 32 x 32 (as is usual for resnet20, since these weights"
    status, out, err = run(capsys, "predict", file, f"photos/{CLASSES[0]}/1.png")
    assert (status, err[: len(line)]) == (0, line) and len(err.splitlines()) == 1
    assert run(capsys, "predict", file, f"photos/{CLASSES[0]}/1.png", "--quiet") == (0, out, "")
    status, _, err = run(capsys, "evaluate", file, "--data", "photos", "-q")
    assert status == 1 and "--class-map FILE says how the classes" in err
    names.write_text("\n".join(CLASSES))
    status, out, err = run(capsys, "evaluate", file, "--data", "photos", "--class-map", names, "--json")
    assert status == 0 and err.startswith(line) and list(json.loads(out)["metrics"]["per_class"]) == CLASSES
    status, _, err = run(capsys, "evaluate", file, "--data", "photos", "--model-name", "resnet18", "-q")
    assert status == 1 and "do not fit the model resnet18" in err
    status, _, err = run(capsys, "evaluate", "run", "--class-map", names)
    assert status == 2 and "class names are for weights files" in err


def test_published_weights_are_recognised():
    model, how = models.create("resnet18"), models.preprocessing("resnet18")
    found = loading.what_was_taken(loading.LoadedModel(model, how, ["a"], {}, "there/resnet18-f37072fd.pth"))
    assert found.endswith("pictures resized to 256, 224 cut out (as published with these weights)")
