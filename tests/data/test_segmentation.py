"""Pictures with a class for each pixel: folders, made scenes, and the chain that moves both."""

import pickle

import numpy as np
import pytest
from PIL import Image

from minires.data import DataLoader, SegmentationFolder, ShapeScenes
from minires.data.transforms import v2
from minires.errors import DataError, FileFormatError, UsageError
from minires.random import address


def folders(root, count=3, side=20, mode="L"):
    """Grey pictures whose value is ten times the mask's class, in half of them in a folder below."""
    for index in range(count):
        numbers = np.random.default_rng(index).integers(0, 3, (side, side)).astype(np.uint8)
        name = f"{'sub/' * (index % 2)}{index}"
        for folder in ("images", "masks"):
            (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(numbers * 10).save(root / "images" / f"{name}.bmp")
        mask = Image.fromarray(numbers)
        if mode == "P":
            mask.putpalette(range(256 * 3 % 256, 255))
        mask.save(root / "masks" / f"{name}.png")
    return root / "images", root / "masks"


@pytest.mark.parametrize("mode", ["L", "P"])
def test_pictures_and_masks_belong_together(tmp_path, mode):
    data = SegmentationFolder(*folders(tmp_path, mode=mode), classes=["a", "b", "c"])
    assert len(data) == 3 and data.classes == ["a", "b", "c"]
    for picture, mask in data:
        assert picture.mode == "RGB" and isinstance(mask, v2.Mask) and mask.dtype == np.int64
        assert np.array_equal(np.asarray(picture)[:, :, 0], mask.array * 10)


@pytest.mark.parametrize("train", [False, True])
def test_the_usual_chain_moves_both_alike(tmp_path, train):
    chain = v2.preset_segmentation((20, 20), train, mean=(0.0,) * 3, std=(1.0,) * 3, scale=(1.0, 1.0), hflip=1.0)
    data = SegmentationFolder(*folders(tmp_path), transforms=chain)
    raw = SegmentationFolder(data.root, tmp_path / "masks")
    with address(0, "test"):
        picture, mask = data[0]
    expected = raw[0][1].array[:, ::-1] if train else raw[0][1].array
    if not train:
        np.testing.assert_allclose(picture.array[0] * 255, expected * 10.0, atol=1e-4)
    assert np.array_equal(mask.array, expected) or train
    images, labels = next(iter(DataLoader(data, 3)))
    assert images.shape == (3, 3, 20, 20) and images.dtype == np.float32
    assert labels.shape == (3, 20, 20) and labels.dtype == np.int64 and set(np.unique(labels.array)) <= {0, 1, 2}
    assert pickle.loads(pickle.dumps(data))[0][1].shape == (20, 20)


def test_masks_that_are_pictures_are_moved_without_blending():
    numbers = np.zeros((8, 8), np.uint8)
    numbers[2:6, 2:6], numbers[0, 0] = 20, 255
    picture, mask = Image.fromarray(np.repeat(numbers[:, :, None], 3, 2)), Image.fromarray(numbers)
    mask.putpalette(bytes(range(256)) * 3)
    chain = v2.preset_segmentation(16, mean=(0.0,) * 3, std=(1.0,) * 3)
    found, labels = chain(picture, mask)  # as VOCSegmentation hands them over
    assert found.shape == (3, 16, 16) and labels.dtype == np.int64
    assert np.array_equal(labels.array, numbers.repeat(2, 0).repeat(2, 1))
    assert set(np.unique(np.rint(found.array * 255))) > {0, 20, 255}  # the picture is blended


def test_what_does_not_fit_is_named(tmp_path):
    images, masks = folders(tmp_path)
    with pytest.raises(DataError, match=r"0\.png has the class number 2, there are 2 classes") as found:
        SegmentationFolder(images, masks, classes=["a", "b"])[0]
    assert found.value.code == "data.label" and found.value.file == str(masks / "0.png")
    Image.new("L", (5, 6)).save(masks / "2.png")
    with pytest.raises(DataError, match=r"2\.png is 5 x 6 pixels, its picture 20 x 20"):
        SegmentationFolder(images, masks)[1]
    Image.new("RGB", (20, 20)).save(masks / "2.png")
    with pytest.raises(FileFormatError, match="a mask holds one class a pixel, this PNG has the mode RGB"):
        SegmentationFolder(images, masks)[1]
    (masks / "2.png").unlink()
    with pytest.raises(DataError, match=r"1 pictures have no mask in .*masks, the first is .*2\.bmp"):
        SegmentationFolder(images, masks)
    Image.new("L", (5, 6)).save(images / "0.png")
    with pytest.raises(DataError, match=r"have the same name but for the suffix"):
        SegmentationFolder(images, masks)
    with pytest.raises(UsageError, match="there is no folder nowhere"):
        SegmentationFolder(images, "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no pictures in"):
        SegmentationFolder(tmp_path / "empty", masks)


def test_a_border_of_255_is_no_class(tmp_path):
    images, masks = folders(tmp_path, count=1)
    numbers = np.full((20, 20), 255, np.uint8)
    Image.fromarray(numbers).save(masks / "0.png")
    assert np.array_equal(SegmentationFolder(images, masks, classes=["a"])[0][1].array, numbers)


def test_scenes_are_the_same_whoever_asks_and_show_what_their_masks_say():
    data = ShapeScenes(20, seed=3, side=48)
    picture, mask = data[7]
    again = ShapeScenes(9, seed=3, side=48)[7]
    assert np.array_equal(np.asarray(picture), np.asarray(again[0])) and np.array_equal(mask.array, again[1].array)
    assert not np.array_equal(np.asarray(picture), np.asarray(ShapeScenes(9, seed=4, side=48)[7][0]))
    masks = np.stack([one.array for _, one in (data[index] for index in range(20))])
    assert set(np.unique(masks)) == set(range(len(data.classes)))
    assert 0.4 < (masks == 0).mean() < 0.95
    contrasts = []
    for index in range(20):
        pixels, marks = np.asarray(data[index][0], np.float64), data[index][1].array
        inside, outside = pixels[marks > 0].mean(0), pixels[marks == 0].mean(0)
        contrasts.append(abs(inside - outside).max())
    assert np.median(contrasts) > 40  # figures are to be seen


def test_wrong_scenes():
    for wrong in ({"samples": 0}, {"side": 8}, {"figures": ("hexagon",)}, {"figures": ()}):
        with pytest.raises(ValueError, match="at least 1 sample of a side of at least 16"):
            ShapeScenes(**wrong)
    with pytest.raises(IndexError, match="the index 5 is out of range for a data set of 5 samples"):
        ShapeScenes(5)[5]
