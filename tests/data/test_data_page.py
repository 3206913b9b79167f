"""docs/data.md: every piece of Python runs, in its order, and every name on the page exists."""

import re

from minires import data
from minires.data import datasets, transforms
from tests.cli.helpers import ROOT

PAGE = (ROOT / "docs" / "data.md").read_text("utf-8")


def test_every_piece_runs():
    names: dict = {}
    pieces = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(pieces) >= 4
    for number, piece in enumerate(pieces, start=1):
        exec(compile(piece, f"docs/data.md, piece {number}", "exec"), names)


def test_every_name_exists():
    plain = re.sub(r"^```python\n.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    words = {word for code in re.findall(r"`([^`]+)`", plain) for word in re.findall(r"[A-Z][A-Za-z0-9]+", code)}
    places = (data, datasets, transforms, transforms.v2)
    known = {"CLASS", "N", "C", "H", "W", "Dataset"}
    missing = [word for word in sorted(words - known) if not any(hasattr(place, word) for place in places)]
    assert len(words) > 30 and missing == []
