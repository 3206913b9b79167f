"""RandAugment and TrivialAugmentWide against what each operation means; and the sampler of balanced classes."""

import numpy as np
import pytest
from PIL import Image

from minires import random
from minires.data import ArrayDataset, BalancedSampler, DataLoader
from minires.data.transforms import RandAugment, TrivialAugmentWide, preset_train
from minires.data.transforms.policies import OPERATIONS, _ranges


def picture(mode="RGB", size=(11, 7)):
    pixels = np.random.default_rng(3).integers(0, 256, (size[1], size[0], 4), np.uint8)
    return Image.fromarray(pixels, "RGBA").convert(mode) if mode != "RGBA" else Image.fromarray(pixels)


def array(image):
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_keeps_size_and_mode(name, mode):
    image = picture(mode)
    strengths, _ = _ranges(0.3, 5, 3, 30, 0.9, 4, 31)[name]
    for strength in strengths[[0, 9, 30]]:
        changed = OPERATIONS[name](image, float(strength))
        assert (changed.size, changed.mode) == (image.size, mode)
    if mode == "RGBA" and name not in ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"):
        assert np.array_equal(array(changed)[..., 3], array(image)[..., 3])


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in ("AutoContrast", "Equalize", "Solarize")])
def test_no_strength_changes_nothing(name):
    image = picture()
    strength = float(_ranges(0.3, 5, 3, 30, 0.9, 4, 31)[name][0][0])
    assert np.array_equal(array(OPERATIONS[name](image, strength)), array(image))


def test_moves_against_loops():
    image = picture()
    pixels = array(image)
    moved = np.zeros_like(pixels)
    moved[:, 3:] = pixels[:, :-3]
    assert np.array_equal(array(OPERATIONS["TranslateX"](image, 3.7)), moved)
    moved = np.zeros_like(pixels)
    moved[:-2] = pixels[2:]
    assert np.array_equal(array(OPERATIONS["TranslateY"](image, -2.2)), moved)
    sheared = np.zeros_like(pixels)
    for y in range(7):
        for x in range(11):
            source = int(np.floor(x + 0.5 + 0.3 * (y + 0.5)))
            if 0 <= source < 11:
                sheared[y, x] = pixels[y, source]
    assert np.array_equal(array(OPERATIONS["ShearX"](image, 0.3)), sheared)


def test_colours_against_formulas():
    image = picture("L")
    pixels = array(image)
    assert np.array_equal(array(OPERATIONS["Posterize"](image, 3.0)), pixels & 0b11100000)
    assert np.array_equal(array(OPERATIONS["Solarize"](image, 99.5)), np.where(pixels >= 99.5, 255 - pixels, pixels))
    assert np.abs(array(OPERATIONS["Brightness"](image, -0.5)) - pixels * 0.5).max() <= 1


def test_torchvisions_ranges():
    ranges = _ranges(0.3, 150 / 331 * 224, 10, 30, 0.9, 4, 31)
    assert ranges["Posterize"][0].tolist()[:8] == [8, 8, 8, 8, 7, 7, 7, 7] and ranges["Posterize"][0][-1] == 4
    assert ranges["Solarize"][0][[0, 30]].tolist() == [255, 0]
    assert ranges["TranslateX"][0][-1] == pytest.approx(101.51, abs=0.01)
    signed = {name for name, (_, both) in ranges.items() if both}
    assert set(OPERATIONS) - signed == {"Identity", "Posterize", "Solarize", "AutoContrast", "Equalize"}


@pytest.mark.parametrize("policy", [RandAugment(), RandAugment(3, 20), TrivialAugmentWide()], ids=repr)
def test_draws_have_addresses(policy):
    def run(index):
        with random.address(7, "augment", 0, index):
            return array(policy(picture(size=(16, 12))))

    assert all(np.array_equal(run(index), run(index)) for index in range(5))
    assert len({run(index).tobytes() for index in range(30)}) > 10
    with pytest.raises(TypeError, match="Pillow picture"):
        policy(np.zeros((3, 3)))


def test_words_and_sizes():
    assert "RandAugment(num_ops=2, magnitude=9" in repr(preset_train(8, auto_augment="ra"))
    assert "TrivialAugmentWide" in repr(preset_train(8, auto_augment="ta_wide"))
    assert "Augment" not in repr(preset_train(8))
    with pytest.raises(ValueError, match="auto_augment must be one of none, ra, ta_wide"):
        preset_train(8, auto_augment="augmix")
    for wrong in ({"num_ops": 0}, {"magnitude": 31}, {"magnitude": -1}):
        with pytest.raises(ValueError, match="magnitude"):
            RandAugment(**wrong)
    with pytest.raises(ValueError, match="at least 2"):
        TrivialAugmentWide(1)


def test_classes_in_equal_shares():
    targets = np.repeat([0, 1, 2], [50, 8, 3])
    sampler = BalancedSampler(targets)
    for epoch in range(3):
        with random.address(1, "shuffle", epoch):
            order = list(sampler)
        assert len(order) == len(sampler) == 61
        counts = np.bincount(targets[order])
        assert sorted(counts) == [20, 20, 21]
        times = np.bincount(order, minlength=61)
        assert times[:50].max() == 1 and set(times[50:58]) <= {2, 3} and set(times[58:]) <= {6, 7}
        with random.address(1, "shuffle", epoch):
            assert list(sampler) == order
    for wrong in ([], [[1]], [0.5]):
        with pytest.raises(ValueError, match="class numbers"):
            BalancedSampler(wrong)


def test_repeated_pictures_get_draws_of_their_own_and_workers_change_no_bit():
    class Noise:
        def __call__(self, image):
            return type(image)(image.array + random.generator().random(image.shape).astype(np.float32))

    images = np.zeros((6, 1, 2, 2), np.float32)
    dataset = ArrayDataset(images, np.array([0, 0, 0, 0, 0, 1]), transform=Noise())
    batches = [[batch for batch, _ in DataLoader(dataset, 3, sampler=BalancedSampler(dataset.targets), seed=2,
                                                 num_workers=workers)] for workers in (0, 2)]  # fmt: skip
    flat = [np.concatenate([batch.numpy() for batch in each]) for each in batches]
    assert np.array_equal(*flat) and len(np.unique(flat[0].reshape(6, -1), axis=0)) == 6
