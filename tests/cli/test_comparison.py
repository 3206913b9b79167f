"""`minires finetune --compare`: the table on stdout, the object of --json, interrupted and resumed, wrong use."""

import json
import signal
import subprocess
import time

import pytest

from minires import cli
from tests.cli.helpers import command, environment, minires, tree
from tests.finetune.helpers import make_photos, make_weights

QUICK = ["--weights", "weights", "--samples-per-class", "3", "-b", "8", "--epochs", "2", "--no-progress"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    make_photos(folder / "photos")
    make_weights(folder / "weights")
    return folder


def test_one_table_and_the_next_command(place):
    answer = minires("finetune", "--data", "photos", *QUICK, "--compare", "2", "--output", "run", cwd=place)
    assert answer.returncode == 0, answer.stderr.decode()
    lines = answer.stdout.decode().splitlines()
    assert lines[0] == "mean and standard deviation of 2 seeds (42 to 43)"
    assert lines[1].split() == ["test", "pictures", "(3)", "accuracy", "spread", "seconds", "a", "run"]
    titles = ["before training", "trained from scratch", "head only", "fully fine-tuned"]
    assert [line.strip().startswith(title) for line, title in zip(lines[2:6], titles, strict=True)] == [True] * 4
    assert lines[2].endswith("-") and all(float(line.split()[-1]) > 0 for line in lines[3:6])
    errors = answer.stderr.decode()
    assert errors.count("seed 42") == 4 and errors.count("seed 43") == 3 and "plan " in errors
    words = lines[-1].removeprefix("next:").split()
    assert words == ["minires", "predict", "run/seed-42/full", "PICTURE..."]
    found = minires(*words[1:3], place / "photos" / "red" / "0.png", cwd=place)
    assert found.returncode == 0 and b"red" in found.stdout


def test_json_and_default_folder(place):
    words = ["finetune", "--data", "photos", *QUICK, "--compare", "1", "--json", "-q"]
    answer = minires(*words, cwd=place)
    assert answer.returncode == 0 and answer.stderr == b""
    found = json.loads(answer.stdout)
    assert found["path"] == "runs/compare-resnet20-1" and found["complete"] and found["seeds"] == [42]
    assert [row["spread"] for row in found["table"]] == [None] * 4
    again = minires("finetune", "-c", f"{found['path']}/args.toml", "--output", "again", cwd=place)
    assert again.returncode == 0 and again.stdout.decode().startswith("one seed (42)")


def test_interrupted_and_resumed(place):
    words = ["finetune", "--data", "photos", *QUICK, "--epochs", "300", "--compare", "1", "--output", "slow"]
    process = subprocess.Popen(command(*words), cwd=place, env=environment(), stderr=subprocess.PIPE,
                               stdout=subprocess.PIPE)  # fmt: skip
    history = place / "slow" / "seed-42" / "scratch" / "history.csv"
    deadline = time.monotonic() + 60
    while not (history.exists() and len(history.read_text().splitlines()) > 2) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and out == b""
    kept = history.read_text().splitlines()
    refused = minires("finetune", "--compare", "--resume", "--output", "slow", "--epochs", "5", cwd=place)
    assert refused.returncode == 2 and b"keeps its settings" in refused.stderr
    other = minires("finetune", "--resume", "slow", cwd=place)
    assert other.returncode == 2 and b"--compare" in other.stderr
    assert len(kept) < 300 and history.read_text().splitlines() == kept


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["finetune", "--data", "photos", "--compare", "many"], "number of seeds, got 'many'"),
        (["finetune", "--data", "photos", "--compare", "0"], "1 to 100, got 0"),
        (["finetune", "--compare"], "no data given"),
        (["finetune", "--data", "photos", "--compare", "--freeze", "stem"], "--freeze does not go with --compare"),
        (["finetune", "--data", "nowhere", "--compare", "--weights", "weights"], "no such folder"),
        (["train", "--data", "photos", "--compare"], "no flag --compare"),
    ],
)
def test_wrong_use_creates_nothing(place, capsys, monkeypatch, words, expected):
    monkeypatch.chdir(place)
    before = tree(place)
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and expected in err
    assert tree(place) == before


def test_help_shows_it(place):
    text = minires("finetune", "--help", cwd=place).stdout.decode()
    assert "--compare [SEEDS]" in text and "--samples-per-class 10 --compare" in text
