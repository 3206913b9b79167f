"""The made pictures: sample i is an address, every class can be drawn, and classes differ."""

import numpy as np
import pytest
from PIL import Image

from minires import Tensor
from minires.data import ArrayDataset, DataLoader, Preprocessing
from minires.data.shapes import CLASSES, ShapesDataset, render
from minires.data.shapes.glyphs import STROKES, curve, drawn_by_hand, parse, printed
from minires.random import philox


def pixels(dataset, index):
    return np.asarray(dataset.picture(index))


def test_it_looks_like_any_data_set():
    dataset = ShapesDataset(90)
    assert len(dataset) == 90 and len(dataset.classes) == len(CLASSES) == 40 == len(set(CLASSES))
    assert dataset.class_to_idx[dataset.classes[7]] == 7
    image, target = dataset[41]
    assert isinstance(image, Tensor) and image.shape == (3, 32, 32) and target == 1 == dataset.targets[41]
    assert float(image.numpy().min()) >= 0 and float(image.numpy().max()) <= 1
    with pytest.raises(IndexError, match="90 is out of range"):
        dataset[90]


@pytest.mark.parametrize(("samples", "side"), [(0, 32), (-1, 32), (5, 7)])
def test_senseless_sizes_are_refused(samples, side):
    with pytest.raises(ValueError, match="at least 1 sample"):
        ShapesDataset(samples, side=side)


def test_a_sample_is_the_same_whoever_asks_in_whatever_order():
    whole, few, other = ShapesDataset(200), ShapesDataset(50), ShapesDataset(50, seed=1)
    backwards = [pixels(whole, index) for index in reversed(range(50))][::-1]
    assert all(np.array_equal(pixels(few, index), backwards[index]) for index in range(50))
    assert not any(np.array_equal(pixels(other, index), backwards[index]) for index in range(50))
    assert len({image.tobytes() for image in backwards}) == 50


def test_the_same_bits_for_any_number_of_workers():
    dataset = ShapesDataset(48, transform=Preprocessing(None, None, mean=(0.5,) * 3, std=(0.25,) * 3))
    alone, threads = (list(DataLoader(dataset, 16, shuffle=True, num_workers=n)) for n in (0, 3))
    assert all(np.array_equal(a.numpy(), b.numpy()) for one, two in zip(alone, threads, strict=True)
               for a, b in zip(one, two, strict=True))  # fmt: skip


def test_rendered_is_the_same_data_set_in_memory():
    dataset = ShapesDataset(60, seed=3)
    kept = dataset.rendered()
    assert isinstance(kept, ArrayDataset) and kept.images.shape == (60, 32, 32, 3) and kept.classes == dataset.classes
    for index in (0, 41, 59):
        assert np.array_equal(kept[index][0].numpy(), dataset[index][0].numpy()) and kept[index][1] == dataset[index][1]


def test_transforms_are_used():
    dataset = ShapesDataset(3, transform=lambda image: image.size, target_transform=str)
    assert dataset[2] == ((32, 32), "2")


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_shows_something_at_any_size(name):
    for side in (8, 32, 45):
        contrast = [np.asarray(render(name, philox(5, "test", index), side), float).std(axis=(0, 1)).max()
                    for index in range(6)]  # fmt: skip
        assert max(contrast) > 12
    assert isinstance(render(name, philox(5, "test", 0)), Image.Image)
    assert render(name, philox(5, "test", 0)).mode == "RGB"


def test_pictures_vary_in_brightness_contrast_and_sign():
    images = np.stack([pixels(ShapesDataset(400), index) for index in range(400)]).astype(float) / 255
    assert 0.4 < images.mean() < 0.6 and 0.2 < images.std() < 0.35
    discs = np.stack([np.asarray(render("disc", philox(0, "sign", index)), float) for index in range(60)])
    corner, middle = discs[:, :2, :2].mean(axis=(1, 2, 3)), discs[:, 14:18, 14:18].mean(axis=(1, 2, 3))
    assert 15 < (middle > corner).sum() < 45, "light on dark as often as dark on light"


@pytest.mark.parametrize("name", STROKES)
def test_every_form_of_a_glyph_stays_in_its_box(name):
    for form in STROKES[name]:
        strokes = parse(form)
        assert all(len(points) > 1 for _, points in strokes)
        assert all(0 <= value <= 100 for _, points in strokes for point in points for value in point)
    for draw in (drawn_by_hand, printed):
        mask = np.asarray(draw(name, philox(0, "glyph"), 96))
        assert mask.shape == (96, 96) and mask.max() == 255 and 0.03 < (mask > 127).mean() < 0.6


def test_a_curve_goes_through_its_points():
    points = [(0.0, 0.0), (10.0, 30.0), (40.0, 20.0), (60.0, 60.0)]
    line = np.array(curve(points, steps=8))
    assert len(line) == 3 * 8 + 1
    assert np.allclose(line[::8], points)
    steps = np.hypot(*np.diff(line, axis=0).T)
    assert steps.max() < 3 * steps.mean(), "no jumps"


MEANS = [
    200.5, 88.8, 88.6, 31.0, 123.9, 177.2, 125.9, 68.5, 88.5, 48.2, 27.6, 95.0, 114.8, 123.5, 48.7, 93.8, 148.6, 177.8,
    106.0, 139.1, 145.6, 228.5, 152.2, 207.6, 188.3, 145.8, 46.7, 149.5, 50.7, 166.9, 78.0, 44.3, 170.6, 144.4, 190.1,
    187.3, 116.6, 155.9, 177.8, 84.8,
]  # fmt: skip


def test_what_the_weights_were_trained_on_has_not_changed():
    """The first picture of each class; rounding and Pillow's versions may differ a little."""
    found = [pixels(ShapesDataset(40), index).mean() for index in range(40)]
    assert np.abs(np.array(found) - MEANS).max() < 1.0
