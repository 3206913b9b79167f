"""What a run prints where: closed pipes, no terminal, dumb and narrow ones, colours, names that are no text, JSON.

tests/cli/test_commands.py has `predict`; here stand the commands that train, on real pseudo-terminals.
"""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.cli.helpers import command, environment
from tests.faults.runs import Place, check, end, here, start

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX"),
]
ESCAPE = "\x1b"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("output") / "place")


def with_bars(place, output, *more):
    return [word for word in place.words(output, *more) if word != "--no-progress"]


def on_a_terminal(words, **variables) -> tuple[int, str]:
    """(exit status, what a terminal as stderr gets)."""
    master, slave = os.openpty()
    quiet = {name: value for name, value in environment(**variables).items() if name not in ("CI", "COLUMNS")}
    process = subprocess.Popen(command(*words), stdout=subprocess.DEVNULL, stderr=slave, env={**quiet, **variables})
    os.close(slave)
    text = b""
    try:
        while part := os.read(master, 65536):
            text += part
    except OSError:  # the other side has been closed: that is how a pseudo-terminal ends
        pass
    finally:
        os.close(master)
    return process.wait(30), text.decode().replace("\r\n", "\n")


def test_a_narrow_terminal(place, tmp_path):
    status, text = on_a_terminal(with_bars(place, tmp_path / "run"), TERM="xterm", COLUMNS="20")
    bars = [part for line in text.split("\n") for part in line.split("\r")[:-1]]
    assert status == 0 and len(bars) > 3 and max(map(len, bars)) <= 20
    assert [line.split("\r")[-1][:9] for line in text.split("\n") if "val_loss" in line] == [
        f"epoch {epoch}/4" for epoch in (1, 2, 3, 4)]  # fmt: skip


@pytest.mark.parametrize(
    "variables",
    [{"TERM": "dumb"}, pytest.param({"TERM": "xterm", "CI": "true"}, marks=pytest.mark.slow)],
    ids=["dumb", "CI"],
)
def test_terminals_that_show_no_bars(place, tmp_path, variables):
    status, text = on_a_terminal(with_bars(place, tmp_path / "run"), **variables)
    assert status == 0 and "\r" not in text and ESCAPE not in text and text.count("val_loss") == 4


@pytest.mark.parametrize(
    ("variables", "terminal", "coloured"),
    [
        ({"TERM": "xterm"}, True, True), ({"TERM": "xterm"}, False, False), ({"TERM": "dumb"}, True, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False), ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "0"}, False, False), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
    ],
)  # fmt: skip
def test_colours(place, variables, terminal, coloured):
    words = ["finetune", "--epocs", "1"]
    if terminal:
        status, text = on_a_terminal(words, **variables)
    else:
        answer = end(start(words, **variables))
        status, text = answer.status, answer.err
    assert status == 2 and (ESCAPE in text) == coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", text).startswith("minires: error: no flag --epocs")


def test_log_txt_is_what_was_shown(place, tmp_path):
    run = tmp_path / "run"
    answer = check(here(place.words(run, "--max-steps", 3, "--log-interval", 1)), 0)
    logged = [line.split(" ", 1)[1] for line in (run / "log.txt").read_text().splitlines()]
    assert logged == [line for line in (answer.err + answer.out).splitlines() if line]
    assert sum("step 1/2" in line or "step 2/2" in line for line in logged) == 3
    answer = check(here(["finetune", "--resume", str(run), "--no-progress"]), 0)
    more = [line.split(" ", 1)[1] for line in (run / "log.txt").read_text().splitlines()][len(logged) :]
    assert more == [line for line in (answer.err + answer.out).splitlines() if line]
    assert all(
        re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", line) for line in (run / "log.txt").read_text().splitlines()
    )


@pytest.mark.fault("stdout closed early", "no traceback, the run is whole")
@pytest.mark.parametrize("words", [["finetune"], ["evaluate"], ["doctor"], ["--help"], ["finetune", "--help"]],
                         ids=" ".join)  # fmt: skip
def test_a_closed_pipe_is_no_fault(place, tmp_path, words):
    if words == ["finetune"]:
        words = place.words(tmp_path / "run", "--epochs", 1)
    elif words == ["evaluate"]:
        place.whole()
        words = ["evaluate", str(place.folder / "whole")]
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(command(*words), stdout=writer, stderr=subprocess.PIPE, env=environment())
    os.close(writer)
    _, err = process.communicate(timeout=40)
    assert process.returncode in ((0, 1) if words == ["doctor"] else (0,)) and b"Traceback" not in err
    assert b"BrokenPipe" not in err and b"Exception" not in err


@pytest.mark.fault("stdout is a full disk, or closed from the start", "one line, exit status 1; closed: no fault")
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("words", [["doctor", "--json"], ["summary", "resnet20"], ["--help"]], ids=" ".join)
def test_a_full_or_closed_stdout(words):
    with open("/dev/full", "wb") as full:
        answer = subprocess.run(command(*words), stdout=full, stderr=subprocess.PIPE, env=environment(), check=False,
                                timeout=60)  # fmt: skip
    assert answer.returncode == 1
    assert answer.stderr == b"minires: error: cannot write the results to stdout: No space left on device\n"
    closed = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *command(*words)], stderr=subprocess.PIPE,
                            env=environment(), check=False, timeout=60)  # fmt: skip
    assert closed.returncode in ((0, 1) if words[0] == "doctor" else (0,)) and b"Traceback" not in closed.stderr


@pytest.mark.fault("file names that are no text", "nothing fails; JSON stays strict")
@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes")
def test_names_that_are_no_text(place, tmp_path):
    photos = os.fsencode(tmp_path / "photos")
    for name in (b"caf\xe9", "naïve".encode(), b"plain"):
        os.makedirs(os.path.join(photos, name))
        for index in range(5):
            source = place.folder / "photos" / "red" / f"{index}.png"
            with open(os.path.join(photos, name, b"%d \xff.png" % index), "wb") as file:
                file.write(source.read_bytes())
    words = ["finetune", "--data", tmp_path / "photos", "--weights", place.folder / "weights", "--epochs", "1",
             "-b", "4", "--output", tmp_path / "run", "--json"]  # fmt: skip
    answer = end(start([str(word) for word in words], LANG="C", LC_ALL="C", PYTHONIOENCODING="ascii"))
    check(answer, 0)
    assert "Traceback" not in answer.err and "caf" in answer.err
    assert json.loads(answer.out)["status"] == "done"
    check(end(start(["finetune", "--resume", str(tmp_path / "run")], LANG="C", LC_ALL="C")), 0)
    listed = (tmp_path / "run" / "splits.csv").read_bytes()
    assert b"caf" in listed and listed.count(b"\n") == 16
    picture = os.path.join(photos, b"caf\xe9", b"0 \xff.png")
    found = subprocess.run([*command("predict", str(tmp_path / "run")), picture], capture_output=True, check=False,
                           env=environment(LANG="C", LC_ALL="C"), timeout=40)  # fmt: skip
    assert found.returncode == 0 and b"Traceback" not in found.stderr


def strict(text: str) -> dict:
    """JSON without NaN and Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} in JSON")

    return json.loads(text, parse_constant=refuse)


def test_figures_that_do_not_exist_are_null(place, tmp_path):
    """R^2 of one test picture is 0/0; recall of a class without pictures, too."""
    pictures = sorted((place.folder / "photos").rglob("*.png"))
    rows = [f"{path},{index % 5},{'test' if index == 0 else 'train'}" for index, path in enumerate(pictures)]
    table = tmp_path / "numbers.csv"
    table.write_text("\n".join(["path,label,split", *rows]) + "\n")
    words = ["finetune", "--data", table, "--task", "regression", "--weights", place.folder / "weights", "--epochs", 1,
             "-b", 6, "--output", tmp_path / "run", "--json", "-q"]  # fmt: skip
    answer = check(here([str(word) for word in words]), 0)
    found = strict(answer.out)
    assert answer.err == "" and found["after"]["r2"] is None and found["after"]["samples"] == 1
    shown = check(here(["finetune", "--resume", str(tmp_path / "run")]), 0)
    assert re.search(r"after .* -$", shown.out, re.MULTILINE)


def test_every_json_is_one_strict_object(place, tmp_path):
    for words, status in (
        (place.words(tmp_path / "run", "--epochs", 1), 0), (place.words(tmp_path / "dry", "--dry-run"), 0),
        (["evaluate", str(tmp_path / "run")], 0), (place.words(tmp_path / "run"), 2), (["finetune", "--lr"], 2),
        (["train", "--data", str(tmp_path / "nowhere")], 2),
    ):  # fmt: skip
        answer = check(here([*words, "--json"]), status)
        found = strict(answer.out)
        assert isinstance(found, dict) and ("error" in found) == bool(status)
        if status:
            assert set(found["error"]) == {"code", "message", "file", "hint"} and found["error"]["code"]


def test_a_run_that_fails_says_so_in_json(place, tmp_path):
    words = place.words(tmp_path / "run", "--opt", "sgd", "--lr", "1e30", "--warmup-epochs", 0, "--json")
    answer = check(here(words), 1)
    error = strict(answer.out)["error"]
    assert error["code"] == "numerics.not_finite" and "--lr" in error["hint"]
