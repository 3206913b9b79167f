"""What a job makes small: the loss that is trained on, and the one that is shown for validation.

    ce      -log softmax(x)[t]                                   one class a picture: the usual one
    bce     mean over classes of -y log s(x) - (1 - y) log s(-x)    yes or no for each class, s the logistic function
    focal   -(1 - p)^2 log p,  p = softmax(x)[t]                 easy pictures count little (Lin et al. 2017, section 3)
    arcface, cosface, triplet        of embeddings               ops/loss_of_angles.py
    mse, l1, huber                                               for numbers; in units of the labels' spread
    bce of multi-label, coral of ordinal                         tasks/losses.py

For validation label smoothing and class weights are left out. Mixed pictures (--mixup, --cutmix) have probabilities
(N, K) in place of class numbers (N,): ce and bce take both.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import minires.nn.functional as F
from minires import nn, ops
from minires.backend import Array, array_module, move
from minires.finetune.embedding_jobs import embedding_losses
from minires.finetune.embedding_settings import makes_embeddings
from minires.finetune.setting_checks import LOSSES_FOR, class_weight_power
from minires.finetune.settings import Settings
from minires.finetune.tasks.losses import Coral, YesOrNo, positive_weights
from minires.tensor import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]
FOCUS = 2  # the exponent of the focal loss; 2 is the paper's


def make_losses(
    settings: Settings, counts: Sequence[int] = (), samples: int = 0, model: Any = None
) -> tuple[Loss, Loss]:  # fmt: skip
    """(training, validation) loss. counts: training pictures of each class, of `samples` in all: for --class-weights.

    model: for a loss of its embeddings.
    """
    if makes_embeddings(settings):
        return embedding_losses(settings, model)
    if settings.task == "multi-label":
        power = class_weight_power(settings.class_weights)
        return YesOrNo(positive_weights(counts, samples, power) if power else None), YesOrNo()
    if settings.task == "ordinal":
        power = class_weight_power(settings.class_weights)
        return Coral(class_weights(counts, power) if power else None), Coral()
    kind = settings.loss or LOSSES_FOR[settings.task or "classification"][0]
    plain: dict[str, Loss] = {"ce": nn.CrossEntropyLoss(), "bce": BinaryCrossEntropy(), "focal": focal,
                              "mse": nn.MSELoss(), "l1": nn.L1Loss(), "huber": huber}  # fmt: skip
    power = class_weight_power(settings.class_weights)
    if power and kind == "focal":
        return WeightedFocal(class_weights(counts, power)), plain[kind]
    if power:
        return WeightedCrossEntropy(class_weights(counts, power), settings.smoothing), plain[kind]
    if kind == "ce" and (settings.mixup or settings.cutmix):
        return SoftCrossEntropy(settings.smoothing), plain[kind]
    if kind == "ce" and settings.smoothing:
        return nn.CrossEntropyLoss(label_smoothing=settings.smoothing), plain[kind]
    return BinaryCrossEntropy(settings.smoothing) if kind == "bce" else plain[kind], plain[kind]


def class_weights(counts: Sequence[int], power: float) -> np.ndarray:
    """Weights (K,) in proportion to counts^-power, of mean 1 over the training pictures; 0 for a class without any."""
    numbers = np.asarray(counts, np.float64)
    weights = np.where(numbers > 0, np.maximum(numbers, 1) ** -power, 0.0)
    return weights * numbers.sum() / (weights * numbers).sum()


class WeightedCrossEntropy:
    """mean_i w[t_i] l_i with cross entropy l_i: a mean over pictures, not over weights as with torch's `weight`.

    So every picture has the same say whatever batch it comes in, and a batch in parts comes to the whole. w weighs the
    smoothed part of a picture's loss, too, where torch weighs it by the class that each share is for.
    """

    def __init__(self, weights: np.ndarray, smoothing: float = 0.0) -> None:
        self.weights = weights
        self.loss: Loss = nn.CrossEntropyLoss(reduction="none", label_smoothing=smoothing)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        each = self.loss(outputs, targets)
        own = move(self.weights.astype(each.dtype), each.device)[targets.array]
        return (each * Tensor(own)).mean()


class SoftCrossEntropy:
    """mean_i - sum_k q[i, k] log softmax(x[i])[k] for probabilities q (N, K), or class numbers (N,)."""

    def __init__(self, smoothing: float = 0.0) -> None:
        self.smoothing = smoothing

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        logs = F.log_softmax(outputs, dim=1)
        return -(logs * Tensor(smoothed(logs, targets, self.smoothing))).sum() / len(outputs)


def smoothed(outputs: Tensor, targets: Tensor, smoothing: float) -> Array:
    """(1 - e) q + e / K for probabilities q (N, K), or those that class numbers (N,) stand for, in outputs' type."""
    classes, xp = outputs.shape[1], array_module(targets.array)
    shares = targets.array if targets.ndim == 2 else xp.eye(classes, dtype=outputs.dtype)[targets.array]
    return (shares * (1 - smoothing) + smoothing / classes).astype(outputs.dtype)


class BinaryCrossEntropy:
    """One logistic regression a class: y is 1 for the picture's class and 0 for the others, smoothed as in timm."""

    def __init__(self, smoothing: float = 0.0) -> None:
        self.smoothing = smoothing

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        sides = ops.stack([outputs, ops.zeros_like(outputs)], dim=2)  # softmax over (x, 0) is s(x), s(-x)
        logs = F.log_softmax(sides, dim=2)
        wanted = smoothed(logs[:, :, 0], targets, self.smoothing)
        yes_and_no = Tensor(array_module(wanted).stack([wanted, 1 - wanted], axis=2))
        return -(logs * yes_and_no).sum() / outputs.numel()


def focal(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy times (1 - p)^2, where p is the probability of the picture's class."""
    return _focal_of_each(outputs, targets).mean()


def _focal_of_each(outputs: Tensor, targets: Tensor) -> Tensor:
    rows = array_module(targets.array).arange(len(outputs))
    logs = F.log_softmax(outputs, dim=1)[rows, targets.array]
    return -((1 - logs.exp()) ** FOCUS * logs)


class WeightedFocal(WeightedCrossEntropy):
    """mean_i w[t_i] l_i with the focal loss l_i: w is the paper's alpha, for any number of classes."""

    def __init__(self, weights: np.ndarray) -> None:
        super().__init__(weights)
        self.loss = _focal_of_each


def huber(outputs: Tensor, targets: Tensor) -> Tensor:
    """d^2 / 2 up to |d| = 1, then |d| - 1/2: squared error for small mistakes, absolute for large ones (Huber 1964)."""
    difference = (outputs - targets).abs()
    return ops.where(difference < 1, difference * difference / 2, difference - 0.5).mean()
