"""Test-time augmentation: the views, the mean of the answers, and the flag."""

import json

import numpy as np
import pytest

import minires as mr
from minires import cli, models
from minires.errors import UsageError
from minires.finetune import evaluate_model, finetune, load_model, predict
from minires.finetune.tta import MOST, TestTimeAugmentation, views
from minires.tensor import Tensor
from tests.finetune.helpers import make_photos, make_weights


def test_the_views():
    x = np.arange(2 * 32 * 16, dtype=np.float32).reshape(1, 2, 32, 16)
    seen = [view(x) for view in views(MOST)]
    assert len({each.tobytes() for each in seen}) == MOST and all(each.shape == x.shape for each in seen)
    assert np.array_equal(seen[0], x) and np.array_equal(seen[1], x[..., ::-1])
    assert np.array_equal(seen[2][..., :-1], x[..., 1:]) and np.array_equal(seen[2][..., -1], x[..., -1]), "left"
    assert np.array_equal(seen[8][:, :, 2:], x[:, :, :-2]) and np.array_equal(seen[8][:, :, 0], x[:, :, 0]), "down"
    for wrong in (0, MOST + 1):
        with pytest.raises(UsageError, match="from 1 to 10"):
            views(wrong)


@pytest.mark.parametrize("means", ["softmax", "sigmoid", "numbers"])
def test_the_mean_of_the_answers(means):
    mr.manual_seed(1)
    model = models.create("cifar_resnet", depth=8, num_classes=3).eval()
    x = Tensor(np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32))
    with mr.no_grad():
        answer = TestTimeAugmentation(model, 4, means)(x).numpy()
        parts = [model(Tensor(view(x.array))).numpy() for view in views(4)]
    if means == "softmax":
        chances = [np.exp(part) / np.exp(part).sum(axis=1, keepdims=True) for part in parts]
        assert np.allclose(np.exp(answer), np.mean(chances, axis=0), atol=1e-6)
    elif means == "sigmoid":
        chances = [1 / (1 + np.exp(-part)) for part in parts]
        assert np.allclose(1 / (1 + np.exp(-answer)), np.mean(chances, axis=0), atol=1e-6)
    else:
        assert np.allclose(answer, np.mean(parts, axis=0), atol=1e-6)


def test_from_python_and_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_photos(tmp_path / "photos")
    weights = str(make_weights(tmp_path / "weights"))
    finetune(data="photos", weights=weights, epochs=1, batch_size=8, lr=0.02, output="run")
    plain, several = evaluate_model("run"), evaluate_model("run", tta=2)
    assert evaluate_model("run", tta=1).metrics == plain.metrics
    assert several.metrics["loss"] != plain.metrics["loss"]
    assert cli.main(["evaluate", "run", "--tta", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["loss"] == several.metrics["loss"]
    (one,) = predict(load_model("run").with_views(2), ["photos/red/0.png"])
    assert sum(one.values) == pytest.approx(1)
    assert cli.main(["predict", "run", "photos/red/0.png", "--tta", "2", "--format", "csv"]) == 0
    assert f"{max(one.values):.6f}" in capsys.readouterr().out
    for words, expected in (
        (["evaluate", "run", "--tta", "0"], "--tta must be a whole number of at least 1"),
        (["predict", "run", "photos/red/0.png", "--tta", "11"], "from 1 to 10"),
        (["predict", "run", "photos/red/0.png", "--tta", "2", "--embeddings", "e.npz"], "several views"),
    ):
        assert cli.main(words) == 2
        assert expected in capsys.readouterr().err
