"""The weights that come with minires: what is said about them is true, and the script that made them runs."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import minires as mr
from minires.data import DataLoader, Preprocessing, ShapesDataset
from minires.data.shapes import CLASSES
from minires.models import embedded_info

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "minires" / "models" / "weights"


@pytest.fixture(scope="module")
def info():
    return embedded_info("resnet20", "shapes")


def accuracy(model, samples: int, seed: int, preprocessing) -> float:
    loader = DataLoader(ShapesDataset(samples, seed=seed, transform=preprocessing), 80)
    with mr.no_grad():
        return float(np.concatenate([(model(x).argmax(1) == y).numpy() for x, y in loader]).mean())


def test_the_record_says_what_they_are_and_how_they_were_made(info):
    assert info["config"] == {"name": "resnet20", "num_classes": 40} and info["classes"] == CLASSES
    assert info["command"].startswith("python examples/pretrain_shapes.py") and info["seed"] == 0
    assert Preprocessing.from_config(info["preprocessing"]).output_size == (32, 32)
    assert info["figures"]["test_accuracy"] == info["history"][-1]["val_accuracy"] > 0.95
    losses = [row["loss"] for row in info["history"]]
    assert losses[-1] < losses[0] / 10


def test_they_are_small_finite_and_float32():
    file = FOLDER / "resnet20_shapes.safetensors"
    assert file.stat().st_size < 1_200_000
    for name, tensor in mr.load(file).items():
        array = tensor.numpy()
        assert np.isfinite(array).all() and array.dtype == (np.int64 if "tracked" in name else np.float32), name


def test_they_know_pictures_that_they_have_never_seen(info):
    model = mr.models.resnet20(weights="shapes").eval()
    preprocessing = Preprocessing.from_config(info["preprocessing"])
    assert accuracy(model, 240, 77, preprocessing) > 0.92
    assert accuracy(mr.models.resnet20(num_classes=40).eval(), 240, 77, preprocessing) < 0.2, "the check can fail"


@pytest.mark.timeout(110)
def test_the_script_that_made_them_runs(tmp_path):
    words = ["examples/pretrain_shapes.py", "--samples", "80", "--test-samples", "40", "--epochs", "1",
             "--batch-size", "40", "--output", str(tmp_path / "out")]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CI": "1"}
    answer = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True,
                            timeout=100, check=False)  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    record = json.loads((tmp_path / "out" / "resnet20_shapes.json").read_text())
    assert record["command"] == " ".join(["python", *words]) and len(record["history"]) == 1
    model = mr.models.resnet20(weights=tmp_path / "out" / "resnet20_shapes.safetensors")
    assert model.fc.weight.shape == (40, 64)
    found = accuracy(model.eval(), 40, 1, Preprocessing.from_config(record["preprocessing"]))
    assert found == pytest.approx(record["figures"]["test_accuracy"], abs=0.03)
