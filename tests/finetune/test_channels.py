"""Pictures of one channel and of four: trained, asked, measured, exported and run elsewhere."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

import minires as mr
from minires.data import Preprocessing, open_image, preset_caffe, preset_eval
from minires.errors import FileFormatError, UsageError
from minires.finetune import evaluate_model, finetune, load_model, train
from minires.io import checkpoint, model_directory
from minires.models import keys
from minires.models.recipes import for_channels
from tests.cli.helpers import minires
from tests.finetune.helpers import make_photos, make_weights

pytestmark = pytest.mark.timeout(120)
FAST = {"batch_size": 8, "patience": 0, "lr": 0.02, "hflip": 0.5, "color_jitter": 0.1}


def make_grey(root, per_class=10):
    """root/bright, root/dark: pictures of the mode L."""
    rng = np.random.default_rng(2)
    for name, level in (("bright", 180), ("dark", 70)):
        (root / name).mkdir(parents=True)
        for index in range(per_class):
            pixels = rng.normal(level, 25, (11, 10)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root


def make_rgba(root, per_class=10):
    """root/half, root/whole: the same colours; only how opaque they are tells the classes apart."""
    rng = np.random.default_rng(2)
    for name, opacity in (("half", 130), ("whole", 255)):
        (root / name).mkdir(parents=True)
        for index in range(per_class):
            pixels = rng.integers(0, 256, (8, 8, 4), dtype=np.uint8)
            pixels[..., 3] = opacity
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root


PICTURES = {1: make_grey, 4: make_rgba}
MODES = {1: "L", 4: "RGBA"}


@pytest.fixture(scope="module", params=[1, 4])
def made(request, tmp_path_factory):
    """(channels, folder with photos/, weights/ and run/)."""
    channels, place = request.param, tmp_path_factory.mktemp("channels")
    PICTURES[channels](place / "photos")
    make_weights(place / "weights")
    finetune(data=str(place / "photos"), weights=str(place / "weights"), output=place / "run", in_chans=channels,
             epochs=6, **FAST)  # fmt: skip
    return channels, place


def test_the_model_takes_them_and_has_learned(made):
    channels, place = made
    loaded = load_model(place / "run")
    assert loaded.model.config["in_channels"] == channels and loaded.preprocessing.mode == MODES[channels]
    assert loaded.model.conv1.weight.shape[1] == channels
    found = evaluate_model(place / "run", str(place / "photos"), "train")
    assert found.metrics["top1"] >= 0.9
    newest = load_model(checkpoint.list_checkpoints(place / "run" / "checkpoints")[0])
    assert newest.preprocessing == loaded.preprocessing


def test_prediction_export_and_onnxruntime_agree(made, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    channels, place = made
    paths = sorted(str(path.relative_to(place)) for path in (place / "photos").rglob("*.png"))
    answer = minires("predict", "run", *paths, "--format", "json", cwd=place)
    assert answer.returncode == 0, answer.stderr
    ours = {record["path"]: {one["label"]: one["prob"] for one in record["predictions"]}
            for record in json.loads(answer.stdout)}  # fmt: skip
    for name in ("m.onnx", "m.safetensors", "m.pth"):
        answer = minires("export", "run", "--output", tmp_path / name, cwd=place)
        assert answer.returncode == 0, answer.stderr
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    assert session.get_inputs()[0].shape == ["batch", channels, 8, 8]
    recipe = json.loads(session.get_modelmeta().custom_metadata_map["preprocessing"])
    names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])
    assert recipe["mode"] == MODES[channels]
    images = np.stack([by_hand(place / path, recipe) for path in paths])
    exponents = np.exp(session.run(None, {"input": images})[0].astype(np.float64))
    for path, row in zip(paths, exponents / exponents.sum(1, keepdims=True), strict=True):
        assert [ours[path][name] for name in names] == pytest.approx(row, abs=1e-4)
    exported = minires("predict", tmp_path / "m.safetensors", *paths, "--format", "csv", cwd=place).stdout.decode()
    assert [float(row["prob"]) for row in csv.DictReader(io.StringIO(exported))] == pytest.approx(
        [max(ours[path].values()) for path in paths], abs=1e-4)  # fmt: skip
    assert mr.load(tmp_path / "m.pth")["conv1.weight"].shape[1] == channels


def by_hand(path, recipe):
    """A picture as another program prepares it that reads the recipe in the metadata: with Pillow and NumPy alone."""
    height, width = recipe["resize"]
    picture = Image.open(path).convert(recipe["mode"]).resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture, np.float32).reshape(height, width, -1) / 255
    return ((pixels - np.float32(recipe["mean"])) / np.float32(recipe["std"])).transpose(2, 0, 1)


def test_from_these_weights_to_colour_pictures_again(made, tmp_path):
    _, place = made
    photos = make_photos(tmp_path / "colours", per_class=6)
    finetune(data=str(photos), weights=str(place / "run"), output=tmp_path / "run", in_chans=3, epochs=1,
             freeze="all-but-head", bn="frozen", **FAST)  # fmt: skip
    before, after = load_model(place / "run"), load_model(tmp_path / "run")
    assert after.preprocessing.mode == "RGB" and "in_channels" not in after.model.config
    adapted = keys.adapt_stem(before.model.conv1.weight, 3).array
    assert np.array_equal(after.model.conv1.weight.array, adapted)
    finetune(data=str(place / "photos"), weights=str(place / "run"), output=tmp_path / "same", epochs=1, **FAST)
    assert load_model(tmp_path / "same").preprocessing == before.preprocessing, "what the weights take, if not told"


def test_a_new_model_and_digits(tmp_path):
    pytest.importorskip("sklearn")
    train(data="digits", model="resnet20", in_chans=1, img_size=8, max_steps=2, output=tmp_path / "run", batch_size=4,
          samples_per_class=2)  # fmt: skip
    loaded = load_model(tmp_path / "run")
    assert loaded.model.config["in_channels"] == 1 and loaded.preprocessing.mode == "L"


def test_weights_files_of_grey_models(tmp_path):
    model = mr.models.resnet20(in_channels=1, num_classes=2)
    mr.save(model, tmp_path / "grey.pth")
    grey = load_model(tmp_path / "grey.pth")
    assert grey.preprocessing == for_channels(mr.models.preprocessing("resnet20"), 1)
    photos = make_grey(tmp_path / "photos", 6)
    finetune(data=str(photos), weights=str(tmp_path / "grey.pth"), output=tmp_path / "run", img_size=8, epochs=1,
             freeze="all-but-head", bn="frozen", **FAST)  # fmt: skip
    assert np.array_equal(load_model(tmp_path / "run").model.conv1.weight.array, model.conv1.weight.array)


@pytest.mark.parametrize(("channels", "said"), [(2, "not 2"), (5, "at most 4"), (0, "at least 1")])
def test_numbers_that_pictures_cannot_have(tmp_path, channels, said):
    photos, weights = make_grey(tmp_path / "photos", 4), make_weights(tmp_path / "weights")
    with pytest.raises(UsageError, match=said):
        finetune(data=str(photos), weights=str(weights), in_chans=channels, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_whose_parts_disagree_is_refused(tmp_path):
    with mr.random.address(1, "model"):
        model = mr.models.resnet20(in_channels=1, num_classes=2)
    model_directory.save(model, tmp_path / "model", preset_eval(8, 8).to_config(), ["a", "b"])
    with pytest.raises(FileFormatError, match="mode RGB for a model of 1 channels"):
        load_model(tmp_path / "model")


def test_preprocessing_for_other_channels():
    colour = preset_eval(256, 224)
    grey, opacity = for_channels(colour, 1), for_channels(colour, 4)
    assert grey.mean == pytest.approx((0.449,)) and grey.std == pytest.approx((0.226,)) and grey.mode == "L"
    assert opacity.mean == (*colour.mean, 0.5) and opacity.std == (*colour.std, 0.5)
    assert for_channels(colour, 3) is colour and for_channels(opacity, 3) == colour
    assert for_channels(opacity, 1) == grey and for_channels(grey, 3).mean == grey.mean * 3
    assert Preprocessing.from_config(opacity.to_config()) == opacity
    caffe = for_channels(preset_caffe(), 1)
    assert (caffe.mode, caffe.channel_order, caffe.scale) == ("L", "RGB", "0..255")
    assert caffe.mean == pytest.approx(((103.939 + 116.779 + 123.68) / 3,))
    with pytest.raises(ValueError, match="blue, green and red"):
        for_channels(preset_caffe(), 4)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_any_picture_is_opened_with_its_opacity(tmp_path, mode):
    """What has none is opaque."""
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new(mode, (3, 2), (200, 100) if mode == "LA" else (1, 2, 3, 100) if mode == "RGBA" else None or 0).save(path)
    picture = open_image(path, "RGBA")
    assert picture.mode == "RGBA" and np.asarray(picture)[..., 3].tolist() == [[100 if "A" in mode else 255] * 3] * 2
