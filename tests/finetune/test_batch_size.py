"""--batch-size auto, and steps for which there is too little memory."""

import json
import subprocess
import sys

import numpy as np
import pytest

from minires import cli
from minires.errors import MiniresError, UsageError
from minires.finetune import batch_size, finetune, lr_find
from minires.finetune.batch_size import power_of_two
from minires.io import memory
from minires.models.base import ImageModel
from tests.cli.helpers import environment
from tests.finetune.helpers import make_photos, make_weights


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("batch")
    make_photos(place / "photos")
    make_weights(place / "weights")
    return place


def given_settings(place, tmp_path, **more):
    return {"data": str(place / "photos"), "weights": str(place / "weights"), "epochs": 2, "patience": 0,
            "output": str(tmp_path / "run"), **more}  # fmt: skip


@pytest.fixture
def little_memory(monkeypatch):
    """Training with more pictures than `limit` at a time finds no memory; how many were tried is noted."""
    tried = []

    def install(limit):
        forward = ImageModel.forward

        def careful(model, x):
            if model.training:
                tried.append(x.shape[0])
                if x.shape[0] > limit:
                    raise MemoryError("no room")
            return forward(model, x)

        monkeypatch.setattr(ImageModel, "forward", careful)
        return tried

    return install


def test_the_machine_tells_its_memory():
    assert memory.available_memory() > 10_000_000


@pytest.mark.parametrize(("limit", "expected"), [(1, 1), (2.9, 2), (64, 64), (100, 64)])
def test_powers_of_two(limit, expected):
    assert power_of_two(limit) == expected


def test_auto_takes_what_fits_and_leaves_steps_to_make(place, tmp_path, monkeypatch):
    lines = []
    result = finetune(**given_settings(place, tmp_path, batch_size="auto", say=lines.append))
    assert any(line.startswith("batch size 2: about") for line in lines), "27 pictures: ten steps are more important"
    text = (tmp_path / "run" / "args.toml").read_text()
    assert "batch_size = 2\n" in text and "halve_on_oom = true" in text
    assert finetune(output=str(tmp_path / "run"), resume=True, batch_size="auto").history == result.history
    monkeypatch.setattr(batch_size, "STEPS", 1)
    whole = {}
    for room in (10**9, 3 * 10**6):
        monkeypatch.setattr(batch_size, "available_memory", lambda room=room: room)
        finetune(**given_settings(place, tmp_path, batch_size="auto", max_steps=1, overwrite=True))
        whole[room] = int((tmp_path / "run" / "args.toml").read_text().split("\nbatch_size = ")[1].split()[0])
    assert whole[10**9] == 16 and whole[3 * 10**6] < 16


@pytest.mark.parametrize(("room", "message"), [(None, "free memory is not known"), (1000, "two pictures need about")])
def test_auto_that_cannot_be(place, tmp_path, monkeypatch, room, message):
    monkeypatch.setattr(batch_size, "available_memory", lambda: room)
    with pytest.raises(UsageError, match=message):
        finetune(**given_settings(place, tmp_path, batch_size="auto"))
    assert not (tmp_path / "run").exists()


@pytest.mark.fault("no memory for a step", "the error names a batch size to try; rc 1")
def test_without_memory_the_error_says_what_to_try(place, tmp_path, little_memory):
    little_memory(4)
    with pytest.raises(MiniresError, match="out of memory in step 1 with 8 pictures at a time") as caught:
        finetune(**given_settings(place, tmp_path, batch_size=8))
    assert caught.value.code == "memory"
    assert "--batch-size 4 --grad-accum-steps 2, or --batch-size auto" in caught.value.hint
    assert "the estimate was" in caught.value.message


@pytest.mark.fault("no memory for a step, with --batch-size auto", "the step is made in parts, and the run goes on")
@pytest.mark.parametrize(("limit", "parts"), [(4, 4), (3, 2)])
def test_halving_goes_on_to_the_same_weights(place, tmp_path, little_memory, limit, parts):
    """With frozen statistics a batch in parts comes to the whole, up to rounding."""
    same = {"batch_size": 8, "bn": "frozen", "epochs": 2, "opt": "sgd"}
    whole = finetune(**given_settings(place, tmp_path, **same))
    tried = little_memory(limit)
    lines = []
    settings = given_settings(place, tmp_path, **same, halve_on_oom=True, say=lines.append)
    halved = finetune(**{**settings, "output": str(tmp_path / "half")})
    assert max(tried) == 8 and tried.count(8) == 1 and tried.count(parts) > 4
    assert any("out of memory in step 1: from here on 4 pictures" in line for line in lines)
    events = [json.loads(line) for line in (tmp_path / "half" / "events.jsonl").read_text().splitlines()]
    assert [one["pictures_at_a_time"] for one in events if one["event"] == "oom"] == ([4] if limit == 4 else [4, 2])
    for name in ("loss", "val_loss"):
        assert [row[name] for row in halved.history] == pytest.approx([row[name] for row in whole.history], rel=1e-4)


def test_there_is_an_end_to_halving_and_max_steps_counts_once(place, tmp_path, little_memory):
    tried = little_memory(1)
    with pytest.raises(MiniresError, match="with 2 pictures at a time"):
        finetune(**given_settings(place, tmp_path, batch_size=8, halve_on_oom=True))
    assert tried[:3] == [8, 4, 2]


def test_max_steps_counts_the_steps_before_the_halving(place, tmp_path, little_memory):
    little_memory(4)
    result = finetune(**given_settings(place, tmp_path, batch_size=8, halve_on_oom=True, max_steps=3))
    assert result.resumable and np.isfinite(result.after["loss"])
    events = (tmp_path / "run" / "events.jsonl").read_text()
    assert '"step": 3' in events and '"step": 4' not in events


def test_other_commands_take_auto_too(place, capsys):
    words = ["--data", str(place / "photos"), "--weights", str(place / "weights"), "-b", "auto"]
    assert cli.main(["finetune", *words, "--dry-run", "-q"]) == 0
    assert "one batch of 2 pictures" in capsys.readouterr().out
    found = lr_find.lr_find(data=str(place / "photos"), weights=str(place / "weights"), batch_size="auto", steps=10)
    assert len(found.losses) == 10


LIMITED = """
import resource, sys
from minires import cli
from minires.finetune import fitting

plain = fitting.fit_into_memory


def limited(*arguments):
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 120_000_000, -1))
    return plain(*arguments)


fitting.fit_into_memory = limited
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit is read from /proc")
@pytest.mark.fault("a limit on the process's memory (ulimit -v)", "as above: rc 1 and a size to try, or it goes on")
@pytest.mark.parametrize("halved", [False, True])
def test_a_real_limit(tmp_path, halved):
    """A batch of 128 takes some 270 MB, and 120 MB are left."""
    words = [
        "finetune",
        "--data",
        "digits",
        "--samples-per-class",
        "20",
        "-b",
        "128",
        "--epochs",
        "1",
        "--output",
        "run",
    ]
    words += ["--halve-on-oom"] if halved else []
    answer = subprocess.run([sys.executable, "-c", LIMITED, *words], capture_output=True, text=True, cwd=tmp_path,
                            env=environment(), timeout=200, check=False)  # fmt: skip
    assert answer.returncode == (0 if halved else 1), answer.stderr
    expected = "out of memory in step 1: from here on" if halved else "--batch-size 64 --grad-accum-steps 2"
    assert expected in answer.stderr
    assert (tmp_path / "run" / "report.html").exists() == halved
