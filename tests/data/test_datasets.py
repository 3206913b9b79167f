"""Readers of CIFAR, MNIST, COCO and VOC on files that the tests write; damaged ones are refused by file and place."""

import gzip
import pickle
import struct

import numpy as np
import pytest
from PIL import Image

from minires.data import DataLoader, split_dataset
from minires.data.datasets import (
    CIFAR10,
    CIFAR100,
    KMNIST,
    MNIST,
    CocoCaptions,
    CocoDetection,
    FashionMNIST,
    VOCDetection,
    VOCSegmentation,
    read_idx,
    read_voc,
)
from minires.data.transforms import ToTensor
from minires.errors import DataError, FileFormatError, UsageError
from tests.data import dataset_files as make

# ------------------------------------------------------------------------------------------------------------- CIFAR


@pytest.mark.parametrize("binary", [False, True])
def test_cifar10(tmp_path, binary):
    parts = make.cifar10(tmp_path, binary)
    train, test = CIFAR10(tmp_path), CIFAR10(tmp_path, train=False)
    assert len(train) == 15 and len(test) == 3 and train.classes == [f"class{number}" for number in range(10)]
    rows, labels = parts["data_batch_2"]
    image, label = train[4]
    assert isinstance(image, Image.Image) and image.size == (32, 32) and label == labels[1]
    assert np.array_equal(np.asarray(image), rows[1].reshape(3, 32, 32).transpose(1, 2, 0))
    assert test.data.shape == (3, 32, 32, 3) and test.targets.tolist() == parts["test_batch"][1]
    pixels, _ = CIFAR10(tmp_path, transform=ToTensor())[0]
    assert pixels.shape == (3, 32, 32) and pixels.dtype == np.float32


@pytest.mark.parametrize("binary", [False, True])
def test_cifar100(tmp_path, binary):
    rows, fine = make.cifar100(tmp_path, binary)
    dataset = CIFAR100(tmp_path, target_transform=lambda label: -label)
    assert [target for _, target in dataset] == [-label for label in fine] and dataset.classes[42] == "fine42"
    assert np.array_equal(dataset.data.transpose(0, 3, 1, 2).reshape(4, -1), rows)


def test_cifar_goes_through_loader_and_split(tmp_path):
    make.cifar10(tmp_path)
    images, labels = next(iter(DataLoader(CIFAR10(tmp_path, transform=ToTensor()), 4)))
    assert images.shape == (4, 3, 32, 32) and labels.shape == (4,)
    parts = split_dataset(CIFAR10(tmp_path), {"val": 0.2})
    assert len(parts["train"]) + len(parts["val"]) == 15
    assert isinstance(parts["val"][0][0], Image.Image)


SPOILED = [
    ("data", make.array(make.cifar_rows(3, 0)[:, :3000]), r"'data' must be .* got the shape \(3, 3000\)"),
    ("data", make.text("no"), "got a str"),
    ("labels", make.int_list([1, 2]), "2 labels for 3 pictures"),
    ("labels", make.int_list([1, 2, 10]), "the label 10 of picture 2 is none of 10 classes"),
    ("labels", make.text("no"), "labels that are a str"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "reason"), SPOILED, ids=range(len(SPOILED)))
def test_cifar_pickles_with_wrong_contents(tmp_path, key, value, reason):
    make.cifar10(tmp_path)
    good = {"labels": make.int_list([1, 2, 3]), "data": make.array(make.cifar_rows(3, 0))}
    path = make.write(tmp_path / "cifar-10-batches-py" / "data_batch_3", make.dictionary(good | {key: value}))
    with pytest.raises(FileFormatError, match=reason) as caught:
        CIFAR10(tmp_path)
    assert caught.value.file == str(path)


def test_cifar_pickles_execute_nothing(tmp_path):
    make.cifar10(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_1"
    path.write_bytes(b"\x80\x02cposix\nsystem\nU\x06exit 1\x85R.")
    with pytest.raises(FileFormatError, match=r"data_batch_1 at byte 2: .*system"):
        CIFAR10(tmp_path)
    path.write_bytes(pickle.dumps([1, 2], 2))
    with pytest.raises(FileFormatError, match="holds a list"):
        CIFAR10(tmp_path)
    path.write_bytes(make.dictionary({"labels": make.int_list([1])})[:-4])
    with pytest.raises(FileFormatError, match="at byte"):
        CIFAR10(tmp_path)


def test_cifar_binaries_that_are_broken(tmp_path):
    make.cifar10(tmp_path, binary=True)
    path = tmp_path / "cifar-10-batches-bin" / "data_batch_2.bin"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(FileFormatError, match=r"data_batch_2.bin at byte 6146: a record has 3073 bytes"):
        CIFAR10(tmp_path)
    path.write_bytes(content[:3073] + b"\x0a" + content[3074:])
    with pytest.raises(FileFormatError, match=r"at byte 3073: the label 10 of picture 1"):
        CIFAR10(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"data_batch_2.bin: there is no such file"):
        CIFAR10(tmp_path)


def test_what_is_not_there(tmp_path):
    with pytest.raises(DataError, match="neither the folder cifar-100-python nor cifar-100-binary"):
        CIFAR100(tmp_path)
    with pytest.raises(DataError, match="there is no train-images-idx3-ubyte"):
        MNIST(tmp_path)
    for kind in (CIFAR10, MNIST, VOCDetection):
        with pytest.raises(UsageError, match="fetches no data sets"):
            kind(tmp_path, download=True)


# --------------------------------------------------------------------------------------------------------------- IDX


@pytest.mark.parametrize(("code", "dtype"), [(8, "u1"), (9, "i1"), (11, "i2"), (12, "i4"), (13, "f4"), (14, "f8")])
@pytest.mark.parametrize("packed", [False, True])
def test_idx_of_every_type(tmp_path, code, dtype, packed):
    values = np.arange(24).reshape(2, 3, 4).astype(dtype) - (0 if dtype == "u1" else np.array(7, dtype))
    content = make.idx(values, code)
    path = make.write(tmp_path / ("a.gz" if packed else "a"), gzip.compress(content) if packed else content)
    found = read_idx(path)
    assert found.dtype == np.dtype(dtype) and np.array_equal(found, values)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("inside", [False, True])
def test_mnist(tmp_path, packed, inside):
    images, labels = make.mnist(tmp_path / "MNIST" / "raw" if inside else tmp_path, packed)
    dataset = MNIST(tmp_path)
    assert [target for _, target in dataset] == labels.tolist() and dataset.classes[1] == "1 - one"
    assert dataset[2][0].mode == "L" and np.array_equal(np.asarray(dataset[2][0]), images[2])
    assert dataset.class_to_idx["9 - nine"] == 9
    if not inside:
        assert FashionMNIST(tmp_path).classes[9] == "Ankle boot" and KMNIST(tmp_path).classes[1] == "ki"


IDX = make.idx(np.zeros((2, 3), np.uint8), 8)
BROKEN_IDX = [
    (b"\x89PNG" + IDX, "at byte 0: no IDX file: it begins with the bytes 89 50 4e 47"),
    (IDX[:2] + b"\x0a" + IDX[3:], "at byte 0"), (IDX[:3], "at byte 3: the file ends within the header"),
    (IDX[:9], r"at byte 9: the file ends within the lengths"), (IDX[:-1], r"at byte 17: .*5 of 6 bytes"),
    (IDX + b"x", "at byte 18: more bytes"), (IDX[:3] + b"\0" + IDX[4:], "at byte 0"),
    (IDX[:4] + struct.pack(">II", 2**31, 2**31), r"at byte 4: the shape .* the limit is"),
    (IDX[:4] + struct.pack(">II", 2**15, 2**14), r"at byte 12: the file ends within the values"),
]  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("content", "reason"), BROKEN_IDX, ids=range(len(BROKEN_IDX)))
def test_broken_idx(tmp_path, content, reason, packed):
    path = make.write(tmp_path / ("a.gz" if packed else "a"), gzip.compress(content) if packed else content)
    with pytest.raises(FileFormatError, match=reason) as caught:
        read_idx(path)
    assert caught.value.file == str(path)


def test_idx_packed_badly(tmp_path):
    packed = gzip.compress(make.idx(np.arange(200, dtype=np.uint8), 8))
    flipped = packed[:40] + bytes([packed[40] ^ 255]) + packed[41:]
    for content in (b"no gzip at all", packed[:60], flipped, packed[:-8] + b"\0" * 8):
        path = make.write(tmp_path / "a.gz", content)
        with pytest.raises(FileFormatError, match=r"a.gz.*(gzip|damaged|ends within|begins with)"):
            read_idx(path)


def test_mnist_that_does_not_fit(tmp_path):
    make.mnist(tmp_path)
    for name, values, reason in (
        ("train-labels-idx1-ubyte", np.array([1, 2], np.uint8), r"one a picture, got uint8 \(2,\)"),
        ("train-labels-idx1-ubyte", np.array([1, 2, 10, 1, 1], np.uint8), "at byte 10: the label 10 of picture 2"),
        ("train-images-idx3-ubyte", np.zeros((5, 784), np.uint8), r"pictures are uint8 \(N, H, W\)"),
    ):
        make.write(tmp_path / name, make.idx(values, 8))
        with pytest.raises(FileFormatError, match=reason):
            MNIST(tmp_path)


# -------------------------------------------------------------------------------------------------------------- COCO


def test_coco(tmp_path):
    dataset = CocoDetection(tmp_path, make.coco(tmp_path))
    assert dataset.ids == [3, 7] and len(dataset) == 2 and dataset.categories == {18: "dog", 90: "toothbrush"}
    picture, annotations = dataset[1]
    assert picture.size == (20, 10) and [entry["id"] for entry in annotations] == [1, 2]
    assert annotations[0]["bbox"] == [2, 3, 4.5, 5] and dataset.sample_name(0).endswith("3.png")
    counted = CocoDetection(tmp_path, tmp_path / "instances.json", target_transform=len)
    assert [target for _, target in counted] == [1, 2]
    both = CocoDetection(tmp_path, tmp_path / "instances.json", transforms=lambda image, target: (target, image))
    assert isinstance(both[0][1], Image.Image)
    with pytest.raises(ValueError, match="Only transforms or transform/target_transform"):
        CocoDetection(tmp_path, tmp_path / "instances.json", transform=len, transforms=len)


def test_coco_captions(tmp_path):
    def captions(found):
        for entry in found["annotations"]:
            entry["caption"] = f"caption {entry['id']}"

    assert CocoCaptions(tmp_path, make.coco(tmp_path, captions))[1][1] == ["caption 1", "caption 2"]
    with pytest.raises(FileFormatError, match="annotation 5 has no caption"):
        CocoCaptions(tmp_path, make.coco(tmp_path))[0]


def put(*path_and_value):
    """Sets found[a][b]... = value."""
    *path, last, value = path_and_value

    def change(found):
        for step in path:
            found = found[step]
        found[last] = value

    return change


SPOILED_COCO = [
    (put("images", 3), "it has no list 'images'"),
    (put("images", 0, 3), r"images\[0\] has no whole number"),
    (put("images", 1, "id", 7), r"images\[1\] has the id 7 of another"),
    (put("images", 0, "file_name", "../secret.png"), "leads out of the folder"),
    (put("images", 0, "file_name", "/etc/passwd"), "leads out of the folder"),
    (put("images", 0, "file_name", "a\\..\\..\\b.png"), "leads out of the folder"),
    (put("images", 0, "file_name", None), "the picture 7 has no 'file_name'"),
    (put("annotations", 1, "image_id", 8), "annotation 2 is of the unknown picture 8"),
    (put("annotations", 1, "id", True), r"annotations\[1\] has no whole number"),
    (put("annotations", 1, "bbox", [1, 2, 3]), "the bbox of annotation 2 must be"),
    (put("annotations", 1, "bbox", [1, 2, -3, 4]), "the bbox of annotation 2"),
    (put("annotations", 1, "bbox", [1, 2, "3", 4]), "the bbox of annotation 2"),
    (put("annotations", 1, "area", float("nan")), "NaN is no number of JSON"),
    (put("annotations", 1, "bbox", [1, 2, 10**40, 4]), "the bbox of annotation 2"),
]


@pytest.mark.parametrize(("change", "reason"), SPOILED_COCO, ids=range(len(SPOILED_COCO)))
def test_coco_with_wrong_contents(tmp_path, change, reason):
    path = make.coco(tmp_path, change)
    with pytest.raises(FileFormatError, match=reason) as caught:
        CocoDetection(tmp_path, path)
    assert caught.value.file == str(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b'{"images": [}', "at byte 12: no JSON"), (b"[]", "holds a list"), (b'{"a": "\xff"}', "UTF-8"),
     ('{"ä": '.encode(), "at byte 7: no JSON"), (b"[" * 100_000, "nested too deeply"),
     (b'{"a": ' + b"1" * 10_000 + b"}", "no JSON")],
    ids=range(6),
)  # fmt: skip
def test_coco_that_is_no_json(tmp_path, content, reason):
    with pytest.raises(FileFormatError, match=reason):
        CocoDetection(tmp_path, make.write(tmp_path / "a.json", content))


# --------------------------------------------------------------------------------------------------------------- VOC


def test_voc_detection(tmp_path):
    make.voc(tmp_path)
    dataset = VOCDetection(tmp_path)
    assert len(dataset) == 2
    picture, target = dataset[0]
    annotation = target["annotation"]
    assert picture.size == (20, 10) and annotation["size"] == {"width": "20", "height": "10", "depth": "3"}
    assert [found["name"] for found in annotation["object"]] == ["dog", "cat"]
    assert annotation["object"][0]["part"] == [{"name": "head"}, {"name": "hand"}]
    assert isinstance(dataset[1][1]["annotation"]["object"], list)


def test_voc_segmentation(tmp_path):
    folder = make.voc(tmp_path)
    picture, mask = VOCSegmentation(tmp_path)[0]
    stored = Image.open(folder / "SegmentationClass" / "b.png")
    assert mask.mode == "P" and np.array_equal(np.asarray(mask), np.asarray(stored)) and picture.size == mask.size
    make.save(make.noise(20, 10), folder / "SegmentationClass" / "b.png")
    with pytest.raises(FileFormatError, match="one class a pixel, this PNG has the mode RGB"):
        VOCSegmentation(tmp_path)[0]
    (folder / "SegmentationClass" / "b.png").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="cannot read the mask"):
        VOCSegmentation(tmp_path)[0]


def test_voc_is_asked_for_by_its_names(tmp_path):
    for wrong in ({"year": "2013"}, {"image_set": "test"}, {"year": "2008", "image_set": "all"}):
        with pytest.raises(ValueError, match="must be one of"):
            VOCDetection(tmp_path, **wrong)
    folder = make.voc(tmp_path)
    make.write(folder / "ImageSets" / "Main" / "train.txt", b"a -1\n\n../b 1\n")
    with pytest.raises(FileFormatError, match=r"train.txt: line 3: '../b' is no name"):
        VOCDetection(tmp_path)


BOMB = '<!DOCTYPE a [<!ENTITY x "lol"><!ENTITY y "&x;&x;">]><annotation>&y;</annotation>'
OUTSIDE = '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>'
XML = make.VOC_XML.format(more="")
BROKEN_XML = [
    (BOMB, "at byte .*a document type"), (OUTSIDE, "at byte .*a document type"), ("<a>", "no well-formed XML"),
    ("", "the file is empty"), (XML[:200], "no well-formed XML"), ("<annotation>&x;</annotation>", "undefined entity"),
    ("<other/>", "the outermost element is <other>"), (XML.replace("<xmin>2", "<xmin>two"), "object 0 must hold four"),
    (XML.replace("<xmin>2", "<xmin>9"), "object 0 is no box"),
    (XML.replace("<xmax>8</xmax>", ""), "object 0 must hold"),
    (XML.replace("<xmin>2", "<xmin>nan"), "object 0 is no box"),
    (XML.replace("<name>dog</name>", ""), "needs a <name>"),
    ("<a>" * 60 + "</a>" * 60, "more inside each other"), ('<?xml version="1.0" encoding="x-no"?><a/>', "XML"),
    ("<annotation><object>text</object></annotation>", "object 0 needs"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "reason"), BROKEN_XML, ids=range(len(BROKEN_XML)))
def test_broken_xml(tmp_path, content, reason):
    path = make.write(tmp_path / "a.xml", content.encode())
    with pytest.raises((FileFormatError, DataError), match=reason) as caught:
        read_voc(path)
    assert caught.value.file == str(path)
    assert content == "" or isinstance(caught.value, FileFormatError)


def test_an_annotation_without_objects(tmp_path):
    path = make.write(tmp_path / "a.xml", b"<annotation><filename>a.jpg</filename></annotation>")
    assert read_voc(path) == {"annotation": {"filename": "a.jpg", "object": []}}
