"""Checkpoints of a Trainer: everything that its next step depends on, in one file, and the callbacks that write files.

`ModelCheckpoint("runs/a")` saves, and `trainer.resume("runs/a")` goes on as if nothing had happened: same weights, bit
for bit. In the folder are

    step-00001230.safetensors    the newest checkpoints: weights, optimizer, schedule, position, history, callbacks
    best.safetensors             the weights of the best epoch alone, for `minires.load` and other programs

Both are models for `minires predict` and `models.load`, too, and know how to prepare pictures and what the classes are
called if the model does: `model.metadata = {"preprocessing": preset.to_config(), "classes": names}`.

`HistoryFile("runs/a")` adds history.csv, one row an epoch.
"""

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from minires.errors import UsageError
from minires.io import RunFolder, checkpoint, files, safetensors, strict_json
from minires.io.lock import FolderLock
from minires.training.callbacks import Callback, Monitor
from minires.training.state import about

if TYPE_CHECKING:
    from minires.training.trainer import Trainer

_MARK = "$tensor"
BEST = "best.safetensors"


def pack(state: Any) -> tuple[dict[str, np.ndarray], Any]:
    """A nested state taken apart: its arrays and Tensors by name, and the rest with marks where they stood.

    The names are the paths in the state, such as "optimizer.state.0.exp_avg".
    """
    tensors: dict[str, np.ndarray] = {}

    def walk(value: Any, path: str) -> Any:
        array = getattr(value, "array", value)
        if hasattr(array, "dtype") and hasattr(array, "strides") and hasattr(array, "get"):
            array = array.get()  # from the GPU
        if isinstance(array, np.ndarray):
            name = path if path not in tensors else f"{path}#{len(tensors)}"
            tensors[name] = array
            return {_MARK: name}
        if isinstance(value, dict):
            return {key: walk(item, f"{path}.{key}".lstrip(".")) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(walk(item, f"{path}.{index}".lstrip(".")) for index, item in enumerate(value))
        return value

    plain = walk(state, "")
    return tensors, plain


def unpack(tensors: Mapping[str, np.ndarray], plain: Any) -> Any:
    """The nested state that `pack` took apart; Tensors come back as arrays."""
    if isinstance(plain, dict):
        if set(plain) == {_MARK}:
            return tensors[plain[_MARK]]
        return {key: unpack(tensors, item) for key, item in plain.items()}
    if isinstance(plain, list | tuple):
        return type(plain)(unpack(tensors, item) for item in plain)
    return plain


def read_file(path: str | os.PathLike[str]) -> Any:
    """The state in one checkpoint file. FileFormatError if it is damaged or none."""
    return unpack(*checkpoint.load(path))


def read_newest(folder: str | os.PathLike[str] | RunFolder) -> Any:
    """The state in the newest intact checkpoint, None if there is none. Damaged ones are passed over with a warning.

    Raises FileFormatError if there are checkpoints but none is intact: a run must never silently start over.
    """
    found = folder.newest_checkpoint() if isinstance(folder, RunFolder) else checkpoint.newest_valid(folder)
    return None if found is None else unpack(found.tensors, found.state)


class ModelCheckpoint(Callback):
    """Save after every epoch, at a pause, when an error ends the run; if given, also after every `every_steps` steps
    and after the first step that ends `every_seconds` or more after the last save.

    folder: a path, or an open RunFolder. keep: how many of the newest checkpoints stay. monitor: the figure whose best
    epoch's weights are kept in best.safetensors, "val_loss" if there is validation and else "loss" by default; mode and
    min_delta as in EarlyStopping; `save_best=False` for none. One process at a time may use a folder.

    Raises UsageError if the folder holds checkpoints that this trainer has not been resumed from.
    """

    order = 100

    def __init__(
        self, folder: str | os.PathLike[str] | RunFolder, *, every_steps: int | None = None, keep: int = 2,
        monitor: str | None = None, mode: str = "auto", min_delta: float = 0.0, save_best: bool = True,
        every_seconds: float | None = None,
    ) -> None:  # fmt: skip
        for name, value in (("every_steps", every_steps), ("keep", keep)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if every_seconds is not None and not every_seconds > 0:
            raise ValueError(f"every_seconds must be above 0, got {every_seconds}")
        self.every_seconds, self.clock, self.saved_at = every_seconds, time.monotonic, 0.0
        self.run = folder if isinstance(folder, RunFolder) else None
        self.folder = folder.checkpoints if isinstance(folder, RunFolder) else os.fspath(folder)
        self.every_steps, self.keep, self.save_best = every_steps, keep, save_best
        self.monitor = None if monitor is None else Monitor(monitor, mode, min_delta)
        self.min_delta, self.best_epoch = min_delta, 0
        self._best: float | None = None  # of a loaded state, until the monitor is known
        self.saved_step: int | None = None  # of the newest checkpoint that this trainer wrote or was resumed from
        self._lock: FolderLock | None = None

    def before_fit(self, trainer: "Trainer") -> None:
        files.make_folder(self.folder)
        if self.run is None:
            self._lock = FolderLock(os.path.join(self.folder, ".lock"))
            files.remove_leftovers(self.folder)
        newest = next(iter(checkpoint.list_checkpoints(self.folder)), None)
        if newest is not None and self.saved_step is None and trainer.resumed_from != os.path.realpath(self.folder):
            raise UsageError(f"{self.folder} holds checkpoints of an earlier run", code="run.not_empty",
                             file=self.folder, hint="trainer.resume(folder) goes on with it")  # fmt: skip
        self.saved_at = self.clock()
        columns = trainer.column_names()
        if self.monitor is None:
            self.monitor = Monitor("val_loss" if "val_loss" in columns else "loss", min_delta=self.min_delta)
            self.monitor.best = self._best
        self.monitor.require(columns)

    def after_step(self, trainer: "Trainer") -> None:
        by_steps = self.every_steps is not None and trainer.step % self.every_steps == 0
        if by_steps or (self.every_seconds is not None and self.clock() - self.saved_at >= self.every_seconds):
            self.save(trainer)

    def after_epoch(self, trainer: "Trainer") -> None:
        assert self.monitor is not None
        value = trainer.history.rows[-1].get(self.monitor.name)  # None: an epoch without validation
        if self.save_best and value is not None and self.monitor.improves(value):
            self.best_epoch = trainer.epoch
            self._save_best(trainer, value)  # before the checkpoint: a kill in between makes this epoch anew
        self.save(trainer)

    def on_pause(self, trainer: "Trainer") -> None:
        if self.saved_step != trainer.step:
            self.save(trainer)

    def on_exception(self, trainer: "Trainer", error: BaseException) -> None:
        if isinstance(error, Exception) and trainer.consistent and (self.saved_step or 0) < trainer.step:
            self.save(trainer)

    def cleanup(self, trainer: "Trainer") -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def save(self, trainer: "Trainer") -> str:
        """Write a checkpoint now; returns its path."""
        tensors, plain = pack(trainer.state_dict())
        if self.run is not None:
            path = self.run.save_checkpoint(trainer.step, tensors, plain, self.keep)
        else:
            path = os.path.join(self.folder, checkpoint.file_name(trainer.step))
            checkpoint.save(path, tensors, plain)
            checkpoint.prune(self.folder, self.keep)
        self.saved_step, self.saved_at = trainer.step, self.clock()
        return path

    def _save_best(self, trainer: "Trainer", value: float) -> None:
        assert self.monitor is not None
        weights, _ = pack(trainer.kept_weights())
        record = {"epoch": trainer.epoch, self.monitor.name: value, **about(trainer.model)}
        metadata = {checkpoint.BEST_KEY: strict_json.dumps(record)}  # one entry: the order of several is left to chance
        safetensors.save_file(weights, os.path.join(self.folder, BEST), metadata)

    def state_dict(self) -> dict[str, Any]:
        return {"best": None if self.monitor is None else self.monitor.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._best = state["best"]
        if self.monitor is not None:
            self.monitor.best = state["best"]
        self.best_epoch = state["best_epoch"]


class HistoryFile(Callback):
    """history.csv, written anew after every epoch. After a resume, rows later than the checkpoint are gone from it."""

    order = 110

    def __init__(self, folder: str | os.PathLike[str] | RunFolder) -> None:
        self.folder = folder

    def before_fit(self, trainer: "Trainer") -> None:
        self._write(trainer)

    def after_epoch(self, trainer: "Trainer") -> None:
        self._write(trainer)

    def _write(self, trainer: "Trainer") -> None:
        if isinstance(self.folder, RunFolder):
            self.folder.write_history(trainer.history.rows)
            return
        files.make_folder(self.folder)
        files.write_atomic(os.path.join(self.folder, "history.csv"), trainer.history.to_csv())
