"""Averages of the weights along the way, which often do better than the last ones.

    ExponentialAverage   after every step   a += (1 - d) (w - a)       the last 1 / (1 - d) steps count most (EMA)
    StochasticAverage    after an epoch     a += (w - a) / n           the mean of the last epochs' weights (SWA)

The training goes on with its own weights w. The averages are what is validated, what EarlyStopping and best.safetensors
keep, and what the model has in the end. They are in every checkpoint, so that a resume changes no bit.

EMA: Polyak and Juditsky 1992. SWA: Izmailov et al. 2018, "Averaging weights leads to wider optima": the statistics of
batch norm belong to other weights then, and are made anew from the training pictures (`Reestimate`).
"""

from typing import Any

from minires.backend import Array, device_of, is_floating, move
from minires.training.callbacks import Callback
from minires.training.state import named_tensors
from minires.training.trainer import Trainer
from minires.training.weights import copy_weights, restore_weights


class WeightAverage(Callback):
    """Keeps `average` (None: there is none yet), name -> array, and puts it into the model where it is measured.

    A fit that has ended leaves the average in the model. To train on from the training's own weights, resume from the
    newest checkpoint.
    """

    order = 2

    def __init__(self) -> None:
        self.average: dict[str, Array] | None = None
        self.count = 0  # of weights that have gone into the average
        self._own: dict[str, Array] | None = None  # the training's weights, while the model has the average

    def take_in(self, trainer: Trainer, keep: float) -> None:
        """average += (1 - keep) (weights - average); the first weights are the first average. Counters are copied.

        Written so, a weight that never moves is its own average, bit for bit.
        """
        now = copy_weights(trainer.model)
        if self.average is None:
            self.average = now
        for name, array in now.items():
            own = self.average[name]
            if not is_floating(own.dtype):
                own[...] = array
            elif array is not own:
                own += (array - own) * own.dtype.type(1 - keep)
        self.count += 1
        trainer.averaged = self.average

    def before_fit(self, trainer: Trainer) -> None:
        if self.average is not None:  # that of a checkpoint is on the CPU
            own = {name: tensor.array for name, tensor in named_tensors(trainer.model)}
            self.average = {name: move(array, device_of(own[name])) for name, array in self.average.items()}
        trainer.averaged = self.average

    def before_evaluate(self, trainer: Trainer) -> None:
        if self.average is not None:
            self._own = copy_weights(trainer.model)
            restore_weights(trainer.model, self.average)

    def after_evaluate(self, trainer: Trainer) -> None:
        self._give_back(trainer)

    def on_pause(self, trainer: Trainer) -> None:
        self._give_back(trainer)

    def on_exception(self, trainer: Trainer, error: BaseException) -> None:
        self._give_back(trainer)

    def after_fit(self, trainer: Trainer) -> None:
        if self.average is not None:
            restore_weights(trainer.model, self.average)

    def _give_back(self, trainer: Trainer) -> None:
        """The model's own weights again. Statistics that were made anew for the average stay with it."""
        if self._own is not None:
            for name, array in copy_weights(trainer.model).items():
                self.average[name][...] = array  # type: ignore[index]
            restore_weights(trainer.model, self._own)
            self._own = None

    def state_dict(self) -> dict[str, Any]:
        return {"average": self.average, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.average, self.count, self._own = state["average"], state["count"], None
        if self.average is not None:
            self.average = {name: array.copy(order="K") for name, array in self.average.items()}


class ExponentialAverage(WeightAverage):
    """EMA of the weights (and batch norm's statistics) after every step.

    decay: d, close to 1. warmup: whether the first steps count more, so that the average is not held up by where the
    training began: after n steps d is at most 1 - (1 + n)^(-2/3), timm's rule. Raises ValueError for another decay.
    """

    def __init__(self, decay: float = 0.9998, warmup: bool = False) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1, got {decay}")
        super().__init__()
        self.decay, self.warmup = decay, warmup

    def after_step(self, trainer: Trainer) -> None:
        limit = 1 - (1 + self.count) ** (-2 / 3) if self.warmup else 1.0
        self.take_in(trainer, min(self.decay, limit))


class StochasticAverage(WeightAverage):
    """SWA: the mean of the weights at the end of every epoch from `start` (counted from 1) on; no average before."""

    def __init__(self, start: int) -> None:
        if start < 1:
            raise ValueError(f"start is the number of an epoch, at least 1, got {start}")
        super().__init__()
        self.start, self.taken = start, 0

    def after_step(self, trainer: Trainer) -> None:
        last = trainer.batches is not None and trainer.position == trainer.batches
        if last and trainer.epoch + 1 >= self.start and self.taken <= trainer.epoch:
            self.taken = trainer.epoch + 1
            self.take_in(trainer, self.count / (self.count + 1))

    def before_fit(self, trainer: Trainer) -> None:
        super().before_fit(trainer)
        if trainer.batches is None:
            raise ValueError("SWA needs a loader that knows its length: it averages at the end of an epoch")

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "taken": self.taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.taken = state["taken"]
