"""Retrieval figures against sorting by hand; nearest pictures against all distances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires.explain import nearest, retrieval, retrieval_figures


def by_hand(rows, labels, ks):
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    hits, precisions = {k: [] for k in ks}, []
    for i, label in enumerate(labels):
        others = [j for j in range(len(labels)) if j != i]
        order = sorted(others, key=lambda j: -float(rows[i] @ rows[j]))
        right = [labels[j] == label for j in order]
        count = sum(right)
        if not count:
            continue
        for k in ks:
            hits[k].append(any(right[:k]))
        precisions.append(sum(right[r] * sum(right[: r + 1]) / (r + 1) for r in range(count)) / count)
    return {**{f"recall_at_{k}": np.mean(hit) for k, hit in hits.items()}, "map_at_r": np.mean(precisions)}


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(7, 30), st.integers(1, 6), st.integers(0, 999), st.sampled_from([1, 3, 512]))
def test_as_by_hand_whatever_the_blocks(samples, classes, seed, block):
    rng = np.random.default_rng(seed)
    rows, labels = rng.standard_normal((samples, 3)), rng.integers(0, classes, samples)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "BLOCK", block)
        found = retrieval_figures(rows, labels)
    assert found == pytest.approx(by_hand(rows, labels, (1, 5)))


def test_perfect_and_alone():
    rows = np.repeat(np.eye(3), 4, axis=0)
    assert retrieval_figures(rows, np.repeat([0, 1, 2], 4)) == {"recall_at_1": 1, "recall_at_5": 1, "map_at_r": 1}
    assert retrieval_figures(rows[:3], [0, 1, 2]) == {"recall_at_1": None, "map_at_r": None}
    assert retrieval_figures(rows[:2], [5, 5]) == {"recall_at_1": 1, "map_at_r": 1}


def test_nearest():
    gallery = np.array([[1, 0], [0, 2.0], [1, 1], [3, 0]])
    places, cosines = nearest(np.array([[2.0, 0.1]]), gallery, 3)
    assert places.tolist() == [[0, 3, 2]]  # of equally near ones the first
    assert cosines[0] == pytest.approx([0.99875, 0.99875, 0.74153], abs=1e-4)
    places, _ = nearest(gallery, gallery, 1, leave_out_self=True)
    assert places.ravel().tolist() == [3, 2, 0, 0]


def test_wrong_use():
    with pytest.raises(ValueError, match="4 of the nearest of 3, embeddings of 2 and 2 numbers"):
        nearest(np.zeros((4, 2)), np.zeros((4, 2)), 4, leave_out_self=True)
    with pytest.raises(ValueError, match="embeddings of 2 and 3 numbers"):
        nearest(np.zeros((4, 2)), np.zeros((4, 3)), 1)
    with pytest.raises(ValueError, match=r"embeddings are an array \(N, D\)"):
        nearest(np.zeros(4), np.zeros((4, 3)), 1)
    with pytest.raises(ValueError, match="4 embeddings need as many labels"):
        retrieval_figures(np.zeros((4, 2)), [1, 2])
