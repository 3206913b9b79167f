"""docs/features.md: every piece of Python runs, every command line is understood, every flag exists."""

import re
import shlex

from minires import cli
from minires.finetune.settings import FIELDS
from tests.cli.helpers import ROOT
from tests.finetune.helpers import make_photos

PAGE = (ROOT / "docs" / "features.md").read_text("utf-8")
OTHERS = {"--output", "--topk", "--nearest", "--recursive", "--embeddings"}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_every_snippet_runs_and_every_command_line_is_understood(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_photos(tmp_path / "photos")
    make_photos(tmp_path / "new", per_class=4, colours={"yellow": (220, 210, 30), "black": (15, 15, 20)})
    names: dict = {}
    for number, block in enumerate(blocks("python"), start=1):
        exec(compile(block, f"docs/features.md, piece {number}", "exec"), names)
    assert names["more"].classes == ["blue", "green", "red", "black", "yellow"]
    assert len(names["gallery"].names) == 36
    lines = [shlex.split(line) for block in blocks("sh") for line in block.splitlines()]
    assert len(lines) > 6
    for _, *words in lines:
        short = ["--epochs", "1", "-b", "8"] if words[0] == "finetune" else []
        assert cli.main([*words, *short, "-q"]) == 0, (words, capsys.readouterr().err)
    assert (tmp_path / "alike.npz").exists()


def test_every_flag_on_the_page_exists():
    known = {"--" + name.replace("_", "-") for name in FIELDS} | OTHERS
    flags = set(re.findall(r"(--[a-z][a-z0-9-]+)", PAGE))
    assert len(flags) > 8 and sorted(flags - known) == []


def test_the_tables_of_the_example_have_its_classes():
    rows = re.findall(r"^\| (\w+) \| (\d\.\d+) \| (\d\.\d+) \|$", PAGE, re.MULTILINE)
    assert [name for name, _, _ in rows] == ["background", "disc", "square", "star", "cross", "mean"]
