"""Torch files and archives made to harm are refused: soon, in little memory, and without a single act."""

import json
import pathlib
import pickle
import re
import subprocess
import sys

import pytest

from minires.errors import FileFormatError
from minires.io import torch_file, unpickle
from minires.io.pickle_names import Global, Placeholder
from tests.io.hostile import call, cases, name, row, text, torch_zip

pytestmark = pytest.mark.timeout(120)

ROOT = pathlib.Path(__file__).resolve().parents[2]
CASES = cases()
HARMLESS = ("builtins.id ",)  # the one event that looking at values makes


@pytest.fixture(scope="session")
def report():
    """All files read in another process: 256 MiB of memory to use, every event of the interpreter recorded."""
    words = [sys.executable, "-m", "tests.io.hostile"]
    answer = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    assert answer.returncode == 0, answer.stderr[-2000:]
    return json.loads(answer.stdout)


@pytest.mark.parametrize("case", CASES)
def test_refused_soon_and_without_an_act(report, case):
    result = report[case]
    assert result["error"] is not None, "the file was read"
    message, offset, length = result["error"]
    file = "hostile" + CASES[case][0]
    assert message.startswith(file) and re.search(CASES[case][2], message), message
    assert offset is None or 0 <= offset <= length
    assert len(message) < 1000 and message.isprintable()
    assert [event for event in result["events"] if not event.startswith(HARMLESS)] == []
    assert result["seconds"] < (5 if "ten million" in case else 1)


def test_the_watch_sees_what_it_should():
    """The same programs given to Python's own unpickler do act: the hook would have recorded it."""
    program = b"\x80\x02" + call(name("posixpath", "basename"), text("/a/b")) + b"."
    assert pickle.loads(program) == "b"
    events = []
    watching = True
    sys.addaudithook(lambda event, arguments: events.append(event) if watching else None)
    try:
        pickle.loads(program)
    finally:
        watching = False
    assert "pickle.find_class" in events


def run(program: bytes, known=None):
    return unpickle.Unpickler(b"\x80\x02" + program + b".", "a.pth", known or {}).load()


def test_unknown_names_stay_labels():
    obj = run(b"}(" + text("a") + call(name("my.module", "Class"), b"K\x05") + b"}" + text("x") + b"K\x07sb"
              + text("b") + name("my.module", "function") + b"u")  # fmt: skip
    assert isinstance(obj["a"], Placeholder) and obj["a"].name == "my.module.Class"
    assert obj["a"].args == (5,) and obj["a"].state == {"x": 7}
    assert isinstance(obj["b"], Global) and repr(obj["b"]) == "<global my.module.function>"
    assert "my" not in sys.modules


def test_subclasses_of_lists_and_dictionaries_keep_their_items():
    obj = run(call(name("my", "List")) + b"(K\x01K\x02e")
    assert obj.items == [1, 2]
    obj = run(call(name("my", "Dict")) + text("k") + b"K\x02s")
    assert obj.items == [("k", 2)]


def test_loops_are_kept_as_they_are():
    obj = run(b"]q\x00h\x00a")
    assert obj[0] is obj
    obj = run(call(name("my", "Node")) + b"q\x00}" + text("self") + b"h\x00sb")
    assert obj.state["self"] is obj


def test_python_s_own_pickles_are_read():
    value = {"a": [1, -2, 3.5, 2**70, None, True, False], "b": ("x", b"\x00\xff", bytearray(b"q")), (1, "k"): {1, 2},
             "big": "ü" * 300, "f": frozenset([1]), "empty": ((), [], {}, ""), "shared": [[1]] * 3}  # fmt: skip
    known = torch_file.KNOWN
    for protocol in (2, 3, 4, 5):
        found = unpickle.Unpickler(pickle.dumps(value, protocol), "a", known).load()
        assert found == value and found["shared"][0] is found["shared"][2]


def test_the_error_names_the_byte():
    data = torch_zip(b"\x80\x02}" + text("key") + b"\x82\x01.")
    with pytest.raises(FileFormatError) as told:
        torch_file.from_bytes(data, "a.pth")
    assert data[told.value.offset] == 0x82


def test_truncation_anywhere_is_refused():
    program = b"\x80\x04" + pickle.dumps({"a": [1, (2.5, "x")], "b": {b"c"}}, 4)[2:]
    for length in range(len(program)):
        with pytest.raises(FileFormatError):
            unpickle.Unpickler(program[:length], "a", torch_file.KNOWN).load()


def test_named_arguments_are_kept():
    obj = run(name("my", "Class") + row(b"K\x01") + b"}" + text("k") + b"K\x02s\x92")
    assert obj.args == (1,) and obj.items == [{"k": 2}]
