"""`minires summary` as a user types it."""

import json

import pytest

from minires import cli, models
from minires.data import preset_eval
from minires.io import model_directory, weights


def run(capsys, *words):
    status = cli.main(["summary", *map(str, words)])
    out, err = capsys.readouterr()
    return status, out, err


def test_table(capsys):
    status, out, err = run(capsys, "resnet18", "--img-size", "64")
    lines = out.splitlines()
    assert (status, err) == (0, "")
    assert lines[0].split() == ["layer", "kind", "output", "parameters", "multiply-adds", "memory"]
    assert lines[1].split() == ["conv1", "Conv2d", "64", "x", "32", "x", "32", "9,408", "9,633,792", "0.26", "MB"]
    assert lines[-3] == "parameters     11,689,512; with buffers 46.80 MB"
    assert lines[-2].startswith("multiply-adds  0.149 G for one picture of 64 x 64")
    assert len(lines) == 1 + 60 + 1 + 3 and max(map(len, lines)) < 120


def test_json(capsys):
    status, out, _ = run(capsys, "resnet20", "--num-classes", "3", "--json")
    found = json.loads(out)
    assert status == 0 and found["model"] == "resnet20" and found["input"] == [1, 3, 32, 32]
    assert found["parameters"] == 269_722 - 7 * 65
    assert found["layers"][-1] == {"name": "fc", "kind": "Linear", "output": [1, 3], "parameters": 195,
                                   "multiply_adds": 192, "memory": 12}  # fmt: skip


def test_names(capsys):
    assert run(capsys)[1].split() == models.list_models()
    assert json.loads(run(capsys, "--json")[1]) == {"models": models.list_models()}


def test_a_model_folder(capsys, tmp_path):
    model = models.resnet20(num_classes=4, in_channels=1)
    for size, side in (((24, 20), [24, 20]), (12, [12, 12])):
        preprocessing = preset_eval(size, None, mode="L", mean=[0.5], std=[0.5])
        model_directory.save(model, tmp_path / "m", preprocessing.to_config(), list("abcd"))
        status, out, _ = run(capsys, tmp_path / "m", "--json")
        assert status == 0 and json.loads(out)["input"] == [1, 1, *side]
    assert json.loads(run(capsys, tmp_path / "m", "--json", "--num-classes", 9)[1])["layers"][-1]["output"] == [1, 9]
    model_directory.save(model, tmp_path / "m", preset_eval(None, None, mode="L", mean=[0.5], std=[0.5]).to_config())
    status, _, err = run(capsys, tmp_path / "m")
    assert status == 2 and "any size" in err and "--img-size" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["resnet51"], "no model 'resnet51'; did you mean resnet5"),
        (["resnet18", "--img-size", "0"], "--img-size must be at least 1, got 0"),
        (["resnet18", "--num-classes", "-1"], "--num-classes must be at least 1, got -1"),
        (["resnet18", "--img-size", "big"], "invalid int value: 'big'"),
        (["inception_resnet_v2", "--img-size", "40"], "inception_resnet_v2 cannot take pictures of 40 x 40"),
        (["resnet18", "--depth", "3"], "no flag --depth"),
    ],
)
def test_wrong_use_is_said(capsys, words, told):
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "") and told in err and err.count("\n") == 1


def test_a_weights_file(tmp_path, capsys):
    """What it holds is found out, as for predict, and said."""
    file = tmp_path / "mine.pth"
    weights.save(models.create("resnet20", num_classes=7), file)
    assert cli.main(["summary", str(file), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["parameters"] == 269_722 - 3 * 65, "three classes fewer than for the digits"
    assert err.startswith(f"{file}: resnet20, 7 classes")
    assert cli.main(["summary", str(file), "-q"]) == 0 and capsys.readouterr().err == ""
    (tmp_path / "notes.txt").write_text("mine")
    assert cli.main(["summary", str(tmp_path / "notes.txt")]) == 2
    assert ".txt is not one of" in capsys.readouterr().err
