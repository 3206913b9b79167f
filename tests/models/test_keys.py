"""Weights under other people's names, for other heads and other pictures; and models inferred from a file alone."""

import collections
import re

import numpy as np
import pytest

import minires as mr
from minires import models, nn
from minires.errors import FileFormatError, UsageError
from minires.io import model_directory
from minires.models import keys, loading
from minires.tensor import Tensor

pytestmark = pytest.mark.timeout(120)


def filled(model, seed=0):
    """The model with random values everywhere, statistics too."""
    random = np.random.default_rng(seed)
    for name, tensor in model.state_dict().items():
        if tensor.dtype.kind == "f":
            low, high = (0.5, 1.5) if "var" in name else (-0.2, 0.2)
            tensor.array[...] = random.uniform(low, high, tensor.shape)
    return model


@pytest.fixture(scope="module")
def resnet20():
    return filled(models.resnet20(num_classes=4)).eval()


@pytest.fixture(scope="module")
def resnet18():
    with nn.init.without_draws():
        model = models.resnet18(num_classes=7)
    return filled(model).eval()


def pictures(channels=3, size=32):
    return Tensor(np.random.default_rng(1).normal(size=(2, channels, size, size)).astype("f4"))


def same_answers(first, second, **shape):
    x = pictures(**shape)
    with mr.no_grad():
        np.testing.assert_array_equal(first.eval()(x).array, second.eval()(x).array)


def to_hugging_face(state):
    """torchvision's keys as transformers.ResNetForImageClassification has them, from a rule of its own."""
    renamed = {}
    for key, value in state.items():
        if key.startswith("fc."):
            new = key.replace("fc.", "classifier.1.")
        elif key.startswith(("conv1.", "bn1.")):
            layer, rest = key.split(".", 1)
            new = f"resnet.embedder.embedder.{'convolution' if layer == 'conv1' else 'normalization'}.{rest}"
        else:
            stage, block, layer, *rest = key.split(".")
            new = f"resnet.encoder.stages.{int(stage[5:]) - 1}.layers.{block}."
            if layer == "downsample":
                new += f"shortcut.{'convolution' if rest.pop(0) == '0' else 'normalization'}.{rest[0]}"
            else:
                kind = "convolution" if layer.startswith("conv") else "normalization"
                new += f"layer.{int(layer[-1]) - 1}.{kind}.{rest[0]}"
        renamed[new] = value
    return renamed


LAYOUTS = {
    "Hugging Face": to_hugging_face,
    "Hugging Face, without counters": lambda state: {
        key: value for key, value in to_hugging_face(state).items() if "num_batches" not in key
    },
    "before 2018": lambda state: {key: value for key, value in state.items() if "num_batches" not in key},
    "counters with an axis": lambda state: {
        key: Tensor(value.array.reshape(1)) if "num_batches" in key else value for key, value in state.items()
    },
    "parallel": lambda state: {f"module.{key}": value for key, value in state.items()},
    "an attribute": lambda state: {f"model.{key}": value for key, value in state.items()},
    "an attribute, parallel": lambda state: {f"module.net.{key}": value for key, value in state.items()},
    "OpenMMLab": lambda state: {
        key.replace("fc.", "head.fc.") if key.startswith("fc") else f"backbone.{key}": value
        for key, value in state.items()
    },
    "shortcut": lambda state: {key.replace("downsample", "shortcut"): value for key, value in state.items()},
    **{
        head: lambda state, head=head: {re.sub(r"^fc\.", f"{head}.", key): value for key, value in state.items()}
        for head in ("linear", "classifier", "head", "last_linear", "head.fc", "classifier.1", "fc.0")
    },
    "another order": lambda state: dict(sorted(state.items(), reverse=True)),
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".npz"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_names_are_understood(tmp_path, resnet20, resnet18, layout, suffix):
    model = resnet18 if "Hugging" in layout or layout == "shortcut" else resnet20
    path = tmp_path / f"weights{suffix}"
    mr.save(LAYOUTS[layout](model.state_dict()), path)
    found = models.load(path)
    assert found.config == model.config and not found.training
    for (name, a), (_, b) in zip(model.state_dict().items(), found.state_dict().items(), strict=True):
        if "num_batches" not in name:
            assert np.array_equal(a.array, b.array), name
    same_answers(found, model)
    named = models.create(model.config["name"], weights=path)
    same_answers(named, model)


@pytest.mark.parametrize("name", [name for name in models.list_models() if not name.startswith("plain")])
def test_every_model_is_recognised(name):
    with nn.init.without_draws(fill=False):
        state = models.create(name, num_classes=3).state_dict()
    fitted = loading.identify(state, "weights.pth")
    assert fitted.target.name == name and fitted.target.options == {}
    assert fitted.num_classes == 3 and fitted.in_channels == 3 and fitted.has_head


@pytest.mark.parametrize("name", models.list_models("plain*"))
def test_plain_networks_look_like_residual_ones_and_are_named(tmp_path, name):
    """Their parameters have the same names and shapes: the file alone cannot say it."""
    with nn.init.without_draws():
        state = models.create(name).state_dict()
    assert loading.identify(state, "a").target.name == name.replace("plain", "resnet")
    assert loading.identify(state, "a", name).target.name == name


@pytest.mark.parametrize(("name", "options"), [("resnet20", {"shortcut": "B"}), ("preact_resnet32", {"shortcut": "B"}),
                                               ("resnet44", {"shortcut": "B", "in_channels": 1})])  # fmt: skip
def test_variants_are_recognised(tmp_path, name, options):
    model = filled(models.create(name, **options))
    mr.save(model, tmp_path / "a.pth")
    found = models.load(tmp_path / "a.pth")
    assert found.config == model.config
    same_answers(found, model, channels=options.get("in_channels", 3))


def test_what_does_not_fit_is_listed(tmp_path, resnet20):
    state = dict(resnet20.state_dict())
    mr.save({**state, "extra.weight": Tensor(np.ones(2)), "more": Tensor(np.ones(2))}, tmp_path / "a.pth")
    with pytest.raises(FileFormatError, match=r"a\.pth: these weights fit no known model") as told:
        models.load(tmp_path / "a.pth")
    assert "nearest is resnet20: no place for 'extra.weight'; no place for 'more'" in str(told.value)
    state.pop("layer1.0.conv1.weight")
    state["layer2.0.conv1.weight"] = Tensor(np.ones((5, 5, 3, 3), "f4"))
    mr.save(state, tmp_path / "a.pth")
    with pytest.raises(FileFormatError, match="do not fit the model resnet20: nothing for 'layer1.0.conv1.weight'; "
                       r"'layer2.0.conv1.weight' has the shape \(5, 5, 3, 3\), not \(32, 16, 3, 3\)"):  # fmt: skip
        models.resnet20(weights=tmp_path / "a.pth")
    mr.save({f"x{number}": np.ones(2) for number in range(50)}, tmp_path / "a.npz")
    with pytest.raises(FileFormatError, match=r"no place for 'x0'; .*; and \d+ more$"):
        models.load(tmp_path / "a.npz")
    mr.save({}, tmp_path / "a.npz")
    with pytest.raises(FileFormatError, match="no tensors"):
        models.load(tmp_path / "a.npz")
    mr.save({**resnet20.state_dict(), "linear.weight": np.ones((4, 64), "f4")}, tmp_path / "a.npz")
    with pytest.raises(FileFormatError, match=r"two tensors for 'fc\.weight'"):
        models.resnet20(weights=tmp_path / "a.npz")


def test_several_models_that_fit_are_named(resnet20):
    targets = [keys.target_of(resnet20, name, {}, "fc") for name in ("first", "second")]
    with pytest.raises(FileFormatError, match="these weights fit several models: first, second") as told:
        keys.fit(resnet20.state_dict(), targets, "a.pth")
    assert told.value.hint == "name the model"
    assert keys.fit(resnet20.state_dict(), targets, "a.pth", ["first"]).target.name == "second"


def test_another_number_of_classes_makes_a_new_head(tmp_path, resnet20):
    path = tmp_path / "a.pth"
    mr.save(resnet20, path)
    assert models.resnet20(weights=path).config["num_classes"] == 4
    models.resnet20(weights=path, num_classes=4)  # no warning
    mr.manual_seed(5)
    with pytest.warns(UserWarning, match=r"a\.pth: the head has 4 classes; a new one .* num_classes=9"):
        model = models.resnet20(weights=str(path), num_classes=9)
    assert model.fc.weight.shape == (9, 64) and 0 < np.abs(model.fc.weight.array).max() <= 1 / 8
    for name, tensor in resnet20.state_dict().items():
        if not name.startswith("fc."):
            assert np.array_equal(model.state_dict()[name].array, tensor.array), name
    with pytest.warns(UserWarning, match="num_classes=2"):
        assert models.load(path, num_classes=2).config == {"name": "resnet20", "num_classes": 2}


def test_a_file_without_head(tmp_path, resnet20):
    state = {key: value for key, value in resnet20.state_dict().items() if not key.startswith("fc.")}
    mr.save(state, tmp_path / "a.pth")
    with pytest.raises(FileFormatError, match="these weights of resnet20 have no head") as told:
        models.load(tmp_path / "a.pth")
    assert "num_classes" in told.value.hint
    with pytest.warns(UserWarning, match="the head is not in the file; a new one"):
        model = models.load(tmp_path / "a.pth", num_classes=3)
    assert model(pictures()).shape == (2, 3)


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_another_number_of_channels_adapts_the_stem(tmp_path, resnet20, channels):
    path = tmp_path / "a.pth"
    mr.save(resnet20, path)
    with pytest.warns(UserWarning, match=f"takes 3 channels; it is adapted to {channels}"):
        model = models.resnet20(weights=path, in_channels=channels)
    assert model.config["in_channels"] == channels
    given, made = resnet20.conv1.weight.array, model.conv1.weight.array
    if channels == 1:  # a grey picture gives what it gave in three equal channels
        x = pictures(1)
        grey = Tensor(np.repeat(x.array, 3, axis=1))
        np.testing.assert_allclose(model.eval()(x).array, resnet20(grey).array, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(made, given.sum(axis=1, keepdims=True), rtol=1e-6)
    else:  # by hand: channel c is channel c mod 3, times 3 / channels
        for channel in range(channels):
            np.testing.assert_allclose(made[:, channel], given[:, channel % 3] * (3 / channels), rtol=1e-6)


def test_weights_for_other_channels_say_so_themselves(tmp_path):
    model = filled(models.resnet20(in_channels=1, num_classes=3))
    mr.save(model, tmp_path / "a.pth")
    assert models.resnet20(weights=tmp_path / "a.pth").config["in_channels"] == 1
    assert models.load(tmp_path / "a.pth").config == model.config


@pytest.mark.parametrize("kind", ["f2", "f8"])
def test_weights_of_other_types(tmp_path, resnet20, kind):
    state = {key: value.array.astype(kind) if value.dtype.kind == "f" else value
             for key, value in resnet20.state_dict().items()}  # fmt: skip
    mr.save(state, tmp_path / "a.pth")
    found = models.load(tmp_path / "a.pth")
    assert found.conv1.weight.dtype == np.float32
    assert np.array_equal(found.conv1.weight.array, resnet20.conv1.weight.array.astype(kind).astype("f4"))


def test_a_model_folder_loads_too(tmp_path, resnet20):
    model_directory.save(resnet20, tmp_path / "model")
    same_answers(models.load(tmp_path / "model"), resnet20)
    with pytest.raises(UsageError, match="a model folder"):
        models.load(tmp_path / "model", num_classes=3)


def test_options_that_the_weights_do_not_fit(tmp_path, resnet20):
    mr.save(resnet20, tmp_path / "a.pth")
    with pytest.raises(FileFormatError, match=r"nothing for 'layer2\.0\.downsample\.0\.weight'"):
        models.resnet20(weights=tmp_path / "a.pth", shortcut="B")
    with pytest.raises(ValueError, match="no model 'resnet19'"):
        models.create("resnet19", weights=tmp_path / "a.pth")


# --------------------------------------------------------------------------------------------------- files from torch


@pytest.mark.parametrize(("name", "legacy"), [("resnet18", True), ("resnet34", False), ("resnet50", False)])
def test_logits_are_torch_s(tmp_path, name, legacy):
    """A file that torch wrote, in torchvision's layout, with nothing but its path given."""
    torch = pytest.importorskip("torch")
    from tests.models.test_resnet import give_torch_s_weights
    from tests.torch_resnet import LAYERS, TorchResNet

    theirs = TorchResNet(*LAYERS[name], num_classes=6)
    with nn.init.without_draws():
        give_torch_s_weights(models.create(name, num_classes=6), theirs)
    state = collections.OrderedDict((f"module.{key}", tensor) for key, tensor in theirs.state_dict().items())
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "a.pth.tar", _use_new_zipfile_serialization=not legacy)
    ours = models.load(tmp_path / "a.pth.tar")
    assert ours.config == {"name": name, "num_classes": 6}
    x = pictures(size=48)
    for training in (False, True):
        with torch.no_grad(), mr.no_grad():
            expected = theirs.train(training)(torch.from_numpy(x.array)).numpy()
            found = ours.train(training)(x).array
        assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    mr.save(ours, tmp_path / "back.pth")
    theirs.load_state_dict(torch.load(tmp_path / "back.pth", weights_only=True))
