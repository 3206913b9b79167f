"""Confidence intervals: against known formulas, over all cases where they cannot be told, and the same each time."""

import numpy as np
import pytest

from minires.explain.intervals import (
    _class_figures,
    classification_intervals,
    cross_entropies,
    regression_intervals,
    wilson,
)
from minires.explain.task_intervals import multi_label_intervals, ordinal_intervals
from minires.finetune.tasks.classification import classification_figures
from minires.finetune.tasks.multi_label import multi_label_figures
from minires.finetune.tasks.ordinal import rank_figures
from minires.finetune.tasks.regression import regression_figures

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 7, 200)
SCORES = RNG.normal(size=(200, 7)) + 1.5 * np.eye(7)[TRUTH]


def test_every_figure_lies_in_its_interval_and_the_same_call_gives_the_same():
    figures = classification_figures(SCORES, TRUTH, list("abcdefg"))
    found = classification_intervals(SCORES, TRUTH)
    assert set(found) == {"loss", "top1", "top5", "balanced_acc", "macro_f1"}
    assert all(found[name][0] < figures[name] < found[name][1] for name in found)
    assert found == classification_intervals(SCORES, TRUTH) != classification_intervals(SCORES, TRUTH, seed=1)


def test_the_interval_of_a_share_is_that_of_the_binomial():
    low, high = classification_intervals(SCORES, TRUTH)["top1"]
    share = (SCORES.argmax(1) == TRUTH).mean()
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(share * (1 - share) / 200), rel=0.1)


def test_a_draw_of_all_pictures_once_gives_the_figures_themselves():
    figures = classification_figures(SCORES, TRUTH, list("abcdefg"))
    found = _class_figures(TRUTH[None], SCORES.argmax(1)[None], 7)
    assert {name: value[0] for name, value in found.items()} == pytest.approx({n: figures[n] for n in found})
    assert cross_entropies(SCORES, TRUTH).mean() == pytest.approx(figures["loss"])


def pictures_of_classes(count, rng):
    truth = rng.choice(4, count, p=[0.4, 0.3, 0.2, 0.1])
    return rng.normal(size=(count, 4)) + 1.3 * np.eye(4)[truth], truth


def amounts(count, rng):
    truth = rng.normal(1, 2, size=(count, 1))
    return 0.8 * truth + rng.normal(size=(count, 1)), truth


def labels(count, rng):
    truth = rng.random((count, 3)) < [0.5, 0.3, 0.15]
    return rng.normal(size=(count, 3)) + 1.5 * truth - 0.7, truth.astype(np.float64)


def grades(count, rng):
    truth = rng.integers(0, 5, count)
    return np.clip(truth + rng.choice([-1, 0, 0, 1, 2], count), 0, 4), truth


@pytest.mark.parametrize(
    ("draw", "figures", "intervals", "trials"),
    [
        (pictures_of_classes, lambda s, t: classification_figures(s, t, list("abcd")), classification_intervals, 120),
        (amounts, regression_figures, regression_intervals, 120),
        (labels, multi_label_figures, multi_label_intervals, 25),
        (grades, rank_figures, lambda s, t: ordinal_intervals(s, t, abs(s - t)), 120),
    ],
)  # fmt: skip
def test_intervals_hold_what_they_are_about(draw, figures, intervals, trials):
    """Of samples of 120 from a law that is known, about 95 in 100 have the true figure in their interval."""
    rng = np.random.default_rng(5)
    true = figures(*draw(200_000, rng))
    held: dict[str, list[bool]] = {}
    for _ in range(trials):
        for name, interval in intervals(*draw(120, rng)).items():
            if name in true:
                held.setdefault(name, []).append(interval[0] <= true[name] <= interval[1])
    assert len(held) >= 4
    for name, each in held.items():
        assert np.mean(each) >= 0.95 - 3.5 * (0.95 * 0.05 / trials) ** 0.5, (name, np.mean(each))


def test_all_right_is_not_certainty():
    found = classification_intervals(10 * np.eye(3)[[0, 1, 2] * 4], np.array([0, 1, 2] * 4))
    assert found["top1"] == pytest.approx([0.7575, 1.0], abs=1e-4)
    assert found["loss"] is None and found["balanced_acc"] is None and found["macro_f1"] is None


@pytest.mark.parametrize(("right", "total", "expected"), [(0, 10, (0, 0.2775)), (5, 10, (0.2366, 0.7634)),
                                                          (1, 1, (0.2065, 1))])  # fmt: skip
def test_wilson_against_published_values(right, total, expected):
    assert wilson(right, total) == pytest.approx(expected, abs=1e-4)


def test_wilson_of_nothing():
    with pytest.raises(ValueError, match="at least one picture"):
        wilson(0, 0)


def test_regression():
    truth = RNG.normal(size=(80, 2))
    outputs = truth + RNG.normal(0, 0.3, (80, 2))
    figures, found = regression_figures(outputs, truth), regression_intervals(outputs, truth)
    assert set(found) == {"loss", "mse", "rmse", "mae", "r2"}
    assert all(found[name][0] < figures[name] < found[name][1] for name in found)


@pytest.mark.parametrize("count", [1, 2])
def test_very_few_pictures(count):
    regression_intervals(np.zeros((count, 1)), np.ones((count, 1)))
    found = classification_intervals(SCORES[:count], TRUTH[:count])
    assert found["top1"] is not None
