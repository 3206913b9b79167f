"""Hyper-parameter search: several trainings with settings drawn from a space, and the best of them.

    study = search(["lr=1e-4..1e-1", "weight_decay=0,0.01,0.1"], trials=20, data="photos")

sampler "random" draws every trial on its own (Bergstra and Bengio 2012: better than a grid, since few settings matter,
and one does not know which); "optuna" asks Optuna's TPE, which learns from the trials before. A trial whose figure is
worse than the median of the earlier ones at the same epoch is stopped (Golovin et al. 2017, section 3.2.2).

Each trial is a run of its own in OUTPUT/trial-N. Trial n depends on the seed, n and the trials before it alone, so
that an interrupted search goes on as if nothing had happened.
"""

import csv
import io
import math
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from minires.errors import MiniresError, NumericalError, UsageError
from minires.finetune.batch_size import AUTO
from minires.finetune.fitting import figure_of_merit
from minires.finetune.settings import FIELDS, Settings, make_settings
from minires.finetune.space import Dimension, parse_space
from minires.io import RunFolder, files, toml
from minires.io.run_folder import require_settings
from minires.plots import Chart, Panel, Series, draw
from minires.training import Callback, Monitor, Trainer

COMMAND = "search"
SAMPLERS = ("random", "optuna")
TRIALS = 20
TO_PRUNE = 4  # trials that must be done, and epochs that a trial has at least, before one is stopped


@dataclass
class Trial:
    """One training. score: its best validation figure; None if it failed. scores: the best so far after each epoch."""

    number: int
    values: dict[str, Any]
    score: float | None
    status: str  # "done", "early-stopped", "pruned" or "failed: ..."
    path: str
    seconds: float
    scores: list[float] = field(default_factory=list)


@dataclass
class Study:
    """All trials. metric: the figure by which they are compared; larger: whether a larger one is better."""

    path: str
    metric: str
    larger: bool
    space: list[Dimension]
    trials: list[Trial] = field(default_factory=list)

    @property
    def best(self) -> Trial | None:
        """The trial with the best score, of equal ones the first; None if all have failed."""
        done = [trial for trial in self.trials if trial.score is not None]
        return min(done, key=lambda trial: self._cost(trial.score)) if done else None

    def ranked(self) -> list[Trial]:
        """The best trial first, failed ones last."""
        return sorted(self.trials, key=lambda trial: (trial.score is None, self._cost(trial.score), trial.number))

    def _cost(self, score: float | None) -> float:
        return 0.0 if score is None else -score if self.larger else score

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        best = self.best
        return {"path": self.path, "metric": self.metric, "larger_is_better": self.larger,
                "best": None if best is None else dict(best.__dict__),
                "trials": [dict(trial.__dict__) for trial in self.trials]}  # fmt: skip

    def to_csv(self) -> str:
        """A line a trial."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        names = [dimension.name for dimension in self.space]
        writer.writerow(["trial", *names, self.metric, "status", "epochs", "seconds", "path"])
        for trial in self.trials:
            writer.writerow([trial.number, *(trial.values[name] for name in names), trial.score, trial.status,
                             len(trial.scores), trial.seconds, trial.path])  # fmt: skip
        return text.getvalue()

    def chart(self) -> Chart | None:
        """Scores by trial, and by the value of each setting; None if all trials have failed."""
        done = [trial for trial in self.trials if trial.score is not None]
        if not done:
            return None
        best = [min((one.score for one in done[: place + 1]), key=self._cost) for place in range(len(done))]
        numbers = [trial.number for trial in done]
        panels = [Panel(self.metric, "trial", [_dots("trial", numbers, done), Series("best so far", numbers, best)])]
        for dimension in self.space:
            places = [dimension.place(trial.values[dimension.name]) for trial in done]
            panels.append(Panel(self.metric, dimension.axis, [_dots("trial", places, done)]))
        return draw(panels, 380, 320)


def search(
    space: Sequence[str] | None = None, trials: int | None = None, command: str | None = None,
    sampler_of_trials: str | None = None, prune: bool | None = None, output: str | None = None, overwrite: bool = False,
    resume: Any = None, say: Callable[[str], None] = lambda text: None, progress: bool = False, **settings: Any,
) -> Study:  # fmt: skip
    """Run `trials` trials (default: 20) of the command "finetune" (default) or "train".

    output: the folder (default: runs/search-N). prune: stop trials that look bad (default: True).
    resume: a search's folder, or True for that in `output`: go on with it. What is not given is as it was begun; it may
    have more `trials`, and nothing else that differs.

    A trial whose numbers are not finite, or that finds too little memory, has failed, and the search goes on. Raises
    UsageError for a space that makes no sense, and for a sampler whose package is missing (code "dependency.missing").
    """
    if resume not in (None, False, True, ""):
        if output is not None and os.path.realpath(output) != os.path.realpath(resume):
            raise UsageError(f"--resume {resume} and --output {output} name two folders", code="usage.conflict")
        output, resume = os.fspath(resume), True
    resume = resume not in (None, False)
    begun = _begun(output) if resume else {}
    space = begun.pop("space", None) if space is None else space
    if space is None:
        raise UsageError("--space is missing: what is to be searched?", code="usage.missing",
                         hint="--space lr=1e-4..1e-1")  # fmt: skip
    planned = begun.pop("trials", TRIALS)
    trials = planned if trials is None else trials
    command = command or begun.pop("of", "finetune")
    sampler_of_trials = sampler_of_trials or begun.pop("sampler_of_trials", SAMPLERS[0])
    prune = begun.pop("prune", True) if prune is None else prune
    settings = {**{name: value for name, value in begun.items() if name in FIELDS}, **settings}
    dimensions = parse_space(space)
    if isinstance(trials, bool) or not 1 <= trials <= 10_000:
        raise UsageError(f"--trials is a number from 1 to 10000, got {trials}", code="usage.value")
    if sampler_of_trials not in SAMPLERS:
        raise UsageError(
            f"--sampler-of-trials is one of {', '.join(SAMPLERS)}; got {sampler_of_trials!r}", code="usage.value"
        )
    for name in [*(dimension.name for dimension in dimensions), "max_steps", "max_time"]:
        if settings.get(name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} does not go with this search", code="usage.conflict")
    draw_values = {"random": draw_random, "optuna": draw_with_optuna}[sampler_of_trials]
    if sampler_of_trials == "optuna":
        optuna_package()
    values = {name: value for name, value in settings.items() if value is not None}
    checked = make_settings({**values, "batch_size": 2} if values.get("batch_size") == AUTO else values).check()
    given = {
        "command": COMMAND,
        "of": command,
        "space": list(space),
        "sampler_of_trials": sampler_of_trials,
        "prune": prune,
        "trials": trials,
        **values,
    }
    with _open(output, given, overwrite, resume) as folder:
        study = _begin(folder, checked, dimensions)
        for number in range(len(study.trials) + 1, trials + 1):
            chosen = draw_values(study, checked.seed, number)
            say(f"trial {number} of {trials}: {', '.join(f'{name} {_short(value)}' for name, value in chosen.items())}")
            trial = _run(study, command, {**values, **chosen}, chosen, number, prune, resume, say, progress)
            study.trials.append(trial)
            shown = trial.status if trial.score is None else f"{study.metric} {trial.score:.4f} ({trial.status})"
            say(f"trial {number} of {trials}: {shown}")
            folder.write_json("search.json", study.to_dict())
        files.write_atomic(folder.file("search.csv"), study.to_csv())
        chart = study.chart()
        if chart is not None:
            files.write_atomic(folder.file("search.svg"), chart.svg())
            files.write_atomic(folder.file("search.png"), chart.png())
    return study


def draw_random(study: Study, seed: int, number: int) -> dict[str, Any]:
    """The values of trial `number`: from its own address, whatever the other trials are."""
    return {dimension.name: dimension.draw(seed, number) for dimension in study.space}


def draw_with_optuna(study: Study, seed: int, number: int) -> dict[str, Any]:
    """What TPE asks for after all trials so far (failed ones are left out)."""
    optuna = optuna_package()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=(seed + number) % 2**32)
    own = optuna.create_study(direction="maximize" if study.larger else "minimize", sampler=sampler)
    kinds = {dimension.name: dimension.for_optuna(optuna) for dimension in study.space}
    for trial in study.trials:
        if trial.score is not None:
            own.add_trial(optuna.trial.create_trial(params=trial.values, distributions=kinds, value=trial.score))
    return dict(own.ask(kinds).params)


def optuna_package() -> Any:
    """The package, or UsageError."""
    try:
        import optuna
    except ImportError as error:
        hint = "pip install optuna, or leave --sampler-of-trials out: random search is built in"
        message = "the sampler optuna needs the package optuna"
        raise UsageError(message, code="dependency.missing", hint=hint) from error
    return optuna


class MedianPruning(Callback):
    """Notes the best score after each epoch, and stops a trial that is worse than the median of the others there."""

    order = 20

    def __init__(self, metric: str, larger: bool, others: Sequence[Sequence[float]]) -> None:
        self.metric, self.larger, self.others = metric, larger, others
        self.scores: list[float] = []
        self.pruned = False

    def after_epoch(self, trainer: Trainer) -> None:
        self.scores = best_so_far([row.get(self.metric) for row in trainer.history.rows], self.larger)
        reached = [scores[len(self.scores) - 1] for scores in self.others if len(scores) >= len(self.scores)]
        if len(self.scores) < TO_PRUNE or len(reached) < TO_PRUNE or trainer.stop_reason is not None:
            return
        middle = statistics.median(reached)
        if self.scores[-1] < middle if self.larger else self.scores[-1] > middle:
            self.pruned = True
            trainer.stop(f"pruned after epoch {trainer.epoch}: {self.metric} {self.scores[-1]:.4g} is worse than the "
                         f"median of the other trials, {middle:.4g}")  # fmt: skip


def best_so_far(values: Sequence[float | None], larger: bool) -> list[float]:
    """The best value up to each epoch; epochs without one, or with one that is not finite, leave it as it was."""
    worst = -math.inf if larger else math.inf
    found: list[float] = []
    for value in values:
        before = found[-1] if found else worst
        if value is None or not math.isfinite(value):
            found.append(before)
        else:
            found.append(max(before, value) if larger else min(before, value))
    return found


def _run(
    study: Study, command: str, values: Mapping[str, Any], chosen: dict[str, Any], number: int, prune: bool,
    resume: Any, say: Callable[[str], None], progress: bool,
) -> Trial:  # fmt: skip
    from minires.finetune.recipe import run_job

    path = os.path.join(study.path, f"trial-{number}")
    ways = {"resume": "auto"} if resume else {"overwrite": True}
    others = [trial.scores for trial in study.trials if trial.score is not None] if prune else []
    watch = MedianPruning(study.metric, study.larger, others)
    began = time.monotonic()
    try:
        result = run_job(command, {**values, "output": path, **ways}, progress=progress, callbacks=[watch])
    except (NumericalError, MemoryError, MiniresError) as error:
        if isinstance(error, MiniresError) and error.code not in (NumericalError.code, "memory"):
            raise
        reason = error.message if isinstance(error, MiniresError) else f"out of memory: {error}"
        return Trial(number, chosen, None, f"failed: {reason}", path, round(time.monotonic() - began, 2))
    scores = best_so_far([row.get(study.metric) for row in result.history], study.larger)
    if not scores or not math.isfinite(scores[-1]):
        raise UsageError(f"the runs have no figure {study.metric} to compare: a search needs validation pictures",
                         code="usage.conflict")  # fmt: skip
    status = "pruned" if watch.pruned else result.status
    return Trial(number, chosen, scores[-1], status, path, round(time.monotonic() - began, 2), scores)


def _begin(folder: RunFolder, settings: Settings, space: list[Dimension]) -> Study:
    """The study with the trials that are done already."""
    metric = figure_of_merit(settings, True)
    study = Study(folder.path, metric, Monitor(metric).mode == "max", space)
    if os.path.isfile(folder.file("search.json")):
        study.trials = [Trial(**trial) for trial in folder.read_json("search.json")["trials"]]
    return study


def _open(output: str | None, given: Mapping[str, Any], overwrite: bool, resume: Any) -> RunFolder:
    if not resume:
        folder = RunFolder.create(output, COMMAND, overwrite=overwrite)
        files.remove(folder.file("search.json"), missing_ok=True)
        folder.write_args(given)
        return folder
    assert output is not None  # _begun
    folder = RunFolder.resume(output)
    begun = folder.read_args()
    if {**begun, "trials": 0} != {**given, "trials": 0}:
        folder.close()
        raise UsageError(f"{output} was begun with another space or other settings", code="run.settings", file=output,
                         hint="leave them out; --trials may differ")  # fmt: skip
    if begun.get("trials") != given["trials"]:
        folder.write_args(given)
    return folder


def _begun(output: str | None) -> dict[str, Any]:
    """The arguments of the search that is to go on."""
    if output is None:
        raise UsageError("--resume needs the folder of the search: --resume RUN, or --output RUN", code="usage.missing")
    begun = toml.load_file(require_settings(output))
    if begun.get("command") != COMMAND:
        raise UsageError(f"{output} is no search: it was begun by minires {begun.get('command')}", code="run.command",
                         file=output)  # fmt: skip
    return begun


def _dots(name: str, places: Sequence[float], trials: Sequence[Trial]) -> Series:
    """Single points: a gap after each of them."""
    gaps = [value for place in places for value in (place, place)]
    return Series(name, gaps, [value for trial in trials for value in (trial.score, None)])


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
