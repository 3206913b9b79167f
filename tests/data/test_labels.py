"""Tables of labels: what they are taken for, what is wrong with them, and splits that are fair to every label."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minires.data import (
    Columns,
    MultiLabelDataset,
    fingerprint,
    open_table,
    read_splits,
    read_table,
    split,
    write_splits,
)
from minires.data.labels_dataset import label_counts
from minires.data.labels_split import stratify
from minires.data.scan import scan
from minires.errors import DataError

NAMES = ["a.png", "b.png", "c.png", "sub/d.png"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    (root / "sub").mkdir()
    for place, name in enumerate(NAMES):
        Image.new("RGB", (4, 4), (place, 0, 0)).save(root / name)
    return root


def opened(tmp_path, pictures, text, target, columns=None, **more):
    (tmp_path / "labels.csv").write_text(text)
    return open_table(read_table(str(tmp_path / "labels.csv"), columns), str(pictures), target, **more)


@pytest.mark.parametrize(
    ("text", "classes"),
    [("filename,labels\na.png,cat|dog\nb.png,\nc.png,dog\nsub/d.png,red cat\n", ["cat", "dog", "red cat"]),
     ("image,tags\na.png,dog cat\nb.png,\nc.png,dog\nsub/d.png,red\n", ["cat", "dog", "red"]),
     ('fname,label\na.png,"dog, cat"\nb,\nc,dog\nsub/d,red\n', ["cat", "dog", "red"]),
     ("image_id,dog,red,cat\na,1,0,1\nb,0,0,0\nc,1.0,0,0\nsub/d,False,True,0\n", ["dog", "red", "cat"])],
)  # fmt: skip
def test_several_labels_in_every_form(tmp_path, pictures, text, classes):
    found = opened(tmp_path, pictures, text, "labels")[None]
    assert isinstance(found, MultiLabelDataset) and found.classes == classes
    named = [set(found.label(target).split("|")) for target in found.targets]
    assert named[:3] == [{"cat", "dog"}, {""}, {"dog"}]
    assert [found.relative_name(path) for path, _ in found.samples] == NAMES
    found.transform = np.asarray
    image, target = found[0]
    assert image.shape == (4, 4, 3) and target.dtype == np.float32
    assert {classes[k] for k in np.flatnonzero(target)} == {"cat", "dog"}
    assert scan(found).pictures == {"data": 4} and sum(scan(found).counts["data"].values()) == 4


def test_numbers_and_columns_by_name(tmp_path, pictures):
    text = "note,file,age,kg\nx,a.png,3,4.5\ny,b.png,5,1e2\n"
    found = opened(tmp_path, pictures, text, "number", Columns(labels=("kg", "age")))
    assert found[None].targets == [(4.5, 3.0), (100.0, 5.0)]
    assert opened(tmp_path, pictures, text, "number", Columns("file", ("age",)))[None].targets == [3.0, 5.0]
    assert read_table(str(tmp_path / "labels.csv")).labels == ("note", "age", "kg")


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [("filename,label\na.png,1\nx.png,2\n", "class", r"line 3: no such picture 'x\.png' .* in the column 'filename'"),
     ("filename,label\na.png,1\n./a.png,2\n", "class", r"line 3: './a\.png' stands in line 2, too, in the column"),
     ("filename,label\na.png,\nb.png,2\n", "class", "line 2: nothing in the column 'label'"),
     ("filename,label\n,1\n", "class", "line 2: nothing in the column 'filename'"),
     ("filename,age\na.png,1\nb.png,nan\n", "number", "line 3: the target nan is not finite in the column 'age'"),
     ("filename,age\na.png,1\nb.png,inf\n", "number", "line 3: the target inf is not finite"),
     ("filename,age\na.png,old\n", "number", "line 2: 'old' is no number in the column 'age'"),
     ("filename,age\na.png,\n", "number", "line 2: nothing in the column 'age'"),
     ("filename,cat,dog\na.png,1,-1\n", "labels", "line 2: '-1' is neither 0 nor 1 in the column 'dog'"),
     ("filename,cat,dog\na.png,1,\n", "labels", "line 2: nothing in the column 'dog'"),
     ("filename,cat,dog\na.png,1\n", "labels", "line 2: 2 cells, the header has 3"),
     ("filename,cat,dog\na.png,1,0,0\n", "labels", "line 2: 4 cells, the header has 3"),
     ("filename,cat,cat\na.png,1,0\n", "labels", "line 1: two columns are called 'cat'"),
     ("filename,a|b,c\na.png,1,0\n", "labels", r"the class 'a\|b' has a \| in its name"),
     ("filename,age,kg\na.png,1,0\n", "class", "label columns age, kg, and a class takes one"),
     ("filename\na.png\n", "class", "no column of labels beside filename"), ("", "class", "the file is empty")],
)  # fmt: skip
def test_what_is_wrong_is_named_by_line_and_column(tmp_path, pictures, text, target, message):
    with pytest.raises(DataError, match=message) as caught:
        opened(tmp_path, pictures, text, target)
    assert caught.value.file == str(tmp_path / "labels.csv") and caught.value.code.startswith("data.")


def test_an_unknown_label_and_a_column_that_is_not_there(tmp_path, pictures):
    text = "filename,tags\na.png,cat dgo\n"
    with pytest.raises(
        DataError, match="line 2: 'dgo' is none of the classes cat, dog; in the column 'tags'"
    ) as caught:
        opened(tmp_path, pictures, text, "labels", class_to_idx={"cat": 0, "dog": 1})
    assert caught.value.code == "data.extra_class" and caught.value.hint == "did you mean 'dog'?"
    for columns in (Columns("picture"), Columns(labels=("kind",))):
        with pytest.raises(DataError, match=r"line 1: no column '(picture|kind)' among filename, tags"):
            opened(tmp_path, pictures, text, "labels", columns)
    with pytest.raises(DataError, match="no column 'dog', which is a class"):
        opened(tmp_path, pictures, "f,cat,red\na.png,1,0\n", "labels", class_to_idx={"cat": 0, "dog": 1})
    found = opened(tmp_path, pictures, "f,label\na.png,1\nx.png,2\n", "class", missing_ok=True)
    assert len(found[None]) == 2


def test_splits_are_written_and_read_again(tmp_path, pictures):
    text = "filename,labels,split\na.png,cat|dog,train\nb.png,,val\nc.png,dog,train\nsub/d.png,red,val\n"
    parts = opened(tmp_path, pictures, text, "labels")
    write_splits(tmp_path / "splits.csv", parts)
    again = read_splits(tmp_path / "splits.csv", pictures, {"cat": 0, "dog": 1, "red": 2}, target="labels")
    assert {name: part.samples for name, part in again.items()} == {name: part.samples for name, part in parts.items()}
    assert fingerprint(again) == fingerprint(parts)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.lists(st.frozensets(st.integers(0, 4)), min_size=8, max_size=60), st.integers(0, 9))
def test_every_picture_is_in_one_part_and_labels_are_shared_out(sets, seed):
    targets = [tuple(sorted(each)) for each in sets]
    parts = stratify(targets, [[place] for place in range(len(targets))], [0.5, 0.3, 0.2], seed)
    assert sorted(place for part in parts for place in part) == list(range(len(targets)))
    assert parts == stratify(targets, [[place] for place in range(len(targets))], [0.5, 0.3, 0.2], seed)
    counts = np.stack([label_counts([targets[place] for place in part], 5) for part in parts])
    whole = label_counts(targets, 5)
    assert all(counts[0, label] >= 1 for label in range(5) if whole[label])  # training has some of every label


def test_rare_labels_reach_every_part_and_groups_stay_together():
    rng = np.random.default_rng(0)
    targets = [tuple(np.flatnonzero(rng.random(4) < [0.5, 0.3, 0.2, 0.05]).tolist()) for _ in range(200)]
    parts = split(targets, {"val": 0.2, "test": 0.2}, seed=1)
    for label in range(4):
        shares = {name: sum(label in targets[place] for place in part) for name, part in parts.items()}
        whole = sum(shares.values())
        assert all(abs(shares[name] - 0.2 * whole) <= 1 for name in ("val", "test")), shares
    names = [f"patient{place // 4}_{place}.png" for place in range(200)]
    parts = split(targets, {"val": 0.25}, seed=1, group_by=r"patient(\d+)", names=names)
    assert {place // 4 for place in parts["train"]}.isdisjoint(place // 4 for place in parts["val"])


@pytest.mark.parametrize("count", [3, 4, 7])
def test_few_pictures_leave_no_part_empty(count):
    parts = split([(0,)] * count, {"val": 0.2, "test": 0.1}, seed=0)
    assert all(parts.values()) and sum(map(len, parts.values())) == count
