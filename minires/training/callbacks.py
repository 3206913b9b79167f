"""Callbacks: what happens around the loop without standing in it.

The events are named after what they surround. During a fit they come in this order:

    before_fit
        before_epoch
            before_step, after_step        once a batch
            before_evaluate, after_evaluate
        after_epoch
    after_fit                              or on_pause, or on_exception
    cleanup

Counters count what is finished: in `after_step` `trainer.step` includes the step just made, in `after_epoch`
`trainer.epoch` is 1 after the first epoch and `trainer.history.rows[-1]` is its row. Callbacks run by their `order`,
then by their place in the list; those that save come last, so that they save what the others have decided. What a
callback counts it should count in the after_ events: a step that fails is made again, with its before_ events.
"""

import math
from typing import TYPE_CHECKING, Any

from minires.errors import UsageError
from minires.training.weights import restore_weights

if TYPE_CHECKING:
    from minires.training.trainer import Trainer


class Callback:
    """Override the events you need. What a later decision depends on belongs into `state_dict`."""

    order = 0

    def before_fit(self, trainer: "Trainer") -> None:
        """Before the first step of this call of `fit`, after a resume too."""

    def before_epoch(self, trainer: "Trainer") -> None:
        """An epoch starts, or goes on in its middle after a resume (then `trainer.position` > 0)."""

    def before_step(self, trainer: "Trainer") -> None:
        """`trainer.batch` holds the batch; a callback may replace it."""

    def after_step(self, trainer: "Trainer") -> None:
        """The optimizer has stepped; `trainer.loss` is the loss of the batch, a float."""

    def before_evaluate(self, trainer: "Trainer") -> None:
        """Validation starts."""

    def after_evaluate(self, trainer: "Trainer") -> None:
        """Validation has ended; `trainer.evaluation` holds its figures."""

    def after_epoch(self, trainer: "Trainer") -> None:
        """The row of the epoch is in the history. `trainer.stop(reason)` makes it the last epoch."""

    def after_fit(self, trainer: "Trainer") -> None:
        """The run has ended in good order: all epochs, or an early stop."""

    def on_pause(self, trainer: "Trainer") -> None:
        """The run stops between two steps and can go on from here: a signal, or the budget is used up."""

    def on_exception(self, trainer: "Trainer", error: BaseException) -> None:
        """An exception ends the run. `trainer.consistent` tells whether its state is that between two steps."""

    def on_message(self, trainer: "Trainer", text: str) -> bool:
        """The trainer says one line; True if this callback has shown it."""
        return False

    def cleanup(self, trainer: "Trainer") -> None:
        """The last event of every fit that had a `before_fit`, whatever happened: give back what was taken."""

    def state_dict(self) -> dict[str, Any]:
        """Numbers, strings, lists, dictionaries and arrays that a resume needs; empty if none."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""


class Monitor:
    """The best value of one figure so far. A value that is NaN or infinite is never the best."""

    LARGER_IS_BETTER = ("acc", "top", "f1", "precision", "recall", "r2", "map", "qwk", "exact_match")
    SMALLER_IS_BETTER = ("loss", "error", "mae", "mse", "rmse")

    def __init__(self, name: str, mode: str = "auto", min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"mode is 'min', 'max' or 'auto', got {mode!r}")
        if min_delta < 0:
            raise ValueError(f"min_delta must not be negative, got {min_delta}")
        self.name, self.min_delta = name, min_delta
        self.mode = self._guess(name) if mode == "auto" else mode
        self.best: float | None = None

    @classmethod
    def _guess(cls, name: str) -> str:
        if any(word in name for word in cls.SMALLER_IS_BETTER):
            return "min"
        if any(word in name for word in cls.LARGER_IS_BETTER):
            return "max"
        raise UsageError(f"cannot tell whether a larger {name!r} is better: give mode='min' or mode='max'")

    def require(self, columns: list[str]) -> None:
        """Before the first epoch: the figure must be one of those that this run makes."""
        if self.name not in columns:
            raise UsageError(f"no figure {self.name!r} to monitor; this run makes {', '.join(columns)}")

    def improves(self, value: float) -> bool:
        """Whether `value` beats the best by more than min_delta; if so it is the new best."""
        if not math.isfinite(value):
            return False
        if self.best is not None:
            gain = value - self.best if self.mode == "max" else self.best - value
            if gain <= self.min_delta:
                return False
        self.best = float(value)
        return True


class EarlyStopping(Callback):
    """Stop when a figure has not improved by more than `min_delta` for `patience` epochs (None: never stop).

    monitor: column of the history, e.g. "val_loss" (default), "val_accuracy". mode: "min", "max", or "auto", by the
    name. restore_best_weights: at the end of the run the model gets the weights of its best epoch; they are kept in
    memory and in every checkpoint until then. A run that pauses keeps its newest weights, since it will go on;
    `restore(model)` gives a model the best ones. The patience used up so far survives a resume. not_before: patience is
    counted from the epoch after this one on, e.g. where more of the model is trained from then on.
    """

    order = 10

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int | None = 5,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best_weights: bool = True,
        not_before: int = 0,
    ) -> None:
        if patience is not None and patience < 1:
            raise ValueError(f"patience is a number of epochs >= 1, or None, got {patience}")
        self.monitor = Monitor(monitor, mode, min_delta)
        self.patience, self.restore_best_weights, self.not_before = patience, restore_best_weights, not_before
        self.waited = 0
        self.best_epoch = 0
        self.best_weights: dict[str, Any] | None = None

    def before_fit(self, trainer: "Trainer") -> None:
        self.monitor.require(trainer.column_names())

    def after_epoch(self, trainer: "Trainer") -> None:
        value = trainer.history.rows[-1].get(self.monitor.name)
        if value is None:  # an epoch without validation (val_interval) says nothing
            return
        if self.monitor.improves(value):
            self.waited, self.best_epoch = 0, trainer.epoch
            if self.restore_best_weights:
                self.best_weights = trainer.kept_weights()
            return
        if trainer.epoch <= self.not_before:
            return
        self.waited += trainer.val_interval if self.monitor.name.startswith("val_") else 1
        if self.patience is not None and self.waited >= self.patience:
            best = "no epoch had a finite one" if self.monitor.best is None else (
                f"best {self.monitor.best:.4g} at epoch {self.best_epoch}")  # fmt: skip
            trainer.stop(f"early stop after epoch {trainer.epoch}: {self.monitor.name} has not improved for "
                         f"{self.waited} epochs; {best}")  # fmt: skip

    def after_fit(self, trainer: "Trainer") -> None:
        if self.restore_best_weights and self.best_epoch != trainer.epoch and self.restore(trainer.model):
            trainer.say(f"best weights are back: epoch {self.best_epoch}, {self.monitor.name} {self.monitor.best:.4g}")

    def restore(self, model: Any) -> bool:
        """Give the model the weights of the best epoch; False if there are none yet."""
        if self.best_weights is None:
            return False
        restore_weights(model, self.best_weights)
        return True

    def state_dict(self) -> dict[str, Any]:
        return {
            "best": self.monitor.best,
            "best_epoch": self.best_epoch,
            "waited": self.waited,
            "best_weights": self.best_weights,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.monitor.best = state["best"]
        self.best_epoch, self.waited = state["best_epoch"], state["waited"]
        self.best_weights = state["best_weights"]
