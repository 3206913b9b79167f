"""What settings say together: combinations that make no sense, each with the error that names them."""

import math
import re
from typing import TYPE_CHECKING

from minires.errors import UsageError
from minires.finetune.devices import check_device
from minires.finetune.embedding_settings import EMBEDDING_LOSSES, check_embeddings
from minires.finetune.model_options import parse_options
from minires.finetune.optimizer_table import WITHOUT_PROBE, kin

if TYPE_CHECKING:
    from minires.finetune.settings import Settings

# what each task can be trained on and judged by; the first is what it is unless told otherwise
LOSSES_FOR = {"classification": ("ce", "bce", "focal", *EMBEDDING_LOSSES), "multi-label": ("bce",),
              "regression": ("mse", "l1", "huber"), "ordinal": ("coral",)}  # fmt: skip
METRICS_FOR = {
    "classification": ("top1", "loss", "macro_f1", "balanced_acc"),
    "multi-label": ("loss", "map", "macro_f1", "micro_f1", "exact_match"),
    "regression": ("loss", "mae", "rmse", "r2"),
    "ordinal": ("loss", "mae", "top1", "qwk"),
}

REHEARSED = 20  # pictures of each earlier class, as many as iCaRL keeps of CIFAR-100 (Rebuffi et al. 2017)


def check_together(settings: "Settings") -> None:
    """Raise UsageError for the first combination that makes no sense. The single values have been checked."""
    if not settings.data:
        raise UsageError("no data given", code="usage.missing", hint="--data FOLDER, or --data digits to try it")
    for check in (_device, _pictures, _schedule, _task, check_embeddings, _weights, _strategy, _averages, _mixing,
                  _group_by, _continual):  # fmt: skip
        check(settings)


def _device(settings: "Settings") -> None:
    check_device(settings.device, settings.amp)


def _pictures(settings: "Settings") -> None:
    for name, pair in (("--scale", settings.scale), ("--ratio", settings.ratio)):
        if len(pair) != 2 or pair[0] > pair[1]:
            given = ",".join(f"{value:g}" for value in pair)
            raise UsageError(f"{name} takes two numbers, smaller first, got {given}", code="usage.value")
    resize, crop = settings.val_resize_size, settings.val_crop_size
    if resize is not None and crop is not None and resize < crop:
        raise UsageError(f"--val-crop-size {crop} does not fit into --val-resize-size {resize}", code="usage.conflict")


def _schedule(settings: "Settings") -> None:
    if settings.opt_betas is not None and len(settings.opt_betas) != 2:
        given = ",".join(f"{value:g}" for value in settings.opt_betas)
        raise UsageError(f"--opt-betas takes two numbers such as 0.9,0.999, got {given}", code="usage.value")
    first_beta = None if settings.opt_betas is None else settings.opt_betas[0]
    for name, value in (("--momentum", settings.momentum), ("the first of --opt-betas", first_beta)):
        if settings.sched == "onecycle" and value not in (None, 0.9):
            raise UsageError(f"{name} does not go with --sched onecycle, which moves it from 0.95 to 0.85 and back",
                             code="usage.conflict")  # fmt: skip
    if settings.sched == "multistep" and not settings.decay_milestones:
        raise UsageError("--sched multistep needs --decay-milestones", code="usage.missing")
    if settings.sched in ("step", "restarts") and settings.decay_epochs is None:
        raise UsageError(f"--sched {settings.sched} needs --decay-epochs", code="usage.missing")
    if settings.sched == "exponential" and settings.decay_epochs is not None:
        raise UsageError("--decay-epochs does not go with --sched exponential, which decays by --decay-rate an epoch",
                         code="usage.conflict")  # fmt: skip
    for name, usual in (("opt_betas", (0.9, 0.999)), ("opt_eps", 1e-8), ("momentum", 0.9)):
        # the usual values are in the args.toml of older runs, whatever their optimizer
        if getattr(settings, name) not in (None, usual) and settings.opt not in (None, *kin(name)):
            raise UsageError(f"--{name.replace('_', '-')} is for {', '.join(kin(name))}, not for --opt {settings.opt}",
                             code="usage.conflict")  # fmt: skip
    if settings.sam and settings.amp == "float16":
        raise UsageError("--sam does not go with --amp float16, whose scaled losses may skip either half of a step",
                         code="usage.conflict", hint="--amp bfloat16")  # fmt: skip
    if settings.lr is not None and settings.lr_base is not None:
        raise UsageError("--lr and --lr-base say the same thing in two ways: give one of them", code="usage.conflict")


def _task(settings: "Settings") -> None:
    power = class_weight_power(settings.class_weights)
    if settings.task is None:  # it is decided when the data are looked at
        return
    for name, value, by_task in (("--loss", settings.loss, LOSSES_FOR),
                                 ("--eval-metric", settings.eval_metric, METRICS_FOR)):  # fmt: skip
        known = by_task[settings.task]
        if value is not None and value not in known:
            choice = f"there it is {'one of ' if len(known) > 1 else ''}{', '.join(known)}"
            raise UsageError(f"{name} {value} does not go with --task {settings.task}: {choice}", code="usage.conflict")
    if settings.threshold != 0.5 and settings.task != "multi-label":
        raise UsageError("--threshold is for --task multi-label", code="usage.conflict")
    if settings.tune_thresholds:
        if settings.task != "multi-label":
            raise UsageError("--tune-thresholds is for --task multi-label", code="usage.conflict")
        if settings.val_split == 0 or settings.fold is not None:
            raise UsageError("--tune-thresholds needs validation pictures, and others to be judged by: it does not go "
                             "with --val-split 0 or folds", code="usage.conflict")  # fmt: skip
    if settings.samples_per_class and settings.task in ("multi-label", "regression"):
        raise UsageError(f"--samples-per-class does not go with --task {settings.task}", code="usage.conflict")
    if settings.task == "classification":
        if settings.loss == "bce" and power:
            raise UsageError("--class-weights goes with --loss ce or focal, not with bce", code="usage.conflict")
        if settings.loss == "focal" and settings.smoothing:
            raise UsageError("--smoothing goes with --loss ce or bce, not with focal", code="usage.conflict")
        return
    of_classes = settings.task != "regression"
    for name, wished in (("--smoothing", settings.smoothing), ("--class-weights", power and not of_classes),
                         ("--num-classes", settings.num_classes and not of_classes)):  # fmt: skip
        if wished:
            raise UsageError(f"{name} is for classification, not for {settings.task}", code="usage.conflict")


def class_weight_power(text: str) -> float:
    """The power of the classes' rarity that --class-weights says: 0 for none, 1 for balanced."""
    named = {"none": 0.0, "balanced": 1.0}
    try:
        power = named[text] if text in named else float(text)
    except ValueError:
        power = math.nan
    if not 0 <= power <= 1:
        raise UsageError(f"--class-weights is none, balanced or a power from 0 to 1; got {text!r}", code="usage.value")
    return power


def _weights(settings: "Settings") -> None:
    parse_options(settings.model_kwargs)
    if settings.weights == "none" and settings.freeze != "none":
        raise UsageError(f"--freeze {settings.freeze} keeps weights as they are, and --weights none gives none to keep",
                         code="usage.conflict")  # fmt: skip


def _strategy(settings: "Settings") -> None:
    pretrained = {f"--strategy {settings.strategy}": settings.strategy != "full",
                  "--unfreeze-at": bool(settings.unfreeze_at), "--l2-sp": settings.l2_sp > 0}  # fmt: skip
    for name, given in pretrained.items():
        if given and settings.weights == "none":
            raise UsageError(f"{name} needs pretrained weights, and --weights none gives none", code="usage.conflict")
    for name, value in (("--lora-rank", settings.lora_rank), ("--lora-alpha", settings.lora_alpha)):
        if value is not None and settings.strategy != "lora":
            raise UsageError(f"{name} is for --strategy lora", code="usage.conflict")
    if settings.probe_lr is not None and (settings.strategy != "lp-ft" or settings.sched in WITHOUT_PROBE):
        raise UsageError(f"--probe-lr is for --strategy lp-ft, and not for --sched {' or '.join(WITHOUT_PROBE)}",
                         code="usage.conflict")  # fmt: skip


def _mixing(settings: "Settings") -> None:
    mixes = settings.mixup > 0 or settings.cutmix > 0
    if settings.mixup_off_epoch and not mixes:
        raise UsageError("--mixup-off-epoch goes with --mixup or --cutmix", code="usage.conflict")
    weighs = class_weight_power(settings.class_weights) > 0
    balances = settings.sampler == "balanced"
    for name, given, other in (("--mixup and --cutmix", mixes, "multi-label"),
                               ("--sampler balanced", balances, "ordinal")):  # fmt: skip
        if given and settings.task not in (None, "classification", other):
            verb = "are" if " and " in name else "is"
            raise UsageError(f"{name} {verb} for classification and {other}, not for {settings.task}",
                             code="usage.conflict")  # fmt: skip
        if given and weighs:
            raise UsageError(f"--class-weights does not go with {name}", code="usage.conflict")
    if mixes and settings.loss == "focal":
        raise UsageError("--mixup and --cutmix go with --loss ce or bce, not with focal", code="usage.conflict")


def _averages(settings: "Settings") -> None:
    if settings.model_ema and settings.swa_start is not None:
        raise UsageError("--model-ema and --swa-start average in two ways: give one of them", code="usage.conflict")
    for name, given in (("--model-ema-decay", settings.model_ema_decay is not None),
                        ("--model-ema-warmup", settings.model_ema_warmup)):  # fmt: skip
        if given and not settings.model_ema:
            raise UsageError(f"{name} goes with --model-ema", code="usage.conflict")
    if settings.swa_start is not None and settings.epochs is not None and settings.swa_start > settings.epochs:
        raise UsageError(f"--swa-start {settings.swa_start} is after the last of {settings.epochs} epochs",
                         code="usage.conflict")  # fmt: skip


def _group_by(settings: "Settings") -> None:
    if settings.group_by is None:
        return
    try:
        re.compile(settings.group_by)
    except re.error as error:
        message = f"--group-by {settings.group_by!r} is not a regular expression: {error}"
        raise UsageError(message, code="usage.value") from error


def _continual(settings: "Settings") -> None:
    for name, given in (("--rehearsal", settings.rehearsal is not None), ("--distill", settings.distill > 0),
                        ("--distill-temperature", settings.distill_temperature != 2)):  # fmt: skip
        if given and settings.from_run is None:
            raise UsageError(f"{name} goes with --from RUN: it is about the classes of an earlier run",
                             code="usage.conflict")  # fmt: skip
    if settings.distill_temperature != 2 and not settings.distill:
        raise UsageError("--distill-temperature goes with --distill", code="usage.conflict")
    if settings.store_rehearsal and settings.task not in (None, "classification"):
        raise UsageError(f"--store-rehearsal is for classification, not for {settings.task}", code="usage.conflict")
    if settings.from_run is not None and settings.loss in EMBEDDING_LOSSES:
        hint = "minires add-classes gives a model of embeddings new classes without training"
        raise UsageError(f"--from does not go with --loss {settings.loss}", code="usage.conflict", hint=hint)


def take_from_run(settings: "Settings", recipe: str) -> None:
    """The weights and the head are the earlier run's where --from names one; what contradicts that is a UsageError."""
    if settings.from_run is None:
        return
    if recipe != "finetune":
        raise UsageError(f"--from goes with minires finetune, not with minires {recipe}", code="usage.conflict")
    for name, given in (("--weights", settings.weights not in (None, settings.from_run)),
                        ("--head", settings.head not in (None, "linear")), ("--head-dropout", settings.head_dropout),
                        ("--model-kwargs", settings.model_kwargs)):  # fmt: skip
        if given:
            message = f"{name} does not go with --from, which takes the whole model over from the earlier run"
            raise UsageError(message, code="usage.conflict", hint="--weights RUN begins with its body and a new head")
    settings.weights = settings.from_run
