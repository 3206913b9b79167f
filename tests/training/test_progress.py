"""What is shown where: bars on a terminal, lines elsewhere, the same figures in both."""

import io
import re
import sys

import pytest

from minires.training import Progress
from minires.training.progress import bars_make_sense, show_duration, show_figure
from tests.training.helpers import make_loaders, make_trainer


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(monkeypatch, stream, epochs=2, **more):
    monkeypatch.setattr(sys, "stderr", stream)
    trainer = make_trainer([Progress(**more)])
    trainer.fit(*make_loaders(), epochs=epochs)
    return stream.getvalue(), trainer


def test_lines_without_a_terminal(monkeypatch):
    text, trainer = run(monkeypatch, io.StringIO())
    assert "\r" not in text and "\x1b" not in text
    lines = [line for line in text.splitlines() if line.startswith("epoch")]
    row = trainer.history.rows[1]
    assert len(lines) == 2
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert f"{name} {row[name]:.4f}" in lines[1]
    assert re.search(r"^epoch 2/2 .* lr [\d.e-]+ .*img/s  \d+\.\d s$", lines[1])


def test_a_bar_on_a_terminal_and_the_line_that_stays(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    text, _ = run(monkeypatch, Terminal())
    assert re.search(r"\repoch 1/2 +0/6", text) and "loss" in text
    lasting = next(line for line in text.split("\n") if "val_loss" in line)
    assert lasting.split("\r")[-1].startswith("epoch 1/2  loss")


@pytest.mark.parametrize(("variable", "value"), [("CI", "true"), ("TERM", "dumb")])
def test_no_bars_where_nobody_looks(monkeypatch, variable, value):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert bars_make_sense(Terminal()) and not bars_make_sense(io.StringIO())
    monkeypatch.setenv(variable, value)
    assert not bars_make_sense(Terminal())


def test_at_most_one_line_a_minute_within_an_epoch():
    lines: list[str] = []
    progress = Progress(lines.append, bars=False)
    ticks = iter(range(0, 10_000, 25))
    progress.clock = lambda: float(next(ticks))
    make_trainer([progress], stopping=False).fit(*make_loaders(), epochs=1)
    inside = [line for line in lines if ", step" in line]
    assert 1 <= len(inside) <= 4 and lines[-1].startswith("epoch 1/1  loss")


def test_an_estimate_for_a_long_training_only():
    for seconds, expected in ((1.0, True), (0.001, False)):
        lines: list[str] = []
        progress = Progress(lines.append, bars=False)
        now = [0.0]

        def clock(now=now, seconds=seconds):
            now[0] += seconds
            return now[0]

        progress.clock = clock
        trainer = make_trainer([progress], stopping=False)
        trainer.fit(list(make_loaders()[0]) * 5, None, epochs=20, max_steps=12)
        assert any("the training takes about" in line for line in lines) is expected


def test_messages_go_through_the_bar():
    lines: list[str] = []
    trainer = make_trainer([Progress(lines.append, bars=False)])
    trainer.fit(*make_loaders(), epochs=1)
    trainer.fit(*make_loaders(), epochs=1)
    assert any("has ended (epoch 1 of 1 is done)" in line for line in lines)


def test_figures():
    assert show_figure("loss", 0.41234) == "loss 0.4123" and show_figure("lr", 0.00012345) == "lr 0.0001234"
    assert show_figure("loss", float("nan")) == "loss nan" and show_figure("mae", 1234567.0) == "mae 1.235e+06"
    assert show_figure("accuracy", 0.0) == "accuracy 0.0000"
    assert (show_duration(45), show_duration(700), show_duration(12_000)) == ("45 s", "12 min", "3 h 20 min")
