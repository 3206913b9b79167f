"""What is the pretrained model worth? The same few labels, the same test pictures, and some ways to use them.

    before       the pretrained model with a fresh head that has seen nothing
    scratch      the same network, trained from random numbers
    head         the pretrained model, only its head trained
    full         the pretrained model, everything trained
    strategy     with --strategy: the pretrained model, trained in that way

Each seed draws its own split, its own few labels, its own fresh head and its own order; within a seed the ways share
them. Every training is a run like any other, in a folder of its own; beside them lie comparison.json and .csv, and
curves.svg and .png. An interrupted comparison goes on where it stopped (`resume`).

Every way is trained as well as we know how: the rates below were chosen by hand among several on digits with other
seeds than the default ones (though among the same 1,797 digits, so that the figures are a little kind to every way),
and training from scratch gets twice as many steps as fine-tuning. A few pictures are gone through more often than many.
"""

import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from minires.errors import UsageError
from minires.finetune.compared import FIGURES, STRATEGY, VARIANTS, Comparison, Run, Variant, title_of, ways_with
from minires.finetune.fitting import steps_in_epoch
from minires.finetune.job import Job
from minires.finetune.pictures import is_digits
from minires.finetune.recipe import open_folder, run_job
from minires.finetune.resuming import find_folder
from minires.finetune.settings import Settings, flag, make_settings, shown
from minires.io import RunFolder, files

Say = Callable[[str], None]


# On few validation pictures accuracy moves in steps: the loss chooses the epoch, and nothing is stopped early.
# Norms and biases are not pulled towards zero in any of the ways (`train` alone would do it).
USUAL = {"patience": 0, "eval_metric": "loss", "norm_weight_decay": 0.0}
# Few labels leave many digits for the test; and a digit fills its picture, so that a small crop would cut off ink.
USUAL_FOR_DIGITS = {"val_split": 0.05, "test_split": 0.5, "scale": (0.8, 1.0)}
REFUSED = {"freeze": "it compares what is frozen", "unfreeze_at": "it compares what is trained",
           "max_steps": "each training must end"}  # fmt: skip
# of these, the value that changes nothing
ALLOWED = {"freeze": "none", "unfreeze_at": ()}
SEEDS = 3
COMMAND = "finetune --compare"
OF_STRATEGY = ("strategy", "probe_lr", "lora_rank", "lora_alpha")  # settings of the fourth way alone


def compare(
    seeds: int | None = None, *, output: Any = None, resume: Any = None, overwrite: bool = False,
    say: Say | None = None, progress: bool = False, **settings: Any,
) -> Comparison:  # fmt: skip
    """Train the three ways with `seeds` seeds each (default: 3): the settings' `seed` and the following ones.

    Settings are those of `finetune`; what is given holds for every way, but that `strategy` (lora, lp-ft, ...) makes a
    fourth one. What is compared is accuracy, mAP of several labels, or mae of ranks and numbers. output: folder
    (default: runs/compare-MODEL-N). resume, overwrite, say, progress: as in `finetune`; a resumed comparison keeps its
    settings.

    Raises UsageError for settings that do not go with a comparison, and what `finetune` raises.
    """
    say = say or (lambda text: None)
    path, resuming = find_folder(output, resume, COMMAND)
    if resuming:
        assert path is not None
        with RunFolder.resume(path) as folder:
            seeds, settings = _settings_of(folder, seeds, settings)
            return _run_all(folder, seeds, settings, _prepare(settings), overwrite, say, progress)
    seeds = _count(SEEDS if seeds is None else seeds)
    settings = _checked(settings)
    job = _prepare(settings)
    with open_folder(path, "compare", job.settings, overwrite) as folder:
        files.remove(folder.file("comparison.json"), missing_ok=True)
        if overwrite:
            _clear_runs(folder)
        folder.write_args({"command": COMMAND, "compare": seeds, **settings})
        return _run_all(folder, seeds, settings, job, overwrite, say, progress)


def _clear_runs(folder: RunFolder) -> None:
    """Take out what the runs of an earlier comparison wrote: it may have had more seeds than this one."""
    for seed in files.list_folder(folder.path):
        if re.fullmatch(r"seed-\d+", seed):
            for name in {*VARIANTS, STRATEGY} & set(files.list_folder(folder.file(seed))):
                with RunFolder.create(folder.file(seed, name), overwrite=True):
                    pass


def _prepare(given: Mapping[str, Any]) -> Job:
    """The fully fine-tuned job of the first seed: it finds what is wrong with data and weights, and counts steps."""
    settings = _settings("full", given, given["seed"], 1).resolved("finetune")
    if settings.from_run is not None:
        raise UsageError("--compare compares what to do with new data alone: it does not go with --from",
                         code="usage.conflict")  # fmt: skip
    job = Job("finetune", settings, lambda text: None, False)
    job.prepare()
    job.settings.epochs = given.get("epochs") or VARIANTS["full"].epochs(_steps_per_epoch(job))
    return job


def _steps_per_epoch(job: Job) -> int:
    return steps_in_epoch(len(job.splits["train"]), job.settings.step_size)


def _settings(variant: str, given: Mapping[str, Any], seed: int, steps_per_epoch: int) -> Settings:
    """The settings of one training."""
    way, weights = _ways(given)[variant], given.get("weights")
    usual: dict[str, Any] = {"epochs": way.epochs(steps_per_epoch), "opt": "adamw"}
    if given.get("opt") is None:  # another optimizer brings its own learning rate
        usual["lr"] = way.lr
    shared = {name: value for name, value in given.items() if variant == STRATEGY or name not in OF_STRATEGY}
    values = {**usual, **shared, **way.fixed, "seed": seed}
    if variant == "scratch" and weights is not None and os.path.isdir(weights):
        values["model"] = weights  # the same network; only its weights are left behind
    return make_settings(values).check()


def _ways(given: Mapping[str, Any]) -> dict[str, Variant]:
    return ways_with(given.get("strategy") or "full")


def _count(seeds: Any) -> int:
    if isinstance(seeds, bool) or not isinstance(seeds, int) or not 1 <= seeds <= 100:
        raise UsageError(f"--compare takes the number of seeds, 1 to 100, got {seeds}", code="usage.value")
    return seeds


def _checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that were given, in their proper types, and the usual ones of a comparison."""
    for name, reason in REFUSED.items():
        if settings.get(name) not in (None, ALLOWED.get(name)):
            raise UsageError(f"{flag(name)} does not go with --compare: {reason}", code="usage.conflict")
    if settings.get("strategy") == "head":
        raise UsageError(
            "--strategy head is among the ways that --compare compares: leave it out", code="usage.conflict"
        )
    if settings.get("weights") == "none":
        raise UsageError("--weights none leaves nothing to compare with", code="usage.conflict")
    checked = make_settings(settings).check()
    given = {name: getattr(checked, name) for name, value in settings.items() if value is not None}
    for_data = USUAL_FOR_DIGITS if is_digits(given["data"]) else {}
    return {**USUAL, **for_data, **given, "seed": checked.seed}


def _settings_of(folder: RunFolder, seeds: int | None, given: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Number of seeds and settings that the comparison in `folder` was begun with; what is given must agree."""
    kept = folder.read_args()
    if kept.pop("command", None) != COMMAND:
        raise UsageError(f"{folder.path} is no comparison", code="run.command", file=folder.path,
                         hint=f"minires finetune --resume {folder.path}")  # fmt: skip
    count, kept = _count(kept.pop("compare", None)), _checked(kept)
    wishes = {"compare": count if seeds is None else seeds, **_checked({**kept, **given})}
    for name, wish in wishes.items():
        old = {"compare": count, **kept}.get(name)
        if wish != old:
            message = f"a resumed comparison keeps its settings: {folder.path} has {flag(name)} {shown(old)}"
            raise UsageError(f"{message}, not {shown(wish)}", code="run.settings", hint="leave the flag out")
    return count, kept


def _run_all(
    folder: RunFolder, seeds: int, settings: dict[str, Any], job: Job, overwrite: bool, say: Say, progress: bool
) -> Comparison:  # fmt: skip
    """Every run that is not there yet, and after each what all of them come to so far."""
    first = settings["seed"]
    comparison = Comparison(folder.path, settings["data"], list(range(first, first + seeds)),
                            strategy=settings.get("strategy") or "full",
                            figure=FIGURES[job.settings.task or "classification"])  # fmt: skip
    if os.path.isfile(folder.file("comparison.json")):
        comparison.runs = [Run(**run) for run in folder.read_json("comparison.json")["runs"]]
        for run in comparison.runs:  # the folder may have been moved
            run.path = folder.file(f"seed-{run.seed}", run.variant)
    done = {(run.variant, run.seed) for run in comparison.runs}
    steps = _steps_per_epoch(job)
    say(f"{job.describe()}\ncompared {_plan(settings, steps)}, seeds {shown(comparison.seeds)}\noutput   {folder.path}")
    for seed in comparison.seeds:
        for name, variant in comparison.ways.items():
            if (name, seed) in done:
                continue
            values = _settings(name, settings, seed, steps)
            run = _run_one(name, variant.command, values, folder.file(f"seed-{seed}", name), overwrite, progress)
            comparison.runs.append(run)
            folder.write_json("comparison.json", comparison.to_dict())
            took = "" if run.seconds is None else f"  {run.seconds:.1f} s"
            figure = run.after[comparison.figure]
            told = "-" if figure is None else f"{figure:.4f}"
            say(f"seed {seed}  {variant.title:<20}  {run.split} {title_of(comparison.figure)} {told}{took}")
    files.write_atomic(folder.file("comparison.csv"), comparison.to_csv())
    chart = comparison.chart()
    files.write_atomic(folder.file("curves.svg"), chart.svg())
    files.write_atomic(folder.file("curves.png"), chart.png())
    return comparison


def _plan(settings: Mapping[str, Any], steps: int) -> str:
    """How long each way is trained."""
    epochs = {name: _settings(name, settings, 0, steps).epochs for name in _ways(settings)}
    return ", ".join(f"{_ways(settings)[name].title} ({count} epochs)" for name, count in epochs.items())


def _run_one(name: str, command: str, settings: Settings, path: str, overwrite: bool, progress: bool) -> Run:
    """One training in its folder; one that was interrupted goes on."""
    begun = os.path.isfile(os.path.join(path, "args.toml")) and not overwrite
    ways = {"resume": "auto"} if begun else {"overwrite": overwrite}
    values = {key: value for key, value in settings.to_dict().items() if value is not None}
    started = time.monotonic()
    result = run_job(command, {**values, "output": path, **ways}, progress=progress)
    seconds = None if begun else round(time.monotonic() - started, 2)
    return Run(name, settings.seed, path, result.split, result.before, result.after, result.best_epoch,
               result.history, seconds)  # fmt: skip
