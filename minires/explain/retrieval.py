"""How well embeddings find pictures of one's own class: each picture asks, all others answer, the nearest first.

    recall@k    share of the pictures that have one of their own class among their k nearest
    mAP@R       mean over the pictures of 1/R sum_{i <= R} [the i-th is right] (right ones among the first i) / i,
                R the number of other pictures of the class (Musgrave, Belongie and Lim 2020, section 4.1)

Pictures that are the only one of their class ask no question, but answer.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

BLOCK = 512  # questions at a time: so many rows of the table of all pairs are in memory


def nearest(queries: Any, gallery: Any, count: int, leave_out_self: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """(places (Q, count), cosines (Q, count)) of the embeddings in gallery (N, D) nearest to each of queries (Q, D).

    leave_out_self: the two are the same, and nobody finds itself. Of equally near ones the first comes first.
    ValueError for other shapes and for more than there are.
    """
    queries, gallery = (normalised(rows) for rows in (queries, gallery))
    there_are = len(gallery) - leave_out_self
    if queries.shape[1] != gallery.shape[1] or not 1 <= count <= there_are:
        raise ValueError(f"{count} of the nearest of {there_are}, embeddings of {queries.shape[1]} and "
                         f"{gallery.shape[1]} numbers: that does not go together")  # fmt: skip
    places, cosines = np.empty((len(queries), count), np.int64), np.empty((len(queries), count))
    for start in range(0, len(queries), BLOCK):
        rows = slice(start, min(start + BLOCK, len(queries)))
        table = queries[rows] @ gallery.T
        if leave_out_self:
            table[np.arange(len(table)), np.arange(rows.start, rows.stop)] = -np.inf
        places[rows] = np.argsort(-table, axis=1, kind="stable")[:, :count]
        cosines[rows] = np.take_along_axis(table, places[rows], axis=1)
    return places, cosines


def normalised(rows: Any) -> np.ndarray:
    """Rows (N, D) in float64, of the length 1; rows of zeros stay."""
    rows = np.asarray(rows, np.float64)
    if rows.ndim != 2:
        raise ValueError(f"embeddings are an array (N, D), got the shape {rows.shape}")
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def retrieval_figures(embeddings: Any, labels: Any, ks: Sequence[int] = (1, 5)) -> dict[str, float | None]:
    """{"recall_at_1": ..., "recall_at_5": ..., "map_at_r": ...}; None where no class has two pictures.

    A k beyond the number of other pictures is left out. ValueError for numbers of rows that differ.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or len(labels) != len(embeddings):
        raise ValueError(f"{len(embeddings)} embeddings need as many labels, got the shape {labels.shape}")
    numbers, sizes = np.unique(labels, return_counts=True)
    others = sizes[np.searchsorted(numbers, labels)] - 1
    ks = [k for k in ks if k < len(labels)]
    asking = others > 0
    if not asking.any():
        return {**{f"recall_at_{k}": None for k in ks}, "map_at_r": None}
    deep = max(int(others.max()), *ks)
    places, _ = nearest(embeddings, embeddings, min(deep, len(labels) - 1), leave_out_self=True)
    right = (labels[places] == labels[:, None])[asking]
    figures: dict[str, float | None] = {f"recall_at_{k}": float(right[:, :k].any(axis=1).mean()) for k in ks}
    ranks = np.arange(1, right.shape[1] + 1)
    counted = right & (ranks <= others[asking, None])
    precision = np.cumsum(right, axis=1) / ranks
    figures["map_at_r"] = float(((counted * precision).sum(axis=1) / others[asking]).mean())
    return figures
