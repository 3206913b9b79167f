"""`minires finetune` and `minires train`: settings from flags and a TOML file, first screen, the job, last screen."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minires.cli import compare, output
from minires.cli.options import Parser, add_common, add_setting, nearest
from minires.errors import UsageError

if TYPE_CHECKING:
    from minires.finetune.recipe import Result

EXAMPLES = {
    "finetune": """  minires finetune --data digits --samples-per-class 20
  minires finetune --data digits --samples-per-class 10 --compare     is the pretrained model worth it?
  minires finetune --data photos/ --epochs 30 --output runs/photos
  minires finetune --data photos/ --freeze all-but-head --head 256 --lr 0.003
  minires finetune --data ages.csv --task regression        columns path and label
  minires finetune --resume --output runs/photos             go on after an interruption
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
    "data": ("data", "train_split", "val_split", "test_split", "group_by", "class_map", "samples_per_class", "task",
             "on_bad_image", "workers"),
    "model": ("model", "weights", "head", "head_dropout", "freeze", "bn"),
    "optimisation": ("epochs", "batch_size", "validation_batch_size", "opt", "lr", "momentum", "weight_decay",
                     "norm_weight_decay", "sched", "warmup_epochs", "warmup_lr", "min_lr", "decay_epochs", "decay_rate",
                     "decay_milestones", "clip_grad", "smoothing"),
    "pictures": ("img_size", "no_aug", "scale", "hflip", "vflip", "rotate", "color_jitter", "reprob"),
    "run": ("seed", "eval_metric", "patience", "min_delta", "checkpoint_interval", "checkpoint_hist", "max_steps"),
}  # fmt: skip
RUN_KEYS = ("output", "overwrite", "resume", "compare")


def run(name: str, words: Sequence[str]) -> int:
    """The command."""
    from minires.finetune.settings import FIELDS

    parser = Parser(name, TEXT[name], EXAMPLES[name])
    add_common(parser)
    parser.add_argument("--no-progress", action="store_true", help="no bars, one line an epoch")
    for title, names in GROUPS.items():
        group = parser.add_argument_group(title)
        for setting in names:
            add_setting(group, FIELDS[setting])
        if title == "run":
            group.add_argument("-c", "--config", metavar="FILE", help="settings from a TOML file; flags come before it")
            group.add_argument("--output", "--output-dir", metavar="DIR",
                               help=f"folder of the run (default: runs/{name}-MODEL-N)")  # fmt: skip
            group.add_argument("--overwrite", action="store_true", help="replace what an earlier run left in --output")
            group.add_argument("--resume", metavar="RUN", nargs="?", const="", help="go on with this run; alone: that "
                               'of --output; "auto": if it was begun, else begin')  # fmt: skip
        if title == "run" and name == "finetune":
            group.add_argument("--compare", metavar="SEEDS", nargs="?", const="", help="train from scratch, only the "
                               "head, and everything, with so many seeds each (3), and print one table")  # fmt: skip
    given = parser.read(words)
    from minires.finetune import recipe

    values = {**_config(given.pop("config", None), FIELDS), **given}
    json_wanted, quiet = values.pop("json", False), values.pop("quiet", False)
    progress = not (values.pop("no_progress", False) or quiet)
    values.pop("debug", None)
    if "compare" in values:
        return compare.run(name, values, json_wanted, quiet, progress)
    say = (lambda text: None) if quiet else output.say
    result = recipe.run_job(name, values, say=say, progress=progress)
    if json_wanted:
        output.result_json(result.to_dict())
    else:
        output.result(last_screen(result))
    return 0


def _config(path: str | None, known: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a TOML file; "batch-size" and "batch_size" are the same."""
    if path is None:
        return {}
    from minires.errors import FileFormatError
    from minires.io import toml
    from minires.io.files import FileAccessError

    try:
        table = toml.load_file(path)
    except (FileAccessError, FileFormatError) as error:
        raise UsageError(error.message, code="usage.config", file=path) from error
    table.pop("command", None)
    found = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in known and name not in RUN_KEYS:
            raise UsageError(f"{path}: no setting {key!r}{nearest(name, [*known, *RUN_KEYS])}", code="usage.unknown",
                             file=path)  # fmt: skip
        found[name] = value
    return found


def last_screen(result: "Result") -> str:
    """Before and after, the best epoch, where the model is, and what to type next."""
    names = [name for name in ("top1", "top5", "balanced_acc", "loss", "rmse", "mae", "r2") if name in result.after]
    rows = [[f"{result.split} pictures ({result.after['samples']})", *names]]
    for title, figures in (("before", result.before), ("after", result.after)):
        rows.append([title, *("-" if figures[name] is None else f"{figures[name]:.4f}" for name in names)])
    lines = [result.headline, output.table(rows), f"best epoch: {result.best_epoch} of {result.epochs_done}",
             f"model:      {result.model_path}"]  # fmt: skip
    if result.resumable:
        lines.append(f"next:       minires {result.command} --resume {result.path}")
    else:
        lines.append(f"next:       minires predict {result.path} PICTURE...")
    return "\n".join(lines)
