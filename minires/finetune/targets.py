"""Numbers as labels: trained in units of their own spread, given back in the user's units.

An age of 40 or a price of 250,000 is far from what a fresh head puts out, and a learning rate that suits one does not
suit the other. So the model is trained on (y - mean) / deviation, with mean and standard deviation of the training
labels, and in the end both are folded into its last linear layer: the saved model answers in the user's units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.backend import move
from minires.finetune.heads import last_linear


@dataclass
class TargetScale:
    """Mean and standard deviation of the training labels, one for each number of a label."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, targets: Sequence[Any]) -> "TargetScale":
        """The scale of labels (N numbers, or N rows of K). A constant label has the deviation 1."""
        values = np.asarray(targets, np.float64)
        values = values.reshape(len(values), -1)
        varies = np.ptp(values, axis=0) > 0  # rounding gives equal labels a deviation that is small, but not 0
        return cls(values.mean(axis=0), np.where(varies, values.std(axis=0), 1.0))

    def encode(self, target: Any) -> tuple[float, ...]:
        """One label in units of the spread, always as a row."""
        row = np.atleast_1d(np.asarray(target, np.float64))
        return tuple(((row - self.mean) / self.deviation).tolist())

    def describe(self, model: Any) -> dict[str, Any]:
        """Plain values for a checkpoint: the scale, and the layer of the model whose outputs are in its units."""
        layer = last_linear(model)
        path = next(name for name, module in model.named_modules() if module is layer)
        return {"layer": path, "mean": self.mean.tolist(), "deviation": self.deviation.tolist()}

    def fold_into(self, model: Any) -> None:
        """Change the last linear layer so that W x + b becomes (W x + b) * deviation + mean."""
        layer = last_linear(model)
        deviation, mean = (move(row, layer.weight.device) for row in (self.deviation, self.mean))
        layer.weight.array[...] *= deviation[:, None].astype(layer.weight.dtype)
        layer.bias.array[...] = layer.bias.array * deviation + mean
        for parameter in (layer.weight, layer.bias):
            parameter.bump_version()
