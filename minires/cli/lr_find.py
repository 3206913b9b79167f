"""`minires lr-find --data D`: the loss while the learning rate grows, and the rate that it suggests."""

import os
from collections.abc import Sequence

from minires.cli import output
from minires.cli.job import GROUPS
from minires.cli.options import Parser, add_common, add_setting
from minires.errors import UsageError

EXAMPLES = """  minires lr-find --data photos/
  minires lr-find --data digits --opt sgd --output lr.svg
  minires lr-find --command train --data photos/ --model resnet20"""
NOT_FOR_IT = ("lr", "lr_base", "lr_base_size", "epochs", "sched", "warmup_epochs", "warmup_lr", "min_lr",
              "decay_epochs", "decay_rate", "decay_milestones", "eval_metric", "patience", "min_delta", "val_interval",
              "checkpoint_interval", "checkpoint_hist", "log_interval", "max_steps", "max_time")  # fmt: skip


def run(name: str, words: Sequence[str]) -> int:
    """The command. The suggestion goes to stdout, the plot or table to the file after --output."""
    from minires.finetune import lr_find
    from minires.finetune.settings import FIELDS

    text = "Train a few steps while the learning rate grows, and suggest one. Nothing else is kept."
    parser = Parser(name, text, EXAMPLES)
    add_common(parser)
    group = parser.add_argument_group("search")
    group.add_argument("--command", choices=("finetune", "train"), help="what is to be trained (default: finetune)")
    group.add_argument("--lowest", metavar="X", type=float, help=f"first rate (default: {lr_find.LOWEST:g})")
    group.add_argument("--highest", metavar="X", type=float, help=f"last rate (default: {lr_find.HIGHEST:g})")
    group.add_argument("--steps", metavar="N", type=int, help=f"rates to try (default: {lr_find.STEPS})")
    group.add_argument("--output", metavar="FILE", help="a plot (.svg, .png) or table (.csv)")
    for title, names in GROUPS.items():
        group = parser.add_argument_group(title)
        for setting in names:
            if setting not in NOT_FOR_IT:
                add_setting(group, FIELDS[setting])
    given = parser.read(words)
    as_json, quiet, _ = (bool(given.pop(flag, False)) for flag in ("json", "quiet", "debug"))
    path = given.pop("output", None)
    if path is not None and os.path.splitext(path)[1] not in (".svg", ".png", ".csv"):
        raise UsageError(f"--output ends in .svg, .png or .csv, got {path}", code="usage.output", file=path)
    found = lr_find.lr_find(say=(lambda text: None) if quiet else output.say, **given)
    if path is not None:
        from minires.io import files

        kind = os.path.splitext(path)[1]
        plot = found.chart()
        content = found.to_csv() if kind == ".csv" else plot.svg() if kind == ".svg" else plot.png()
        files.write_atomic(path, content)
    if as_json:
        output.result_json(found.to_dict())
        return 0
    output.say(f"{len(found.rates)} steps, rates {found.rates[0]:.2g} to {found.rates[-1]:.2g}: {found.ended}")
    if found.suggestion is None:
        output.result("no suggestion: the loss did not fall at any rate")
    else:
        output.result(f"--lr {found.suggestion:.2g}")
    return 0
