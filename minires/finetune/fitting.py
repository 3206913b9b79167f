"""The training of a job: its settings made into loaders, optimizer, loss and callbacks, and handed to a Trainer."""

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minires.data import BalancedSampler, DataLoader, last_batch_size
from minires.finetune.batch_size import halve
from minires.finetune.distillation import with_distillation
from minires.finetune.embedding_jobs import batches_of_classes, means_callback
from minires.finetune.losses import Loss, make_losses
from minires.finetune.optimizers import base_rates, make_optimizer, make_schedule, set_base_rates
from minires.finetune.resuming import set_newer_aside
from minires.finetune.setting_checks import METRICS_FOR
from minires.finetune.setting_values import seconds
from minires.finetune.settings import Settings
from minires.finetune.strategies import PullToStart
from minires.finetune.targets import TargetScale
from minires.finetune.tasks.deciding import decide_task
from minires.finetune.tasks.ranks import RankConsistent
from minires.finetune.tensorboard import FOLDER, TensorBoard
from minires.finetune.watching import EventLog, FiniteValidation
from minires.finetune.workers import loader_workers
from minires.io import RunFolder
from minires.training import (
    Callback,
    EarlyStopping,
    ExponentialAverage,
    HistoryFile,
    Mixing,
    ModelCheckpoint,
    NotFiniteError,
    Progress,
    Reestimate,
    StochasticAverage,
    Trainer,
)
from minires.training.metrics_multi_label import multi_label_metrics
from minires.training.metrics_ordinal import ordinal_metrics
from minires.training.metrics_regression import regression_metrics
from minires.training.statistics import learning_norms

if TYPE_CHECKING:
    from minires.finetune.job import Job


@dataclass
class Fit:
    """What the training has come to. The model has the weights of `best_epoch` (0: none is finished yet)."""

    status: str  # "done", "early-stopped" or "paused"
    best_epoch: int
    epochs_done: int
    history: list[dict[str, Any]]
    pause_reason: str | None = None


def fit(job: "Job", folder: RunFolder) -> Fit:
    """Train the job's model, from the newest checkpoint in `folder` if there is one; leave the best weights in it."""
    settings = job.settings
    train, val = make_loaders(job)
    best = EarlyStopping(figure_of_merit(settings, val is not None), settings.patience or None, settings.min_delta,
                         not_before=job.strategy.last_start)  # fmt: skip
    trainer = make_trainer(job, folder, train, val, best)
    if val is None:
        job.say(f"no validation pictures: the best epoch is the one with the best training {best.monitor.name}")
    go_on(job, folder, trainer, best)
    try:
        fit_into_memory(job, trainer, train, val)
    except BaseException as error:
        if trainer.status == "paused":  # by a signal, which has taken effect now
            job.say(f"everything is saved: minires {job.command} --resume {folder.path} goes on from here")
        if isinstance(error, NotFiniteError):
            error.hint = (f"try a lower rate: minires {job.command} --resume {folder.path} --lr {error.lr / 10:.2g}, "
                          "or --clip-grad 1 in another run")  # fmt: skip
        raise
    best.restore(job.model)  # a paused run, too, is measured with its best weights; its newest are in the checkpoint
    return Fit(trainer.status, best.best_epoch, trainer.epoch, trainer.history.rows, trainer.pause_reason)


def fit_into_memory(job: "Job", trainer: Trainer, train: DataLoader, val: DataLoader | None) -> None:
    """Trainer.fit; a step for which there is too little memory is made again in smaller parts, if that is wished."""
    settings = job.settings
    assert settings.epochs is not None
    last = None if settings.max_steps is None else trainer.step + settings.max_steps
    while True:
        try:
            trainer.fit(train, val, settings.epochs, max_steps=None if last is None else last - trainer.step,
                        max_time=job.time_left(), val_interval=settings.val_interval)  # fmt: skip
            return
        except MemoryError as error:
            halve(job, trainer, error)


def make_trainer(job: "Job", folder: RunFolder, train: DataLoader, val: DataLoader | None, best: Any) -> Trainer:
    """The Trainer of a job, with the callbacks that write into its folder."""
    settings = job.settings
    every = settings.checkpoint_interval
    checkpoints = ModelCheckpoint(
        folder, every_steps=every if isinstance(every, int) else None, keep=settings.checkpoint_hist, save_best=False,
        every_seconds=seconds(every) if isinstance(every, str) else None,
    )  # fmt: skip
    optimizer = make_optimizer(job.model, settings, job.strategy)
    loss_fn, eval_loss_fn = losses_of(job)
    watch: list[Callback] = [] if val is None else [FiniteValidation(val)]
    return Trainer(
        job.model, optimizer, loss_fn, eval_loss_fn=eval_loss_fn,
        scheduler=make_schedule(optimizer, settings, len(train), job.strategy),
        schedule_per="epoch" if settings.sched == "plateau" else "step",
        metrics=metrics_of(settings, job.scale),
        callbacks=[*job.callbacks, job.strategy.callback(), *keepers(settings), *averages(job, len(train)),
                   *means_callback(job), *watch, *mixing(job), best, checkpoints, *loggers(job, folder),
                   Progress(job.say, None if job.progress else False, settings.log_interval)],
        clip_grad=settings.clip_grad, seed=settings.seed, progress=False, amp=settings.amp,
        micro_batch_size=settings.batch_size if settings.grad_accum_steps > 1 else None,
    )  # fmt: skip


def losses_of(job: "Job") -> tuple[Loss, Loss]:
    """(training, validation) loss: to the former come distillation and the pull to the start, where they are wished."""
    settings = job.settings
    loss_fn, eval_loss_fn = make_losses(settings, job.class_counts(), len(job.splits["train"]), job.model)
    loss_fn = with_distillation(job, loss_fn)
    return PullToStart(loss_fn, job.model, settings.l2_sp) if settings.l2_sp else loss_fn, eval_loss_fn


def mixing(job: "Job") -> list[Callback]:
    """What mixes the batches, where that is wished."""
    settings = job.settings
    wished = settings.mixup or settings.cutmix
    return [Mixing(len(job.classes), settings.mixup, settings.cutmix, settings.mixup_off_epoch)] if wished else []


def loggers(job: "Job", folder: RunFolder) -> list[Callback]:
    """What writes figures down while they are made: history.csv, events.jsonl, and TensorBoard's files if wished."""
    every = job.settings.log_interval
    found: list[Callback] = [HistoryFile(folder), EventLog(folder, every)]
    return [*found, TensorBoard(folder.file(FOLDER), every)] if job.settings.tensorboard else found


def averages(job: "Job", steps: int) -> list[Callback]:
    """Averaged weights, and batch norm's statistics made anew, as the settings wish."""
    settings = job.settings
    found: list[Callback] = []
    if settings.model_ema:
        decay = settings.model_ema_decay
        found.append(ExponentialAverage(1 - 1 / max(steps, 10) if decay is None else decay, settings.model_ema_warmup))
    if settings.swa_start is not None:
        found.append(StochasticAverage(settings.swa_start))
    if settings.bn == "reestimate" or (settings.swa_start is not None and learning_norms(job.model)):
        plain = copy.copy(job.splits["train"])
        plain.transform = job.preprocessing
        size = settings.validation_batch_size or settings.batch_size
        workers = loader_workers(settings.workers, settings.worker_type, plain, keep=True)
        loader = DataLoader(plain, size, drop_last=drops_last(len(plain), size), **workers)
        found.append(Reestimate(loader, of_averages=settings.bn != "reestimate"))
    return found


def go_on(job: "Job", folder: RunFolder, trainer: Trainer, best: EarlyStopping) -> None:
    """Load the checkpoint to resume from, if there is one, and let changed settings take effect."""
    rates = base_rates(trainer.optimizer)
    if not trainer.resume(folder, missing_ok=True, checkpoint=job.checkpoint):
        return
    job.say(f"going on after epoch {trainer.epoch}, step {trainer.step}")
    aside = [] if job.checkpoint is None else set_newer_aside(job.checkpoint)
    if aside:
        job.say(f"newer checkpoints are set aside: {', '.join(aside)}")
    set_base_rates(trainer.optimizer, trainer.scheduler, rates)
    if best.patience is None or best.waited < best.patience:  # another --patience
        trainer.stop_reason = None
    if job.data_changed and trainer.position:
        job.say("the data have changed: the epoch begins again")
        trainer.position = 0
        trainer.sums.reset()


def metrics_of(settings: Settings, scale: TargetScale | None) -> list[Any]:
    """The figures of an epoch beside the loss."""
    if scale is not None:
        mae, *others = regression_metrics(scale.deviation)
        return [mae, *(metric for metric in others if metric.name == settings.eval_metric)]
    if settings.task == "multi-label":
        return multi_label_metrics(settings.threshold)
    if settings.task == "ordinal":
        return ordinal_metrics()
    return ["accuracy", *([settings.eval_metric] if settings.eval_metric in ("macro_f1", "balanced_acc") else [])]


def make_loaders(job: "Job") -> tuple[DataLoader, DataLoader | None]:
    """The loaders of the training and the validation pictures; None if there are none of the latter."""
    settings = job.settings
    splits = {
        name: _with_scaled_targets(job.splits[name], job.scale) for name in ("train", "val") if name in job.splits
    }
    train, pins = splits["train"], job.device.type == "cuda"  # pinned batches are copied while the GPU computes
    sampler: Any = BalancedSampler(train.targets) if settings.sampler == "balanced" else batches_of_classes(
        settings, train.targets, steps_in_epoch(len(train), settings.step_size))  # fmt: skip
    train_loader = DataLoader(
        train, settings.step_size, shuffle=sampler is None, seed=settings.seed, sampler=sampler,
        drop_last=drops_last(len(train), settings.step_size),
        pin_memory=pins, **loader_workers(settings.workers, settings.worker_type, train, keep=True),
    )  # fmt: skip
    if "val" not in splits:
        return train_loader, None
    size = settings.validation_batch_size or settings.batch_size
    workers = loader_workers(settings.workers, settings.worker_type, splits["val"], keep=True)
    return train_loader, DataLoader(splits["val"], size, pin_memory=pins, **workers)


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


def keepers(settings: Settings) -> list[Callback]:
    """What a task asks of the weights after every step."""
    return [RankConsistent()] if settings.task == "ordinal" else []


def figure_of_merit(settings: Settings, validates: bool) -> str:
    """The column of the history whose best value makes the best epoch."""
    wish = settings.eval_metric or METRICS_FOR[settings.task or decide_task(settings)][0]
    name = {"top1": "accuracy"}.get(wish, wish)
    if validates:
        return f"val_{name}"
    return "loss" if name == "map" else name  # the mean average precision is made for validation only
