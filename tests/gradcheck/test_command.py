"""`minires gradcheck` as a user runs it."""

import json

import pytest

from minires import cli
from minires.autograd import Function
from minires.cli import gradcheck as command
from minires.ops.table import TABLE
from minires.tensor import OPERATIONS


def run(capsys, *words):
    status = cli.main(["gradcheck", *words])
    out, err = capsys.readouterr()
    return status, out, err


def test_everything_passes_in_less_than_a_minute(capsys):
    status, out, err = run(capsys)
    lines = out.splitlines()
    assert status == 0 and err == ""
    assert lines[-1].startswith(f"all {len(TABLE) + len(command.LAYERS)} checks passed, ")
    assert len(lines) == len(TABLE) + len(command.LAYERS) + 1
    assert all("  ok  " in line and "largest error" in line for line in lines[:-1])
    for label in ("conv2d ", "BatchNorm2d ", "BasicBlock ", "Bottleneck ", "ResNet-20 step "):
        assert any(line.startswith(label) for line in lines), label


def test_only(capsys):
    status, out, _ = run(capsys, "--only", "batch_norm")
    assert status == 0
    assert [line.split("  ")[0] for line in out.splitlines()[:-1]] == [
        "batch_norm (training)",
        "batch_norm (inference)",
    ]
    status, out, _ = run(capsys, "--only", "Linear", "-q")
    assert status == 0 and out.splitlines()[0].startswith("Linear ") and "all 1 checks passed" in out


def test_json(capsys):
    status, out, err = run(capsys, "--only", "matmul", "--json")
    answer = json.loads(out)
    assert status == 0 and err == "" and answer["ok"] is True and answer["failed"] == []
    (check,) = answer["checks"]
    assert check["name"] == "matmul" and check["problem"] is None
    assert check["compared"] > 20 and 0 < check["largest_error"] < 1e-6


@pytest.mark.parametrize(
    ("word", "near"), [("con2d", "conv2d"), ("BatchNorm2", "BatchNorm2d"), ("ResNet20", "ResNet-20")]
)
def test_a_mistyped_name_is_wrong_use(capsys, word, near):
    status, out, err = run(capsys, "--only", word)
    assert status == 2 and out == ""
    assert err.startswith(f"minires: error: --only: nothing is called '{word}'; did you mean {near}")


def wrong(backward):
    kind = type(
        "Wrong", (Function,), {"forward": staticmethod(lambda ctx, x: x * 1.0), "backward": staticmethod(backward)}
    )
    return kind.apply


def failing_backward(ctx, dy):
    raise ZeroDivisionError("on purpose")


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (wrong(lambda ctx, dy: dy * 1.001), "input 0 at index"),
        (wrong(failing_backward), "ZeroDivisionError: on purpose"),
    ],
)
def test_a_wrong_derivative_fails(capsys, monkeypatch, operation, words):
    monkeypatch.setitem(OPERATIONS, "relu", operation)
    status, out, _ = run(capsys, "--only", "relu")
    assert status == 1 and out.startswith("relu ") and "FAILED" in out and words in out
    assert out.splitlines()[-1] == "1 of 1 checks FAILED: relu"
    status, out, _ = run(capsys, "--only", "relu", "--json")
    answer = json.loads(out)
    assert status == 1 and answer["ok"] is False and answer["failed"] == ["relu"]
    assert words in answer["checks"][0]["problem"]


def test_a_wrong_layer_fails(capsys, monkeypatch):
    from minires import nn, ops

    class Wrong(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(command.images(3).array)

        def forward(self, x):
            return ops.mul(x, wrong(lambda ctx, dy: dy * 1.001)(self.weight))

    monkeypatch.setitem(command.LAYERS, "Wrong", lambda: (Wrong(), [command.images(2, 3)]))
    status, out, _ = run(capsys, "--only", "Wrong")
    assert status == 1 and "parameter weight at index" in out and "input 0" not in out
