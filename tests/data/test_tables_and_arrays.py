"""Tables, arrays, digits and subsets."""

import sys

import numpy as np
import pytest
from PIL import Image

from minires.data import ArrayDataset, CSVDataset, Subset, load_digits, read_splits, split_dataset, write_splits
from minires.data.transforms import CenterCrop, Compose, Normalize, ToTensor
from minires.errors import DataError, MiniresError
from tests.data.helpers import noise, save


@pytest.fixture
def table(tmp_path):
    for index in range(4):
        save(noise(5, 5, seed=index), tmp_path / "pictures" / f"{index}.png")
    path = tmp_path / "labels.csv"
    path.write_text(
        "\ufeffpath,label,split,age,height\npictures/0.png,dog,train,1,2.5\npictures/1.png,cat,val,-3e1,0\n"
        f'"{tmp_path}/pictures/2.png",dog,val,4,1\npictures/3.png,emu,train,5,1\n', encoding="utf-8")  # fmt: skip
    return path


def test_csv_of_classes(table):
    dataset = CSVDataset(table, transform=ToTensor())
    assert dataset.classes == ["cat", "dog", "emu"] and dataset.targets == [1, 0, 1, 2]
    assert all(dataset[index][0].shape == (3, 5, 5) for index in range(4))
    val = CSVDataset(table, split="val")
    assert val.classes == dataset.classes and val.samples == dataset.samples[1:3]
    assert CSVDataset(table, class_to_idx={"emu": 0, "dog": 1, "cat": 2}).targets == [1, 2, 1, 0]


def test_csv_of_numbers(table):
    dataset = CSVDataset(table, label_column="age", target="number")
    assert dataset.targets == [1.0, -30.0, 4.0, 5.0] and dataset.classes == []
    assert CSVDataset(table, label_column=["age", "height"], target="number").targets[0] == (1.0, 2.5)


def test_csv_faults_name_file_and_line(table):
    with pytest.raises(DataError, match=r"labels\.csv, line 1: no column 'breed' among path, label, split"):
        CSVDataset(table, label_column="breed")
    with pytest.raises(DataError, match=r"labels\.csv, line 2: 'dog' is no number"):
        CSVDataset(table, target="number")
    with pytest.raises(DataError, match=r"line 5: 'emu' is none of the classes cat, dog"):
        CSVDataset(table, class_to_idx={"cat": 0, "dog": 1})
    table.write_text("path,label\na.png,nan\n")
    with pytest.raises(DataError, match="line 2: the target nan is not finite"):
        CSVDataset(table, target="number")
    table.write_text("path,label\na.png,\n")
    with pytest.raises(DataError, match="line 2: nothing in the column 'label'"):
        CSVDataset(table)
    with pytest.raises(DataError, match=r"cannot read the table .*: there is no such file"):
        CSVDataset(str(table) + "x")


def test_arrays_of_bytes_go_through_transforms_as_pictures():
    images = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), np.uint8)
    plain = ArrayDataset(images, [0, 2, 1, 0])
    assert plain.classes == ["0", "1", "2"] and len(plain) == 4
    image, target = plain[1]
    np.testing.assert_array_equal(image.array, images[1].transpose(2, 0, 1).astype(np.float32) / np.float32(255))
    assert target == 2 and type(target) is int
    cropped = ArrayDataset(images, [0, 2, 1, 0], Compose([CenterCrop(4), ToTensor()]))
    assert cropped[0][0].shape == (3, 4, 4)
    seen = []
    ArrayDataset(images[..., :1], [0] * 4, seen.append)[0]
    assert isinstance(seen[0], Image.Image) and seen[0].mode == "L"


def test_arrays_of_floats_are_tensors_and_targets_may_be_numbers():
    images = np.random.default_rng(0).random((3, 2, 4, 4), np.float32)
    dataset = ArrayDataset(images, np.array([[1.0, 2.0]] * 3), Normalize([0.5, 0.5], [2.0, 2.0], inplace=True))
    for _ in range(2):  # what writes in place does not write into the data
        np.testing.assert_allclose(dataset[2][0].array, (images[2] - 0.5) / 2)
    assert dataset[0][1].tolist() == [1.0, 2.0] and dataset.classes == []


@pytest.mark.parametrize(
    ("images", "targets", "classes", "message"),
    [
        (np.zeros((2, 3, 4, 4), np.uint8), [0, 1], None, r"got uint8 of the shape \(2, 3, 4, 4\)"),
        (np.zeros((2, 4, 4), np.int32), [0, 1], None, "got int32"),
        (np.zeros((2, 4, 4), np.uint8), [0, 1, 1], None, "2 images and targets of the shape"),
        (np.zeros((2, 4, 4), np.uint8), [0, -1], None, "the target -1 is no index"),
        (np.zeros((2, 4, 4), np.uint8), [0, 2], ["a", "b"], "the target 2 is no index of the 2 classes"),
        (np.zeros((2, 4, 4), np.uint8), ["a", "b"], None, "targets must be integers"),
        (np.zeros((2, 4, 4), np.uint8), [0.0, np.nan], None, "NaN"),
    ],
)
def test_arrays_refuse_nonsense(images, targets, classes, message):
    with pytest.raises(DataError, match=message):
        ArrayDataset(images, targets, classes=classes)


def test_subset():
    dataset = ArrayDataset(np.arange(5, dtype=np.uint8).reshape(5, 1, 1), [0, 1, 2, 0, 1])
    part = Subset(dataset, [4, 0])
    assert len(part) == 2 and part.targets == [1, 0] and part.classes == ["0", "1", "2"]
    assert round(part[0][0].item() * 255) == 4
    with pytest.raises(IndexError, match="5 is out of range"):
        Subset(dataset, [5])


def test_splits_of_a_table_of_numbers_are_written_and_read(table):
    transform = ToTensor()
    dataset = CSVDataset(table, label_column=["age", "height"], target="number")
    parts = split_dataset(dataset, {"val": 0.5}, seed=1, train_transform=transform)
    assert [len(part) for part in parts.values()] == [2, 2] and parts["train"].transform is transform
    write_splits(table.parent / "splits.csv", parts)
    again = read_splits(table.parent / "splits.csv", table.parent, target="number")
    assert {n: p.targets for n, p in again.items()} == {n: p.targets for n, p in parts.items()}
    assert all(again["val"][index][0].size == (5, 5) for index in range(2))


def test_split_of_arrays():
    transform = ToTensor()
    digits = load_digits()
    parts = split_dataset(digits, {"val": 0.2, "test": 0.2}, seed=0, eval_transform=transform)
    assert sum(len(part) for part in parts.values()) == 1797
    counts = [np.bincount(parts["val"].targets, minlength=10), np.bincount(digits.targets, minlength=10) * 0.2]
    assert abs(counts[0] - counts[1]).max() <= 0.5
    assert parts["test"].classes == digits.classes and parts["test"].transform is transform
    assert sorted(map(bytes, np.concatenate([p.images for p in parts.values()]))) == sorted(map(bytes, digits.images))


def test_digits():
    digits = load_digits()
    assert len(digits) == 1797 and digits.classes == [str(digit) for digit in range(10)]
    image, target = digits[0]
    assert image.shape == (1, 8, 8) and target == 0
    assert digits.images.min() == 0 and digits.images.max() == 255
    assert digits.images[0, 0, 2] == round(5 * 255 / 16)  # the first row begins 0, 0, 5


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MiniresError, match="pip install scikit-learn") as caught:
        load_digits()
    assert "\n" not in str(caught.value) and caught.value.code == "dependency.missing"
