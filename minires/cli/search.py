"""`minires search --space lr=1e-4..1e-1 ... --data D`: several trainings with drawn settings, and the best of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from minires.cli import output
from minires.cli.job import GROUPS
from minires.cli.options import Parser, add_common, add_setting

if TYPE_CHECKING:
    from minires.finetune.search import Study

EXAMPLES = """  minires search --space lr=1e-4..1e-1 --data photos/ --epochs 10
  minires search --space lr=1e-4..1e-2 opt=sgd,adamw batch_size=16,32 --trials 30 --data photos/ --output runs/search
  minires search --resume runs/search --trials 40
  minires search --space lr=1e-4..1e-1 --sampler-of-trials optuna --data photos/"""
NOT_FOR_IT = ("max_steps", "max_time")
SHOWN = 10  # trials of the table


def run(name: str, words: Sequence[str]) -> int:
    """The command. The table of the best trials goes to stdout."""
    from minires.finetune import search
    from minires.finetune.settings import FIELDS

    parser = Parser(name, "Train with settings drawn from a space, and show which were best.", EXAMPLES)
    add_common(parser)
    parser.add_argument("--no-progress", action="store_true", help="no bars, one line an epoch")
    group = parser.add_argument_group("search")
    group.add_argument("--space", metavar="NAME=RANGE", nargs="+", help="settings and where they are drawn from: "
                       "lr=1e-4..1e-1, epochs=5..20, opt=sgd,adamw")  # fmt: skip
    group.add_argument("--trials", metavar="N", type=int, help=f"trainings (default: {search.TRIALS})")
    group.add_argument("--sampler-of-trials", choices=search.SAMPLERS,
                       help="how settings are drawn: random, or optuna (TPE; needs that package)")  # fmt: skip
    group.add_argument("--no-prune", action="store_true", help="train every trial to its end, however bad it looks")
    group.add_argument("--command", choices=("finetune", "train"), help="what is to be trained (default: finetune)")
    group.add_argument("--output", "--output-dir", metavar="DIR", help="folder of the search (default: runs/search-N)")
    group.add_argument("--overwrite", action="store_true", help="replace an earlier search in --output")
    group.add_argument("--resume", metavar="RUN", nargs="?", const="", help="go on with this search (alone: with that "
                       "in --output), as it was begun; --trials may differ")  # fmt: skip
    for title, names in GROUPS.items():
        group = parser.add_argument_group(title)
        for setting in names:
            if setting not in NOT_FOR_IT:
                add_setting(group, FIELDS[setting])
    given = parser.read(words)
    shown = {key: bool(given.pop(key, False)) for key in ("json", "quiet", "debug", "no_progress", "no_prune")}
    study = search.search(say=(lambda text: None) if shown["quiet"] else output.say,
                          prune=False if shown["no_prune"] else None,
                          progress=not (shown["quiet"] or shown["no_progress"]), **given)  # fmt: skip
    if shown["json"]:
        output.result_json(study.to_dict())
    else:
        output.result(last_screen(study))
    return 0


def last_screen(study: "Study") -> str:
    """The best trials, and what to type next."""
    names = [dimension.name for dimension in study.space]
    rows = [["trial", *names, study.metric, "epochs", "status"]]
    for trial in study.ranked()[:SHOWN]:
        score = "-" if trial.score is None else f"{trial.score:.4f}"
        values = [trial.values[name] for name in names]
        rows.append([str(trial.number), *(f"{value:.3g}" if isinstance(value, float) else str(value)
                                          for value in values), score, str(len(trial.scores)),
                     output.one_line(trial.status)])  # fmt: skip
    lines = [output.table(rows), f"all trials: {study.path}/search.csv; plots: search.svg and .png"]
    if study.best is not None:
        lines += [f"model:      {study.best.path}/model",
                  f"next:       minires finetune -c {study.best.path}/args.toml --output RUN"]  # fmt: skip
    return "\n".join(lines)
