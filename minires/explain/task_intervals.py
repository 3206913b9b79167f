"""Confidence intervals, as in intervals.py, for the figures of pictures with several labels and of ranks."""

from typing import Any

import numpy as np

from minires.explain.intervals import RESAMPLES, Interval, bootstrap, draws, middle, wilson
from minires.training.metrics_multi_label import Ranking
from minires.training.metrics_ordinal import kappas

FEWEST = 200  # draws at least
MOST_NUMBERS = 1 << 28  # labels looked at in all draws together, about: for large data there are fewer draws


def multi_label_intervals(scores: Any, truth: Any, cut: Any = 0.0, seed: int = 0) -> dict[str, Interval | None]:
    """[low, high] for loss, map, macro_f1, micro_f1 and exact_match. scores, truth: (N, K); cut: a number, or (K,)."""
    scores, true = np.asarray(scores), np.asarray(truth) > 0.5
    samples, labels = true.shape
    said = scores > cut
    hits = (said & true).astype(np.float64)
    alike = (said == true).all(axis=1).astype(np.float64)
    losses = (np.logaddexp(0.0, scores.astype(np.float64)) - true * scores).mean(axis=1)
    rankings = [Ranking(scores[:, label], true[:, label]) for label in range(labels)]
    wanted = max(FEWEST, min(RESAMPLES, MOST_NUMBERS // (samples * labels)))
    found: dict[str, list[float]] = {name: [] for name in ("loss", "map", "macro_f1", "micro_f1", "exact_match")}
    for drawn in draws(samples, seed, wanted):
        weights = np.stack([np.bincount(row, minlength=samples) for row in drawn]).astype(np.float64)
        right, both = weights @ hits, weights @ (true.astype(np.float64) + said)
        seen = both > 0
        each = np.divide(2 * right, both, out=np.zeros_like(right), where=seen)
        found["macro_f1"] += (each.sum(axis=1) / np.maximum(seen.sum(axis=1), 1)).tolist()
        found["micro_f1"] += (2 * right.sum(axis=1) / np.maximum(both.sum(axis=1), 1)).tolist()
        found["exact_match"] += (weights @ alike / samples).tolist()
        found["loss"] += (weights @ losses / samples).tolist()
        found["map"] += [_map(rankings, row) for row in weights]
    intervals = {name: middle(np.array(values)) for name, values in found.items()}
    if intervals["exact_match"] is None:
        intervals["exact_match"] = wilson(float(alike.sum()), samples)
    return intervals


def _map(rankings: list[Ranking], weights: np.ndarray) -> float:
    values = np.array([ranking.precision(weights) for ranking in rankings])
    seen = ~np.isnan(values)
    return float(values[seen].mean()) if seen.any() else float("nan")


def ordinal_intervals(said: Any, truth: Any, losses: Any, seed: int = 0) -> dict[str, Interval | None]:
    """[low, high] for loss, mae, qwk, top1 and within_one. said, truth: ranks (N,); losses (N,)."""
    said, truth = np.asarray(said), np.asarray(truth)
    off = abs(said - truth)
    shares = {"top1": off == 0, "within_one": off <= 1}
    columns = {"loss": np.asarray(losses), "mae": off, **shares}

    def figures(drawn: np.ndarray) -> dict[str, np.ndarray]:
        means = {name: column[drawn].mean(axis=1) for name, column in columns.items()}
        return {**means, "qwk": kappas(truth[drawn], said[drawn])}

    found = bootstrap(figures, len(truth), seed)
    for name, column in shares.items():
        if found[name] is None:
            found[name] = wilson(float(column.sum()), len(truth))
    return found
