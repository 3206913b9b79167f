"""The studies of examples/evidence run; docs/evidence.md says what they printed, and no other figure."""

import json
import re
import runpy
import sys

import pytest

from tests.cli.helpers import ROOT

FOLDER, DOCS = ROOT / "examples" / "evidence", ROOT / "docs" / "evidence"
STUDIES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "common")
PAGE = (ROOT / "docs" / "evidence.md").read_text("utf-8")
# name -> its part of the page, which begins with a heading and names the script
SECTIONS = {name: part for name in STUDIES for part in PAGE.split("\n## ") if f"evidence/{name}.py" in part}


@pytest.fixture
def common(monkeypatch):
    """The helper module, as the scripts find it."""
    monkeypatch.syspath_prepend(FOLDER)
    yield runpy.run_path(str(FOLDER / "common.py"))
    sys.modules.pop("common", None)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_runs(name, common, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--quick", "--output", str(tmp_path)])
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    text = (tmp_path / f"{name}.txt").read_text("utf-8")
    assert text in capsys.readouterr().out and "±" in text
    assert (tmp_path / f"{name}.svg").read_text("utf-8").rstrip().endswith("</svg>")
    record = json.loads((tmp_path / f"{name}.json").read_text("utf-8"))
    assert record["quick"] and record["seeds"] == 1 and record["measured"]


def test_there_are_five_studies_and_a_section_for_each():
    assert len(STUDIES) == 5 and sorted(SECTIONS) == STUDIES


@pytest.mark.parametrize("name", STUDIES)
def test_the_page_quotes_what_was_printed(name, common):
    text = (DOCS / f"{name}.txt").read_text("utf-8")
    record = json.loads((DOCS / f"{name}.json").read_text("utf-8"))
    assert not record["quick"] and record["seeds"] >= 3
    assert text == "\n".join(common["table"](title, rows) for title, rows in record["tables"])
    section = SECTIONS[name]
    assert f"```text\n{text}```" in section and f"(evidence/{name}.svg)" in section
    assert (DOCS / f"{name}.svg").read_text("utf-8").startswith("<?xml")


@pytest.mark.parametrize("name", STUDIES)
def test_every_figure_in_the_words_is_one_of_the_table(name):
    text = (DOCS / f"{name}.txt").read_text("utf-8")
    words = SECTIONS[name].replace(text, "")
    figures = re.findall(r"\b\d+\.\d+\b", words)
    assert figures and [figure for figure in figures if not re.search(rf"\b{re.escape(figure)}\b", text)] == []


def test_a_table_has_aligned_columns(common):
    made = common["table"]("What", [("name", "a", "bcd"), ("x", "1.0", "2"), ("longer", "12.5", "345")])
    assert made.splitlines() == [
        "What", "", "name       a  bcd", "-----------------", "x        1.0    2", "longer  12.5  345",
    ]  # fmt: skip


def test_means_and_deviations(common):
    assert common["spread"]([1.0, 2.0, 3.0]) == "2.0 ± 1.0" and common["band"]([1.0, 2.0, 3.0]) == (1.0, 3.0)
    assert common["spread"]([5.0]) == "5.0 ± 0.0" and common["band"]([5.0]) == (5.0, 5.0)


def test_the_few_digits_are_few_balanced_and_not_among_the_test_digits(common):
    train, test = common["few_digits"](3, seed=1, test=50)
    assert sorted(train.targets) == sorted([*range(10)] * 3) and len(test) == 50
    again, _ = common["few_digits"](3, seed=1, test=50)
    assert (again.images == train.images).all()
    assert not {image.tobytes() for image in train.images} & {image.tobytes() for image in test.images}
