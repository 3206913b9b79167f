"""keras.applications' ResNets: the network is Keras's, its weights come from all of its files, its pictures are BGR."""

import functools
import importlib.util
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import minires as mr
from minires import models
from minires.data import Preprocessing, transforms
from minires.errors import FileFormatError
from minires.finetune import Settings, load_model
from minires.finetune.pictures import TrainTransform
from minires.finetune.start import build_model, find_start
from minires.io import model_directory
from minires.models import keras_keys
from tests.data.helpers import make_folder, noise, save

pytest.importorskip("h5py")
pytest.importorskip("torch")
from tests import keras_layout

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = {"block": "BottleneckV1", "layers": [1, 1, 2, 1], "conv_bias": True}


def tensors(layers):
    return {name: mr.tensor(array) for name, array in keras_layout.state_of(layers).items()}


def logits(model, images):
    with mr.no_grad():
        return model(mr.tensor(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))).numpy()


def pictures(*shape):
    return np.random.default_rng(1).uniform(-120, 130, shape).astype(np.float32)


def assert_close(found, expected):
    assert abs(found - expected).max() <= 1e-4 * abs(expected).max()


@functools.cache
def resnet50(classes=6, older=False):
    """The layers of a whole ResNet-50, made once."""
    return keras_layout.layers_of((3, 4, 6, 3), classes, older)


# ------------------------------------------------------------------------------------------------------ the network


@pytest.mark.parametrize("shape", [(2, 64, 64, 3), (1, 75, 66, 3)])
@pytest.mark.parametrize("older", [False, True])
def test_the_network_is_keras(shape, older):
    """Strides, biases, eps and padding, at even and odd sizes, against the definition in tests/keras_layout.py."""
    layers = keras_layout.layers_of(SMALL["layers"], 7, older)
    state, name, options = keras_keys.adopt(tensors(layers), "f", "resnet")
    assert name == "resnet_keras" and options == ({"norm_eps": 1e-3} if older else {})
    model = models.create("resnet", **SMALL, num_classes=7, **{"norm_eps": 1.001e-5, **options}).eval()
    model.load_state_dict(state)
    images = pictures(*shape)
    assert_close(logits(model, images), keras_layout.network(layers, images, 1e-3 if older else 1.001e-5))
    assert_close(logits(mr.compile_inference(model), images), logits(model, images))


def test_the_variant_is_visible_and_can_be_built_again():
    model = models.create("resnet", **SMALL, num_classes=7, norm_eps=1e-3)
    again = models.create(**model.config)
    assert model.config == {"name": "resnet", "num_classes": 7, **SMALL, "norm_eps": 1e-3} == again.config
    assert again.bn1.eps == 1e-3 and again.layer1[0].conv2.bias.shape == (64,)
    block = again.layer2[0]
    assert (block.conv1.stride, block.conv2.stride, block.downsample[0].stride) == ((2, 2), (1, 1), (2, 2))
    assert models.create("resnet18", norm="group", norm_eps=1e-3).bn1.eps == 1e-3


@pytest.mark.parametrize(
    ("name", "total"), [("resnet50", 25_636_712), ("resnet101", 44_707_176), ("resnet152", 60_419_944)]
)
def test_keras_counts_as_many_numbers(name, total):
    """The totals that Keras's summary() shows; they include the statistics of the norms."""
    with mr.nn.init.without_draws():
        state = models.create(f"{name}_keras").state_dict()
    assert sum(value.numel() for key, value in state.items() if "num_batches" not in key) == total


# -------------------------------------------------------------------------------------------------------- the files

FILES = {
    "a.h5": keras_layout.legacy,
    "whole.h5": functools.partial(keras_layout.legacy, whole=True),
    "inner.h5": functools.partial(keras_layout.legacy, owner="resnet50"),
    "a.weights.h5": keras_layout.numbered,
    "unnamed.weights.h5": functools.partial(keras_layout.numbered, named=False),
    "inner.weights.h5": functools.partial(keras_layout.numbered, named=False, owner="functional"),
    "a.keras": keras_layout.archive,
}


@pytest.mark.parametrize("name", FILES)
def test_every_file_of_a_resnet50_is_recognised(name, tmp_path):
    """Names for all layers, by attribute, by path or by order; with tiny arrays, whose shapes do not matter here."""
    layers = [(each, kind, {key: np.full((1,) * array.ndim, index, np.float32) for key, array in own.items()})
              for index, (each, kind, own) in enumerate(resnet50())]  # fmt: skip
    path = tmp_path / name
    path.write_bytes(FILES[name](layers))
    found, _, options = keras_keys.adopt(mr.load(path), path)
    expected, _, _ = keras_keys.adopt(tensors(layers), "f")
    assert options == {} and {key: value.item() for key, value in found.items()} == {
        key: value.item() for key, value in expected.items()}  # fmt: skip
    with mr.nn.init.without_draws():
        keys = models.resnet50_keras().state_dict()
    assert set(found) == {key for key in keys if "num_batches_tracked" not in key}


def test_a_whole_file_end_to_end(tmp_path):
    path = tmp_path / "resnet50.weights.h5"
    path.write_bytes(keras_layout.numbered(resnet50()))
    images = pictures(2, 64, 64, 3)
    expected = keras_layout.network(resnet50(), images)
    model = models.load(path)
    assert model.config == {"name": "resnet50_keras", "num_classes": 6}
    assert_close(logits(model, images), expected)
    with pytest.warns(UserWarning, match="the head has 6 classes; a new one with random values gives num_classes=3"):
        named = models.create("resnet50", weights=path, num_classes=3).eval()
    features = named.forward_head(named.forward_features(mr.ones(1, 3, 64, 64)), pre_logits=True)
    assert named.config["name"] == "resnet50_keras" and features.shape == (1, 2048)

    loaded = load_model(path)
    assert loaded.preprocessing == transforms.preset_caffe()
    start = find_start(Settings(data="x", model="resnet50", weights=str(path)))
    assert start.config["name"] == "resnet50_keras" and start.preprocessing == transforms.preset_caffe()
    built = build_model(start, Settings(data="x", weights=str(path)), 4)
    model_directory.save(built, tmp_path / "model", start.preprocessing.to_config(), list("abcd"))
    again = load_model(tmp_path / "model")
    assert again.preprocessing == transforms.preset_caffe()
    assert np.array_equal(logits(again.model, images), logits(built.eval(), images))


def test_an_older_file_without_a_head(tmp_path):
    path = tmp_path / "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
    path.write_bytes(keras_layout.legacy(keras_layout.layers_of((3, 4, 6, 3), 0, older=True), keras1=True))
    with pytest.raises(FileFormatError, match="have no head") as caught:
        models.load(path)
    assert caught.value.hint == "num_classes=N makes a new one"
    with pytest.warns(UserWarning, match="the head is not in the file; a new one"):
        model = models.load(path, num_classes=4)
    assert model.config == {"name": "resnet50_keras", "norm_eps": 1e-3, "num_classes": 4}
    assert model.bn1.eps == 1e-3


def test_other_layers_are_left_out_by_name():
    state = {**tensors(resnet50()[:2]), "normalization/mean": mr.ones(3), "dense/kernel": mr.ones(2, 2)}
    with pytest.warns(
        UserWarning, match="f: left out, since they belong to no ResNet: normalization/mean, dense/kernel"
    ):
        found, name, _ = keras_keys.adopt(state, "f")
    assert name is None and set(found) == {f"conv1.{key}" for key in ("weight", "bias")} | {
        f"bn1.{key}" for key in ("weight", "bias", "running_mean", "running_var")}  # fmt: skip


def test_what_is_no_resnet_is_refused_by_name(tmp_path):
    with pytest.raises(FileFormatError, match=r"f: no layer of keras\.applications' ResNets is in it; it has a/b"):
        keras_keys.adopt({"a/b": mr.ones(1)}, "f")
    with pytest.raises(FileFormatError, match=r"two arrays are the weight 'conv1\.weight' of a ResNet"):
        keras_keys.adopt({f"{owner}/conv1_conv/kernel": mr.ones(1) for owner in "ab"}, "f")
    path = tmp_path / "part.weights.h5"
    path.write_bytes(keras_layout.numbered(resnet50()[:-3]))
    with pytest.raises(FileFormatError, match=r"do not fit the model resnet50_keras: nothing for 'layer4\.2"):
        models.create("resnet50", weights=path, num_classes=2)
    assert keras_keys.adopt({"conv1.weight": mr.ones(1)}, "f", "resnet50")[1:] == ("resnet50", {})


# ----------------------------------------------------------------------------------------------------- the pictures


def test_pixels_as_keras_prepares_them(tmp_path):
    """load_img, img_to_array and preprocess_input of keras.applications.resnet, written out."""
    path = save(noise(50, 40), tmp_path / "a.png")
    resized = np.asarray(Image.open(path).resize((224, 224), Image.Resampling.NEAREST)).astype(np.float32)
    expected = resized[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32)
    found = transforms.preset_caffe().load(path)
    assert found.array.dtype == np.float32
    np.testing.assert_array_equal(found.array.transpose(1, 2, 0), expected)
    training = transforms.preset_train((224, 224), transforms.CAFFE_MEAN, (1, 1, 1), "nearest", scale=None, hflip=0.0,
                                       values="0..255", channel_order="BGR")  # fmt: skip
    np.testing.assert_array_equal(training(Image.open(path)).array, found.array)


def test_training_pictures_have_the_same_colours():
    picture = Image.new("RGB", (30, 25), (200, 100, 10))  # of one colour: no crop changes it
    prepared = transforms.preset_caffe((20, 20))
    train = TrainTransform(Settings(data="x", weights="w", hflip=0.0), prepared)
    np.testing.assert_array_equal(train(picture).array, prepared(picture).array)
    np.testing.assert_allclose(prepared(picture).array[:, 0, 0], [10 - 103.939, 100 - 116.779, 200 - 123.68], rtol=1e-5)


def test_settings_travel_and_older_folders_are_read():
    config = transforms.preset_caffe().to_config()
    assert Preprocessing.from_config(config) == transforms.preset_caffe()
    assert (config["scale"], config["channel_order"]) == ("0..255", "BGR")
    old = transforms.preset_eval().to_config()
    del old["channel_order"]  # folders of before there was such a key
    assert Preprocessing.from_config(old) == transforms.preset_eval()
    for missing in ("scale", "mean"):
        with pytest.raises(ValueError, match=f"lacks the keys .'{missing}'"):
            Preprocessing.from_config({key: value for key, value in config.items() if key != missing})
    with pytest.raises(ValueError, match="channel_order must be one of RGB, BGR, got 'GBR'"):
        Preprocessing(channel_order="GBR")
    with pytest.raises(ValueError, match="channel_order BGR is for colour pictures, not for the mode L"):
        Preprocessing(mode="L", mean=(0.5,), std=(1.0,), channel_order="BGR")


# ------------------------------------------------------------------------------------------------------- the example


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_classic_script(tmp_path):
    weights, photos = tmp_path / "resnet50_notop.h5", tmp_path / "photos"
    weights.write_bytes(keras_layout.legacy(resnet50()[:-1]))
    make_folder(photos, {"cat": 12, "dog": 12}, size=20)
    words = ["examples/keras_style_finetune.py", str(weights), str(photos), "--img-size", "32", "--epochs", "5",
             "--patience", "1", "--output", str(tmp_path / "model")]  # fmt: skip
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, cwd=ROOT, env=environ, check=False
    )
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert lines[0].startswith("Found ") and "Total params: 26,684,418. Trainable: 3,149,826." in lines
    epochs = [line for line in lines if line.startswith("Epoch ")]
    rows = [line for line in lines if "ms/step - accuracy: " in line and " - val_accuracy: " in line]
    assert 1 <= len(epochs) == len(rows) <= 5 and epochs[0] == "Epoch 1/5"
    assert len(epochs) == 5 or any("early stop after epoch" in line for line in lines)
    assert any(line.startswith("test: accuracy: ") for line in lines)
    loaded = load_model(tmp_path / "model")
    assert loaded.classes == ["cat", "dog"] and loaded.preprocessing == transforms.preset_caffe((32, 32))


# ----------------------------------------------------------------------------------------------- Keras itself, if there


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("default")  # Keras's own, of NumPy and of the older format
def test_against_keras_itself(tmp_path, monkeypatch):
    if importlib.util.find_spec("keras") is None:
        pytest.skip("Keras is not installed")
    backend = next(name for name in ("torch", "jax", "tensorflow") if importlib.util.find_spec(name))
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", backend))
    keras = pytest.importorskip("keras")
    network = keras.applications.ResNet50(weights=None, classifier_activation=None, classes=10)
    rng = np.random.default_rng(0)
    for variable in network.weights:
        if variable.path.endswith(("beta", "bias", "moving_mean")):
            variable.assign(rng.normal(0, 0.1, variable.shape).astype(np.float32))
        elif variable.path.endswith(("gamma", "moving_variance")):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape).astype(np.float32))
    pixels = rng.uniform(0, 255, (2, 224, 224, 3)).astype(np.float32)
    images = keras.applications.resnet.preprocess_input(pixels.copy())
    np.testing.assert_array_equal(images, pixels[..., ::-1] - np.array(transforms.CAFFE_MEAN, np.float32))
    expected = np.asarray(network.predict(images, verbose=0))
    network.save_weights(tmp_path / "a.weights.h5")
    network.save(tmp_path / "a.keras")
    network.save(tmp_path / "a.h5")
    for name in ("a.weights.h5", "a.keras", "a.h5"):
        assert_close(logits(models.load(tmp_path / name), images), expected)
