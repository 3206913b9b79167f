"""k-fold cross-validation: every picture is a validation picture once, which is what few pictures call for.

    found = cross_validate(5, data="photos")         minires finetune --data photos --folds 5

Fold i of k (the setting `fold`, "2/5") takes the i-th part of the pictures for validation and the others for training.
The parts are made once from the seed: every class is dealt out evenly, one picture after the other, and pictures that
belong together (--group-by) stay together. Test pictures that have a folder or a column of their own stay out of it,
and so do those of --test-split; no others are set aside.
"""

import csv
import io
import json
import os
import re
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minires.data import ArrayDataset
from minires.data.labels_split import is_sets_of_labels, stratify
from minires.errors import UsageError
from minires.explain.intervals import wilson
from minires.finetune import pictures
from minires.finetune.batch_size import AUTO
from minires.finetune.settings import FIELDS, Settings, make_settings
from minires.finetune.tasks.deciding import table_of
from minires.io import RunFolder, files, toml
from minires.io.run_folder import require_settings
from minires.random import philox

FIGURES = ("top1", "balanced_acc", "map", "macro_f1", "micro_f1", "exact_match", "loss", "rmse", "mae", "r2", "qwk",
           "within_one")  # fmt: skip
COMMAND = "folds"


def parse_fold(text: str) -> tuple[int, int]:
    """(i, k) from "i/k", 1 <= i <= k. UsageError for anything else."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    number, count = (int(part) for part in match.groups()) if match else (0, 0)
    if not 1 <= number <= count or count < 2:
        raise UsageError(f"--fold is a part such as 2/5, got {text!r}", code="usage.value")
    return number, count


def open_splits(settings: Settings, mode: str = "RGB", order: dict[str, int] | None = None) -> dict[str, Any]:
    """As `pictures.open_splits`, with the training and validation pictures of the setting `fold` where it is given."""
    splits = pictures.open_splits(settings, mode, order)
    if settings.fold is None:
        return splits
    number, count = parse_fold(settings.fold)
    if settings.val_split is not None:
        raise UsageError("--val-split does not go with folds: each part is the validation split once",
                         code="usage.conflict")  # fmt: skip
    test = splits.pop("test", None) if _has_own_test(settings) else None
    whole = _merged(splits)
    if len(whole) < count:
        raise UsageError(f"{len(whole)} pictures cannot be cut into {count} folds", code="data.fraction")
    names = None if settings.group_by is None else [whole.relative_name(path) for path, _ in whole.samples]
    parts = deal(whole.targets, count, settings.seed, _groups(len(whole), settings.group_by, names))
    chosen = parts[number - 1]
    if not chosen:
        raise UsageError(f"fold {settings.fold} is empty: there are fewer groups than folds", code="data.fraction")
    others = sorted(set(range(len(whole))) - set(chosen))
    found = {"train": whole.take(others), "val": whole.take(chosen)}
    return found if test is None else {**found, "test": test}


def deal(targets: Any, count: int, seed: int, groups: list[list[int]]) -> list[list[int]]:
    """The indices of each fold. Every class's groups are shuffled and dealt out in turn, going on where the last ended.

    A group counts to the class of its first picture; float targets (regression) are one class. Pictures with several
    labels are dealt out as labels_split.py says.
    """
    if is_sets_of_labels(list(targets)):
        return stratify(list(targets), groups, [1 / count] * count, seed)
    labels = np.asarray(targets)
    labels = np.zeros(len(labels), int) if labels.dtype.kind == "f" else labels
    folds: list[list[int]] = [[] for _ in range(count)]
    turn = 0
    for label in sorted({int(labels[group[0]]) for group in groups}):
        own = [group for group in groups if labels[group[0]] == label]
        for place in philox(seed, "folds", label).permutation(len(own)):
            folds[turn % count] += own[place]
            turn += 1
    return [sorted(fold) for fold in folds]


@dataclass
class Folds:
    """What the runs of all folds have come to. figures: name -> values, a fold each."""

    path: str
    data: str
    figures: dict[str, list[float]]
    pictures: int
    right: int | None = None  # classification: of all pictures, those that were called right when not trained on
    runs: list[str] = field(default_factory=list)

    def table(self) -> list[dict[str, Any]]:
        """A row a figure: name, mean, standard deviation over the folds, smallest and largest."""
        return [{"figure": name, "mean": statistics.fmean(values), "spread": statistics.stdev(values),
                 "lowest": min(values), "highest": max(values)} for name, values in self.figures.items()]  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        interval = None if self.right is None else wilson(self.right, self.pictures)
        return {"folds": len(self.runs), "path": self.path, "data": self.data, "pictures": self.pictures,
                "right": self.right, "top1_interval": interval, "table": self.table(), "figures": self.figures,
                "runs": self.runs}  # fmt: skip


def cross_validate(
    folds: int | None = None, command: str | None = None, output: str | None = None, overwrite: bool = False,
    resume: Any = None, say: Callable[[str], None] = lambda text: None, progress: bool = False, **settings: Any,
) -> Folds:  # fmt: skip
    """A run of `command` (default: "finetune") for each fold in the folder `output` (default: runs/folds-N).

    resume: the folder of an interrupted one, or True for that in `output`: it goes on with the settings that it was
    begun with, and folds that are done are not trained again.
    Beside the runs folds.json, folds.csv and predictions.csv (every picture as the model called it that had not been
    trained on it) are written, and review.csv of all folds together.
    """
    from minires.finetune.recipe import run_job

    if resume not in (None, False, True, ""):
        if output is not None and os.path.realpath(output) != os.path.realpath(resume):
            raise UsageError(f"--resume {resume} and --output {output} name two folders", code="usage.conflict")
        output = os.fspath(resume)
    resume = resume not in (None, False)
    begun = _begun(output) if resume else {}
    folds = begun.get("folds") if folds is None else folds
    command = command or begun.get("of", "finetune")
    settings = {**{name: value for name, value in begun.items() if name in FIELDS}, **settings}
    if folds is None or isinstance(folds, bool) or not 2 <= folds <= 100:
        raise UsageError(f"--folds takes the number of parts, 2 to 100, got {folds}", code="usage.value")
    if settings.get("fold") is not None or settings.get("max_steps") or settings.get("max_time"):
        raise UsageError("--fold, --max-steps and --max-time do not go with --folds", code="usage.conflict")
    values = {name: value for name, value in settings.items() if value is not None}
    counted = {name: value for name, value in values.items() if (name, value) != ("batch_size", AUTO)}
    make_settings({**counted, "fold": f"1/{folds}"}).check().resolved(command)  # before the folder is made
    given = {"command": COMMAND, "folds": folds, "of": command, **values}
    with _open(output, given, overwrite, resume) as folder:
        if not resume:
            folder.write_args(given)
        results = []
        for number in range(1, folds + 1):
            path = folder.file(f"fold-{number}")
            ways = {"resume": "auto"} if resume else {"overwrite": overwrite}
            say(f"fold {number} of {folds}")
            results.append(run_job(command, {**values, "fold": f"{number}/{folds}", "output": path, **ways}, say=say,
                                   progress=progress))  # fmt: skip
        return _gathered(folder, str(values.get("data")), results)


def _open(output: str | None, given: Mapping[str, Any], overwrite: bool, resume: Any) -> RunFolder:
    if not resume:
        return RunFolder.create(output, COMMAND, overwrite=overwrite)
    assert output is not None  # _begun
    folder = RunFolder.resume(output)
    if folder.read_args() != {name: value for name, value in given.items() if value is not None}:
        folder.close()
        raise UsageError(f"{output} was begun with other settings", code="run.settings", file=output,
                         hint="leave them out: it goes on as it was begun")  # fmt: skip
    return folder


def _begun(output: str | None) -> dict[str, Any]:
    """The arguments of the cross-validation that is to go on."""
    if output is None:
        raise UsageError("--resume with --folds needs the folder: --resume RUN, or --output RUN", code="usage.missing")
    begun = toml.load_file(require_settings(output))
    if begun.get("command") != COMMAND:
        raise UsageError(f"{output} is no cross-validation: it was begun by minires {begun.get('command')}",
                         code="run.command", file=output)  # fmt: skip
    return begun


def _gathered(folder: RunFolder, source: str, results: list[Any]) -> Folds:
    """Figures of the validation pictures of all folds, and one table of all predictions."""
    runs = [folder.file(f"fold-{number}") for number in range(1, len(results) + 1)]
    measured = [_validation_figures(path) for path in runs]
    names = [name for name in FIGURES if all(one.get(name) is not None for one in measured)]
    found = Folds(folder.path, source, {name: [one[name] for one in measured] for name in names},
                  sum(one["samples"] for one in measured), runs=runs)  # fmt: skip
    if "top1" in names:
        found.right = round(sum(one["top1"] * one["samples"] for one in measured))
    for name in ("predictions_val.csv", "review.csv"):
        rows = [row for path in runs for row in _rows(os.path.join(path, name))]
        if rows:
            text = io.StringIO(newline="")
            writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
            files.write_atomic(folder.file(name.replace("_val", "")), text.getvalue())
    folder.write_json("folds.json", found.to_dict())
    return found


def _validation_figures(run: str) -> dict[str, Any]:
    return json.loads(files.read_text(os.path.join(run, "metrics.json")))["val"]


def _rows(path: str) -> list[dict[str, str]]:
    """The rows of a CSV file; [] if there is none."""
    if not os.path.exists(path):
        return []
    return list(csv.DictReader(io.StringIO(files.read_text(path), newline="")))


def _has_own_test(settings: Settings) -> bool:
    """Whether the test pictures were set aside by the user, and not by the usual fraction."""
    if settings.test_split is not None:
        return True
    if table_of(settings) is not None:
        return pictures.says_splits(settings)
    return os.path.isdir(os.path.join(str(settings.data), settings.train_split))


def _merged(splits: Mapping[str, Any]) -> Any:
    """All splits as one data set, in an order that does not depend on how they were split."""
    parts = list(splits.values())
    if isinstance(parts[0], ArrayDataset):
        images, targets = (np.concatenate([getattr(part, name) for part in parts]) for name in ("images", "targets"))
        return ArrayDataset(images, targets, classes=parts[0].classes)
    return parts[0].with_samples(sorted(sample for part in parts for sample in part.samples))


def _groups(count: int, pattern: str | None, names: list[str] | None) -> list[list[int]]:
    if pattern is None or names is None:
        return [[index] for index in range(count)]
    found: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        match = re.search(pattern, name)
        if match is None:
            raise UsageError(f"the expression {pattern!r} finds nothing in the name {name!r}", code="data.group")
        found.setdefault(match.group(1) if match.re.groups else match.group(0), []).append(index)
    return list(found.values())
