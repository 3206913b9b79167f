"""docs/finetuning.md: every piece of Python runs, every command line is understood, every flag exists."""

import importlib.util
import re
import shlex

from minires import cli
from minires.finetune.settings import FIELDS
from tests.cli.helpers import ROOT
from tests.finetune.helpers import make_photos

PAGE = (ROOT / "docs" / "finetuning.md").read_text("utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_every_snippet_runs_in_order_and_every_command_line_is_understood(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_photos(tmp_path / "photos")
    make_photos(tmp_path / "more", colours={"black": (10, 10, 10), "white": (245, 245, 245)})
    names: dict = {}
    for number, block in enumerate(blocks("python"), start=1):
        exec(compile(block, f"docs/finetuning.md, piece {number}", "exec"), names)
    assert (tmp_path / "delta.safetensors").stat().st_size < 100_000
    assert names["record"]["classes"] == names["data"].classes
    assert not names["adapters"].adapters_of(names["again"])
    lines = [shlex.split(line) for block in blocks("sh") for line in block.splitlines()]
    assert len(lines) > 5
    has_onnx = importlib.util.find_spec("onnx") is not None
    for _, *words in lines:
        if words[-1].endswith(".onnx") and not has_onnx:
            assert cli.main([*words, "-q"]) == 1 and "minires[onnx]" in capsys.readouterr().err
            continue
        dry = ["--dry-run", "-b", "8"] if words[0] == "finetune" else []
        assert cli.main([*words, *dry, "-q"]) == 0, (words, capsys.readouterr().err)


def test_every_flag_on_the_page_exists():
    known = {"--" + name.replace("_", "-") for name in FIELDS}
    known |= {"--resume", "--from", "--tta", "--base", "--output", "--compare", "--format", "--folds", "--space"}
    known |= {"--dry-run"}
    flags = set(re.findall(r"(?<![\w-])(--[a-z][a-z0-9-]+)", PAGE))
    assert len(flags) > 20 and sorted(flags - known) == []
