"""Batches of P classes with m pictures each: what each batch holds, and that all have their turn."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires.data import ArrayDataset, DataLoader, MPerClassSampler
from minires.random import address


def drawn(sampler, epoch=0):
    with address(0, "test", epoch):
        return list(sampler)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=7), st.integers(1, 4), st.integers(1, 4), st.integers(1, 60))
def test_every_batch_has_p_classes_and_m_pictures_of_each(sizes, m, classes, length):
    labels = np.repeat(np.arange(len(sizes)) * 3, sizes)  # class numbers with gaps
    classes = min(classes, len(sizes))
    sampler = MPerClassSampler(labels, m, m * classes, length)
    indices = drawn(sampler)
    assert len(indices) == len(sampler) == max(1, length // (m * classes)) * m * classes
    for start in range(0, len(indices), m * classes):
        batch = indices[start : start + m * classes]
        counts = Counter(labels[batch].tolist())
        assert len(counts) == classes and set(counts.values()) == {m}
        for label, own in ((label, [i for i in batch if labels[i] == label]) for label in counts):
            assert len(set(own)) == min(m, (labels == label).sum())  # none twice while there are others
    turns = Counter(labels[indices].tolist())
    shown = [turns[label] // m for label in np.unique(labels)]
    assert max(shown) - min(shown) <= 2  # classes take turns


def test_all_pictures_of_a_class_have_their_turn():
    labels = np.repeat([0, 1], [8, 4])
    counts = Counter(drawn(MPerClassSampler(labels, 2, 4, 32)))
    assert all(counts[index] == 2 for index in range(8)) and all(counts[index] == 4 for index in range(8, 12))


def test_epochs_differ_and_a_loader_keeps_the_batches():
    labels = np.arange(24) % 4
    sampler = MPerClassSampler(labels, 2, 6)
    assert drawn(sampler, 0) == drawn(sampler, 0) != drawn(sampler, 1)
    data = ArrayDataset(np.zeros((24, 8, 8, 3), np.uint8), labels)
    loader = DataLoader(data, batch_size=6, sampler=sampler, drop_last=True)
    assert len(loader) == 4
    for _, targets in loader:
        assert sorted(Counter(targets.numpy().tolist()).values()) == [2, 2, 2]


@pytest.mark.parametrize("settings", [(0, 6), (4, 6), (2, 10), (8, 4)])
def test_batches_that_cannot_be(settings):
    with pytest.raises(ValueError, match="a batch is P classes with m pictures each"):
        MPerClassSampler(np.arange(24) % 4, *settings)


def test_labels_are_class_numbers():
    with pytest.raises(ValueError, match=r"labels are class numbers \(N,\), got float64"):
        MPerClassSampler([0.5, 1.0], 1, 2)
