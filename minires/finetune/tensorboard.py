"""The setting `tensorboard`: the figures of a run as TensorBoard shows them, in RUN/tensorboard.

A logger is nothing but a callback: history.csv (HistoryFile), events.jsonl (EventLog) and this one have the same four
events, and another one is as short.
"""

from typing import Any

from minires.io.event_files import EventFile
from minires.training import Callback, Trainer

FOLDER = "tensorboard"


class TensorBoard(Callback):
    """Figures of every epoch, and every `every_steps` steps the loss and the learning rate."""

    order = 115

    def __init__(self, folder: str, every_steps: int | None = None) -> None:
        self.folder, self.every_steps = folder, every_steps
        self.file: EventFile | None = None

    def before_fit(self, trainer: Trainer) -> None:
        self.file = EventFile(self.folder, trainer.step)

    def after_step(self, trainer: Trainer) -> None:
        if self.every_steps is not None and trainer.step % self.every_steps == 0:
            self._write(trainer.step, {"step/loss": trainer.loss, "step/lr": trainer.last_lr})

    def after_epoch(self, trainer: Trainer) -> None:
        row = trainer.history.rows[-1]
        named = {_tag(name): value for name, value in row.items() if name not in ("epoch", "step")}
        self._write(trainer.step, {name: value for name, value in named.items() if value is not None})

    def _write(self, step: int, values: dict[str, Any]) -> None:
        assert self.file is not None  # made in before_fit
        self.file.scalars(step, values)


def _tag(column: str) -> str:
    """ "val_loss" as "val/loss", "loss" as "train/loss": TensorBoard makes a group of what stands before the stroke."""
    if column == "lr":
        return "train/lr"
    return f"val/{column[4:]}" if column.startswith("val_") else f"train/{column}"
