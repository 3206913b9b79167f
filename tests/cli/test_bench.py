"""`minires bench`: figures that belong together, for people and for programs."""

import json

import pytest

from minires import backends, cli

SMALL = ("resnet20", "-b", "2", "--repeats", "2")


def test_for_people(capsys):
    assert cli.main(["bench", *SMALL, "--profile"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and "resnet20, 2 pictures of 3 x 32 x 32" in out
    lines = [line.split() for line in out.splitlines() if line.strip()]
    assert [line[0] for line in lines[2:4]] == ["inference", "training"]
    assert "planned Conv2d 3x32x32 -> 16x32x32" in out and "batch_norm_training_backward" in out and "SGD step" in out


def test_as_json_and_as_a_trace(capsys, tmp_path):
    trace = tmp_path / "trace.json"
    assert cli.main(["bench", *SMALL, "--json", "--profile", "--by-shape", "--trace", str(trace)]) == 0
    found = json.loads(capsys.readouterr().out)
    inference, training = found["work"]
    assert [entry["work"] for entry in found["work"]] == ["inference", "training"] and found["shape"] == [2, 3, 32, 32]
    assert len(inference["seconds"]) == 2 and training["flops"] == 3 * inference["flops"] > 0
    assert inference["images_per_second"] == pytest.approx(2 / inference["median"])
    assert inference["part_of_product_peak"] == pytest.approx(inference["flops_per_second"] / found["product_flops"])
    assert sum(row["flops"] for row in inference["profile"]) == pytest.approx(inference["flops"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trace-inference.json", "trace-training.json"]


def test_one_kind_of_work(capsys):
    assert cli.main(["bench", *SMALL, "--inference", "--plain", "--profile", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["work"]
    names = {row["name"] for row in entry["profile"]}
    assert entry["work"] == "inference" and {"conv2d_forward", "batch_norm_inference_forward"} <= names


def test_autotuned(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIRES_HOME", str(tmp_path))
    try:
        assert cli.main(["bench", *SMALL, "--training", "--autotune"]) == 0
    finally:
        backends.cpu.benchmark = False
    assert "training" in capsys.readouterr().out and (tmp_path / "autotune.json").exists()


@pytest.mark.parametrize("words", [["-b", "0"], ["--repeats", "0"], ["resnet2000"], ["--img-size", "-1"]])
def test_wrong_use(capsys, words):
    assert cli.main(["bench", *words]) == 2
    assert capsys.readouterr().err.startswith("minires: error: ")
