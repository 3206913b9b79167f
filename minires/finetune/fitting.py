"""The training of a job: its settings made into loaders, optimizer, loss and callbacks, and handed to a Trainer."""

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minires import nn
from minires.backend import Array, array_module
from minires.data import DataLoader, last_batch_size
from minires.finetune.optimizers import make_optimizer, make_schedule
from minires.finetune.settings import Settings
from minires.finetune.targets import TargetScale
from minires.io import RunFolder
from minires.training import (
    Callback,
    EarlyStopping,
    HistoryFile,
    Metric,
    ModelCheckpoint,
    NotFiniteError,
    Progress,
    Trainer,
)

if TYPE_CHECKING:
    from minires.finetune.job import Job


@dataclass
class Fit:
    """What the training has come to. The model has the weights of `best_epoch` (0: none is finished yet)."""

    status: str  # "done", "early-stopped" or "paused"
    best_epoch: int
    epochs_done: int
    history: list[dict[str, Any]]


def fit(job: "Job", folder: RunFolder) -> Fit:
    """Train the job's model, from the newest checkpoint in `folder` if there is one; leave the best weights in it."""
    settings = job.settings
    train, val = make_loaders(job)
    best = EarlyStopping(figure_of_merit(settings, val is not None), settings.patience or None, settings.min_delta)
    checkpoints = ModelCheckpoint(folder, every_steps=settings.checkpoint_interval, keep=settings.checkpoint_hist,
                                  save_best=False)  # fmt: skip
    optimizer = make_optimizer(job.model, settings)
    loss_fn, eval_loss_fn = make_losses(settings)
    trainer = Trainer(
        job.model, optimizer, loss_fn, eval_loss_fn=eval_loss_fn,
        scheduler=make_schedule(optimizer, settings, len(train)),
        schedule_per="epoch" if settings.sched == "plateau" else "step",
        metrics=["accuracy"] if job.scale is None else [error_in_units(job.scale)],
        callbacks=[best, checkpoints, HistoryFile(folder), EventLog(folder),
                   Progress(job.say, None if job.progress else False)],
        clip_grad=settings.clip_grad, seed=settings.seed, progress=False,
    )  # fmt: skip
    if val is None:
        job.say(f"no validation pictures: the best epoch is the one with the best training {best.monitor.name}")
    if trainer.resume(folder, missing_ok=True):
        job.say(f"going on after epoch {trainer.epoch}, step {trainer.step}")
    assert settings.epochs is not None
    try:
        trainer.fit(train, val, settings.epochs, max_steps=settings.max_steps)
    except BaseException:
        if trainer.status == "paused":  # by a signal, which has taken effect now
            job.say(f"everything is saved: minires {job.command} --resume {folder.path} goes on from here")
        raise
    best.restore(job.model)  # a paused run, too, is measured with its best weights; its newest are in the checkpoint
    return Fit(trainer.status, best.best_epoch, trainer.epoch, trainer.history.rows)


def make_loaders(job: "Job") -> tuple[DataLoader, DataLoader | None]:
    """The loaders of the training and the validation pictures; None if there are none of the latter."""
    settings = job.settings
    splits = {
        name: _with_scaled_targets(job.splits[name], job.scale) for name in ("train", "val") if name in job.splits
    }
    train = splits["train"]
    train_loader = DataLoader(
        train, settings.batch_size, shuffle=True, seed=settings.seed, num_workers=settings.workers,
        drop_last=drops_last(len(train), settings.batch_size),
    )  # fmt: skip
    if "val" not in splits:
        return train_loader, None
    size = settings.validation_batch_size or settings.batch_size
    return train_loader, DataLoader(splits["val"], size, num_workers=settings.workers)


def steps_in_epoch(samples: int, batch_size: int) -> int:
    """Steps of an epoch; a last batch of a single picture is left out (see `drops_last`)."""
    drop = drops_last(samples, batch_size)
    return samples // batch_size if drop else -(-samples // batch_size)


def drops_last(samples: int, batch_size: int) -> bool:
    """Whether the last batch of an epoch is left out: one picture alone has no variance for batch norm to divide by."""
    return batch_size > 1 and samples > batch_size and last_batch_size(samples, batch_size) == 1


def _with_scaled_targets(dataset: Any, scale: TargetScale | None) -> Any:
    """The same pictures with the targets that the model is trained on."""
    if scale is None:
        return dataset
    scaled = copy.copy(dataset)
    scaled.target_transform = scale.encode
    return scaled


def make_losses(settings: Settings) -> tuple[Any, Any]:
    """The loss that is trained on, and the one that is shown for validation: without label smoothing."""
    if settings.task == "regression":
        return nn.MSELoss(), nn.MSELoss()
    return nn.CrossEntropyLoss(label_smoothing=settings.smoothing), nn.CrossEntropyLoss()


def error_in_units(scale: TargetScale) -> Metric:
    """Mean absolute error in the units of the labels."""

    def per_sample(outputs: Array, targets: Array) -> Array:
        deviation = array_module(outputs).asarray(scale.deviation)
        return (abs(outputs.astype("float64") - targets) * deviation).mean(axis=1)

    return Metric("mae", per_sample)


def figure_of_merit(settings: Settings, validates: bool) -> str:
    """The column of the history whose best value makes the best epoch."""
    name = "accuracy" if settings.eval_metric == "top1" and settings.task == "classification" else "loss"
    return f"val_{name}" if validates else name


class EventLog(Callback):
    """events.jsonl for machines: a line for every epoch, and for what ends a run."""

    order = 120

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

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
