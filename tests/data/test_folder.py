"""Folders, class order and splits: the same indices everywhere, and an error that names what does not fit."""

import json
import os
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires.data import ImageFolder, folder_splits, read_class_map, read_splits, split, write_splits
from minires.data.transforms import CenterCrop, RandomCrop, ToTensor
from minires.errors import DataError, UsageError
from tests.data.helpers import make_folder, noise, save


def names(dataset) -> list[str]:
    return [dataset.relative_name(path) for path, _ in dataset.samples]


# ------------------------------------------------------------------------------------------------------- ImageFolder


def test_reads_as_torchvision(tmp_path):
    make_folder(tmp_path, {"b": 2, "a": 1})
    save(noise(4, 4), tmp_path / "b" / "deep" / "er" / "x.JPEG", format="JPEG")
    (tmp_path / "b" / "notes.txt").write_text("no picture")
    (tmp_path / "readme.md").write_text("no class")
    dataset = ImageFolder(tmp_path, ToTensor(), target_transform=lambda index: index * 10)
    assert dataset.classes == ["a", "b"] and dataset.class_to_idx == {"a": 0, "b": 1}
    assert names(dataset) == ["a/0.png", "b/0.png", "b/1.png", "b/deep/er/x.JPEG"]
    assert dataset.targets == [0, 1, 1, 1] and dataset.imgs == dataset.samples and len(dataset) == 4
    image, target = dataset[3]
    assert image.shape == (3, 4, 4) and target == 10
    assert "Number of datapoints: 4" in repr(dataset)


def test_classes_are_sorted_as_text(tmp_path):
    make_folder(tmp_path, {"10": 1, "2": 1, "1": 1})
    assert ImageFolder(tmp_path).class_to_idx == {"1": 0, "10": 1, "2": 2}


def test_hidden_folders_and_files_do_not_count(tmp_path):
    make_folder(tmp_path, {"a": 1, "b": 1, ".ipynb_checkpoints": 1})
    (tmp_path / "a" / "._0.png").write_bytes(b"resource fork")
    assert ImageFolder(tmp_path).classes == ["a", "b"]
    assert len(ImageFolder(tmp_path)) == 2


def test_empty_class(tmp_path):
    make_folder(tmp_path, {"a": 1, "b": 0})
    with pytest.raises(DataError, match="the class 'b' has no pictures") as caught:
        ImageFolder(tmp_path)
    assert caught.value.file == str(tmp_path / "b")
    assert ImageFolder(tmp_path, allow_empty=True).classes == ["a", "b"]


def test_missing_folder_file_and_no_classes(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        ImageFolder(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="it is a file, not a folder"):
        ImageFolder(tmp_path / "file")
    with pytest.raises(UsageError, match=r"no class folders in .*CLASS"):
        ImageFolder(tmp_path)


def test_given_class_order_keeps_missing_classes_and_names_extra_ones(tmp_path):
    make_folder(tmp_path, {"c": 1, "a": 2})
    order = {"c": 0, "b": 1, "a": 2}
    dataset = ImageFolder(tmp_path, class_to_idx=order)
    assert dataset.class_to_idx == order and Counter(dataset.targets) == {0: 1, 2: 2}
    with pytest.raises(DataError, match="folders that are no class of the training data: c") as caught:
        ImageFolder(tmp_path, class_to_idx={"a": 0, "b": 1})
    assert caught.value.code == "data.extra_class" and caught.value.file == str(tmp_path / "c")
    for wrong in ({"a": 1, "c": 2}, {"a": 0, "c": 0}):
        with pytest.raises(DataError, match="indices 0 to 1"):
            ImageFolder(tmp_path, class_to_idx=wrong)


def test_unicode_spellings_of_a_name_are_one_class(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert composed != decomposed
    make_folder(tmp_path / "train", {composed: 1, "tea": 1, "Ωμέγα 火": 1})
    make_folder(tmp_path / "val", {decomposed: 1, "tea": 1, "Ωμέγα 火": 1})
    parts = folder_splits(tmp_path)
    assert parts["train"].class_to_idx == parts["val"].class_to_idx == {composed: 0, "tea": 1, "Ωμέγα 火": 2}
    assert sorted(parts["val"].targets) == [0, 1, 2]
    assert all(dataset[index] for dataset in parts.values() for index in range(3))  # the files open
    make_folder(tmp_path / "val", {composed: 1})
    if len(os.listdir(tmp_path / "val")) == 4:  # some file systems make one folder of both
        with pytest.raises(DataError, match="spell the same name"):
            folder_splits(tmp_path)


def test_links_are_followed_but_not_for_ever(tmp_path):
    make_folder(tmp_path / "store", {"a": 2})
    make_folder(tmp_path / "data", {"a": 1, "b": 1})
    (tmp_path / "data" / "a" / "more").symlink_to(tmp_path / "store" / "a")
    (tmp_path / "data" / "b" / "up").symlink_to(tmp_path / "data" / "b")
    assert names(ImageFolder(tmp_path / "data")) == ["a/0.png", "a/more/0.png", "a/more/1.png", "b/0.png"]


def test_a_name_that_is_no_text(tmp_path):
    make_folder(tmp_path, {"a": 1, "b": 1})
    strange = os.fsencode(tmp_path) + b"/b/\xff\xfe.png"
    try:
        os.rename(tmp_path / "b" / "0.png", os.fsdecode(strange))
    except OSError:
        pytest.skip("this file system wants names in UTF-8")
    parts = {"train": ImageFolder(tmp_path, ToTensor())}
    write_splits(tmp_path / "splits.csv", parts)
    again = read_splits(tmp_path / "splits.csv", tmp_path)
    assert again["train"].samples == parts["train"].samples
    assert parts["train"][1][0].shape == (3, 8, 8)


def test_bad_picture_and_refused_crop_name_the_file(tmp_path):
    make_folder(tmp_path, {"a": 1, "b": 1})
    dataset = ImageFolder(tmp_path, RandomCrop(9))
    with pytest.raises(DataError, match=r"a/0\.png: Required crop size") as caught:
        dataset[0]
    assert caught.value.code == "data.transform" and caught.value.file == str(tmp_path / "a" / "0.png")
    (tmp_path / "b" / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"b/0\.png: the file is empty"):
        dataset[1]
    assert dataset.exclude([str(tmp_path / "b" / "0.png")]) == 1 and len(dataset) == 1


def test_class_map_files(tmp_path):
    (tmp_path / "map.txt").write_text("zebra\n\n cat \ndog\n")
    assert read_class_map(tmp_path / "map.txt") == {"zebra": 0, "cat": 1, "dog": 2}
    (tmp_path / "list.json").write_text(json.dumps(["zebra", "cat"]))
    assert read_class_map(tmp_path / "list.json") == {"zebra": 0, "cat": 1}
    (tmp_path / "map.json").write_text(json.dumps({"zebra": 1, "cat": 0}))
    assert list(read_class_map(tmp_path / "map.json").items()) == [("cat", 0), ("zebra", 1)]
    wrongs = {"a.txt": "cat\ncat\n", "b.json": "{", "c.json": "3"}
    wrongs |= {"d.json": '{"a": 1}', "e.json": '{"a": true, "b": 1}'}
    for name, content in wrongs.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match="cannot use the class map") as caught:
            read_class_map(tmp_path / name)
        assert caught.value.file == str(tmp_path / name)
    with pytest.raises(DataError, match=r"cannot read the class map .*nowhere\.txt: there is no such file"):
        read_class_map(tmp_path / "nowhere.txt")


def test_names_that_are_only_shown_may_repeat(tmp_path):
    """ImageNet's list has two cranes."""
    (tmp_path / "names.txt").write_text("crane\nowl\ncrane\n")
    assert read_class_map(tmp_path / "names.txt", number_repeats=True) == {"crane": 0, "owl": 1, "crane (2)": 2}


# ------------------------------------------------------------------------------------------------------------ splits


def test_named_folders_share_one_class_order(tmp_path):
    make_folder(tmp_path / "train", {"1": 2, "2": 2, "10": 2})
    make_folder(tmp_path / "val", {"2": 1, "10": 3})
    make_folder(tmp_path / "test", {"1": 1, "2": 0})
    train_transform, eval_transform = RandomCrop(4), CenterCrop(4)
    parts = folder_splits(tmp_path, train_transform=train_transform, eval_transform=eval_transform)
    assert list(parts) == ["train", "val", "test"]
    assert all(part.class_to_idx == {"1": 0, "10": 1, "2": 2} for part in parts.values())
    assert Counter(parts["val"].targets) == {1: 3, 2: 1} and parts["test"].targets == [0]
    assert names(parts["test"]) == ["test/1/0.png"]
    assert [part.transform for part in parts.values()] == [train_transform, eval_transform, eval_transform]


def test_extra_class_in_a_split_is_named(tmp_path):
    make_folder(tmp_path / "train", {"cat": 1, "dog": 1})
    make_folder(tmp_path / "val", {"cat": 1, "wolf": 1})
    with pytest.raises(DataError, match="no class of the training data: wolf"):
        folder_splits(tmp_path)


def test_names_and_fractions_of_the_splits(tmp_path):
    make_folder(tmp_path / "training", {"a": 10, "b": 10})
    make_folder(tmp_path / "validation", {"a": 1, "b": 1})
    make_folder(tmp_path / "holdout", {"a": 2, "b": 1})
    parts = folder_splits(tmp_path, train_split="training", test_split="holdout")
    assert {name: len(part) for name, part in parts.items()} == {"train": 20, "val": 2, "test": 3}
    parts = folder_splits(tmp_path, train_split="training", val_split=0.3, test_split="0.1")
    assert {name: len(part) for name, part in parts.items()} == {"train": 12, "val": 6, "test": 2}
    with pytest.raises(UsageError, match="the val split 'valdiation' is neither a folder"):
        folder_splits(tmp_path, train_split="training", val_split="valdiation")


def test_named_training_folder_alone_gives_a_validation_split(tmp_path):
    make_folder(tmp_path / "train", {"a": 10, "b": 5})
    parts = folder_splits(tmp_path)
    assert {name: Counter(part.targets) for name, part in parts.items()} == {
        "train": {0: 8, 1: 4}, "val": {0: 2, 1: 1}}  # fmt: skip


def test_flat_folder_is_split_and_the_split_is_read_back(tmp_path):
    root = make_folder(tmp_path / "data", {"a": 20, "b": 10, "train": 10})  # a class may be called "train"
    parts = folder_splits(root, seed=3)
    assert {name: Counter(part.targets) for name, part in parts.items()} == {
        "train": {0: 14, 1: 7, 2: 7}, "val": {0: 4, 1: 2, 2: 2}, "test": {0: 2, 1: 1, 2: 1}}  # fmt: skip
    assert [part.samples for part in folder_splits(root, seed=3).values()] == [p.samples for p in parts.values()]
    assert folder_splits(root, seed=4)["val"].samples != parts["val"].samples
    write_splits(tmp_path / "splits.csv", parts)
    lines = (tmp_path / "splits.csv").read_text().splitlines()
    assert lines[0] == "path,label,split" and len(lines) == 41 and "a/0.png,a," in "\n".join(lines)
    save(noise(3, 3), root / "a" / "new.png")  # what comes later is in no split
    again = read_splits(tmp_path / "splits.csv", root)
    assert {n: p.samples for n, p in again.items()} == {n: p.samples for n, p in parts.items()}
    assert again["val"].class_to_idx == parts["val"].class_to_idx
    moved = tmp_path / "elsewhere"
    root.rename(moved)
    assert read_splits(tmp_path / "splits.csv", moved)["test"][0]


def test_no_validation_wanted(tmp_path):
    make_folder(tmp_path, {"a": 4, "b": 4})
    assert {n: len(p) for n, p in folder_splits(tmp_path, val_split=0, test_split=0).items()} == {"train": 8}


@pytest.mark.parametrize("fractions", [{"val_split": 1.0}, {"val_split": -0.1}, {"val_split": 0.6, "test_split": 0.4}])
def test_senseless_fractions(fractions, tmp_path):
    make_folder(tmp_path, {"a": 4, "b": 4})
    with pytest.raises(UsageError, match="fractions must be above 0 and together below 1"):
        folder_splits(tmp_path, **fractions)


def test_one_class_and_no_pictures(tmp_path):
    make_folder(tmp_path / "one", {"a": 4})
    with pytest.raises(UsageError, match="only one class"):
        folder_splits(tmp_path / "one")
    make_folder(tmp_path / "none", {"a": 0, "b": 0})
    with pytest.raises(UsageError, match="no pictures"):
        folder_splits(tmp_path / "none")


def test_splits_file_keeps_a_given_class_order_and_names_faulty_lines(tmp_path):
    path = tmp_path / "splits.csv"
    path.write_text('path,label,split\n"b/x, 1.png",b,train\na/y.png,a,val\n')
    order = {"z": 0, "b": 1, "a": 2}
    parts = read_splits(path, "root", class_to_idx=order)
    assert parts["train"].samples == [(os.path.join("root", "b", "x, 1.png"), 1)] and parts["val"].targets == [2]
    assert parts["train"].classes == ["z", "b", "a"]
    with pytest.raises(DataError, match=r"splits\.csv, line 2: 'b' is none of the classes a, c"):
        read_splits(path, "root", class_to_idx={"a": 0, "c": 1})
    path.write_text("path,label\nx,y\n")
    with pytest.raises(DataError, match="line 1: no column 'split'"):
        read_splits(path, "root")
    path.write_text("path,label,split\nx,y\n")
    with pytest.raises(DataError, match="line 2: nothing in the column 'split'"):
        read_splits(path, "root")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=6), st.floats(0.05, 0.45), st.floats(0.05, 0.45),
    st.integers(0, 1 << 40),
)  # fmt: skip
def test_split_is_stratified_disjoint_complete_and_seeded(counts, val, test, seed):
    targets = [label for label, count in enumerate(counts) for _ in range(count)]
    np.random.default_rng(0).shuffle(targets)
    parts = split(targets, {"val": val, "test": test}, seed)
    assert list(parts) == ["train", "val", "test"]
    assert sorted(index for part in parts.values() for index in part) == list(range(len(targets)))
    assert all(indices == sorted(indices) for indices in parts.values())
    for label, count in enumerate(counts):
        got = {name: sum(targets[index] == label for index in indices) for name, indices in parts.items()}
        assert got["train"] >= min(1, count)
        assert got["val"] == min(max(1, int(count * val + 0.5)), max(count - 1, 0))
        left = count - got["val"]
        assert got["test"] == min(max(1, int(count * test + 0.5)), max(left - 1, 0))
    assert split(targets, {"val": val, "test": test}, seed) == parts


def test_split_depends_on_the_seed_and_classes_do_not_move_each_other():
    targets = [0] * 50 + [1] * 50
    first = split(targets, {"val": 0.2}, seed=0)
    assert first != split(targets, {"val": 0.2}, seed=1)
    places = [{index % 50 for index in first["val"] if index // 50 == label} for label in (0, 1)]
    assert places[0] != places[1]  # each class has a permutation of its own
    longer = split(targets + [1] * 7, {"val": 0.2}, seed=0)
    assert [i for i in first["val"] if i < 50] == [i for i in longer["val"] if i < 50]


def test_split_of_numbers_is_plain():
    parts = split([0.5] * 5 + [1.5] * 5, {"val": 0.3}, seed=0)
    assert len(parts["val"]) == 3


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), min_size=1, max_size=80), st.integers(0, 1000))
def test_groups_stay_together(samples, seed):
    targets = [group % 3 for _, group in samples]
    files = [f"patient{group}_{place}.png" for place, (_, group) in enumerate(samples)]
    parts = split(targets, {"val": 0.3}, seed, group_by=r"patient(\d+)", names=files)
    assert sorted(index for part in parts.values() for index in part) == list(range(len(files)))
    groups = {name: {samples[index][1] for index in indices} for name, indices in parts.items()}
    assert not groups["train"] & groups["val"] and groups["train"]


def test_group_expression_that_finds_nothing():
    with pytest.raises(UsageError, match=r"finds nothing in the name 'x\.png'"):
        split([0, 0], {"val": 0.5}, group_by="patient", names=["patient1.png", "x.png"])


def test_grouped_folder(tmp_path):
    for patient in range(6):
        for shot in range(3):
            save(noise(4, 4, seed=patient * 10 + shot), Path(tmp_path) / "ab"[patient % 2] / f"p{patient}-{shot}.png")
    parts = folder_splits(tmp_path, val_split=0.3, test_split=0, group_by=r"p\d")
    patients = [{os.path.basename(name)[:2] for name in names(part)} for part in parts.values()]
    assert not patients[0] & patients[1] and len(parts["val"]) == 6
