"""Files for TensorBoard: the format by hand, and as TensorBoard itself reads it."""

import importlib.util
import json
import struct
import subprocess
import sys

import pytest

from minires.finetune import finetune
from minires.io.event_files import EventFile, crc32c, masked_crc, record
from tests.finetune.helpers import make_photos, make_weights


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that paused once and went on."""
    place = tmp_path_factory.mktemp("tensorboard")
    settings = {"data": str(make_photos(place / "photos")), "weights": str(make_weights(place / "weights")),
                "epochs": 3, "batch_size": 8, "output": str(place / "run"), "tensorboard": True,
                "log_interval": 2}  # fmt: skip
    assert finetune(**settings, max_steps=5).resumable
    return place / "run", finetune(output=str(place / "run"), resume=True)


@pytest.mark.parametrize(("data", "crc"), [(b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA),
                                           (b"\xff" * 32, 0x62A8AB43)])  # fmt: skip
def test_the_checksum_is_that_of_rfc_3720(data, crc):
    assert crc32c(data) == crc


def records(path):
    """The contents of all records of a file; every checksum is looked at."""
    data, found = path.read_bytes(), []
    while data:
        length, check = struct.unpack("<QI", data[:12])
        content, rest = data[12 : 12 + length], data[12 + length :]
        assert masked_crc(data[:8]) == check and masked_crc(content) == struct.unpack("<I", rest[:4])[0]
        found.append(content)
        data = rest[4:]
    return found


def test_the_bytes_of_a_file(tmp_path):
    file = EventFile(str(tmp_path / "a" / "b"), step=300, clock=lambda: 1.5)
    file.scalars(301, {"val/loss": 0.5})
    when = b"\x09" + struct.pack("<d", 1.5)
    assert records(tmp_path / "a" / "b" / "events.out.tfevents.0000000001.minires") == [
        when + b"\x1a\x0dbrain.Event:2", when + b"\x10\xac\x02\x3a\x02\x08\x01",
        when + b"\x10\xad\x02\x2a\x11\x0a\x0f\x0a\x08val/loss\x15" + struct.pack("<f", 0.5),
    ]  # fmt: skip
    assert EventFile(str(tmp_path / "a" / "b")).path.endswith("0000000002.minires")
    assert len(record(b"abc")) == 19


def test_a_run_writes_one_file_each_time_it_goes_on(run):
    folder, result = run
    files = sorted((folder / "tensorboard").iterdir())
    assert len(files) == 2 and all(records(path) for path in files)
    assert len(records(files[0])) == 2 + 1 + 2 and result.status == "done", "start, an epoch, steps 2 and 4"


READ = """
import json, sys, warnings
warnings.simplefilter("ignore")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
found = EventAccumulator(sys.argv[1])
found.Reload()
print(json.dumps({tag: [(one.step, one.value) for one in found.Scalars(tag)] for tag in found.Tags()["scalars"]}))
"""


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_reads_the_history(run):
    folder, result = run
    words = [sys.executable, "-c", READ, str(folder / "tensorboard")]
    answer = subprocess.run(words, capture_output=True, text=True, timeout=90, check=False)
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout.splitlines()[-1])
    assert set(found) == {
        "train/loss",
        "train/accuracy",
        "train/lr",
        "val/loss",
        "val/accuracy",
        "step/loss",
        "step/lr",
    }
    for tag, column in (("train/loss", "loss"), ("val/accuracy", "val_accuracy")):
        assert [step for step, _ in found[tag]] == [row["step"] for row in result.history]
        assert [value for _, value in found[tag]] == pytest.approx([row[column] for row in result.history], rel=1e-6)


def test_overwriting_a_run_takes_the_files_away(run):
    folder, _ = run
    finetune(data=str(folder.parent / "photos"), weights=str(folder.parent / "weights"), epochs=1, batch_size=8,
             output=str(folder), overwrite=True)  # fmt: skip
    assert list((folder / "tensorboard").iterdir()) == []
