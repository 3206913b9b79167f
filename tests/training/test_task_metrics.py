"""Figures of several labels, ranks and numbers: those of scikit-learn, in one piece or batch by batch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as theirs

from minires.training.metrics import Averages
from minires.training.metrics_multi_label import average_precision, mean_average_precision, multi_label_metrics
from minires.training.metrics_ordinal import ordinal_metrics, quadratic_kappa, ranks_of
from minires.training.metrics_regression import regression_metrics

RNG = np.random.default_rng(3)
TRUTH = (RNG.random((60, 5)) < [0.5, 0.3, 0.1, 0.7, 0.2]).astype(np.float32)
SCORES = np.round(RNG.normal(size=(60, 5)) + TRUTH, 1).astype(np.float32)  # rounded: many scores are equal


def in_batches(metrics, outputs, targets, size=7):
    sums = Averages(metrics)
    for start in range(0, len(outputs), size):
        part = slice(start, start + size)
        sums.add(0.0, outputs[part], targets[part])
    return sums.means()


@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_several_labels(threshold):
    found = in_batches(multi_label_metrics(threshold), SCORES, TRUTH)
    said = 1 / (1 + np.exp(-SCORES.astype(np.float64))) > threshold
    assert found["map"] == pytest.approx(theirs.average_precision_score(TRUTH, SCORES, average="macro"))
    for average in ("macro", "micro"):
        assert found[f"{average}_f1"] == pytest.approx(theirs.f1_score(TRUTH, said, average=average))
    assert found["exact_match"] == pytest.approx(theirs.accuracy_score(TRUTH, said))


def test_a_label_that_does_not_occur_is_left_out():
    truth = np.concatenate([TRUTH, np.zeros((60, 1))], axis=1)
    scores = np.concatenate([SCORES, RNG.normal(size=(60, 1)) - 9], axis=1)
    assert np.isnan(average_precision(scores, truth)[5])
    assert mean_average_precision(scores, truth) == pytest.approx(mean_average_precision(SCORES, TRUTH))
    assert np.isnan(mean_average_precision(scores, 0 * truth))


def test_weights_count_a_picture_as_often():
    weights = RNG.integers(0, 4, 60)
    repeated = np.repeat(np.arange(60), weights)
    own = average_precision(SCORES, TRUTH, weights.astype(float))
    assert np.allclose(own, average_precision(SCORES[repeated], TRUTH[repeated]))


def test_ranks():
    truth, outputs = RNG.integers(0, 5, 80), np.sort(RNG.normal(size=(80, 4)), axis=1)[:, ::-1]
    found = in_batches(ordinal_metrics(), outputs, truth)
    said = ranks_of(outputs)
    assert found["mae"] == pytest.approx(theirs.mean_absolute_error(truth, said))
    assert found["accuracy"] == pytest.approx(theirs.accuracy_score(truth, said))
    assert found["qwk"] == pytest.approx(theirs.cohen_kappa_score(truth, said, weights="quadratic"))
    assert quadratic_kappa(truth, said) == pytest.approx(found["qwk"])
    assert quadratic_kappa([2, 2], [2, 2]) is None and quadratic_kappa([0, 1, 2], [0, 1, 2]) == 1


@settings(deadline=None, max_examples=80, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 20), st.integers(1, 5))
@pytest.mark.filterwarnings("ignore")  # scikit-learn's, about classes that do not occur
def test_kappa_and_average_precision_with_ties_and_without_some_classes(seed, samples, classes):
    rng = np.random.default_rng(seed)
    truth, said = rng.integers(0, classes, (2, samples))
    expected = theirs.cohen_kappa_score(truth, said, weights="quadratic", labels=range(max(classes, 2)))
    found = quadratic_kappa(truth, said)
    assert np.isnan(expected) if found is None else found == pytest.approx(expected)
    scores, own = np.round(rng.normal(size=(samples, classes)), 1), rng.random((samples, classes)) < rng.random(classes)
    for label, value in enumerate(average_precision(scores, own)):
        if own[:, label].any():
            assert value == pytest.approx(theirs.average_precision_score(own[:, label], scores[:, label]))
        else:
            assert np.isnan(value)


def test_numbers_in_units_of_their_spread():
    truth, deviation = RNG.normal(size=(50, 2)) * [3, 100] + [40, 7], np.array([3.0, 100.0])
    said = truth + RNG.normal(size=(50, 2)) * [1, 60]
    found = in_batches(regression_metrics(deviation), said / deviation, truth / deviation)
    assert found["mae"] == pytest.approx(theirs.mean_absolute_error(truth, said))
    assert found["rmse"] == pytest.approx(theirs.mean_squared_error(truth, said) ** 0.5)
    assert found["r2"] == pytest.approx(theirs.r2_score(truth, said))
    alike = np.full((5, 1), 2.0)
    assert np.isnan(in_batches(regression_metrics(np.ones(1)), alike + 1, alike)["r2"])
