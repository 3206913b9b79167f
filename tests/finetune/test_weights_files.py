"""A weights file that torch wrote, used with nothing but its path: fine-tuned, asked, and read again."""

import json

import numpy as np
import pytest

import minires as mr
from minires.errors import FileFormatError, UsageError
from minires.finetune import finetune, load_model
from minires.io import toml
from tests.cli.helpers import minires
from tests.finetune.helpers import COLOURS, make_photos

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.timeout(120)

FAST = {"epochs": 1, "batch_size": 8, "img_size": 16, "no_aug": True, "patience": 0}


def torch_file(path, name="resnet20", **options):
    """A file as a training script leaves it: parallel, with an optimizer's state and arguments; returns the model."""
    with mr.random.address(2, "model"):
        model = mr.models.create(name, **{"num_classes": 10, **options})
    state = {f"module.{key}": torch.from_numpy(np.ascontiguousarray(value.array).reshape(value.shape))
             for key, value in model.state_dict().items()}  # fmt: skip
    torch.save({"state_dict": state, "epoch": 5, "optimizer": {"lr": 0.1, "state": {}}}, path)
    return model


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return make_photos(tmp_path_factory.mktemp("photos"))


@pytest.mark.parametrize("flag", ["weights", "model"])
def test_finetune_starts_from_it(tmp_path, photos, flag):
    path = tmp_path / "start.pth"
    model = torch_file(path, "resnet32", num_classes=7)
    result = finetune(data=str(photos), output=tmp_path / "run", freeze="all-but-head", bn="frozen",
                      **{flag: str(path)}, **FAST)  # fmt: skip
    arguments = toml.load_file(tmp_path / "run" / "args.toml")
    assert (arguments["model"], arguments["weights"]) == ("resnet32", str(path))
    trained = load_model(result.model_path)
    assert trained.classes == sorted(COLOURS) and trained.model.config == {"name": "resnet32", "num_classes": 3}
    for key, value in model.state_dict().items():
        if not key.startswith("fc."):
            assert np.array_equal(trained.model.state_dict()[key].array, value.array), key
    other = finetune(data=str(photos), output=tmp_path / "again", resume=False, freeze="all-but-head", bn="frozen",
                     model="resnet32", weights=str(path), **FAST)  # fmt: skip
    assert other.after == result.after


def test_finetune_says_what_does_not_fit(tmp_path, photos):
    path = tmp_path / "start.pth"
    torch_file(path)
    for given, error, said in (
        ({"model": "resnet18"}, FileFormatError, "do not fit the model resnet18"),
        ({"model": "resnet19"}, UsageError, "no model 'resnet19'"),
    ):
        with pytest.raises(error, match=said):
            finetune(data=str(photos), output=tmp_path / "run", weights=str(path), **given, **FAST)
    with pytest.raises(UsageError, match=r"no weights file .*none\.pth"):
        finetune(data=str(photos), output=tmp_path / "run", weights=str(tmp_path / "none.pth"), **FAST)
    torch_file(path, in_channels=2)
    with pytest.raises(UsageError, match="takes pictures of 2 channels"):
        finetune(data=str(photos), output=tmp_path / "run", weights=str(path), **FAST)
    assert not (tmp_path / "run").exists()


def test_a_network_with_its_head_under_another_path(tmp_path, photos):
    """The head of timm's ResNetV2 is head.fc."""
    torch_file(tmp_path / "a.pth", "resnetv2_18")
    settings = {**FAST, "img_size": 32}
    result = finetune(data=str(photos), output=tmp_path / "run", weights=str(tmp_path / "a.pth"), **settings)
    assert load_model(result.model_path).model.config == {"name": "resnetv2_18", "num_classes": 3}


def test_load_model(tmp_path):
    path = tmp_path / "a.pth"
    model = torch_file(path)
    loaded = load_model(path)
    assert loaded.classes == [str(index) for index in range(10)] and loaded.path == str(path)
    assert loaded.preprocessing == mr.models.preprocessing("resnet20") and not loaded.model.training
    assert np.array_equal(loaded.model.fc.weight.array, model.fc.weight.array)
    names = [f"class {letter}" for letter in "jihgfedcba"]
    (tmp_path / "names.txt").write_text("\n".join(names))
    assert load_model(path, tmp_path / "names.txt").classes == names
    (tmp_path / "names.txt").write_text("one\ntwo\n")
    with pytest.raises(UsageError, match=r"names\.txt names 2 classes, the model in .*a\.pth has 10"):
        load_model(path, tmp_path / "names.txt")
    assert load_model(path, name="plain20").model.config["name"] == "plain20"
    with pytest.raises(UsageError, match="no model 'resnet19'"):
        load_model(path, name="resnet19")


def test_predict(tmp_path, photos):
    torch_file(tmp_path / "a.pth")
    (tmp_path / "names.json").write_text(json.dumps([f"class {index}" for index in range(10)]))
    answer = minires("predict", tmp_path / "a.pth", photos / "red", "--class-map", tmp_path / "names.json",
                     "--topk", 2, "--format", "json")  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert len(found) == 12 and all(len(one["predictions"]) == 2 for one in found)
    assert found[0]["predictions"][0]["label"].startswith("class ")
    (tmp_path / "a.pth").write_bytes((tmp_path / "a.pth").read_bytes()[:5000])
    answer = minires("predict", tmp_path / "a.pth", photos / "red")
    assert answer.returncode == 1 and b"a.pth" in answer.stderr and b"Traceback" not in answer.stderr
