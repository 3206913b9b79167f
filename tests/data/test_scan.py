"""The scan before the first epoch, and the fingerprint that notices changed data."""

import json
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from minires.data import ArrayDataset, CSVDataset, Subset, differences, fingerprint, folder_splits, scan
from minires.errors import DataError
from tests.data.helpers import make_folder, noise, save


@pytest.fixture
def root(tmp_path):
    make_folder(tmp_path / "train", {"cat": 4, "dog": 3, "emu": 1})
    make_folder(tmp_path / "val", {"cat": 1, "dog": 1, "emu": 0})
    return tmp_path


def test_clean_folder(root):
    report = scan(folder_splits(root))
    assert report.counts == {"train": {"cat": 4, "dog": 3, "emu": 1}, "val": {"cat": 1, "dog": 1, "emu": 0}}
    assert report.missing_classes == {"val": ["emu"]} and report.empty_classes == []
    assert report.unreadable == {} and report.duplicates == [] and report.conflicts == []
    assert report.modes == {"RGB": 10} and report.formats == {"PNG": 10} and report.orientations == {1: 10}
    assert report.sizes == {"smallest": (8, 8), "median": (8, 8), "largest": (8, 8)}
    report.check()
    assert report.lines() == [
        "train: 8 pictures, 3 classes (1 to 4 pictures each)",
        "val: 2 pictures, 3 classes (0 to 1 pictures each), none of emu",
        "sizes 8 x 8 to 8 x 8, median 8 x 8; modes RGB 10; formats PNG 10",
    ]
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["missing_classes"] == {"val": ["emu"]}


def test_findings(root):
    save(noise(20, 10, "L"), root / "train" / "cat" / "grey.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    save(noise(30, 20), root / "train" / "dog" / "turned.jpg", exif=exif)
    (root / "train" / "dog" / "page.jpg").write_bytes(b"<html>")
    (root / "val" / "cat" / "empty.png").write_bytes(b"")
    shutil.copy(root / "train" / "cat" / "0.png", root / "val" / "cat" / "copy.png")
    shutil.copy(root / "train" / "cat" / "1.png", root / "train" / "emu" / "also.png")
    for workers in (0, 4):
        report = scan(folder_splits(root), num_workers=workers)
        files = {path.removeprefix(str(root) + "/"): reason for path, reason in report.unreadable.items()}
        assert list(files) == ["train/dog/page.jpg", "val/cat/empty.png"]
        assert "web page" in files["train/dog/page.jpg"] and "is empty" in files["val/cat/empty.png"]
        assert report.duplicates == [[str(root / "train/cat/0.png"), str(root / "val/cat/copy.png")]]
        assert report.conflicts == [[str(root / "train/cat/1.png"), str(root / "train/emu/also.png")]]
        assert report.modes == {"RGB": 13, "L": 1} and report.orientations == {1: 13, 6: 1}
        assert report.sizes["largest"] == (30, 20)
    text = "\n".join(report.lines())
    assert "1 pictures lie on their side" in text and "unreadable: 2 (cannot read the picture" in text
    assert "the same picture in more than one split: 1" in text and "with more than one label: 1" in text
    with pytest.raises(DataError, match=r"page\.jpg.*and 1 more unreadable") as caught:
        report.check()
    assert caught.value.file == str(root / "train/dog/page.jpg")
    report.check("skip")


def test_only_a_verifying_scan_finds_a_picture_that_breaks_off(root):
    path = save(noise(64, 64), root / "train" / "cat" / "torn.jpg")
    path.write_bytes(path.read_bytes()[:1500])
    splits = folder_splits(root)
    assert scan(splits).unreadable == {}
    report = scan(splits, verify=True)
    assert list(report.unreadable) == [str(path)]
    before = len(splits["train"])
    assert splits["train"].exclude(report.unreadable) == 1 and len(splits["train"]) == before - 1
    assert scan(splits, verify=True).unreadable == {}


def test_scan_of_numbers_and_of_arrays(tmp_path):
    save(noise(3, 3), tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("path,label\na.png,2.5\n")
    report = scan(CSVDataset(tmp_path / "t.csv", target="number"))
    assert report.counts == {"data": {"": 1}} and report.lines()[0] == "data: 1 pictures"
    arrays = ArrayDataset(np.zeros((3, 2, 2), np.uint8), [0, 1, 1])
    assert scan({"train": arrays}).counts == {"train": {"0": 1, "1": 2}}


def test_thousand_headers_are_quick(tmp_path):
    make_folder(tmp_path, {"a": 500, "b": 500})
    start = time.monotonic()
    assert scan(folder_splits(tmp_path)).formats == {"PNG": 1000}
    assert time.monotonic() - start < 10


# ------------------------------------------------------------------------------------------------------- fingerprint


def test_fingerprint_is_stable_and_json_able(root, tmp_path_factory):
    first = fingerprint(folder_splits(root))
    assert json.loads(json.dumps(first)) == first and first["samples"] == 10
    assert first["splits"]["train"]["train/cat/0.png"] == [(root / "train/cat/0.png").stat().st_size, "cat"]
    assert differences(first, fingerprint(folder_splits(root))) == []
    elsewhere = tmp_path_factory.mktemp("moved") / "data"
    shutil.copytree(root, elsewhere)
    assert differences(first, fingerprint(folder_splits(elsewhere))) == []


def test_every_kind_of_change_is_named(root):
    old = json.loads(json.dumps(fingerprint(folder_splits(root))))
    (root / "train/cat/0.png").unlink()
    save(noise(8, 8, seed=99), root / "train/cat/new.png")
    save(noise(9, 9, seed=98), root / "train/cat/1.png")
    (root / "val/cat/0.png").rename(root / "val/emu/0.png")
    splits = folder_splits(root)
    mover = splits["train"].samples.pop(1)
    splits["val"].samples.append(mover)
    label = splits["train"].samples[0]
    splits["train"].samples[0] = (label[0], 1)
    lines = differences(old, fingerprint(splits))
    assert lines == [
        "deleted: 2 (train/cat/0.png, val/cat/0.png)",
        "added: 2 (train/cat/new.png, val/emu/0.png)",
        "changed: 1 (train/cat/1.png)",
        "relabelled: 1 (train/cat/1.png (cat -> dog))",
        "moved: 1 (train/cat/2.png (train -> val))",
    ]


def test_long_lists_are_cut_and_class_order_and_sample_order_count(root):
    old = fingerprint(folder_splits(root))
    for index in range(9):
        save(noise(4, 4), root / "train/cat" / f"z{index}.png")
    assert differences(old, fingerprint(folder_splits(root)))[0].endswith("z4.png and 4 more)")
    reordered = fingerprint(folder_splits(root, class_to_idx={"emu": 0, "dog": 1, "cat": 2}))
    assert "classes: cat, dog, emu became emu, dog, cat" in differences(old, reordered)


def test_same_size_other_content_needs_contents(root):
    quick, thorough = (fingerprint(folder_splits(root), contents=flag) for flag in (False, True))
    path = root / "train/dog/0.png"
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    assert differences(quick, fingerprint(folder_splits(root))) == []
    assert differences(thorough, fingerprint(folder_splits(root), contents=True)) == ["changed: 1 (train/dog/0.png)"]


def test_missing_file_and_arrays(root):
    splits = folder_splits(root)
    old = fingerprint(splits)
    (root / "train/dog/0.png").unlink()
    assert differences(old, fingerprint(splits)) == ["changed: 1 (train/dog/0.png)"]

    images = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    arrays = {"train": ArrayDataset(images, [0, 1, 1]), "val": Subset(ArrayDataset(images, [0, 1, 1]), [0, 2])}
    before = fingerprint(arrays)
    changed = images.copy()
    changed[0, 0, 0] += 1
    after = {"train": ArrayDataset(changed, [0, 1, 1]), "val": Subset(ArrayDataset(images, [0, 1, 1]), [0, 1])}
    assert differences(before, fingerprint(after)) == ["changed: 2 (train images, val indices)"]
    with pytest.raises(TypeError, match="no fingerprint for a data set of the type Plain"):
        fingerprint({"train": Plain()})


class Plain(list):
    classes: tuple[str, ...] = ()
