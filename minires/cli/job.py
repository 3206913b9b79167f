"""`minires finetune` and `minires train`: settings from flags and a TOML file, first screen, the job, last screen."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minires.cli import compare, folds, output
from minires.cli.figures import cell, interval_rows
from minires.cli.options import Parser, add_common, add_setting, nearest
from minires.errors import UsageError

if TYPE_CHECKING:
    from minires.finetune.result import Result

EXAMPLES = {
    "finetune": """  minires finetune --data digits --samples-per-class 20
  minires finetune --data digits --samples-per-class 10 --compare     is the pretrained model worth it?
  minires finetune --data photos/ --epochs 30 --output runs/photos
  minires finetune --data photos/ --freeze all-but-head --head 256 --lr 0.003
  minires finetune --data photos/ --labels tags.csv          a column of labels such as cat|dog, or 0 and 1 for each
  minires finetune --data photos/ --labels tags.csv --tune-thresholds       each label with a threshold of its own
  minires finetune --data photos/ --labels ages.csv --task regression        a column of numbers, or several
  minires finetune --data grades/ --task ordinal             classes that have an order
  minires finetune --data photos/ --folds 5                  few pictures: each is validated on once
  minires finetune --data photos/ --dry-run                  will it run, how long, how much memory?
  minires finetune --data photos/ --max-time 2h              pauses in time; --resume goes on
  minires finetune --from runs/photos --data more/ --distill 1       new classes; the old ones keep their numbers
  minires finetune --resume runs/photos --lr 1e-4            go on after an interruption, with a lower rate
  minires finetune -c runs/photos/args.toml --output runs/photos-again""",
    "train": """  minires train --data photos/ --model resnet20 --epochs 100
  minires train --data digits --opt adamw --output runs/digits
  minires train --resume auto --output runs/digits           go on if it was begun, else begin""",
}
TEXT = {
    "finetune": "Train a pretrained model further: a new head, validation every epoch, early stopping, best weights.",
    "train": "Train a model from nothing, with the same flags as finetune and defaults of its own.",
}
GROUPS = {
    "data": ("data", "labels", "image_column", "label_columns", "label_delim", "task", "threshold",
             "tune_thresholds", "train_split", "val_split", "test_split", "fold", "group_by", "class_map",
             "num_classes", "samples_per_class", "on_bad_image", "review", "workers", "worker_type"),
    "model": ("model", "weights", "from_run", "in_chans", "model_kwargs", "head", "head_dropout", "strategy", "freeze",
              "unfreeze_at", "bn", "lora_rank", "lora_alpha", "device", "amp"),
    "optimisation": ("epochs", "batch_size", "halve_on_oom", "validation_batch_size", "grad_accum_steps", "opt", "sam",
                     "lr", "probe_lr", "lr_base", "lr_base_size", "momentum", "opt_betas", "opt_eps", "weight_decay",
                     "norm_weight_decay", "sched", "warmup_epochs", "warmup_lr", "min_lr", "decay_epochs", "decay_rate",
                     "decay_milestones", "clip_grad", "smoothing", "layer_decay", "l2_sp", "rehearsal",
                     "store_rehearsal", "distill", "distill_temperature", "model_ema", "model_ema_decay",
                     "model_ema_warmup", "swa_start", "mixup", "cutmix", "mixup_off_epoch", "drop_path", "loss",
                     "embedding_size", "margin", "loss_scale", "m_per_class",
                     "class_weights", "sampler"),
    "pictures": ("img_size", "train_crop_size", "val_resize_size", "val_crop_size", "interpolation", "no_aug", "scale",
                 "ratio", "hflip", "vflip", "rotate", "color_jitter", "aa",
                 "reprob"),
    "run": ("seed", "eval_metric", "val_interval", "patience", "min_delta", "checkpoint_interval", "checkpoint_hist",
            "log_interval", "tensorboard", "max_steps", "max_time"),
}  # fmt: skip
RUN_KEYS = ("output", "overwrite", "resume", "compare", "folds", "accept_data_change")
EVERY_STEPS = 10  # the --log-interval of -v


def run(name: str, words: Sequence[str]) -> int:
    """The command."""
    from minires.finetune.settings import FIELDS

    parser = Parser(name, TEXT[name], EXAMPLES[name])
    add_common(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help=f"a line every {EVERY_STEPS} steps")
    parser.add_argument("--no-progress", action="store_true", help="no bars, one line an epoch")
    for title, names in GROUPS.items():
        group = parser.add_argument_group(title)
        for setting in names:
            add_setting(group, FIELDS[setting])
        if title == "run":
            add_run_flags(group, name)
    given = parser.read(words)
    from minires.finetune import recipe

    values = {**_config(given.pop("config", None), FIELDS, name), **given}
    shown = {key: bool(values.pop(key, False)) for key in ("json", "quiet", "verbose", "no_progress", "dry_run")}
    progress = not (shown["no_progress"] or shown["quiet"])
    say = (lambda text: None) if shown["quiet"] else output.say
    for unneeded in ("debug", "lr_warmup_method"):
        values.pop(unneeded, None)
    if shown["verbose"]:
        values.setdefault("log_interval", EVERY_STEPS)
    if values.pop("use_deterministic_algorithms", False):
        say("note: every run is deterministic: --use-deterministic-algorithms changes nothing")
    if "compare" in values:
        if shown["dry_run"]:
            raise UsageError("--dry-run tries one training, not a comparison", code="usage.conflict")
        return compare.run(name, values, shown["json"], shown["quiet"], progress)
    if "folds" in values:
        if shown["dry_run"]:
            raise UsageError("--dry-run tries one training, not one for each fold", code="usage.conflict")
        return folds.run(name, values, shown["json"], say, progress)
    if shown["dry_run"]:
        trial = recipe.dry_run(name, values, say, progress)
        show(trial.to_dict(), "\n".join(trial.lines()), shown["json"])
        return 0
    result = recipe.run_job(name, values, say=say, progress=progress, last_screen=last_screen)
    show(result.to_dict(), last_screen(result), shown["json"])
    return 0


def add_run_flags(group: Any, name: str) -> None:
    """Flags that say where and how a run goes, and are no settings of it."""
    group.add_argument("-c", "--config", metavar="FILE", help="settings from a TOML file; flags come before it")
    group.add_argument("--output", "--output-dir", metavar="DIR",
                       help=f"folder of the run (default: runs/{name}-MODEL-N)")  # fmt: skip
    group.add_argument("--overwrite", action="store_true", help="replace what an earlier run left in --output")
    group.add_argument("--resume", metavar="RUN", nargs="?", const="", help="go on with this run, or from this "
                       "checkpoint file; alone: the run in --output, or the newest in runs/; "
                       '"auto": if --output was begun, else begin')  # fmt: skip
    group.add_argument("--folds", metavar="N", help="cross-validation: a training for each of N parts of the pictures, "
                       "validated on that part, and one table")  # fmt: skip
    group.add_argument("--accept-data-change", action="store_true",
                       help="resume though pictures were added, deleted or changed")  # fmt: skip
    group.add_argument("--dry-run", action="store_true",
                       help="look at the data and the model and try one batch; nothing is kept")  # fmt: skip
    group.add_argument("--use-deterministic-algorithms", action="store_true",
                       help="accepted: every run is deterministic")  # fmt: skip
    group.add_argument("--lr-warmup-method", choices=["linear"], help="accepted: every warm-up is linear")
    if name == "finetune":
        group.add_argument("--compare", metavar="SEEDS", nargs="?", const="", help="train from scratch, only the "
                           "head, and everything, with so many seeds each (3), and print one table")  # fmt: skip


def show(record: dict[str, Any], text: str, as_json: bool) -> None:
    """The result on stdout."""
    if as_json:
        output.result_json(record)
    else:
        output.result(text)


def _config(path: str | None, known: Mapping[str, Any], command: str) -> dict[str, Any]:
    """The settings in a TOML file; "batch-size" and "batch_size" are the same. Not in another command's args.toml."""
    if path is None:
        return {}
    from minires.errors import FileFormatError
    from minires.io import toml
    from minires.io.files import FileAccessError

    try:
        table = toml.load_file(path)
    except (FileAccessError, FileFormatError) as error:
        raise UsageError(error.message, code="usage.config", file=path) from error
    begun_by = table.pop("command", command)
    if begun_by != command and begun_by in TEXT:
        raise UsageError(f"{path} is of a run of minires {begun_by}", code="run.command", file=path,
                         hint=f"minires {begun_by} -c {path}, or take its line command out")  # fmt: skip
    found = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in known and name not in RUN_KEYS:
            raise UsageError(f"{path}: no setting {key!r}{nearest(name, [*known, *RUN_KEYS])}", code="usage.unknown",
                             file=path)  # fmt: skip
        if isinstance(value, str) and name in known and known[name].metadata["kind"] in ("int", "float"):
            spelled = "--" + name.replace("_", "-")
            raise UsageError(f"{path}: {spelled} is a number, written without quotes; got {value!r}",
                             code="usage.value", file=path)  # fmt: skip
        found[name] = value
    return found


def best_epoch(result: "Result") -> str:
    """Which of how many; a run that was paused early has none yet, and its model the weights it was paused with."""
    if result.epochs_done == 0:
        return "none is finished yet: the model is as far as the run is"
    if result.best_epoch == 0:
        return f"none had a figure to choose by (--eval-metric): the model is that of epoch {result.epochs_done}"
    return f"{result.best_epoch} of {result.epochs_done}"


def headline(figures: Mapping[str, Any]) -> tuple[str, ...]:
    """The figures that are shown, by the one that only this task has."""
    by_task = {"map": ("map", "macro_f1", "micro_f1", "exact_match", "loss"),
               "map_at_r": ("top1", "recall_at_1", "recall_at_5", "map_at_r", "loss"),
               "qwk": ("mae", "qwk", "top1", "within_one", "loss")}  # fmt: skip
    usual = ("top1", "top5", "balanced_acc", "macro_f1", "loss", "rmse", "mae", "r2")
    return next((names for key, names in by_task.items() if key in figures), usual)


def last_screen(result: "Result") -> str:
    """Before and after, the best epoch, where the model is, and what to type next."""
    names = [name for name in headline(result.after) if name in result.after]
    rows = [[f"{result.split} pictures ({result.after['samples']})", *names]]
    for title, figures in (("before", result.before), ("after", result.after)):
        rows.append([title, *("-" if figures[name] is None else f"{figures[name]:.4f}" for name in names)])
    rows += interval_rows(result.after, names)
    if "untuned" in result.after:
        untuned = result.after["untuned"]
        rows.append([f"after, {untuned['threshold']:g} for every label", *(cell(untuned.get(name)) for name in names)])
    if "baseline" in result.after:
        rows.append(["baseline (the usual answer)", *(cell(result.after["baseline"].get(name)) for name in names)])
    lines = [result.headline, output.table(rows), f"best epoch: {best_epoch(result)}",
             f"model:      {result.model_path}"]  # fmt: skip
    if result.old_task is not None:
        from minires.finetune.old_task import forgetting_lines

        lines[2:2] = forgetting_lines(result.old_task)
    if result.resumable:
        lines.append(f"next:       minires {result.command} --resume {result.path}")
    else:
        lines.append(f"report:     {os.path.join(result.path, 'report.html')}")
        lines.append(f"next:       minires predict {result.path} PICTURE...")
    return "\n".join(lines)
