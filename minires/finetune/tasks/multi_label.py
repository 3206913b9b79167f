"""Any number of labels a picture: one yes or no for each class, from one score each.

The baseline says of every picture the labels that more than half of the training pictures have (or the most frequent
one): its mAP is about the mean share of pictures that have a label.
"""

from typing import Any, ClassVar

import numpy as np

from minires.data.labels_dataset import BETWEEN
from minires.explain.task_intervals import multi_label_intervals
from minires.finetune.tasks.base import Task, sigmoid, softplus
from minires.training import metrics_multi_label as metrics

THRESHOLD = 0.5


class MultiLabel(Task):
    """known: "threshold", the probability from which on a label is said; "usual": how frequent each was in training.

    "thresholds": one for each label, where they were tuned (thresholds.py); ValueError for another number of them.
    """

    name: ClassVar[str] = "multi-label"
    target: ClassVar[str] = "labels"
    headline: ClassVar[tuple[str, ...]] = ("map", "macro_f1", "micro_f1", "exact_match", "loss")
    views: ClassVar[str] = "sigmoid"

    def __post_init__(self) -> None:
        own = self.known.get("thresholds")
        if own is not None and (len(own) != len(self.classes) or not all(0 < float(each) < 1 for each in own)):
            raise ValueError(f"the thresholds {own!r} are not a probability for each of {len(self.classes)} labels")

    @property
    def threshold(self) -> float:
        """The probability above which a label is said, where it has none of its own."""
        return float(self.known.get("threshold", THRESHOLD))

    @property
    def tuned(self) -> bool:
        """Whether each label has a threshold of its own."""
        return self.known.get("thresholds") is not None

    @property
    def thresholds(self) -> np.ndarray:
        """The probability above which each label is said: float64 (K,)."""
        return np.asarray(self.known["thresholds"] if self.tuned else [self.threshold] * len(self.classes), np.float64)

    def values(self, scores: np.ndarray) -> np.ndarray:
        return sigmoid(scores)

    def labels(self, values: Any) -> list[str]:
        """The labels above their thresholds, the surest first."""
        row = np.asarray(values)
        above = row > self.thresholds
        return [self.classes[index] for index in np.argsort(-row, kind="stable") if above[index]]

    def said(self, values: Any) -> str:
        above = np.asarray(values) > self.thresholds
        return BETWEEN.join(name for name, said in zip(self.classes, above, strict=True) if said)

    def label(self, target: Any) -> str:
        """target: 0 and 1 for each class."""
        return BETWEEN.join(name for name, own in zip(self.classes, target, strict=True) if own > 0.5)

    def losses(self, scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
        return label_losses(scores, truth).mean(axis=1)

    def figures(self, scores: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
        cut, cuts = metrics.cut_of(self.threshold), metrics.cut_of(self.thresholds)
        found = multi_label_figures(scores, truth, cuts)
        found["intervals"] = multi_label_intervals(scores, truth, cuts)
        found["per_class"] = label_report(scores, truth, self.classes, cuts)
        if self.tuned:
            for name, threshold in zip(self.classes, self.thresholds.tolist(), strict=True):
                found["per_class"][name]["threshold"] = threshold
            untuned = multi_label_figures(scores, truth, cut)
            found["untuned"] = {"threshold": self.threshold, **{key: untuned[key] for key in self.headline}}
        if "usual" in self.known:
            share = np.asarray(self.known["usual"], np.float64).clip(1e-6, 1 - 1e-6)
            usual = np.log(share / (1 - share))
            if not (usual > cut).any():
                usual[share.argmax()] = cut + 1e-3
            usual = np.broadcast_to(usual, truth.shape)
            found["baseline"] = {key: multi_label_figures(usual, truth, cut)[key] for key in self.headline}
        return found


def label_losses(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """-y log s(x) - (1 - y) log s(-x) for each picture and label (N, K)."""
    scores = scores.astype(np.float64)
    return softplus(scores) - truth * scores


def multi_label_figures(scores: np.ndarray, truth: np.ndarray, cut: Any = 0.0) -> dict[str, Any]:
    """samples, loss, map (None if no label occurs), macro_f1, micro_f1 and exact_match.

    scores, truth: (N, K); cut: the score of the threshold, or of those of the labels (K,); truth is 0 or 1.
    Formulas: training/metrics_multi_label.py.
    """
    said, true = scores > cut, truth > 0.5
    hits = metrics.label_hits(said, true)
    mean = metrics.mean_average_precision(scores, true)
    return {
        "samples": len(truth), "loss": float(label_losses(scores, truth).mean()),
        "map": None if np.isnan(mean) else mean, "macro_f1": metrics.macro_f1(hits),
        "micro_f1": metrics.micro_f1(hits), "exact_match": float((said == true).all(axis=1).mean()),
    }  # fmt: skip


def label_report(scores: np.ndarray, truth: np.ndarray, classes: list[str], cut: Any) -> dict[str, dict[str, Any]]:
    """For each label: samples that have it, how often it was said and right, precision, recall, f1 and ap."""
    said, true = scores > cut, truth > 0.5
    right, occurring, called = metrics.label_hits(said, true).astype(int)
    ap = metrics.average_precision(scores, true)
    return {
        name: {
            "samples": int(occurring[k]), "said": int(called[k]), "right": int(right[k]),
            "precision": float(right[k] / called[k]) if called[k] else None,
            "recall": float(right[k] / occurring[k]) if occurring[k] else None,
            "f1": float(2 * right[k] / (occurring[k] + called[k])) if occurring[k] + called[k] else None,
            "ap": None if np.isnan(ap[k]) else float(ap[k]),
        }
        for k, name in enumerate(classes)
    }  # fmt: skip
