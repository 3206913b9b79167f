"""Confusion, calibration, label errors, duplicates and projections: against definitions and planted cases."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import decomposition, metrics

from minires.explain.calibration import calibration, scaled_loss, temperature
from minires.explain.classes import class_report, confusion_matrix, most_confused
from minires.explain.embedding import principal_components
from minires.explain.labels import label_errors, near_duplicates, thumbnails, wrong_labels
from minires.finetune.inference import softmax

RNG = np.random.default_rng(4)
TRUTH = RNG.integers(0, 4, 300)
SCORES = RNG.normal(size=(300, 4)) + 2 * np.eye(4)[TRUTH]
NAMES = ["a", "b", "c", "d"]


def test_the_class_report_is_scikit_learns():
    predicted = SCORES.argmax(1)
    matrix = confusion_matrix(TRUTH, predicted, 4)
    assert matrix.tolist() == metrics.confusion_matrix(TRUTH, predicted).tolist()
    precision, recall, f1, samples = metrics.precision_recall_fscore_support(TRUTH, predicted)
    for index, row in enumerate(class_report(matrix, NAMES)):
        assert (row["class"], row["samples"]) == (NAMES[index], samples[index])
        assert [row["precision"], row["recall"], row["f1"]] == pytest.approx(
            [a[index] for a in (precision, recall, f1)]
        )
        assert row["recall_interval"][0] < row["recall"] < row["recall_interval"][1]


def test_classes_that_do_not_occur():
    rows = class_report(confusion_matrix([0, 0, 1], [0, 1, 1], 3), NAMES[:3])
    assert rows[2] == {"class": "c", "samples": 0, "precision": None, "recall": None, "recall_interval": None,
                       "f1": None, "mostly_taken_for": None}  # fmt: skip
    assert rows[0]["mostly_taken_for"] == "b" and rows[1]["mostly_taken_for"] is None


def test_most_confused():
    matrix = np.array([[9, 3, 0], [0, 9, 1], [5, 0, 9]])
    assert most_confused(matrix, NAMES[:3]) == [("c", "a", 5), ("a", "b", 3), ("b", "c", 1)]
    assert most_confused(matrix, NAMES[:3], 1) == [("c", "a", 5)]


def test_calibration_by_hand():
    found = calibration([[0.9, 0.1], [0.95, 0.05], [0.4, 0.6], [0.0, 1.0]], [0, 1, 1, 1], bins=10)
    assert found.pictures == [1, 1, 2] and found.right == [1, 1, 0.5]
    assert found.confidence == pytest.approx([0.6, 0.9, 0.975])
    assert found.error == pytest.approx((0.4 + 0.1 + 2 * 0.475) / 4)


def test_a_model_that_means_what_it_says_has_little_error():
    p = softmax(RNG.normal(size=(20000, 3)))
    drawn = (RNG.random((20000, 1)) > p.cumsum(axis=1)).sum(axis=1)
    assert calibration(p, drawn).error < 0.02
    assert calibration(softmax(np.log(p) * 3), drawn).error > 0.1


@pytest.mark.parametrize("factor", [0.25, 1, 4])
def test_the_temperature_undoes_a_factor(factor):
    p = softmax(RNG.normal(size=(20000, 3)))
    drawn = (RNG.random((20000, 1)) > p.cumsum(axis=1)).sum(axis=1)
    found = temperature(np.log(p) * factor, drawn)
    assert found == pytest.approx(factor, rel=0.05)
    losses = [scaled_loss(np.log(p) * factor, drawn, t) for t in (found * 0.98, found, found * 1.02)]
    assert losses[1] == min(losses)


def test_the_temperature_has_borders():
    assert temperature(np.eye(3), [0, 1, 2]) == pytest.approx(1 / 64)
    assert temperature(np.eye(3), [1, 2, 0]) == pytest.approx(64)


SEEDS = st.integers(0, 10_000)
quick = settings(deadline=None, max_examples=60, derandomize=True)


@quick
@given(SEEDS, st.integers(1, 40), st.integers(2, 5), st.integers(1, 20))
def test_calibration_bin_by_bin(seed, pictures, classes, bins):
    """Also where confidences lie on the edges of bins, and with a single picture."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, pictures)
    p = rng.dirichlet(np.ones(classes) * rng.choice([0.2, 1.0, 5.0]), pictures)
    if seed % 2:
        p = np.maximum(np.round(p * bins), 1) / bins
    sure, right = p.max(axis=1), p.argmax(axis=1) == truth
    edges, expected = np.arange(bins + 1) / bins, 0.0
    for low, high in itertools.pairwise(edges):
        own = (sure > low) & (sure <= high)
        expected += abs(sure[own].sum() - right[own].sum()) / pictures
    found = calibration(p, truth, bins)
    assert found.error == pytest.approx(expected, abs=1e-12) and sum(found.pictures) == pictures


@quick
@given(SEEDS, st.integers(2, 30), st.sampled_from([0.3, 1.0, 4.0]))
def test_no_temperature_is_better_than_the_one_found(seed, pictures, size):
    rng = np.random.default_rng(seed)
    scores, truth = rng.normal(size=(pictures, 3)) * size, rng.integers(0, 3, pictures)
    found = scaled_loss(scores, truth, temperature(scores, truth))
    assert found <= min(scaled_loss(scores, truth, by) for by in np.geomspace(1 / 64, 64, 200)) + 1e-12


@quick
@given(SEEDS, st.integers(2, 12))
def test_duplicates_are_the_same_in_any_order(seed, pictures):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(pictures, 3))
    features[rng.integers(0, pictures)] = features[rng.integers(0, pictures)] * 1.001
    order = rng.permutation(pictures)
    plain = {frozenset(pair[:2]): pair[2] for pair in near_duplicates(features, 0.9)}
    moved = {frozenset(order[list(pair[:2])].tolist()): pair[2] for pair in near_duplicates(features[order], 0.9)}
    assert plain.keys() == moved.keys() and all(moved[pair] == pytest.approx(plain[pair]) for pair in plain)


def test_planted_label_errors_are_found_first():
    given = TRUTH.copy()
    sure = softmax(SCORES + 4 * np.eye(4)[TRUTH])
    planted = np.argsort(-sure[np.arange(300), TRUTH])[:3]  # those of which the model is most sure
    given[planted] = (given[planted] + 1) % 4
    found = label_errors(sure, given)
    assert {one.index for one in found[:3]} == set(planted)
    assert all(one.suggestion == TRUTH[one.index] and one.label == given[one.index] for one in found[:3])
    assert [one.margin for one in found] == sorted((one.margin for one in found), reverse=True)


def test_no_suspects_where_all_is_right_or_a_class_has_no_picture():
    assert label_errors(np.eye(3)[[0, 1, 2]], [0, 1, 2]) == []
    assert label_errors([[0.1, 0.9], [0.8, 0.2]], [0, 0]) == []


def test_planted_wrong_labels_of_pictures_with_several():
    """Each label by itself is confident learning with two classes; a picture with two wrong ones is one suspect."""
    truth = RNG.random((200, 3)) < [0.5, 0.4, 0.2]
    chance = np.where(truth, 0.8, 0.2) + RNG.uniform(-0.15, 0.15, truth.shape)
    given = truth.copy()
    chance[[7, 30]] = np.where(truth[[7, 30]], 0.97, 0.04)  # surer than it usually is
    given[7, 1], given[30, [0, 2]] = ~truth[7, 1], ~truth[30, [0, 2]]
    found = wrong_labels(chance, given.astype(np.float32))
    assert {(one.index, *one.labels) for one in found} == {(7, 1), (30, 0, 2)}
    for one in found:
        margins = [abs(2 * chance[one.index, label] - 1) for label in one.labels]
        assert one.margin == pytest.approx(max(margins))
    assert [one.margin for one in found] == sorted((one.margin for one in found), reverse=True)
    assert wrong_labels(chance, truth) == [] and wrong_labels(chance[:, :1], np.ones((200, 1))) == []


def test_near_duplicates():
    features = RNG.normal(size=(600, 16))
    features[599] = features[3] * 1.1 + 1e-3
    features[10] = features[4]
    pairs = near_duplicates(features, 0.99)
    assert [pair[:2] for pair in pairs] == [(4, 10), (3, 599)]
    assert near_duplicates(features[:1]) == [] and near_duplicates(np.ones((3, 2))) == []


def test_duplicates_are_alike_in_the_pictures_too():
    pictures = RNG.random(size=(40, 3, 33, 50))
    pictures[7] = pictures[3] * 0.8 + 0.1  # paler
    pictures[9] = np.roll(pictures[4], 1, axis=2)  # moved by a pixel
    features = RNG.normal(size=(40, 16))
    features[9], features[20] = features[4], features[30]  # 20 and 30: of one class, and two pictures
    small = thumbnails(pictures)
    assert small.shape == (40, 3 * 16 * 16) and abs(small.reshape(40, 3, -1).mean(2)).max() < 1e-9
    blocks = pictures[:, :, :32, :48].reshape(40, 3, 16, 2, 16, 3).mean(axis=(3, 5)).reshape(40, 3, 256)
    expected = blocks - blocks.mean(axis=2, keepdims=True)
    assert np.allclose(thumbnails(pictures[:, :, :32, :48]).reshape(40, 3, 256), expected)
    smooth = thumbnails(pictures.repeat(9, axis=2).repeat(9, axis=3))
    pairs = near_duplicates(features, 0.99, smooth)
    assert [pair[:2] for pair in pairs] == [(3, 7)] and pairs[0][2] == pytest.approx(1)
    small[9] = small[4] + RNG.normal(size=768) * 0.3 * small[4].std()  # similar, not the same
    assert [pair[:2] for pair in near_duplicates(features, 0.99, small)] == [(3, 7), (4, 9)]


def test_principal_components_are_scikit_learns():
    features = RNG.normal(size=(50, 6)) * [5, 3, 1, 1, 1, 1]
    places, shares = principal_components(features)
    pca = decomposition.PCA(2).fit(features)
    assert abs(places) == pytest.approx(abs(pca.transform(features)))
    assert shares == pytest.approx(pca.explained_variance_ratio_)


def test_too_few_pictures_for_a_plane():
    places, shares = principal_components([[1.0, 2.0]])
    assert places.tolist() == [[0, 0]] and shares.tolist() == [0, 0]
    places, shares = principal_components([[0.0], [2.0]])
    assert places.tolist() == [[-1, 0], [1, 0]] and shares.tolist() == [1, 0]
    with pytest.raises(ValueError, match="array"):
        principal_components(np.zeros((0, 3)))
