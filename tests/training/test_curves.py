"""The picture of a run: which figures share a panel, and what has nothing to show."""

import pytest

from minires.plots import Words
from minires.training.curves import history_chart

NAN = float("nan")
ROWS = [
    {"epoch": 1, "step": 4, "loss": 2.0, "accuracy": 0.25, "val_loss": NAN, "val_accuracy": None, "lr": 0.1},
    {"epoch": 2, "step": 8, "loss": 1.5, "accuracy": 0.5, "val_loss": 1.8, "val_accuracy": 0.75, "lr": 0.1},
]


def words(chart):
    return [mark.text for mark in chart.marks if isinstance(mark, Words)]


def test_training_and_validation_share_a_panel():
    chart = history_chart(ROWS)
    assert chart.width == 2 * 460
    found = words(chart)
    assert [found.count(word) for word in ("loss", "accuracy", "training", "validation", "lr")] == [1, 1, 2, 2, 0]
    assert any(word.endswith("%") for word in found)
    assert chart.svg() == history_chart([dict(row) for row in ROWS]).svg()


def test_without_validation_and_for_other_figures():
    found = words(history_chart([{"epoch": 1, "loss": 1.0, "mae": 20.0}]))
    assert "mae" in found and "validation" not in found and not any(word.endswith("%") for word in found)


@pytest.mark.parametrize("rows", [[], [{"epoch": 1, "step": 3, "lr": 0.1}], [{"epoch": 1, "loss": NAN}]])
def test_nothing_to_show(rows):
    assert history_chart(rows) is None


def test_a_figure_that_was_never_finite_is_left_out():
    found = words(history_chart(ROWS[:1]))
    assert "validation" not in found and {"loss", "accuracy", "training"} <= set(found)
