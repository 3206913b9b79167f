"""docs/explaining.md: every piece of Python runs, every command line does, every flag exists."""

import contextlib
import io
import re
import shlex

import pytest

from minires import cli
from tests.cli.helpers import ROOT
from tests.finetune.helpers import make_photos

PAGE = (ROOT / "docs" / "explaining.md").read_text("utf-8")


def test_everything_on_the_page_runs_in_its_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_photos(tmp_path / "photos", per_class=6)
    names: dict = {}
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 10
    for number, (language, block) in enumerate(blocks, start=1):
        if language == "python":
            exec(compile(block, f"docs/explaining.md, piece {number}", "exec"), names)
            continue
        for line in block.splitlines():
            program, *words = shlex.split(line)
            assert program == "minires" and cli.main([*words, "-q"]) == 0, (line, capsys.readouterr().err)
    assert (tmp_path / "runs" / "photos" / "report.html").stat().st_size < 2_000_000
    assert list((tmp_path / "runs" / "logged" / "tensorboard").iterdir())


def test_every_flag_on_the_page_exists():
    known = {"--logdir"}  # TensorBoard's own
    for command in ("finetune", "search", "lr-find", "report", "explain"):
        text = io.StringIO()
        with contextlib.redirect_stdout(text), pytest.raises(SystemExit):
            cli.main([command, "--help"])
        known |= set(re.findall(r"--[a-z][a-z0-9-]+", text.getvalue()))
    flags = set(re.findall(r"(?<![-\w])--[a-z][a-z0-9-]+", PAGE))
    assert len(flags) > 15 and sorted(flags - known) == []
