"""Transforms against what torchvision's formulas, written down here once more, give on the same pictures."""

import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minires.data import transforms as T
from minires.data.transforms import functional
from minires.random import address, manual_seed
from minires.tensor import Tensor
from tests.data.helpers import noise, save

quick = settings(max_examples=40, deadline=None)
sides = st.integers(1, 40)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


# ------------------------------------------------------------------------------------------------------------- sizes


@quick
@given(sides, sides, sides)
def test_resize_by_the_shorter_side(width, height, size):
    image = noise(width, height)
    if width <= height:  # torchvision: new_short, new_long = size, int(size * long / short)
        expected = (size, int(size * height / width))
    else:
        expected = (int(size * width / height), size)
    result = T.Resize(size)(image)
    assert result.size == expected
    np.testing.assert_array_equal(pixels(result), pixels(image.resize(expected, Image.Resampling.BILINEAR)))


def test_resize_to_height_and_width_and_to_a_maximum():
    image = noise(30, 20)
    assert T.Resize((7, 9))(image).size == (9, 7)
    assert T.Resize([5])(image).size == (7, 5)
    assert T.Resize(20, max_size=25)(image).size == (25, 16)  # int(25 * 20 / 30)
    bicubic = T.Resize((7, 9), interpolation="bicubic")(image)
    np.testing.assert_array_equal(pixels(bicubic), pixels(image.resize((9, 7), Image.Resampling.BICUBIC)))
    np.testing.assert_array_equal(pixels(T.Resize((7, 9), Image.Resampling.BICUBIC)(image)), pixels(bicubic))
    assert T.Resize(20)(image) is image
    with pytest.raises(ValueError, match="max_size"):
        T.Resize(20, max_size=20)(image)
    with pytest.raises(ValueError, match="interpolation must be one of nearest, bilinear"):
        T.Resize(20, interpolation="cubic")


def test_bilinear_shrinking_is_antialiased():
    stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8), (8, 32)))
    assert abs(pixels(T.Resize((8, 8))(stripes)).astype(int) - 128).max() < 30  # plain sampling would give 0 or 255


@quick
@given(sides, sides, sides, sides)
def test_center_crop(width, height, crop_height, crop_width):
    image = noise(width, height)
    canvas = pixels(image)
    if crop_width > width or crop_height > height:  # torchvision pads: left, top = half down; right, bottom = half up
        x, y = max(crop_width - width, 0), max(crop_height - height, 0)
        canvas = np.pad(canvas, ((y // 2, (y + 1) // 2), (x // 2, (x + 1) // 2), (0, 0)))
    top = round((canvas.shape[0] - crop_height) / 2.0)
    left = round((canvas.shape[1] - crop_width) / 2.0)
    expected = canvas[top : top + crop_height, left : left + crop_width]
    np.testing.assert_array_equal(pixels(T.CenterCrop((crop_height, crop_width))(image)), expected)


def test_center_crop_rounds_half_to_even():
    row = Image.fromarray(np.arange(10, dtype=np.uint8)[None])
    assert pixels(T.CenterCrop((1, 5))(row)).tolist() == [[2, 3, 4, 5, 6]]  # round(2.5) == 2
    assert pixels(T.CenterCrop((1, 7))(row)).tolist() == [[2, 3, 4, 5, 6, 7, 8]]  # round(1.5) == 2


@pytest.mark.parametrize(
    ("padding_mode", "expected"),
    [
        ("constant", [9, 9, 1, 2, 3, 4, 9]),
        ("edge", [1, 1, 1, 2, 3, 4, 4]),
        ("reflect", [3, 2, 1, 2, 3, 4, 3]),
        ("symmetric", [2, 1, 1, 2, 3, 4, 4]),
    ],
)
def test_pad(padding_mode, expected):
    row = Image.fromarray(np.array([[1, 2, 3, 4]], np.uint8))
    assert pixels(T.Pad((2, 0, 1, 0), fill=9, padding_mode=padding_mode)(row)).tolist() == [expected]


def test_pad_colours_and_forms():
    image = noise(3, 2)
    assert T.Pad(2)(image).size == (7, 6)
    assert T.Pad([1, 2])(image).size == (5, 6)
    assert T.Pad(1, fill=(1, 2, 3))(image).getpixel((0, 0)) == (1, 2, 3)
    assert T.Pad(1, fill=7)(image).getpixel((0, 0)) == (7, 7, 7)
    np.testing.assert_array_equal(pixels(T.Pad(1, padding_mode="edge")(image))[1:-1, 1:-1], pixels(image))
    for wrong in ((1, 2, 3), -1, 1.5):
        with pytest.raises((ValueError, TypeError)):
            T.Pad(wrong)
    with pytest.raises(ValueError, match="fill has 2 values, the picture 3"):
        T.Pad(1, fill=(1, 2))(image)


# ------------------------------------------------------------------------------------------------------------ random


def test_random_crop_takes_every_place_equally_often():
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    manual_seed(0)
    crop = T.RandomCrop((2, 3))
    corners = Counter(int(pixels(crop(image))[0, 0]) for _ in range(1200))
    assert set(corners) == {0, 1, 4, 5}
    assert all(220 < count < 380 for count in corners.values())


def test_random_crop_pads_as_torchvision():
    image = noise(4, 4)
    padded = np.pad(pixels(image), ((2, 2), (2, 2), (0, 0)))
    places = [padded[i : i + 4, j : j + 4].tobytes() for i in range(5) for j in range(5)]
    manual_seed(0)
    assert {places.index(pixels(T.RandomCrop(4, padding=2)(image)).tobytes()) for _ in range(400)} == set(range(25))
    assert T.RandomCrop((9, 2), pad_if_needed=True)(image).size == (2, 9)
    with pytest.raises(ValueError, match=r"Required crop size \(9, 2\) is larger than input image size \(4, 4\)"):
        T.RandomCrop((9, 2))(image)


@quick
@given(st.integers(2, 60), st.integers(2, 60), st.integers(0, 1 << 30))
def test_random_resized_crop_stays_inside_its_ranges(width, height, seed):
    image = Image.new("L", (width, height))
    scale, ratio = (0.2, 0.7), (0.5, 2.0)
    with address(seed, "test"):
        top, left, h, w = T.RandomResizedCrop.get_params(image, scale, ratio)
    assert 0 <= top <= height - h and 0 <= left <= width - w and h > 0 and w > 0
    fallback = not (scale[0] <= (w + 0.5) * (h + 0.5) / (width * height) and
                    (w - 0.5) * (h - 0.5) / (width * height) <= scale[1])  # fmt: skip
    if not fallback:
        assert ratio[0] <= (w + 0.5) / (h - 0.5) and (w - 0.5) / (h + 0.5) <= ratio[1]


def test_random_resized_crop_falls_back_to_the_middle():
    wide, tall = Image.new("L", (100, 10)), Image.new("L", (10, 100))
    # no part of such a picture has 90 % of its area and a ratio near 1: torchvision then takes the middle
    assert T.RandomResizedCrop.get_params(wide, (0.9, 1.0), (0.75, 4 / 3)) == (0, (100 - 13) // 2, 10, 13)
    assert T.RandomResizedCrop.get_params(tall, (0.9, 1.0), (0.75, 4 / 3)) == ((100 - 13) // 2, 0, 13, 10)
    higher = Image.new("L", (11, 100))
    assert T.RandomResizedCrop.get_params(higher, (0.9, 1.0), (0.75, 4 / 3)) == ((100 - 15) // 2, 0, 15, 11)  # 14.67
    square = Image.new("L", (10, 10))
    assert T.RandomResizedCrop.get_params(square, (4.0, 4.0), (0.75, 4 / 3)) == (0, 0, 10, 10)


def test_random_resized_crop_draws_area_evenly_and_ratio_evenly_in_logarithm():
    image = Image.new("L", (1000, 1000))
    manual_seed(3)
    drawn = [T.RandomResizedCrop.get_params(image, (0.1, 0.3), (0.5, 2.0)) for _ in range(2000)]
    areas = np.array([h * w / 1e6 for _, _, h, w in drawn])
    ratios = np.log([w / h for _, _, h, w in drawn])
    assert abs(areas.mean() - 0.2) < 0.005 and abs(areas.std() - 0.2 / math.sqrt(12)) < 0.003
    assert abs(ratios.mean()) < 0.04 and abs(ratios.std() - 2 * math.log(2) / math.sqrt(12)) < 0.02


def test_flips_and_their_probability():
    image = noise(3, 2)
    np.testing.assert_array_equal(pixels(T.RandomHorizontalFlip(1.0)(image)), pixels(image)[:, ::-1])
    np.testing.assert_array_equal(pixels(T.RandomVerticalFlip(1.0)(image)), pixels(image)[::-1])
    assert T.RandomHorizontalFlip(0.0)(image) is image
    manual_seed(1)
    flipped = sum(T.RandomVerticalFlip(0.3)(image) is not image for _ in range(1000))
    assert 250 < flipped < 350
    with pytest.raises(ValueError, match="p must lie between 0 and 1"):
        T.RandomHorizontalFlip(1.1)


def test_rotation_is_pillows_with_an_angle_from_the_range():
    image = noise(9, 7)
    quarter = functional.rotate(image, 90, expand=True)
    np.testing.assert_array_equal(pixels(quarter), np.rot90(pixels(image)))
    with address(5, "test"):
        angle = T.RandomRotation.get_params([-10.0, 10.0])
    with address(5, "test"):
        turned = T.RandomRotation(10, interpolation="bilinear", fill=3)(image)
    expected = image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=(3, 3, 3))
    np.testing.assert_array_equal(pixels(turned), pixels(expected))
    manual_seed(0)
    angles = [T.RandomRotation.get_params([-10.0, 30.0]) for _ in range(500)]
    assert -10 <= min(angles) < -9 and 29 < max(angles) <= 30


def test_colours_against_their_formulas():
    image = noise(6, 5)
    values = pixels(image).astype(float)
    grey = pixels(image.convert("L")).astype(float)
    mean = int(grey.mean() + 0.5)
    blends = {  # Pillow and torchvision: factor * picture + (1 - factor) * degenerate picture
        functional.adjust_brightness: np.zeros_like(values),
        functional.adjust_contrast: np.full_like(values, mean),
        functional.adjust_saturation: np.repeat(grey[:, :, None], 3, 2),
    }
    for function, degenerate in blends.items():
        for factor in (0.0, 0.4, 1.0, 1.7):
            expected = np.clip(factor * values + (1 - factor) * degenerate, 0, 255)
            assert abs(pixels(function(image, factor)) - expected).max() <= 1, (function.__name__, factor)
    np.testing.assert_array_equal(pixels(functional.to_grayscale(image, 3)), np.repeat(grey[:, :, None], 3, 2))
    assert T.Grayscale()(image).mode == "L"


@pytest.mark.parametrize("factor", [-0.5, -0.2, 0.0, 0.3, 0.5])
def test_hue_turns_by_the_factor_of_255_cut_to_an_integer(factor):
    image = noise(6, 5)
    hsv = np.array(image.convert("HSV"))
    hsv[..., 0] += np.int32(factor * 255).astype(np.uint8)  # torchvision's line; uint8 wraps around
    channels = [Image.fromarray(np.ascontiguousarray(hsv[..., channel])) for channel in range(3)]
    expected = Image.merge("HSV", channels).convert("RGB")
    np.testing.assert_array_equal(pixels(functional.adjust_hue(image, factor)), pixels(expected))


def test_hue_leaves_grey_alone_and_refuses_large_turns():
    grey = noise(3, 3, "L")
    assert functional.adjust_hue(grey, 0.3) is grey
    with pytest.raises(ValueError, match="hue_factor"):
        functional.adjust_hue(grey, 0.6)


def test_color_jitter_draws_from_its_ranges_in_every_order(monkeypatch):
    calls: list[tuple[str, float]] = []
    for name in ("brightness", "contrast", "saturation", "hue"):

        def record(img: Image.Image, factor: float, name: str = name) -> Image.Image:
            calls.append((name, factor))
            return img

        monkeypatch.setattr(functional, f"adjust_{name}", record)
    jitter = T.ColorJitter(0.4, (0.5, 0.6), 2, 0.1)
    assert (jitter.brightness, jitter.saturation, jitter.hue) == ((0.6, 1.4), (0, 3), (-0.1, 0.1))
    manual_seed(0)
    orders = set()
    for _ in range(300):
        calls.clear()
        jitter(Image.new("RGB", (1, 1)))
        orders.add(tuple(name for name, _ in calls))
        drawn = dict(calls)
        assert 0.6 <= drawn["brightness"] <= 1.4 and 0.5 <= drawn["contrast"] <= 0.6
        assert 0 <= drawn["saturation"] <= 3 and -0.1 <= drawn["hue"] <= 0.1
    assert len(orders) == 24
    calls.clear()
    T.ColorJitter()(Image.new("RGB", (1, 1)))
    assert calls == []
    for wrong in ({"hue": 0.6}, {"brightness": -1}, {"contrast": (2, 1)}, {"saturation": (1, 2, 3)}):
        with pytest.raises(ValueError):
            T.ColorJitter(**wrong)


def test_random_draws_come_from_the_address_alone():
    image = noise(20, 16)
    chain = T.preset_train(8, vflip=0.5, rotate=20, color_jitter=(0.4, 0.4, 0.4, 0.1), erase=0.5)
    np.random.seed(0)
    with address(1, "augment", 2, 3):
        first = chain(image).array
    np.random.seed(1)
    with address(1, "augment", 2, 3):
        again = chain(image).array
    with address(1, "augment", 2, 4):
        other = chain(image).array
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_random_apply():
    manual_seed(0)
    chain = T.RandomApply([T.Lambda(lambda value: value + 1), T.Lambda(lambda value: value * 10)], p=0.25)
    results = Counter(chain(1) for _ in range(1000))
    assert set(results) == {1, 20} and 200 < results[20] < 300


# ----------------------------------------------------------------------------------------------------------- tensors


def test_to_tensor_divides_by_255_and_lies_channels_last():
    image = noise(5, 4)
    tensor = T.ToTensor()(image)
    expected = pixels(image).transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    assert tensor.shape == (3, 4, 5) and tensor.dtype == np.float32
    np.testing.assert_array_equal(tensor.array, expected)
    assert tensor.array.transpose(1, 2, 0).flags.c_contiguous
    assert T.ToTensor()(noise(5, 4, "L")).shape == (1, 4, 5)
    assert T.ToTensor()(Image.fromarray(np.array([[True, False]]))).tolist() == [[[1.0, 0.0]]]
    floats = np.ones((2, 3), np.float32) * 7
    assert T.ToTensor()(floats).tolist() == [[[7.0] * 3] * 2]  # only eight-bit values are scaled
    with pytest.raises(TypeError, match="got str"):
        T.ToTensor()("picture.png")


def test_pil_to_tensor_and_back():
    image = noise(5, 4)
    tensor = T.PILToTensor()(image)
    assert tensor.dtype == np.uint8
    np.testing.assert_array_equal(tensor.array, pixels(image).transpose(2, 0, 1))
    for form in (T.ToPILImage()(tensor), T.ToPILImage()(T.ToTensor()(image)), T.ToPILImage()(pixels(image))):
        np.testing.assert_array_equal(pixels(form), pixels(image))


def test_convert_image_dtype_follows_torchvision():
    values = np.array([0, 1, 128, 255], np.uint8).reshape(1, 2, 2)
    as_float = T.ConvertImageDtype(np.float32)(Tensor(values))
    np.testing.assert_array_equal(as_float.array, values.astype(np.float32) / np.float32(255))
    back = T.ConvertImageDtype(np.uint8)(as_float)  # float * (255 + 1 - 0.001), cut
    np.testing.assert_array_equal(back.array, values)
    wide = T.ConvertImageDtype(np.int16)(Tensor(values))  # * ((32767 + 1) // (255 + 1))
    assert wide.array.ravel().tolist() == [0, 128, 128 * 128, 255 * 128]
    assert T.ConvertImageDtype(np.uint8)(wide).array.ravel().tolist() == values.ravel().tolist()
    with pytest.raises(RuntimeError, match="cannot be performed safely"):
        T.ConvertImageDtype(np.int32)(as_float)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normalize(channels_last, dtype):
    rng = np.random.default_rng(0)
    array = rng.random((4, 5, 3)).astype(dtype).transpose(2, 0, 1)
    array = array if channels_last else np.ascontiguousarray(array)
    mean, std = [0.1, 0.5, 0.7], [0.3, 0.2, 2.0]
    expected = (array - np.array(mean, dtype)[:, None, None]) / np.array(std, dtype)[:, None, None]
    before = array.copy()
    result = T.Normalize(mean, std)(Tensor(array))
    np.testing.assert_array_equal(result.array, expected)
    np.testing.assert_array_equal(array, before)
    assert result.array.strides == array.strides and result.dtype == dtype
    same = Tensor(array)
    assert T.Normalize(mean, std, inplace=True)(same) is same
    np.testing.assert_array_equal(array, expected)


def test_normalize_refuses_nonsense():
    image = Tensor(np.ones((3, 2, 2), np.float32))
    with pytest.raises(ValueError, match="division by zero"):
        T.Normalize([0, 0, 0], [1, 0, 1])(image)
    with pytest.raises(ValueError, match="mean has 2 values, the image 3 channels"):
        T.Normalize([0, 0], [1, 1, 1])(image)
    with pytest.raises(TypeError, match="put ToTensor before Normalize"):
        T.Normalize([0], [1])(noise(2, 2))
    with pytest.raises(TypeError, match=r"expected a Pillow picture or an image tensor \(..., C, H, W\), got ndarray"):
        T.RandomHorizontalFlip(1.0)(image.numpy())


def test_random_erasing():
    image = Tensor(np.ones((3, 40, 50), np.float32))
    manual_seed(0)
    areas = []
    for _ in range(300):
        result = T.RandomErasing(p=1.0, scale=(0.1, 0.2), ratio=(0.5, 2.0), value=(5, 6, 7))(image).array
        rows, columns = np.where(result[0] == 5)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert height * width == len(rows)  # one rectangle
        assert (result[1] == 6).sum() == (result[2] == 7).sum() == len(rows)
        assert 0.45 <= height / width <= 2.2
        areas.append(len(rows) / 2000)
    assert 0.09 < min(areas) < 0.115 and 0.185 < max(areas) < 0.21
    assert (image.array == 1).all()
    assert T.RandomErasing(p=0.0)(image) is image
    noisy = T.RandomErasing(p=1.0, value="random")(image).array
    changed = noisy[noisy != 1]
    assert abs(changed.mean()) < 0.3 and 0.7 < changed.std() < 1.3
    with pytest.raises(ValueError, match="value must be"):
        T.RandomErasing(value="noise")


# ------------------------------------------------------------------------------------------------- texts and presets


def test_texts_are_torchvisions():
    texts = {
        "Resize(size=256, interpolation=bilinear, max_size=None, antialias=True)": T.Resize(256),
        "Resize(size=(2, 3), interpolation=bicubic, max_size=None, antialias=True)": T.Resize((2, 3), "bicubic"),
        "CenterCrop(size=(224, 224))": T.CenterCrop(224),
        "RandomCrop(size=(32, 32), padding=4)": T.RandomCrop(32, padding=4),
        "RandomResizedCrop(size=(224, 224), scale=(0.08, 1.0), ratio=(0.75, 1.3333), interpolation=bilinear, "
        "antialias=True)": T.RandomResizedCrop(224),
        "RandomHorizontalFlip(p=0.5)": T.RandomHorizontalFlip(),
        "RandomVerticalFlip(p=0.5)": T.RandomVerticalFlip(),
        "RandomRotation(degrees=[-10.0, 10.0], interpolation=nearest, expand=False, fill=0)": T.RandomRotation(10),
        "ColorJitter(brightness=(0.6, 1.4), contrast=None, saturation=None, hue=(-0.1, 0.1))": T.ColorJitter(
            0.4, hue=0.1
        ),
        "Grayscale(num_output_channels=1)": T.Grayscale(),
        "Pad(padding=2, fill=0, padding_mode=constant)": T.Pad(2),
        "ToTensor()": T.ToTensor(),
        "PILToTensor()": T.PILToTensor(),
        "ConvertImageDtype()": T.ConvertImageDtype(np.float32),
        "Normalize(mean=[0.5], std=[0.2])": T.Normalize([0.5], [0.2]),
        "Lambda()": T.Lambda(abs),
        "RandomErasing(p=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=0, inplace=False)": T.RandomErasing(),
        "Compose(\n    CenterCrop(size=(2, 2))\n    ToTensor()\n)": T.Compose([T.CenterCrop(2), T.ToTensor()]),
        "RandomApply(\n    p=0.1\n    ToTensor()\n)": T.RandomApply([T.ToTensor()], 0.1),
    }
    for text, transform in texts.items():
        assert repr(transform) == text


def test_preset_eval_is_resize_crop_scale_normalise():
    image = noise(31, 20)
    preset = T.preset_eval(resize=16, crop=12, interpolation="bicubic", mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    small = image.resize((int(16 * 31 / 20), 16), Image.Resampling.BICUBIC)
    left = round((small.width - 12) / 2)
    crop = pixels(small)[2:14, left : left + 12].astype(np.float32) / np.float32(255)
    expected = (crop - np.array([0.1, 0.2, 0.3], np.float32)) / np.array([0.5, 0.6, 0.7], np.float32)
    np.testing.assert_allclose(preset(image).array, expected.transpose(2, 0, 1), rtol=1e-6)
    assert preset.output_size == (12, 12)
    assert preset(noise(31, 20, "L")).shape == (3, 12, 12)  # a grey picture where the model wants colours


def test_preprocessing_travels_as_json(tmp_path):
    path = save(noise(9, 7, "L"), tmp_path / "a.png")
    for preset in (
        T.preset_eval(),
        T.preset_eval(None, None, "nearest", [0.5], [0.25], mode="L", exif="ignore"),
        T.preset_eval((4, 6), 3, "lanczos"),
    ):
        config = json.loads(json.dumps(preset.to_config(), allow_nan=False))
        again = T.Preprocessing.from_config(config)
        assert again == preset
        np.testing.assert_array_equal(again.load(path).array, preset.load(path).array)
    assert config == {"resize": [4, 6], "crop": 3, "interpolation": "lanczos", "mean": [0.485, 0.456, 0.406],
                      "std": [0.229, 0.224, 0.225], "mode": "RGB", "exif": "transpose", "scale": "0..1",
                      "channel_order": "RGB"}  # fmt: skip
    with pytest.raises(ValueError, match=r"unknown keys \['size'\] and lacks the keys \['crop'\]"):
        T.Preprocessing.from_config({**{k: v for k, v in config.items() if k != "crop"}, "size": 3})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"std": (1, 1, 0)}, "std must be above 0"),
        ({"mode": "L"}, "mean needs 1 values for the mode L"),
        ({"mode": "CMYK"}, "mode must be one of"),
        ({"exif": "maybe"}, "exif must be one of"),
        ({"crop": 0}, "crop must be one or two positive integers"),
        ({"interpolation": "best"}, "interpolation must be one of"),
    ],
)
def test_preprocessing_refuses_nonsense(setting, message):
    with pytest.raises(ValueError, match=message):
        T.preset_eval(**setting)


def test_preset_train_chains():
    names = [type(step).__name__ for step in T.preset_train(32, rotate=5, color_jitter=0.3, erase=0.2).transforms]
    assert names == ["RandomResizedCrop", "RandomHorizontalFlip", "RandomRotation", "ColorJitter", "ToTensor",
                     "Normalize", "RandomErasing"]  # fmt: skip
    cifar = T.preset_train(32, scale=None, padding=4)
    assert [type(step).__name__ for step in cifar.transforms] == [
        "Resize", "RandomCrop", "RandomHorizontalFlip", "ToTensor", "Normalize"]  # fmt: skip
    assert cifar(noise(40, 50)).shape == (3, 32, 32)
