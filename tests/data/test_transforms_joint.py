"""Image, masks and boxes moved together: boxes against masks of the same boxes, which are warped pixel by pixel."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from minires.data import DataLoader
from minires.data import transforms as T
from minires.data.datasets import VOC_CLASSES, CocoDetection, VOCDetection
from minires.data.transforms import v2
from minires.random import address
from minires.tensor import Tensor
from tests.data import dataset_files as make
from tests.data.helpers import noise

HEIGHT, WIDTH = 60, 84
quick = settings(max_examples=25, deadline=None, derandomize=True)
EXACT = [
    v2.RandomHorizontalFlip(1.0), v2.RandomVerticalFlip(1.0), v2.Pad((3, 4, 5, 6)), v2.CenterCrop(30),
    v2.CenterCrop((90, 50)), v2.RandomCrop((31, 40)), v2.RandomCrop((70, 90), padding=2, pad_if_needed=True),
    v2.Resize((120, 168)), v2.RandomRotation((90, 90), expand=True), v2.RandomRotation((180, 180)),
    v2.ElasticTransform(60.0, 4.0), v2.RandomZoomOut(p=1.0),
]  # fmt: skip
ROUGH = [
    v2.Resize((45, 100)), v2.Resize(50), v2.RandomResizedCrop((40, 50)), v2.RandomRotation(60),
    v2.RandomRotation(60, expand=True), v2.RandomRotation(40, center=(10, 50)),
    v2.RandomAffine(40, (0.2, 0.2), (0.6, 1.5), (-20, 20, -20, 20)), v2.RandomAffine(20, center=(5, 5)),
    v2.RandomPerspective(0.6, 1.0), v2.ScaleJitter((60, 84), (0.9, 1.5)), v2.RandomShortestSize([40, 50], 66),
]  # fmt: skip
IDS = {"ids": lambda transform: repr(transform)[:40]}


def prepared(picture, annotations):
    """A joint transform for a data set: picklable, for worker processes."""
    chain = v2.Compose([v2.ToImage(), v2.RandomAffine(30, (0.1, 0.1)), v2.RandomHorizontalFlip()])
    return chain(picture, v2.coco_target(annotations, picture.size[::-1]))


def random_boxes(rng, count=4):
    left, top = rng.integers(0, WIDTH - 12, count), rng.integers(0, HEIGHT - 12, count)
    right = left + rng.integers(10, 40, count)
    bottom = top + rng.integers(10, 40, count)
    return np.stack([left, top, right.clip(0, WIDTH), bottom.clip(0, HEIGHT)], 1).astype(np.float32)


def drawn(boxes):
    """Masks (N, H, W), each the area of a box."""
    masks = np.zeros((len(boxes), HEIGHT, WIDTH), np.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.astype(int), strict=True):
        mask[top:bottom, left:right] = 1
    return masks


def moved(transform, boxes, seed):
    sample = {
        "masks": v2.Mask(drawn(boxes)),
        "boxes": v2.BoundingBoxes(boxes, format="XYXY", canvas_size=(HEIGHT, WIDTH)),
    }
    with address(seed, "augment"):
        return transform(sample)


@pytest.mark.parametrize("transform", EXACT, **IDS)
@quick
@given(st.integers(0, 1 << 20))
def test_boxes_are_the_extent_of_their_masks(transform, seed):
    result = moved(transform, random_boxes(np.random.default_rng(seed)), seed)
    assert result["boxes"].canvas_size == result["masks"].shape[1:]
    for box, mask in zip(result["boxes"].numpy(), result["masks"].numpy(), strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows):
            np.testing.assert_allclose(box, [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], atol=1e-4)
        else:
            assert min(box[2:] - box[:2]) == 0


@pytest.mark.parametrize("transform", ROUGH, **IDS)
@quick
@given(st.integers(0, 1 << 20))
def test_boxes_hold_their_masks_and_little_else(transform, seed):
    boxes = random_boxes(np.random.default_rng(seed))
    result = moved(transform, boxes, seed)
    height, width = result["boxes"].canvas_size
    assert (height, width) == result["masks"].shape[1:]
    for box, mask in zip(result["boxes"].numpy(), result["masks"].numpy(), strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            continue
        extent = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        assert (box[:2] <= extent[:2] + 0.55).all() and (box[2:] >= extent[2:] - 0.55).all()
        if box.min() > 0 and box[2] < width and box[3] < height:  # nothing was cut off: the box is tight, too
            np.testing.assert_allclose(box, extent, atol=2.5)


@pytest.mark.parametrize("transform", EXACT + ROUGH, **IDS)
def test_picture_image_and_mask_move_alike(transform):
    rng = np.random.default_rng(0)
    values = np.repeat(np.repeat(rng.integers(1, 5, (10, 14)), 6, 0), 6, 1).astype(np.uint8)
    things = [Pillow.fromarray(values), v2.Image(values[None]), v2.Mask(values.astype(np.int64))]
    nearest = copy.copy(transform)
    nearest.interpolation = "nearest-exact"
    for seed in range(4):
        with address(seed, "augment"):
            picture, image, mask = nearest(*things)
        assert isinstance(picture, Pillow.Image) and type(image) is v2.Image and type(mask) is v2.Mask
        assert mask.dtype == np.int64 and image.dtype == np.uint8
        assert np.asarray(picture).shape == mask.shape == image.shape[1:]
        assert (image.numpy()[0] != mask.numpy()).mean() < 0.01  # ties, in floats of 32 and of 64 bits
        assert (np.asarray(picture) != mask.numpy()).mean() < 0.04


def test_the_draws_are_those_of_the_transform_alone():
    picture = noise(WIDTH, HEIGHT)
    pairs = [(T.RandomAffine(30, (0.1, 0.2)), v2.RandomAffine(30, (0.1, 0.2))),
             (T.RandomCrop(20, 3), v2.RandomCrop(20, 3)),
             (T.RandomResizedCrop(20), v2.RandomResizedCrop(20)), (T.RandomHorizontalFlip(), v2.RandomHorizontalFlip()),
             (T.RandomPerspective(), v2.RandomPerspective()), (T.RandomRotation(30), v2.RandomRotation(30)),
             (T.CenterCrop((70, 20)), v2.CenterCrop((70, 20))), (T.Resize(20), v2.Resize(20))]  # fmt: skip
    for alone, joint in pairs:
        for seed in range(3):
            with address(seed, "augment"):
                first = alone(picture)
            with address(seed, "augment"):
                second, label = joint(picture, 7)
            assert np.array_equal(np.asarray(first), np.asarray(second)) and label == 7
        assert repr(alone) == repr(joint)


@pytest.mark.parametrize("form", ["XYXY", "XYWH", "CXCYWH"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_forms_of_boxes(form, dtype):
    boxes = v2.BoundingBoxes(
        np.array([[2, 4, 10, 8], [0, 0, 84, 60]], dtype), format="XYXY", canvas_size=(HEIGHT, WIDTH)
    )
    other = v2.convert_bounding_box_format(boxes, form)
    expected = {"XYXY": [2, 4, 10, 8], "XYWH": [2, 4, 8, 4], "CXCYWH": [6, 6, 8, 4]}
    assert other.numpy()[0].tolist() == expected[form] and other.dtype == dtype and other.format == form
    assert np.array_equal(v2.convert_bounding_box_format(other, "XYXY").numpy(), boxes.numpy())
    for transform in (*EXACT[:8], v2.RandomAffine((20, 20))):
        with address(0, "augment"):
            first = transform(boxes)
        with address(0, "augment"):
            second = v2.convert_bounding_box_format(transform(other), "XYXY")
        np.testing.assert_allclose(first.numpy(), second.numpy(), atol=1 if dtype == np.int64 else 1e-4)


def test_boxes_keep_what_they_are():
    boxes = v2.BoundingBoxes([[1, 2, 3, 4]], format="xywh", canvas_size=(9, 8))
    for other in (pickle.loads(pickle.dumps(boxes)), copy.copy(boxes)):
        assert type(other) is v2.BoundingBoxes and other.format == "XYWH" and other.canvas_size == (9, 8)
    assert repr(boxes) == "BoundingBoxes([[1.0, 2.0, 3.0, 4.0]], format=XYWH, canvas_size=(9, 8))"
    assert v2.BoundingBoxes([], format="XYXY", canvas_size=(9, 8)).shape == (0, 4)
    assert v2.RandomAffine(10)(v2.BoundingBoxes([], format="XYXY", canvas_size=(9, 8))).shape == (0, 4)
    for data, form, size, reason in ((np.zeros((2, 3)), "XYXY", (1, 1), "shape"),
                                     (np.zeros((2, 4)), "LTRB", (1, 1), "format"),
                                     (np.zeros((2, 4)), "XYXY", (1,), "canvas_size")):  # fmt: skip
        with pytest.raises(ValueError, match=reason):
            v2.BoundingBoxes(data, format=form, canvas_size=size)


@pytest.mark.parametrize(
    "workers", [{"num_workers": 0}, {"num_workers": 2}, {"num_workers": 1, "worker_type": "process"}], ids=range(3)
)
def test_joint_transforms_under_a_loader(tmp_path, workers):
    dataset = CocoDetection(tmp_path, make.coco(tmp_path), transforms=prepared)
    batches = list(DataLoader(dataset, 2, seed=5, collate_fn=list, **workers))
    images, targets = zip(*batches[0], strict=True)
    assert [type(image) for image in images] == [v2.Image] * 2
    assert [type(target["boxes"]) for target in targets] == [v2.BoundingBoxes] * 2
    expected = []
    for index in range(2):
        with address(5, "augment", 0, index):
            expected.append(dataset[index])
    for (image, target), (same, wanted) in zip(batches[0], expected, strict=True):
        assert np.array_equal(image.numpy(), same.numpy())
        assert np.array_equal(target["boxes"].numpy(), wanted["boxes"].numpy())


def test_what_is_an_image_and_what_is_left_alone():
    image, labels = Tensor(np.arange(12.0, dtype=np.float32).reshape(1, 3, 4)), Tensor(np.array([1, 2]))
    flipped, target = v2.RandomHorizontalFlip(1.0)(image, {"labels": labels, "name": "a", "both": (labels, [None])})
    assert np.array_equal(flipped.numpy(), image.numpy()[..., ::-1])  # the first plain tensor
    assert target["labels"] is labels and target["name"] == "a" and target["both"] == (labels, [None])
    assert v2.RandomHorizontalFlip(0.0)(image) is image
    with pytest.raises(TypeError, match="needs a picture"):
        v2.RandomHorizontalFlip(1.0)("text")
    with pytest.raises(ValueError, match=r"of one size \(height, width\), got Tensor \(3, 4\), Mask \(4, 4\)"):
        v2.Resize(2)(image, v2.Mask(np.zeros((4, 4), np.uint8)))
    with pytest.raises(ValueError, match="expand turns about the middle"):
        v2.RandomRotation(3, expand=True, center=(1, 1))(image)


def test_fill_for_images_and_masks():
    picture, mask = noise(20, 20), v2.Mask(np.ones((20, 20), np.uint8))
    for fill, expected in ((9, (9, 0)), ({v2.Image: 9, v2.Mask: 255}, (9, 255)), ({v2.Mask: 255}, (0, 255))):
        image, moved_mask = v2.RandomAffine((45, 45), fill=fill)(picture, mask)
        assert (image.getpixel((0, 0))[0], moved_mask.numpy()[0, 0]) == expected


def test_images_only():
    picture, mask = noise(20, 10), v2.Mask(np.ones((10, 20), np.uint8))
    chain = v2.Compose(
        [v2.ToImage(), v2.ImagesOnly(T.ColorJitter(0.5)), v2.ImagesOnly(T.ConvertImageDtype(np.float32))]
    )
    image, same, number = chain(picture, mask, 3)
    assert type(image) is v2.Image and image.dtype == np.float32 and same is mask and number == 3
    assert repr(v2.ImagesOnly(T.Grayscale())) == repr(T.Grayscale())
    with pytest.raises(ValueError, match="one image at a time, got 2"):
        v2.ImagesOnly(T.Grayscale())(picture, picture)


def test_sanitize():
    data = np.array([[0, 0, 9, 9], [3, 3, 3, 8], [-1, 0, 5, 5], [2, 2, 4, 3]], np.float32)
    boxes = v2.BoundingBoxes(data, format="XYXY", canvas_size=(10, 10))
    target = {"boxes": boxes, "labels": Tensor(np.arange(4)), "masks": v2.Mask(np.zeros((4, 10, 10), bool)), "id": 5}
    image, found = v2.SanitizeBoundingBoxes()(noise(10, 10), target)
    assert found["labels"].numpy().tolist() == [0, 3] and found["masks"].shape[0] == 2 and found["id"] == 5
    assert found["boxes"].numpy().tolist() == data[[0, 3]].tolist() and image.size == (10, 10)
    assert v2.SanitizeBoundingBoxes(2)(target)["labels"].numpy().tolist() == [0]
    assert len(v2.SanitizeBoundingBoxes(labels_getter=None)(boxes)) == 2
    assert v2.ClampBoundingBoxes()(boxes).numpy()[2].tolist() == [0, 0, 5, 5]
    with pytest.raises(ValueError, match="no 'labels' beside the boxes"):
        v2.SanitizeBoundingBoxes()(boxes)
    with pytest.raises(ValueError, match="3 labels for 4 boxes"):
        v2.SanitizeBoundingBoxes()({"boxes": boxes, "labels": Tensor(np.arange(3))})


def test_annotations_of_coco_and_voc_go_through(tmp_path):
    flip = v2.RandomHorizontalFlip(1.0)
    coco = CocoDetection(tmp_path, make.coco(tmp_path), transforms=lambda image, found: flip(
        image, v2.coco_target(found, image.size[::-1])))  # fmt: skip
    target = coco[1][1]
    assert target["boxes"].numpy().tolist() == [[13.5, 3, 18, 8], [0, 0, 20, 10]]
    assert target["labels"].numpy().tolist() == [18, 90]
    make.voc(tmp_path)
    voc = VOCDetection(tmp_path, transforms=lambda image, found: flip(
        image, v2.voc_target(found, VOC_CLASSES, image.size[::-1])))  # fmt: skip
    target = voc[0][1]
    assert target["boxes"].numpy().tolist() == [[12, 3, 18, 9], [0, 1, 19, 10]]
    assert [VOC_CLASSES[label] for label in target["labels"].numpy()] == ["dog", "cat"]
    with pytest.raises(ValueError, match="the object 'dog' is none"):
        v2.voc_target(VOCDetection(tmp_path)[1][1], ["cat"], (10, 20))


def test_random_sizes():
    picture = Tensor(np.zeros((3, 40, 60), np.float32))
    jittered = {v2.ScaleJitter((80, 80), (0.5, 1.0))(picture).shape[1:] for _ in range(30)}
    assert all(26 <= h <= 53 and 40 <= w <= 80 and abs(w - 1.5 * h) < 2 for h, w in jittered) and len(jittered) > 5
    assert {v2.RandomShortestSize([20, 30])(picture).shape[1:] for _ in range(30)} == {(20, 30), (30, 45)}
    assert v2.RandomShortestSize(30, max_size=30)(picture).shape[1:] == (20, 30)
    out = v2.RandomZoomOut(fill=2.0, side_range=(2.0, 2.0), p=1.0)(picture).array
    assert out.shape == (3, 80, 120) and (out == 2).sum() == 3 * (80 * 120 - 40 * 60)
    assert v2.RandomZoomOut(p=0.0)(picture) is picture


@pytest.mark.parametrize("wrong", [
    lambda: v2.ScaleJitter((8,)), lambda: v2.ScaleJitter((8, 8), (0, 1)), lambda: v2.RandomShortestSize([]),
    lambda: v2.RandomZoomOut(side_range=(0.5, 2)), lambda: v2.RandomZoomOut(p=2.0),
])  # fmt: skip
def test_wrong_sizes(wrong):
    with pytest.raises(ValueError):
        wrong()


IMAGES = {
    "ColorJitter": (0.4,), "GaussianBlur": (3,), "Grayscale": (3,), "RandomGrayscale": (1.0,), "RandomInvert": (1.0,),
    "RandomPosterize": (2, 1.0), "RandomSolarize": (50, 1.0), "RandomEqualize": (1.0,),
    "RandomAdjustSharpness": (2.0, 1.0), "RandomAutocontrast": (1.0,),
}  # fmt: skip


@pytest.mark.parametrize("name", IMAGES)
def test_what_changes_the_image_alone(name):
    image = Tensor(np.random.default_rng(0).integers(20, 90, (3, 30, 40)).astype(np.uint8))
    boxes = v2.BoundingBoxes([[1, 2, 4, 5]], format="XYXY", canvas_size=(30, 40))
    joint, alone = getattr(v2, name)(*IMAGES[name]), getattr(T, name)(*IMAGES[name])
    assert repr(joint) == repr(alone) and type(pickle.loads(pickle.dumps(joint))) is type(joint)
    with address(0, "test"):
        found, target = joint(image, {"boxes": boxes, "labels": 3})
    with address(0, "test"):
        wanted = alone(image)
    assert np.array_equal(found.array, wanted.array) and not np.array_equal(found.array, image.array)
    assert target["boxes"] is boxes and target["labels"] == 3


def test_a_picture_to_numbers():
    picture = Pillow.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    pipeline = v2.Compose([v2.Identity(), v2.ToImage(), v2.ToDtype(np.float32, scale=True),
                           v2.Normalize([0.5] * 3, [0.5] * 3)])  # fmt: skip
    plain = T.Compose([T.ToTensor(), T.Normalize([0.5] * 3, [0.5] * 3)])
    assert np.allclose(pipeline(picture).array, plain(picture).array)
    counts = v2.ToDtype(np.int64)(Tensor(np.ones((3, 2, 2), np.uint8)))
    assert counts.dtype == np.int64 and counts.array.max() == 1
