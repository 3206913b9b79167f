"""Figures of pixels, against counting them one by one; any cut into batches gives those of the whole."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires.training.metrics import Averages, make_metric
from minires.training.pixel_metrics import class_iou, mean_iou, pixel_accuracy, pixel_confusion


def example(seed, samples, classes):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((samples, classes, 3, 4)).astype(np.float32)
    targets = rng.integers(0, classes + 1, (samples, 3, 4))
    return scores, np.where(targets == classes, 255, targets)


def counted(scores, targets):
    """IoU of each class and the share of right pixels, by sets of pixels."""
    answers = scores.argmax(1)
    kept = targets != 255
    areas = []
    for number in range(scores.shape[1]):
        found = {tuple(place) for place in np.argwhere((answers == number) & kept)}
        meant = {tuple(place) for place in np.argwhere(targets == number)}
        areas.append(len(found & meant) / len(found | meant) if found | meant else math.nan)
    return areas, (answers == targets)[kept].mean() if kept.any() else math.nan


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(2, 5), st.integers(0, 6))
def test_as_counted_pixel_by_pixel_and_whatever_the_batches(seed, samples, classes, cut):
    scores, targets = example(seed, samples, classes)
    areas, right = counted(scores, targets)
    confusion = pixel_confusion(scores, targets)
    np.testing.assert_allclose(class_iou(confusion), areas)
    assert pixel_accuracy(confusion) == pytest.approx(right, nan_ok=True)
    sums = Averages([make_metric("mean_iou"), make_metric("pixel_acc")])
    for part, target in zip(np.split(scores, [cut]), np.split(targets, [cut]), strict=True):
        if len(part):
            sums.add(0.0, part, target)
    means = sums.means()
    assert means["mean_iou"] == pytest.approx(np.nanmean(areas) if not np.isnan(areas).all() else math.nan, nan_ok=True)
    assert means["pixel_acc"] == pytest.approx(right, nan_ok=True)


def test_classes_that_occur_nowhere_do_not_count():
    confusion = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    assert class_iou(confusion)[:2].tolist() == [0.75, 0.8] and np.isnan(class_iou(confusion)[2])
    assert mean_iou(confusion) == pytest.approx(0.775) and pixel_accuracy(confusion) == 7 / 8
    assert math.isnan(mean_iou(np.zeros((2, 2)))) and math.isnan(pixel_accuracy(np.zeros((2, 2))))


def test_wrong_arrays():
    scores, targets = example(0, 2, 3)
    with pytest.raises(ValueError, match=r"class numbers of the shape \(N, H, W\) are needed, got \(2, 3, 3, 4\)"):
        pixel_confusion(scores, targets[:1])
    with pytest.raises(ValueError, match="there are 3 classes, and labels from 0 to 3"):
        pixel_confusion(scores, np.where(targets == 255, 3, targets))
    assert pixel_confusion(scores, np.where(targets == 255, 9, targets), ignore_index=9).sum() == (targets != 255).sum()
