"""The Trainer: the loop of every training, with the care around it that a long run needs. The loop itself is this:

    for epoch in range(epochs):
        for inputs, targets in train_loader:
            optimizer.zero_grad()
            loss = loss_fn(model(inputs), targets)
            loss.backward()
            optimizer.step()

The care is: figures averaged over samples, validation, a schedule, callbacks, numbers that are not finite found and
named, pauses between two steps, and a state that holds everything that the next step depends on. Draws of layers
(dropout) come from the address (seed, "step"; step), and a loader's from (seed; epoch, sample): so a run that was
interrupted and resumed ends with the same bits as one that was not.
"""

import contextlib
import math
import os
from collections.abc import Callable, Iterable
from typing import Any

from minires import random
from minires.backend import on_device_of
from minires.errors import DataError, UsageError
from minires.io import RunFolder
from minires.optim import SAM
from minires.optim.lr_scheduler import ReduceLROnPlateau
from minires.tensor import Tensor
from minires.training import state
from minires.training.batches import Batches, length
from minires.training.budget import Budget, Paused
from minires.training.callbacks import Callback
from minires.training.checkpoints import read_file, read_newest
from minires.training.evaluation import measure, predict
from minires.training.events import Events
from minires.training.history import History
from minires.training.interrupts import Interrupts, held_back
from minires.training.metrics import Averages, make_metric
from minires.training.precision import Precision, dtype_name
from minires.training.progress import Progress
from minires.training.step import make_step
from minires.training.weights import copy_weights


class Trainer:
    """Trains a model: `Trainer(model, optimizer, loss_fn).fit(train_loader, val_loader, epochs=10)`.

    loss_fn: `loss_fn(outputs, targets)`, the mean over the samples of a batch (or their sum, if its `reduction` says
    so). eval_loss_fn: the same for `evaluate` and validation (default: loss_fn), e.g. without label smoothing.
    optimizer: with SAM every step makes the two passes that it needs (step.py).
    scheduler: moved on after every epoch (schedule_per="epoch") or every step ("step"). A ReduceLROnPlateau gets the
    figure `plateau_on` after every epoch (default: val_loss, without validation loss).
    metrics: names ("accuracy", "top5", "mse", "mean_iou", ...), functions or Metric. callbacks: see callbacks.py.
    clip_grad: largest norm of all gradients together. micro_batch_size: a larger batch goes through the model in parts
    of so many samples (see step.py). seed: of the layers' draws; `manual_seed` has no say in a fit.
    device: where the model goes (default: it stays). amp: mixed precision on a GPU, "bfloat16" or "float16"
    (precision.py). progress: show bars and lines on stderr.

    epoch, step: numbers of finished epochs and steps. position: finished batches of the running epoch. history: a row
    an epoch. status: "new", "done", "early-stopped", "paused" or "failed". consistent: whether the state is
    that between two steps. For callbacks, also: batch (on the model's device, if that is a GPU), loss (of the last
    step), batch_size, last_lr, evaluation, epochs, batches (number in an epoch, or None), stop_reason.
    """

    def __init__(
        self, model: Any, optimizer: Any, loss_fn: Callable[[Any, Any], Tensor], *, scheduler: Any = None,
        schedule_per: str = "epoch", plateau_on: str | None = None, metrics: Iterable[Any] = (),
        callbacks: Iterable[Callback] = (), clip_grad: float | None = None, seed: int = 0, device: Any = None,
        eval_loss_fn: Callable[[Any, Any], Tensor] | None = None, progress: bool = True,
        micro_batch_size: int | None = None, amp: Any = None,
    ) -> None:  # fmt: skip
        if isinstance(optimizer, SAM) and dtype_name(amp) == "float16":
            raise ValueError("SAM does not go with amp float16: a scaled loss may skip either half of a step")
        if schedule_per not in ("epoch", "step"):
            raise ValueError(f"schedule_per is 'epoch' or 'step', got {schedule_per!r}")
        if isinstance(scheduler, ReduceLROnPlateau) and schedule_per == "step":
            raise ValueError("ReduceLROnPlateau looks at the figures of an epoch: schedule_per='epoch'")
        if clip_grad is not None and not clip_grad > 0:
            raise ValueError(f"clip_grad must be above 0, got {clip_grad}")
        if micro_batch_size is not None and micro_batch_size < 1:
            raise ValueError(f"micro_batch_size must be at least 1, got {micro_batch_size}")
        self.model = model if device is None else model.to(device)
        self.device = next(model.parameters()).device
        self.precision = Precision(amp, self.device)
        self.optimizer, self.loss_fn, self.eval_loss_fn = optimizer, loss_fn, eval_loss_fn or loss_fn
        self.scheduler, self.schedule_per, self.plateau_on = scheduler, schedule_per, plateau_on
        self.clip_grad, self.seed, self.micro_batch_size = clip_grad, seed, micro_batch_size
        self.events = Events([*callbacks, *([Progress()] if progress else [])])
        self.metrics = [make_metric(wish) for wish in metrics]
        self.sums = Averages(metric for metric in self.metrics if metric.in_training)
        self.history = History()
        self.epoch = self.step = self.position = 0
        self.last_lr = float(optimizer.param_groups[0]["lr"])
        self.stop_reason: str | None = None
        self.pause_reason: str | None = None
        self.val_interval = 1
        self.status, self.consistent = "new", True
        self.batch: Any = None
        self.batch_size, self.loss = 0, math.nan
        self.evaluation: dict[str, float] = {}
        self.epochs, self.batches, self.validates = 0, None, False  # type: int, int | None, bool
        self.batches_of_state: int | None = None  # of the epoch that a loaded state is in the midst of
        self.resumed_from: str | None = None
        self.averaged: dict[str, Any] | None = None  # weights that are measured and kept in place of the model's own
        self._budget, self._interrupts = Budget(), Interrupts()

    # -------------------------------------------------------------------------------------------------------- fit

    def fit(
        self, train_loader: Any, val_loader: Any = None, epochs: int = 1, *, max_steps: int | None = None,
        max_time: float | None = None, val_interval: int = 1,
    ) -> History:  # fmt: skip
        """Train until `epochs` epochs are finished, counted from the beginning of the run, or until `stop`.

        max_steps, max_time (seconds): how much this call may do; then the run pauses and the next call goes on. The
        first Ctrl-C or SIGTERM pauses between two steps, and then takes effect. Returns the history.
        val_interval: validate after every so many epochs only, and after the last one.
        Raises NotFiniteError for a loss or gradient that is NaN or infinite, with the weights as before that step.
        """
        self._prepare(train_loader, val_loader, epochs)
        if val_interval < 1:
            raise ValueError(f"val_interval must be at least 1, got {val_interval}")
        self._budget, self.val_interval = Budget(max_steps, max_time, self.step), val_interval
        self.status = "failed"  # if nothing better comes of it
        with held_back() as self._interrupts, self._on_its_device(), self.events.around(self):
            try:
                if self.has_ended:
                    self.say(f"this run has ended ({self._outcome()}): nothing is left to train")
                while not self.has_ended:
                    self._check_for_pause()
                    self._train_epoch(train_loader)
                    self._finish_epoch(val_loader)
                self.events.call("after_fit", self)
                self.status = "early-stopped" if self.stop_reason else "done"
            except Paused as pause:
                self.events.call("on_pause", self)
                self.pause_reason = str(pause)
                self.say(f"paused after step {self.step}: {pause}")
                self.status = "paused"
        return self.history

    @property
    def has_ended(self) -> bool:
        """Whether no epoch is left, or the run was stopped early."""
        return self.epoch >= self.epochs or self.stop_reason is not None

    def stop(self, reason: str) -> None:
        """Make the running epoch the last one, for good: a resumed run knows it, too."""
        self.stop_reason = reason

    def _prepare(self, train_loader: Any, val_loader: Any, epochs: int) -> None:
        if not self.consistent:
            raise RuntimeError("the last fit was broken off in the middle of a step: load a state or resume first")
        if epochs < 1:
            raise ValueError(f"epochs must be at least 1, got {epochs}")
        self.epochs, self.batches, self.validates = epochs, length(train_loader), val_loader is not None
        if self.position and self.batches_of_state not in (None, self.batches):
            raise ValueError(f"the state is in the midst of an epoch of {self.batches_of_state} batches, and this "
                             f"loader gives {self.batches}: a resumed run needs the same batches")  # fmt: skip
        self.batches_of_state = self.batches

    def _check_for_pause(self) -> None:
        self.pause_for_signals()
        reason = self._budget.spent(self.step)
        if reason:
            raise Paused(reason)

    def pause_for_signals(self) -> None:
        """Between two batches of anything: end here if a signal has come. Only where the state is consistent."""
        if self._interrupts.pending:
            raise Paused("interrupted")

    # ----------------------------------------------------------------------------------------- an epoch and its steps

    def _train_epoch(self, loader: Any) -> None:
        self.events.call("before_epoch", self)
        self.model.train()
        batches = Batches(loader, self.epoch, self.position, self.device)
        with contextlib.closing(iter(batches)) as stream:
            for self.batch in stream:
                self._check_for_pause()
                self.events.call("before_step", self)
                make_step(self)
                self.step, self.position = self.step + 1, batches.position
                if self.scheduler is not None and self.schedule_per == "step":
                    self.scheduler.step()
                self.events.call("after_step", self)
                self.consistent = True
                self.pause_for_signals()
        if not self.position:
            raise DataError("the training loader gives no batches", code="data.empty")

    def _finish_epoch(self, val_loader: Any) -> None:
        row: dict[str, Any] = {"epoch": self.epoch + 1, "step": self.step, **self.sums.means()}
        if val_loader is not None and self._validates_now():
            self.events.call("before_evaluate", self)
            self.evaluation = self._measure(val_loader, self.epoch, self.pause_for_signals)
            self.consistent = False
            self.events.call("after_evaluate", self)
            row |= {f"val_{name}": value for name, value in self.evaluation.items()}
        self.consistent = False
        self.history.append({**row, "lr": self.last_lr})
        self.epoch, self.position = self.epoch + 1, 0
        self.sums.reset()
        if self.scheduler is not None and self.schedule_per == "epoch":
            self._move_schedule(row)
        self.events.call("after_epoch", self)
        self.consistent = True
        if self.stop_reason is not None:
            self.say(self.stop_reason)

    def _validates_now(self) -> bool:
        return (self.epoch + 1) % self.val_interval == 0 or self.epoch + 1 == self.epochs

    def _move_schedule(self, row: dict[str, Any]) -> None:
        if not isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step()
            return
        name = self.plateau_on or ("val_loss" if self.validates else "loss")
        if name not in row and name in self.column_names():
            return  # an epoch without validation says nothing about it
        if name not in row:
            raise UsageError(f"no figure {name!r} for the schedule; this run makes {', '.join(self.column_names())}")
        self.scheduler.step(row[name])

    # ------------------------------------------------------------------------------------------ evaluate and predict

    def _on_its_device(self) -> contextlib.AbstractContextManager[Any]:
        """A block in which "cuda" is the model's GPU."""
        return on_device_of(next(self.model.parameters()).array)

    def evaluate(self, loader: Any) -> dict[str, float]:
        """Loss and metrics over a loader, in eval mode. The model's modes and statistics stay as they are."""
        return self._measure(loader, 0, lambda: None)

    def _measure(self, loader: Any, epoch: int, between: Callable[[], None]) -> dict[str, float]:
        batches = Batches(loader, epoch, device=self.device)
        with self._on_its_device(), random.address(self.seed, "evaluate"), self.precision.computing():
            return measure(self.model, batches, self.eval_loss_fn, self.metrics, self.device, between)

    def predict(self, loader: Any) -> Tensor:
        """Outputs (N, ...) for all samples of a loader, in its order. Batches may have targets, which are ignored."""
        with self._on_its_device(), random.address(self.seed, "evaluate"), self.precision.computing():
            return predict(self.model, Batches(loader, 0, device=self.device), self.device)

    # --------------------------------------------------------------------------------------- figures and messages

    def column_names(self) -> list[str]:
        """The columns of the history that this fit writes."""
        validated = Averages(self.metrics).names() if self.validates else []
        return ["epoch", "step", *self.sums.names(), *(f"val_{name}" for name in validated), "lr"]

    def running_figures(self) -> dict[str, float]:
        """Loss and metrics of the running epoch so far."""
        return self.sums.means()

    def say(self, text: str) -> None:
        """One line for people. Progress shows it; without progress nobody does."""
        self.events.say(text, self)

    def _outcome(self) -> str:
        return self.stop_reason or f"epoch {self.epoch} of {self.epochs} is done"

    # ----------------------------------------------------------------------------------------------------- the state

    def kept_weights(self) -> dict[str, Any]:
        """Copies of the weights that an epoch is judged by: the model's own, or their average (averaging.py)."""
        if self.averaged is None:
            return copy_weights(self.model)
        return {name: array.copy(order="K") for name, array in self.averaged.items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on; see state.py. Arrays share memory with the trainer."""
        return state.collect(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state of `state_dict`, whose arrays are copied. ValueError naming what does not fit."""
        state.restore(self, state_dict)

    def resume(
        self, folder: str | os.PathLike[str] | RunFolder, *, missing_ok: bool = False, checkpoint: str | None = None
    ) -> bool:  # fmt: skip
        """Load the newest intact checkpoint in `folder`, so that `fit` goes on from there.

        checkpoint: the file in that folder to load instead of the newest.
        Raises UsageError if there is none; with `missing_ok` returns False instead. FileFormatError if all are damaged.
        """
        found = read_newest(folder) if checkpoint is None else read_file(checkpoint)
        path = folder.checkpoints if isinstance(folder, RunFolder) else os.fspath(folder)
        if found is None:
            if missing_ok:
                return False
            raise UsageError(f"no checkpoint in {path}", code="run.missing", file=path)
        self.load_state_dict(found)
        self.resumed_from = os.path.realpath(path)
        return True
