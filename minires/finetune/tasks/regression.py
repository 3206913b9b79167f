"""Numbers as labels. The outputs are in the units of the labels (targets.py).

The baseline says the mean of the training labels of every picture: r2 is how much of its squared error is gone.
"""

from typing import Any, ClassVar

import numpy as np

from minires.errors import DataError
from minires.explain.intervals import regression_intervals
from minires.finetune.tasks.base import Task


class Regression(Task):
    """known: "outputs", how many numbers; "names" of them, where a table had a column for each; "usual": their means.

    The means are those of the training labels.
    """

    name: ClassVar[str] = "regression"
    target: ClassVar[str] = "number"
    headline: ClassVar[tuple[str, ...]] = ("rmse", "mae", "r2")
    views: ClassVar[str] = "numbers"

    @property
    def outputs(self) -> int:
        return int(self.known.get("outputs", 1))

    @property
    def names(self) -> list[str]:
        """Names of the numbers, [] where nobody knows."""
        return list(self.known.get("names", []))

    def values(self, scores: np.ndarray) -> np.ndarray:
        return scores.astype(np.float64)

    def said(self, values: Any) -> str:
        return " ".join(f"{value:.4g}" for value in np.ravel(values).tolist())

    def label(self, target: Any) -> str:
        return self.said(target)

    def losses(self, scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Squared errors, each number in units of its own spread among these labels, so that none outweighs others."""
        truth = truth.reshape(scores.shape)
        spread = truth.std(axis=0) if len(self.names) > 1 else np.float64(1.0)
        return (((scores - truth) / np.where(spread > 0, spread, 1.0)) ** 2).mean(axis=1)

    def figures(self, scores: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
        truth = truth.reshape(len(truth), -1)
        found = regression_figures(scores, truth)
        found["intervals"] = regression_intervals(scores, truth)
        if truth.shape[1] > 1:
            names = self.names or [f"number {place + 1}" for place in range(truth.shape[1])]
            found["per_output"] = {
                name: _few(regression_figures(scores[:, [place]], truth[:, [place]]))
                for place, name in enumerate(names)
            }
        if "usual" in self.known:
            usual = np.broadcast_to(np.asarray(self.known["usual"], np.float64), truth.shape)
            found["baseline"] = _few(regression_figures(usual, truth))
        return found


def _few(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: figures[name] for name in ("rmse", "mae", "r2")}


def regression_figures(outputs: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """samples, mse, rmse, mae and r2 = 1 - sum (y - f)^2 / sum (y - mean y)^2 (None for constant targets).

    r2 is the mean of those of the single numbers, as in scikit-learn.
    DataError where the model gives another number of numbers than a label has.
    """
    if outputs.shape != truth.shape:
        raise DataError(f"the model gives {outputs.shape[1]} numbers a picture, a label has {truth.shape[1]}",
                        code="data.label")  # fmt: skip
    truth = truth.astype(np.float64)
    error = outputs - truth
    mse = float((error**2).mean())
    varies = np.ptp(truth, axis=0) > 0  # rounding gives equal labels a spread that is small, but not 0
    spread = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    r2 = float((1 - (error**2).sum(axis=0) / np.where(varies, spread, 1.0)).mean()) if varies.all() else None
    return {"samples": len(truth), "loss": mse, "mse": mse, "rmse": mse**0.5, "mae": float(abs(error).mean()), "r2": r2}
