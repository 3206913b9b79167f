"""Figures are means over samples, whatever the sizes of the batches."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    top_k_accuracy_score,
)

from minires.finetune.tasks.classification import classification_figures, softmax
from minires.training import Metric
from minires.training.metrics import Averages, make_metric


def averages(metrics, outputs, targets, cuts):
    sums = Averages([make_metric(metric) for metric in metrics])
    for part, target in zip(np.split(outputs, cuts), np.split(targets, cuts), strict=True):
        if len(part):
            sums.add(float(part.sum()), part, target)
    return sums


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(2, 30), st.lists(st.integers(0, 30), max_size=4), st.integers(0, 2**31))
def test_any_cut_into_batches_gives_the_means_of_the_whole(samples, cuts, seed):
    rng = np.random.default_rng(seed)
    scores, classes = rng.standard_normal((samples, 7)), rng.integers(0, 7, samples)
    cuts = sorted(min(cut, samples) for cut in cuts)
    means = averages(["accuracy", "top3"], scores, classes, cuts).means()
    assert means["loss"] == pytest.approx(scores.sum() / samples)
    assert means["accuracy"] == pytest.approx(accuracy_score(classes, scores.argmax(1)))
    assert means["top3"] == pytest.approx(top_k_accuracy_score(classes, scores, k=3, labels=range(7)))
    numbers = rng.standard_normal((samples, 2))
    means = averages(["mse", "rmse", "mae"], scores[:, :2], numbers, cuts).means()
    assert means["mse"] == pytest.approx(mean_squared_error(numbers, scores[:, :2]))
    assert means["rmse"] == pytest.approx(math.sqrt(means["mse"]))
    assert means["mae"] == pytest.approx(mean_absolute_error(numbers, scores[:, :2]))


@settings(deadline=None, max_examples=80, derandomize=True)
@given(st.integers(0, 2**31), st.integers(1, 25), st.integers(2, 8), st.integers(0, 2))
@pytest.mark.filterwarnings("ignore:y_pred contains classes", "ignore:A single label", "ignore:The number of unique")
def test_figures_of_classes_with_ties_and_without_some_classes(seed, samples, classes, digits):
    """At the end of a run and in a Trainer, against scikit-learn: few pictures, equal scores, one class only."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, rng.integers(1, classes + 1), samples)
    scores = np.round(rng.normal(size=(samples, classes)), digits)
    said = scores.argmax(axis=1)
    expected = {"top1": accuracy_score(truth, said), "balanced_acc": balanced_accuracy_score(truth, said),
                "macro_f1": f1_score(truth, said, average="macro", zero_division=0),
                "loss": log_loss(truth, softmax(scores), labels=range(classes))}  # fmt: skip
    if classes > 5:
        best = [sorted(range(classes), key=lambda k, row=row: (-row[k], k))[:5] for row in scores]
        expected["top5"] = np.mean([own in five for own, five in zip(truth, best, strict=True)])
    found = classification_figures(scores, truth, [str(k) for k in range(classes)])
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    names = [name for name in expected if name != "loss"]
    means = averages(names, scores, truth, [samples // 2]).means()
    assert {name: means[name] for name in names} == pytest.approx({name: expected[name] for name in names})


def test_ties_and_numbers_that_are_not_finite():
    scores = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [np.nan, 0.0, 1.0]])
    assert make_metric("top1").total(scores, np.array([0, 1, 0])) == 1  # of equal scores the first counts
    assert make_metric("accuracy").total(scores[:2], np.array([0, 1])) == 1
    assert make_metric("top2").total(scores[:2], np.array([1, 2])) == 1
    assert math.isnan(make_metric("mse").total(np.array([[np.nan]]), np.array([[1.0]])))


def test_own_metrics():
    def always(outputs, targets):
        return np.ones(len(outputs))

    assert make_metric(always).name == "always"
    assert make_metric(Metric("half", always, lambda mean: mean / 2)).finish(1.0) == 0.5
    sums = Averages([make_metric(always), Metric("wrong", lambda outputs, targets: outputs.mean())])
    with pytest.raises(ValueError, match="'wrong' must give one number a sample"):
        sums.add(1.0, np.zeros((3, 2)), np.zeros(3, int))
    assert sums.samples == 0 and sums.totals["always"] == 0  # nothing was taken in


@pytest.mark.parametrize("name", ["acuracy", "top0", "top", 3])
def test_unknown_names(name):
    with pytest.raises(ValueError, match="no metric"):
        make_metric(name)


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="class indices"):
        make_metric("accuracy").total(np.zeros((3, 2)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="differ in shape"):
        make_metric("mse").total(np.zeros((3, 1)), np.zeros(3))  # would broadcast to (3, 3)


def test_sums_come_back():
    sums = averages(["accuracy"], np.eye(3), np.array([0, 1, 1]), [2])
    again = Averages([make_metric("accuracy")])
    again.load_state_dict(sums.state_dict())
    assert again.means() == sums.means()
    with pytest.raises(ValueError, match="has the figures loss, accuracy, not loss"):
        Averages([]).load_state_dict(sums.state_dict())
