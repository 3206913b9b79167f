"""Classes that have an order: grades, ages in years, stages of a disease. A near miss is better than a far one.

The model answers K - 1 questions, "is the rank above k?" for k = 0 ... K - 2, with the scores w x + b_k (Cao, Mirjalili
and Raschka 2020, Rank consistent ordinal regression for neural networks: CORAL). All share the weights w, and
b_0 >= b_1 >= ..., so that no answer contradicts another: P(rank > k) falls with k. The paper shows that the best biases
are so ordered; here ranks.py keeps them so after every step.

    rank = number of questions answered with more than 1/2        loss = sum over k of binary cross entropies

The baseline says of every picture the median rank of the training pictures, which is the best constant for the mae.
"""

from typing import Any, ClassVar

import numpy as np

from minires.explain.task_intervals import ordinal_intervals
from minires.finetune.tasks.base import Task, sigmoid, softplus
from minires.training.metrics_ordinal import quadratic_kappa, ranks_of


class Ordinal(Task):
    """classes: from the lowest to the highest. known: "usual", the median rank of the training pictures."""

    name: ClassVar[str] = "ordinal"
    headline: ClassVar[tuple[str, ...]] = ("mae", "qwk", "top1", "within_one", "loss")
    views: ClassVar[str] = "sigmoid"

    @property
    def outputs(self) -> int:
        return len(self.classes) - 1

    def values(self, scores: np.ndarray) -> np.ndarray:
        """The probability of each class (N, K)."""
        above = np.minimum.accumulate(sigmoid(scores), axis=1)  # equal up to rounding: differences stay at least 0
        ends = np.ones((len(above), 1)), np.zeros((len(above), 1))
        return -np.diff(np.concatenate([ends[0], above, ends[1]], axis=1), axis=1)

    def rank(self, values: Any) -> int:
        """The rank that a row of `values` says: the first up to which more than half of the probability lies."""
        return int((1 - np.cumsum(np.asarray(values)[:-1]) > 0.5).sum())

    def said(self, values: Any) -> str:
        return self.classes[self.rank(values)]

    def losses(self, scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
        scores = scores.astype(np.float64)
        return (softplus(scores) - above_ranks(truth, scores.shape[1]) * scores).sum(axis=1)

    def figures(self, scores: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
        said = ranks_of(scores)
        found = {"samples": len(truth), "loss": float(self.losses(scores, truth).mean()), **rank_figures(said, truth)}
        found["intervals"] = ordinal_intervals(said, truth, self.losses(scores, truth))
        found["per_class"] = {
            name: {"samples": int(own.sum()), "right": int((said[own] == index).sum()),
                   "recall": float((said[own] == index).mean()) if own.any() else None,
                   "mae": float(abs(said[own] - index).mean()) if own.any() else None}
            for index, name in enumerate(self.classes) for own in [truth == index]
        }  # fmt: skip
        if "usual" in self.known:
            found["baseline"] = rank_figures(np.full(len(truth), self.known["usual"]), truth)
        return found


def above_ranks(truth: np.ndarray, questions: int) -> np.ndarray:
    """1 where the rank is above k, else 0: float32 (N, questions)."""
    return (truth[:, None] > np.arange(questions)).astype(np.float32)


def rank_figures(said: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """mae in ranks, qwk, top1, and within_one: the share that is at most one rank off."""
    off = abs(said - truth)
    return {"mae": float(off.mean()), "qwk": quadratic_kappa(truth, said), "top1": float((off == 0).mean()),
            "within_one": float((off <= 1).mean())}  # fmt: skip
