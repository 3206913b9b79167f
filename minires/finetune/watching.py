"""What is noted of a job beside its figures, and a validation that is not finite."""

import contextlib
import math
import warnings
from collections.abc import Iterator
from typing import Any

from minires.errors import MiniresError
from minires.io import RunFolder
from minires.io.files import FileAccessError
from minires.training import Callback, NotFiniteError, Trainer
from minires.training.batches import Batches, inputs_and_targets
from minires.training.diagnostics import NOT_SEEN_AGAIN, find_origin
from minires.training.evaluation import eval_mode


class EventLog(Callback):
    """events.jsonl for machines: a line for every epoch, every `every_steps` steps, and for what ends a run."""

    order = 120

    def __init__(self, folder: RunFolder, every_steps: int | None = None) -> None:
        self.folder, self.every_steps = folder, every_steps

    def after_step(self, trainer: Trainer) -> None:
        if self.every_steps is not None and trainer.step % self.every_steps == 0:
            self.folder.event("step", step=trainer.step, loss=trainer.loss, lr=trainer.last_lr)

    def after_epoch(self, trainer: Trainer) -> None:
        self.folder.event("epoch", **trainer.history.rows[-1])

    def after_fit(self, trainer: Trainer) -> None:
        if trainer.stop_reason is not None:
            self.folder.event("early_stop", epoch=trainer.epoch, reason=trainer.stop_reason)

    def on_pause(self, trainer: Trainer) -> None:
        self.folder.event("pause", epoch=trainer.epoch, step=trainer.step)

    def on_exception(self, trainer: Trainer, error: BaseException) -> None:
        if isinstance(error, NotFiniteError):
            self.folder.event("nan", step=error.step, lr=error.lr, place=error.place, message=str(error))
        elif isinstance(error, Exception):
            self.folder.event("error", step=trainer.step, message=f"{type(error).__name__}: {error}")


class FiniteValidation(Callback):
    """Ends the run where the validation loss is NaN or infinite, and says in which layer that begins.

    The epoch is not saved then: its weights may be ruined already. The newest checkpoint is an older one, from which
    `--resume` with a lower `--lr` goes on.
    """

    order = 5

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def after_evaluate(self, trainer: Trainer) -> None:
        loss = trainer.evaluation["loss"]
        if not math.isfinite(loss):
            raise NotFiniteError(f"the validation loss is {loss}", trainer.step, trainer.epoch + 1, trainer.last_lr,
                                 self._origin(trainer))  # fmt: skip

    def _origin(self, trainer: Trainer) -> str:
        for batch in Batches(self.loader, trainer.epoch):
            inputs, targets = inputs_and_targets(batch, trainer.device)
            with eval_mode(trainer.model):
                place = find_origin(trainer.model, trainer.eval_loss_fn, inputs, targets, backward=False)
            if place != NOT_SEEN_AGAIN:
                return place
        return NOT_SEEN_AGAIN


@contextlib.contextmanager
def noted(folder: RunFolder) -> Iterator[None]:
    """Within the block warnings, and the error that ends it, are noted in log.txt as well."""
    show = warnings.showwarning

    def show_and_note(message: Any, *place: Any, **more: Any) -> None:
        folder.log(f"warning: {' '.join(str(message).split())}")
        show(message, *place, **more)

    with warnings.catch_warnings():
        warnings.showwarning = show_and_note
        try:
            yield
        except MiniresError as error:
            with contextlib.suppress(FileAccessError):  # a full disk must not hide the error itself
                folder.log(f"error: {' '.join(error.message.split())}")
            raise
