"""Checkpoints cut short or with a flipped bit: found by the checksum, passed over with a warning, never overwritten."""

import pathlib
import shutil

import pytest

from minires.io import checkpoint
from tests.faults import runs
from tests.faults.leaks import nothing_left

LAST = runs.EPOCHS * runs.STEPS


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    found = runs.Place(tmp_path_factory.mktemp("damage") / "place")
    found.whole()
    runs.check(runs.here(found.words(found.folder / "paused", "--max-steps", LAST - 1)), 0)
    return found


def damaged(content: bytes, stride: int):
    """The content cut short at each `stride` KB, and with one bit flipped in each 4 * `stride` KB."""
    for length in range(0, len(content), stride * 1024):
        yield content[:length]
    for position in range(0, len(content), stride * 4096):
        flipped = bytearray(content)
        flipped[min(position + position // 4096 % 4096, len(content) - 1)] ^= 1 << position // 4096 % 8
        yield bytes(flipped)


def passed_over(folder: pathlib.Path, stride: int) -> int:
    """How many kinds of damage of the newest checkpoint were found; the previous one must be used each time."""
    newest, older = checkpoint.list_checkpoints(folder)
    content, count = pathlib.Path(newest).read_bytes(), 0
    try:
        for wrong in damaged(content, stride):
            pathlib.Path(newest).write_bytes(wrong)
            warnings: list[str] = []
            found = checkpoint.newest_valid(folder, warnings.append)
            assert found is not None and found.path == older and len(warnings) == 1 and newest in warnings[0]
            count += 1
    finally:
        pathlib.Path(newest).write_bytes(content)
    return count


PROMISE = "the checksum names the file, a warning says so, the previous checkpoint is used"


@pytest.mark.fault("the newest checkpoint cut at each 50th KB, a bit flipped in each 200 KB (the whole: each)", PROMISE)
def test_some_damage(place):
    assert passed_over(place.folder / "paused" / "checkpoints", 50) > 20


@pytest.mark.slow
@pytest.mark.fault("the newest checkpoint cut at each KB, one bit flipped in each 4 KB", PROMISE)
def test_damage_everywhere(place, record_property):
    count = passed_over(place.folder / "paused" / "checkpoints", 1)
    record_property("figures", f"{count} damaged files, all found")
    assert count > 1000


@pytest.mark.fault("--resume where the newest checkpoint is damaged", PROMISE + "; the run ends in equal bits")
def test_resume_from_the_previous_one(place):
    output = shutil.copytree(place.folder / "paused", place.folder / "one")
    newest, _ = checkpoint.list_checkpoints(output / "checkpoints")
    pathlib.Path(newest).write_bytes(pathlib.Path(newest).read_bytes()[:-1])
    with nothing_left(output):
        answer = runs.check(runs.here(["finetune", "--resume", str(output)]), 0)
    assert newest in (output / "log.txt").read_text()
    assert f"warning: checkpoint passed over: {newest}" in answer.err, answer.err
    runs.assert_equal(output, place.whole())


@pytest.mark.fault(
    "--resume where all checkpoints are damaged",
    "exit status 1, one line; nothing is overwritten, nothing starts over",
)
def test_all_damaged(place):
    output = shutil.copytree(place.folder / "paused", place.folder / "all")
    for path in checkpoint.list_checkpoints(output / "checkpoints"):
        pathlib.Path(path).write_bytes(pathlib.Path(path).read_bytes()[:-1])
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    with nothing_left(output):
        answer = runs.here(["finetune", "--resume", str(output)])
    assert answer.status == 1 and "none of the 2 checkpoints can be read" in answer.err
    for path, content in before.items():
        if path.name in ("log.txt", "events.jsonl", ".lock"):  # which tell of the attempt
            assert path.read_bytes().startswith(content)
        else:
            assert path.read_bytes() == content
    assert {path for path in output.rglob("*") if path.is_file()} == set(before)
