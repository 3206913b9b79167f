"""The commands as a user types them: what goes to stdout, what to stderr, and the exit status."""

import configparser
import csv
import importlib.metadata
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from minires import cli, models
from minires.cli import doctor
from minires.cli.doctor import EXTRAS
from minires.cli.job import GROUPS, best_epoch
from minires.cli.options import NOT_BUILT, OTHER_NAMES
from minires.data import preset_eval
from minires.finetune.settings import FIELDS
from minires.io import model_directory
from minires.version import __version__
from tests.cli.helpers import command, environment, minires


def run(capsys, *words):
    """(exit status, stdout, stderr) of a command line in this process."""
    status = cli.main([str(word) for word in words])
    out, err = capsys.readouterr()
    return status, out, err


def test_version_and_help(capsys):
    assert run(capsys, "--version") == (0, f"minires {__version__}\n", "")
    status, out, err = run(capsys, "--help")
    assert (status, err) == (0, "") and all(name in out for name in cli.COMMANDS) and "examples:" in out
    assert run(capsys)[0] == 2


@pytest.mark.skipif(sys.platform == "win32", reason="the time of children is not told there")
def test_help_answers_at_once():
    """In processor time: the clock on the wall also counts what else the machine is doing."""
    seconds = []
    for _ in range(4):
        before = os.times()
        assert minires("--help").returncode == 0
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(seconds) < 0.5, seconds


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_help_of_a_command(capsys, name):
    with pytest.raises(SystemExit) as end:
        cli.main([name, "--help"])
    out, err = capsys.readouterr()
    assert end.value.code in (0, None) and err == "" and "examples:" in out and f"minires {name}" in out
    flags = set(re.findall(r"--[a-z][a-z-]+", out))
    own = {"--num-classes"} if name == "summary" else set()  # elsewhere it follows from the data
    assert not flags & (set(NOT_BUILT) | set(OTHER_NAMES)) - own, "help speaks of flags that are refused"


def test_every_setting_has_its_flag_and_every_alias_is_shown(capsys):
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(FIELDS)
    with pytest.raises(SystemExit):
        cli.main(["finetune", "--help"])
    out = capsys.readouterr().out
    for name, field in FIELDS.items():
        for flag in ("--" + name.replace("_", "-"), *field.metadata["aliases"]):
            assert re.search(rf"{flag}\b", out), flag


def test_streams_of_a_run(finished):
    _, answer = finished
    out, err = answer.stdout.decode(), answer.stderr.decode()
    assert out.startswith("done: all epochs")
    names = " +".join(("top1", "balanced_acc", "macro_f1", "loss"))
    assert re.search(rf"test pictures \(\d+\) +{names}\n +before +0\.\d+.*\n +after +[01]\.\d+", out)
    assert "next:       minires predict run PICTURE..." in out and "model:      run/model" in out
    assert "data     photos" in err and "plan     4 epochs" in err and "output   run" in err
    assert "\r" not in err and "\x1b" not in err and "Traceback" not in err
    assert sum(line.lstrip().startswith("epoch") for line in err.splitlines()) >= 4


def test_a_run_whose_figure_was_never_defined_says_which_weights_it_kept():
    result = SimpleNamespace(best_epoch=0, epochs_done=7)
    assert best_epoch(result) == "none had a figure to choose by (--eval-metric): the model is that of epoch 7"
    assert best_epoch(SimpleNamespace(best_epoch=3, epochs_done=7)) == "3 of 7"


def test_json_of_a_run(finished):
    place, _ = finished
    answer = minires("finetune", "--resume", "run", "--json", "-q", cwd=place)
    found = json.loads(answer.stdout, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert answer.returncode == 0 and answer.stderr == b""
    assert found["status"] == "done" and found["after"]["samples"] == 3 and found["path"] == "run"


def test_a_run_from_its_own_args(finished, tmp_path):
    place, _ = finished
    answer = minires("finetune", "-c", "run/args.toml", "--output", tmp_path / "again", "-q", cwd=place)
    assert answer.returncode == 0, answer.stderr
    for name in ("history.csv", "model/model.safetensors", "splits.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (place / "run" / name).read_bytes()


def test_evaluate(finished, capsys, monkeypatch):
    place, _ = finished
    monkeypatch.chdir(place)
    status, out, err = run(capsys, "evaluate", "run", "-b", "8", "--json")
    figures = json.loads(out)
    assert status == 0 and err == ""
    assert figures["metrics"] == json.loads((place / "run" / "metrics.json").read_text())["after"]
    status, out, _ = run(capsys, "evaluate", "run/model", "--data", "photos", "--split", "val")
    assert status == 0 and "split val" in out and re.search(r"red +\d", out) and "note:" not in out


def test_evaluate_says_what_a_figure_is_worth(finished, capsys, monkeypatch, tmp_path):
    """A model folder alone does not say which pictures it has seen; a folder without splits is measured as a whole."""
    pytest.importorskip("sklearn")
    place, _ = finished
    monkeypatch.chdir(tmp_path)
    model_directory.save(models.resnet20(num_classes=10), "model", preset_eval((8, 8), None).to_config(),
                         [str(digit) for digit in range(10)])  # fmt: skip
    status, out, _ = run(capsys, "evaluate", "model", "--data", "digits")
    assert status == 0 and "note: nothing says which digits model was trained on" in out and "seed 42" in out
    monkeypatch.chdir(place)
    status, out, _ = run(capsys, "evaluate", "run", "--data", "photos/../photos", "--json")
    assert status == 0 and json.loads(out)["notes"] == []
    shutil.copytree("photos", tmp_path / "others")
    status, out, _ = run(capsys, "evaluate", "run", "--data", tmp_path / "others", "--split", "val", "--json")
    assert json.loads(out)["notes"] == [f"all pictures of {tmp_path / 'others'} are measured: it has no folder val"]
    table = tmp_path / "all.csv"
    table.write_text(f"path,label\n{place / 'photos/red/1.png'},red\n{place / 'photos/blue/1.png'},blue\n")
    status, out, _ = run(capsys, "evaluate", "run", "--data", table)
    assert status == 0 and f"note: all pictures of {table} are measured: it has no column split" in out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["evaluate", "nowhere"], "no model nowhere"),
        (["evaluate", "photos"], "photos is no model"),
        (["evaluate", "run", "--split", "exam"], "--split is one of train, val, test"),
        (["evaluate", "weights"], "give --data"),
        (["evaluate", "run", "--data", "nowhere"], "no such folder"),
        (["predict", "run", "nowhere.png"], "no such picture: nowhere.png"),
        (["predict", "run", "photos"], "--recursive"),
        (["predict", "run", "photos/red", "--topk", "0"], "--topk must be"),
        (["predict", "run", "photos/red", "--format", "xml"], "--format is one of"),
        (["predict", "run", "photos/red", "--output", "no/where.csv"], "there is no folder no"),
    ],
)
def test_wrong_use(finished, capsys, monkeypatch, words, expected):
    place, _ = finished
    monkeypatch.chdir(place)
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "") and expected in err and len(err.splitlines()) == 1


def test_formats_of_predictions(finished, capsys, monkeypatch):
    place, _ = finished
    monkeypatch.chdir(place)
    picture = "photos/red/3.png"
    _, table, _ = run(capsys, "predict", "run", picture)
    assert re.fullmatch(r"photos/red/3\.png: (\w+ \d+\.\d%( {2})?){3}\n", table)
    _, text, _ = run(capsys, "predict", "run", picture, "--format", "csv", "--topk", "2")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == ["path", "label", "prob", "label_2", "prob_2"] and rows[0]["path"] == picture
    _, text, _ = run(capsys, "predict", "run", picture, "--json")
    (record,) = json.loads(text)
    assert record["path"] == picture and record["predictions"][0]["label"] == rows[0]["label"]
    assert [f"{answer['prob']:.6f}" for answer in record["predictions"]][:2] == [rows[0]["prob"], rows[0]["prob_2"]]
    _, text, _ = run(capsys, "predict", "run", picture, "photos/blue", "--format", "jsonl")
    assert len([json.loads(line) for line in text.splitlines()]) == 13


def test_paths_on_stdin_and_an_output_file(finished):
    place, _ = finished
    names = b"photos/red/1.png\nphotos/blue/2.png\n"
    answer = minires("predict", "run", "-", "--format", "csv", "--output", "labels.csv", cwd=place, stdin=names)
    assert answer.returncode == 0 and answer.stdout == b"" and b"2 answers written to labels.csv" in answer.stderr
    rows = csv.DictReader((place / "labels.csv").read_text().splitlines())
    assert [row["path"] for row in rows] == names.decode().split()
    assert b"no paths on stdin" in minires("predict", "run", "-", cwd=place, stdin=b"").stderr


def test_one_unreadable_picture_does_not_stop_the_rest(finished, tmp_path):
    place, _ = finished
    (tmp_path / "torn.png").write_bytes((place / "photos" / "red" / "1.png").read_bytes()[:60])
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    words = ["predict", "run", "photos/red/1.png", tmp_path, "photos/blue/1.png", "--json"]
    answer = minires(*words, cwd=place)
    records = json.loads(answer.stdout)
    assert answer.returncode == 3 and len(records) == 4
    assert [("error" in record) for record in records] == [False, True, True, False]
    assert records[1]["error"]["code"] == "data.unreadable_image"
    assert b"torn.png" in answer.stderr and b"2 of 4 pictures could not be read" in answer.stderr
    assert b"Traceback" not in answer.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes")
def test_a_name_that_is_no_text(finished, tmp_path):
    place, _ = finished
    name = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    with open(name, "wb") as file:
        file.write((place / "photos" / "red" / "1.png").read_bytes())
    answer = minires("predict", "run", tmp_path, cwd=place, PYTHONIOENCODING="utf-8")
    assert answer.returncode == 0 and b"caf\xe9.png: " in answer.stdout and b"Traceback" not in answer.stderr
    answer = minires("predict", "run", tmp_path, "--json", cwd=place, LANG="C", LC_ALL="C", PYTHONIOENCODING="ascii")
    assert answer.returncode == 0 and json.loads(answer.stdout)[0]["path"].endswith("caf\udce9.png")


def test_stdout_closed_early(finished):
    place, _ = finished
    words = command("predict", "run", "photos", "--recursive", "--format", "csv", "-b", "1")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, cwd=place, env=environment(), **pipes) as process:
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(60) == 0 and err == b""


def test_doctor(capsys):
    status, out, err = run(capsys, "doctor", "--json")
    facts = json.loads(out)
    assert status == (1 if facts["problems"] else 0) and err == ""
    assert facts["minires"] == __version__ and "numpy" in facts["packages"] and isinstance(facts["notes"], list)
    _, out, _ = run(capsys, "doctor")
    assert all(word in out for word in ("Python", "BLAS", "GPU", "cache", "CPU"))


def test_the_doctor_names_every_extra_and_what_it_is_for(capsys, monkeypatch):
    known = configparser.ConfigParser()
    known.read(pathlib.Path(cli.__file__).parents[2] / "setup.cfg")
    listed = dict(known["options.extras_require"])
    for name, (_, packages) in EXTRAS.items():
        assert [line.partition(">")[0] for line in listed[name].split()] == list(packages), name
    monkeypatch.setattr("importlib.metadata.version", lambda package: {"onnx": "1.20.0"}[package] if package == "onnx"
                        else missing(package))  # fmt: skip
    assert doctor.extra(["onnx"]) == {"onnx": "1.20.0"} and doctor.extra(["scikit-learn"]) is None
    monkeypatch.undo()
    monkeypatch.setattr(doctor, "extra", lambda packages: {"onnx": "1.20.0"} if packages == ("onnx",) else None)
    _, out, _ = run(capsys, "doctor")
    assert "[onnx]       minires export to .onnx: onnx 1.20.0" in out
    assert '[digits]     --data digits: not installed: pip install "minires[digits]"' in out


def missing(package):
    raise importlib.metadata.PackageNotFoundError(package)


@pytest.mark.parametrize(
    ("core", "flags", "wrong"),
    [
        ("Haswell", {"avx2", "avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"}, "SkylakeX"),
        ("SkylakeX", {"avx2", "avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"}, None),
        ("Haswell", {"avx2"}, None),
        ("Prescott", {"avx2"}, "Haswell"),
        ("Haswell", {"avx2", "avx512f"}, None),
        ("neoversen1", set(), None),
    ],
)
def test_the_doctor_knows_good_kernels_from_bad(core, flags, wrong):
    from minires.cli.doctor import blas_verdict

    verdict = blas_verdict([core], flags)
    assert (verdict is None) if wrong is None else (wrong in verdict)


def test_the_doctor_names_a_cache_that_cannot_be_made(capsys, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINIRES_HOME", str(tmp_path / "file" / "cache"))
    status, out, _ = run(capsys, "doctor")
    assert status == 1 and "problem: the cache folder" in out


def test_gradcheck(capsys):
    status, out, err = run(capsys, "gradcheck", "--only", "relu")
    assert status == 0 and err == "" and "relu" in out and "ok" in out
