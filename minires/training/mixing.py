"""mixup and cutmix: two pictures of a batch made one, and the label shared between their classes.

    mixup     x = l x_i + (1 - l) x_j                       (Zhang et al. 2018)
    cutmix    x = x_i, with a rectangle of x_j in it; l is the part of x_i that is left    (Yun et al. 2019)
    label     y = l y_i + (1 - l) y_j                       l ~ Beta(alpha, alpha); j: the batch in another order

A batch gets one l, one order and one rectangle, drawn from the address (seed, "mixing"; step): a step that is made
again after a resume is the same.
"""

import numpy as np

from minires.backend import array_module
from minires.random import philox
from minires.tensor import Tensor
from minires.training.batches import inputs_and_targets
from minires.training.callbacks import Callback
from minires.training.trainer import Trainer


class Mixing(Callback):
    """Mixes every batch of `classes` classes: its targets (N,) become probabilities (N, classes).

    Targets (N, classes) of yes and no, 1 and 0 (several labels a picture), are mixed as they are.
    mixup, cutmix: their alpha; 0 leaves one out, and where both are given each batch gets one of them by a coin.
    off_epoch: from the epoch after so many on nothing is mixed any more (0: always; timm's --mixup-off-epoch).
    The loss must take probabilities: minires.finetune.losses.SoftCrossEntropy does.
    """

    def __init__(self, classes: int, mixup: float = 0.0, cutmix: float = 0.0, off_epoch: int = 0) -> None:
        if mixup < 0 or cutmix < 0 or not mixup + cutmix > 0:
            raise ValueError(f"mixup and cutmix are at least 0 and one of them is above, got {mixup} and {cutmix}")
        self.classes, self.mixup, self.cutmix, self.off_epoch = classes, mixup, cutmix, off_epoch

    def before_step(self, trainer: Trainer) -> None:
        if not self.off_epoch or trainer.epoch < self.off_epoch:
            inputs, targets = inputs_and_targets(trainer.batch, trainer.device)
            trainer.batch = self.mix(inputs, targets, philox(trainer.seed, "mixing", trainer.step))

    def mix(self, inputs: Tensor, targets: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """(pictures, probabilities (N, classes)) of a batch; targets: class numbers (N,), or labels (N, classes)."""
        xp = array_module(inputs.array)
        order = rng.permutation(len(inputs))
        cuts = bool(self.cutmix) and (not self.mixup or rng.random() < 0.5)
        alpha = self.cutmix if cuts else self.mixup
        share = float(rng.beta(alpha, alpha))
        x, other = inputs.array, inputs.array[xp.asarray(order)]
        if cuts:
            top, bottom, left, right = rectangle(x.shape[2], x.shape[3], share, rng)
            x = x.copy(order="K")
            x[:, :, top:bottom, left:right] = other[:, :, top:bottom, left:right]
            share = 1 - (bottom - top) * (right - left) / (x.shape[2] * x.shape[3])
        else:
            x = x * x.dtype.type(share) + other * x.dtype.type(1 - share)
        labels, dtype = targets.array, inputs.dtype.type
        if labels.ndim == 2:
            return Tensor(x), Tensor(labels * dtype(share) + labels[xp.asarray(order)] * dtype(1 - share))
        y = xp.zeros((len(labels), self.classes), inputs.dtype)
        rows = xp.arange(len(labels))
        y[rows, labels] += inputs.dtype.type(share)
        y[rows, labels[xp.asarray(order)]] += inputs.dtype.type(1 - share)
        return Tensor(x), Tensor(y)


def rectangle(height: int, width: int, share: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Top, bottom, left, right: about 1 - share of the area around a random pixel, cut off at the picture's edge."""
    side = (1 - share) ** 0.5
    half_height, half_width = int(height * side) // 2, int(width * side) // 2
    y, x = int(rng.integers(height)), int(rng.integers(width))
    top, bottom = max(y - half_height, 0), min(y + half_height, height)
    return top, bottom, max(x - half_width, 0), min(x + half_width, width)
