"""Data as people have them: classes missing, extra or spelt twice, broken pictures, files that change in between.

Every fault is answered with the file's or the class's name, or counted; no other picture changes its place or label.
"""

import csv
import io
import json
import os
import shutil
import struct
import sys
import unicodedata
import zlib

import numpy as np
import pytest
from PIL import Image

from minires.finetune import predict
from minires.finetune.loading import load_model
from tests.data.helpers import noise, png_claiming, save
from tests.faults.leaks import nothing_left
from tests.faults.runs import Place, assert_one_line, check, here
from tests.finetune.helpers import make_photos, make_weights

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("inputs") / "place")


def finetune(data, weights, output, *more):
    return here([str(word) for word in (
        "finetune", "--data", data, "--weights", weights, "--epochs", 1, "-b", 6, "--no-progress", "--output", output,
        *more)])  # fmt: skip


def rows_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


# ------------------------------------------------------------------------------------------------------------- classes


def splits_folder(root, **classes):
    """root/train|val|test/CLASS/*.png for the classes named in each split."""
    seed = 0
    for split, names in classes.items():
        for name in names:
            (root / split / name).mkdir(parents=True)
            for index in range(4):
                seed += 1
                save(noise(8, 8, seed=seed), root / split / name / f"{index}.png")
    return root


@pytest.mark.fault(
    "a class without pictures in validation or test",
    "every split has the same indices; its row says so",
)
def test_a_class_missing_from_other_splits_keeps_its_index(place, tmp_path):
    names = ["1", "10", "2", "cat"]
    data = splits_folder(tmp_path / "data", train=names, val=["10", "2", "cat"], test=["2", "cat", "1"])
    answer = check(finetune(data, place.folder / "weights", tmp_path / "run"), 0)
    assert "none of 1" in answer.err and "none of 10" in answer.err
    known = json.loads((tmp_path / "run" / "data.json").read_text())
    assert known["classes"] == names, "sorted as text, as torchvision does"
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert figures["after"]["per_class"]["10"] == {"samples": 0, "right": 0, "recall": None}
    assert figures["after"]["per_class"]["1"]["samples"] == 4 and figures["val"]["per_class"]["1"]["samples"] == 0
    assert load_model(tmp_path / "run").classes == names
    for row in rows_of(tmp_path / "run" / "predictions_test.csv"):
        assert row["path"].split("/")[1] == row["label"]
    answer = check(here(["evaluate", str(tmp_path / "run"), "--split", "val"]), 0)
    assert " 1  " in answer.out and " 0 " in answer.out


@pytest.mark.fault("a class in validation that training does not have", "an error that names it")
def test_an_extra_class_in_another_split_is_named(place, tmp_path):
    data = splits_folder(tmp_path / "data", train=["cat", "dog"], val=["cat", "dog", "fox"])
    answer = check(finetune(data, place.folder / "weights", tmp_path / "run"), 1)
    assert_one_line(answer, "fox")
    assert not (tmp_path / "run").exists()


def test_an_empty_class_folder_is_a_class_without_pictures(place, tmp_path):
    data = make_photos(tmp_path / "photos", per_class=6)
    (data / "violet").mkdir()
    answer = check(finetune(data, place.folder / "weights", tmp_path / "run"), 0)
    assert "none of violet" in answer.err
    assert load_model(tmp_path / "run").classes == ["blue", "green", "red", "violet"]


@pytest.mark.fault("one class name in two Unicode spellings", "one class, or an error that names both")
@pytest.mark.skipif(sys.platform != "linux", reason="other systems join the two spellings themselves")
def test_one_name_in_two_unicode_spellings(place, tmp_path):
    composed, taken_apart = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")
    data = splits_folder(tmp_path / "data", train=[composed, "tea"], val=[taken_apart, "tea"])
    check(finetune(data, place.folder / "weights", tmp_path / "run"), 0)
    assert load_model(tmp_path / "run").classes == [composed, "tea"]
    labels = {row["split"]: row["label"] for row in rows_of(tmp_path / "run" / "splits.csv") if "caf" in row["path"]}
    assert labels == {"train": composed, "val": composed}
    twice = splits_folder(tmp_path / "twice", train=[composed, taken_apart, "tea"], val=["tea"])
    answer = check(finetune(twice, place.folder / "weights", tmp_path / "other"), 1)
    assert_one_line(answer, "spell the same name")


def test_a_class_map_gives_the_order_everywhere(place, tmp_path):
    (tmp_path / "order.txt").write_text("red\nblue\ngreen\n")
    words = ["--class-map", tmp_path / "order.txt"]
    check(finetune(place.folder / "photos", place.folder / "weights", tmp_path / "run", *words), 0)
    assert load_model(tmp_path / "run").classes == ["red", "blue", "green"]
    assert (tmp_path / "run" / "model" / "classes.txt").read_text().split() == ["red", "blue", "green"]
    answer = check(finetune(place.folder / "photos", place.folder / "weights", tmp_path / "n", "--num-classes", 4), 2)
    assert_one_line(answer, "--num-classes 4", "3 classes (blue, green, red)")
    assert not (tmp_path / "n").exists()


# ---------------------------------------------------------------------------------------------------- broken pictures


def torn_jpeg(path):
    content = io.BytesIO()
    noise(64, 64).save(content, format="JPEG", quality=95)
    path.write_bytes(content.getvalue()[: len(content.getvalue()) // 2])


def icc_of_100_megabytes(path):
    """A PNG whose colour profile, small in the file, becomes 100 MB."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    plain = io.BytesIO()
    noise(8, 8).save(plain, format="PNG")
    whole = plain.getvalue()
    profile = chunk(b"iCCP", b"p\0\0" + zlib.compress(b"\0" * 100_000_000, 9))
    path.write_bytes(whole[:33] + profile + whole[33:])  # 8 bytes of signature, 25 of the header


BROKEN = {
    "nothing.png": lambda path: path.write_bytes(b""),
    "torn.jpg": torn_jpeg,
    "page.jpg": lambda path: path.write_text("<!DOCTYPE html><title>404 Not Found</title>"),
    "huge.png": lambda path: path.write_bytes(png_claiming(65535, 65535)),
    "dangling.png": lambda path: path.symlink_to("nowhere.png"),
    "pipe.png": lambda path: os.mkfifo(path),
    "profile.png": icc_of_100_megabytes,
}
if hasattr(os, "geteuid") and os.geteuid() != 0:  # root may read everything
    BROKEN["locked.png"] = lambda path: (noise(8, 8).save(path), path.chmod(0))


def turned(path):
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        noise(12, 8, seed=orientation).save(path.with_name(f"turned{orientation}.jpg"), exif=exif)


def animated(path):
    frames = [noise(8, 8, seed=seed) for seed in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def deep(path):
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000).save(path)


def with_alpha(path):
    noise(8, 8).convert("P").save(path, transparency=3)


UNUSUAL = {
    "print.jpg": lambda path: noise(8, 8, "CMYK").save(path),
    "deep.png": deep,
    "palette.png": with_alpha,
    "film.gif": animated,
    "turned.jpg": turned,
    "wrong.png": lambda path: noise(8, 8).save(path, format="JPEG"),
}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Good pictures, the same folder with unusual ones, and the same with broken ones between them."""
    folder = tmp_path_factory.mktemp("mixed")
    make_weights(folder / "weights")
    make_photos(folder / "plain", per_class=6)
    for name, make in UNUSUAL.items():
        make(folder / "plain" / "green" / name)
    shutil.copytree(folder / "plain", folder / "broken", symlinks=True)
    for name, make in BROKEN.items():
        make(folder / "broken" / "green" / name)
    return folder


@pytest.mark.fault(
    "broken pictures of many kinds, a FIFO, a dangling link, a bomb",
    "the error names the file; nothing waits, nothing is allocated",
)
@pytest.mark.skipif(sys.platform == "win32", reason="pipes and links are POSIX")
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_picture_is_named(mixed, tmp_path, name):
    shutil.copytree(mixed / "plain", tmp_path / "photos")
    BROKEN[name](tmp_path / "photos" / "red" / name)
    with nothing_left(tmp_path):
        answer = check(finetune(tmp_path / "photos", mixed / "weights", tmp_path / "run"), 1)
    assert_one_line(answer, name, "--on-bad-image skip")
    assert not (tmp_path / "run").exists()


@pytest.mark.fault("the same with --on-bad-image skip", "they are counted; no other picture changes place or label")
@pytest.mark.skipif(sys.platform == "win32", reason="pipes and links are POSIX")
def test_broken_pictures_left_out_change_nothing_else(mixed, tmp_path):
    """The run without them in the folder and the run that skips them come to the same bits; no neighbour steps in."""
    words = ["--val-split", "0", "--test-split", "0"]
    check(finetune(mixed / "plain", mixed / "weights", tmp_path / "plain", *words), 0)
    skip = ["--on-bad-image", "skip"]
    answer = check(finetune(mixed / "broken", mixed / "weights", tmp_path / "broken", *skip, *words), 0)
    assert f"unreadable: {len(BROKEN)}" in answer.err
    known = json.loads((tmp_path / "broken" / "data.json").read_text())
    assert {os.path.basename(path) for path in known["scan"]["unreadable"]} == set(BROKEN)
    for name in ("splits.csv", "history.csv", "model/model.safetensors"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes(), name
    names = {row["path"] for row in rows_of(tmp_path / "plain" / "splits.csv")}
    assert len(names) == 18 + len(UNUSUAL) + 8 - 1, "unusual ones are pictures like others"
    assert {f"green/turned{orientation}.jpg" for orientation in range(1, 9)} <= names
    check(here(["finetune", "--resume", str(tmp_path / "broken")]), 0)


def test_pictures_lie_upright_whatever_their_orientation(mixed):
    loaded = load_model(mixed / "weights")
    picture = noise(12, 8)
    folder = mixed / "upright"
    turn = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # what undoes each orientation, as Pillow numbers it
    answers = []
    for orientation, undo in turn.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        inverse = {2: 4, 4: 2}.get(undo, undo)
        stored = picture if inverse is None else picture.transpose(inverse)
        save(stored, folder / f"{orientation}.png", exif=exif)
        answers.append(next(iter(predict(loaded, [str(folder / f"{orientation}.png")]))).values)
    assert all(answer == answers[0] for answer in answers)


# ------------------------------------------------------------------------------------- data that change during a run


@pytest.fixture
def paused(place, tmp_path):
    """A run that was paused in its second epoch, on pictures that may be changed."""
    shutil.copytree(place.folder / "photos", tmp_path / "photos")
    run = tmp_path / "run"
    answer = finetune(tmp_path / "photos", place.folder / "weights", run, "--epochs", 3, "--max-steps", 3)
    check(answer, 0)
    return tmp_path / "photos", run


def delete(photos):
    (photos / "red" / "1.png").unlink()


def add(photos):
    save(noise(9, 9, seed=77), photos / "green" / "new.png")


def change(photos):
    save(noise(15, 15, seed=78), photos / "blue" / "2.png")


def move(photos):
    shutil.move(photos / "red" / "3.png", photos / "blue" / "moved.png")
    (photos / "blue" / "moved.png").rename(photos / "green" / "moved.png")


CHANGES = {
    "delete": (delete, ["deleted: 1 (red/1.png)"]),
    "add": (add, ["added: 1 (green/new.png)"]),
    "change": (change, ["changed: 1 (blue/2.png)"]),
    "move": (move, ["deleted: 1 (red/3.png)", "added: 1 (green/moved.png)"]),
}


@pytest.mark.fault(
    "files deleted, added, changed or relabelled while a run is paused",
    "the resume lists and refuses them, unless --accept-data-change",
)
@pytest.mark.parametrize("kind", CHANGES)
def test_changed_data_are_listed_refused_and_accepted(paused, kind):
    photos, run = paused
    kept = [path for path in run.rglob("*") if path.is_file() and path.name not in (".lock", "log.txt")]
    before = {path: path.read_bytes() for path in kept}
    act, lines = CHANGES[kind]
    act(photos)
    answer = check(here(["finetune", "--resume", str(run)]), 2)
    assert_one_line(answer, "the data have changed", *lines, "--accept-data-change")
    assert all(path.read_bytes() == content for path, content in before.items()), "nothing is written"
    answer = check(here(["finetune", "--resume", str(run), "--accept-data-change"]), 0)
    assert "accepted: the data have changed" in answer.err and "the epoch begins again" in answer.err
    (event,) = [found for line in (run / "events.jsonl").read_text().splitlines()
                if (found := json.loads(line))["event"] == "data_change_accepted"]  # fmt: skip
    known = json.loads((run / "data.json").read_text())
    assert event["changes"] == known["changes"][0] == lines
    rows = rows_of(run / "splits.csv")
    assert {row["path"] for row in rows} == {str(path.relative_to(photos)) for path in photos.rglob("*.png")}
    assert all(row["path"].split("/")[0] == row["label"] for row in rows)
    assert all(row["split"] == "train" for row in rows if "new" in row["path"] or "moved" in row["path"])
    assert [row["epoch"] for row in rows_of(run / "history.csv")] == ["1", "2", "3"]
    check(here(["finetune", "--resume", str(run)]), 0)


def test_a_picture_in_another_class_is_relabelled_and_stays_in_its_split(paused):
    photos, run = paused
    row = next(row for row in rows_of(run / "splits.csv") if row["split"] == "test")
    name = row["path"].split("/")[1]
    target = next(colour for colour in ("blue", "green", "red") if colour != row["label"])
    (photos / target / "by hand").mkdir()
    os.replace(photos / row["path"], photos / target / "by hand" / name)
    answer = check(here(["finetune", "--resume", str(run)]), 2)
    assert_one_line(answer, f"moved: 1 ({row['path']} -> {target}/by hand/{name})")
    check(here(["finetune", "--resume", str(run), "--accept-data-change"]), 0)
    found = {row["path"]: row for row in rows_of(run / "splits.csv")}
    there = found[f"{target}/by hand/{name}"]
    assert (there["label"], there["split"]) == (target, "test") and row["path"] not in found


def test_a_new_class_is_refused_whatever_is_accepted(paused):
    photos, run = paused
    save(noise(9, 9), photos / "violet" / "1.png")
    answer = check(here(["finetune", "--resume", str(run), "--accept-data-change"]), 1)
    assert_one_line(answer, "violet")


def test_rows_of_a_table(place, tmp_path):
    photos = shutil.copytree(place.folder / "photos", tmp_path / "photos")
    table = tmp_path / "table.csv"
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in sorted(photos.rglob("*.png"))]
    table.write_text("\n".join(["path,label", *rows]) + "\n")
    run = tmp_path / "run"
    check(finetune(table, place.folder / "weights", run, "--epochs", 2, "--max-steps", 1), 0)
    (photos / "red" / "0.png").unlink()
    rows[0] = rows[0].replace(",blue", ",green")
    table.write_text("\n".join(["path,label", *rows]) + "\n")
    answer = check(here(["finetune", "--resume", str(run)]), 2)
    assert_one_line(answer, "deleted: 1 (photos/red/0.png)", "relabelled: 1 (photos/blue/0.png)")
    answer = check(here(["finetune", "--resume", str(run), "--accept-data-change"]), 0)
    found = {row["path"]: row for row in rows_of(run / "splits.csv")}
    assert found["photos/blue/0.png"]["label"] == "green" and "photos/red/0.png" not in found


def test_pictures_beyond_the_few_are_known_too(place, tmp_path):
    photos = shutil.copytree(place.folder / "photos", tmp_path / "photos")
    run = tmp_path / "run"
    words = ["--samples-per-class", 2, "--epochs", 2, "--max-steps", 1]
    check(finetune(photos, place.folder / "weights", run, *words), 0)
    used = {row["path"] for row in rows_of(run / "splits.csv")}
    names = {str(path.relative_to(photos)) for path in photos.rglob("*.png")}
    spare = min(names - used)
    (photos / spare).unlink()
    add(photos)
    answer = check(here(["finetune", "--resume", str(run)]), 2)
    assert_one_line(answer, f"deleted: 1 ({spare})", "added: 1 (green/new.png)")
    check(here(["finetune", "--resume", str(run), "--accept-data-change"]), 0)
    assert {row["path"] for row in rows_of(run / "splits.csv")} == used, "the few stay few"
