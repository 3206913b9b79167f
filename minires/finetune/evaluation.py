"""`evaluate_model`: a model directory or run measured on a split of its own data or of other data."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from minires import data
from minires.errors import DataError, UsageError
from minires.finetune import folds, pictures
from minires.finetune.devices import find_device
from minires.finetune.growing import reindexed
from minires.finetune.inference import evaluate
from minires.finetune.loading import LoadedModel, load_model
from minires.finetune.settings import Settings, make_settings
from minires.finetune.tasks.deciding import table_of
from minires.io import download, toml


@dataclass
class EvaluationReport:
    """Which model was measured on what, the figures, and the pictures that were left out (file -> reason).

    notes: what to know before believing the figures, such as that nothing tells which pictures were trained on.
    """

    model: str
    data: str
    split: str
    metrics: dict[str, Any]
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"model": self.model, "data": self.data, "split": self.split, "metrics": self.metrics,
                "skipped": self.skipped, "notes": self.notes}  # fmt: skip


def evaluate_model(
    path: str | os.PathLike[str], source: str | None = None, split: str = "test", *, on_bad_image: str = "error",
    batch_size: int = 32, workers: int | str = 0, worker_type: str = "thread", tta: int = 1,
    base: str | None = None, class_map: str | None = None, name: str | None = None, threshold: float | None = None,
    labels: str | None = None, image_column: str | None = None, label_columns: Sequence[str] = (),
    label_delim: str | None = None, device: str = "cpu", say: Callable[[str], None] = download.print_line,
) -> EvaluationReport:  # fmt: skip
    """Measure the model at `path` on `split` ("train", "val", "test") of `source` (default: the run's own data).

    device: what computes ("cpu", "cuda", "cuda:1", "auto").
    With the run's own data the split is the one that the run made (splits.csv). `source` may be a folder with folders
    of splits, a folder of classes (then all of it counts, whatever `split` says), a CSV table or "digits". Classes keep
    the model's order; a class that the model does not know is an error that names it.
    labels: a table of the pictures in the folder `source`; it, image_column, label_columns and label_delim are those of
    `finetune`. threshold: of a multi-label model, in place of its own.
    tta: views of each picture whose answers are averaged (tta.py). base: of a delta, as in `load_model`.
    path: may be a URL, as in `load_model`, or a weights file, whose classes `class_map` names (else 0, 1, 2, ...) and
    whose model `name`, where it fits several; say: where lines about a download or a weights file go.
    """
    place = find_device(device)
    loaded = load_model(path, class_map, name, base=base, say=say).with_views(tta)
    loaded.model.to(place)
    if threshold is not None:
        loaded = loaded.with_threshold(threshold)
    path = loaded.path if download.is_url(path) else path
    settings = run_settings(os.fspath(path))
    if source is None and (settings is None or not settings.data):
        raise UsageError(f"{os.fspath(path)} does not say which pictures it was trained on: give --data",
                         code="usage.missing", hint="--data FOLDER")  # fmt: skip
    other = Settings(data=source, labels=labels, image_column=image_column, label_columns=tuple(label_columns),
                     label_delim=label_delim, task=loaded.task, on_bad_image=on_bad_image)  # fmt: skip
    own = settings is not None and labels is None and (source is None or _same_place(source, settings.data))
    if source is None and labels is not None:
        raise UsageError("--labels names a table of the pictures in a folder: give --data FOLDER", code="usage.missing")
    where = str(settings.data if own and settings else source)
    notes: list[str] = []
    if own and settings:
        dataset = _pick(own_splits(os.fspath(path), settings, loaded), split, str(settings.data))
    else:
        try:
            dataset = _other(other, loaded, split, notes)
        except DataError as error:
            if error.code == "data.extra_class" and loaded.classes == [str(n) for n in range(len(loaded.classes))]:
                error.hint = "--class-map FILE says how the classes of a weights file are called"
            raise
    report = data.scan({split: dataset}, verify=True, duplicates=False)
    report.check(on_bad_image)
    if report.unreadable:
        dataset.exclude(report.unreadable)
    if not len(dataset):
        raise UsageError(f"no pictures to evaluate in {where}", code="data.empty", file=where)
    dataset.transform = loaded.preprocessing
    if own and split == "val" and getattr(loaded.kind, "tuned", False):
        notes.append("the thresholds were tuned on these pictures: macro_f1, micro_f1 and exact_match are too good")
    found = evaluate(loaded.model, dataset, loaded.classes, batch_size, workers, worker_type, loaded.kind)
    return EvaluationReport(loaded.path, where, split, found.metrics, report.unreadable, notes)


def run_settings(path: str) -> Settings | None:
    """The settings of the run that a run folder, the model folder in one, or one of its checkpoints, belongs to."""
    for folder in _folders(path):
        file = os.path.join(folder, "args.toml")
        if os.path.isfile(file):
            values = toml.load_file(file)
            values.pop("command", None)
            return make_settings(values, file)
    return None


def _folders(path: str) -> tuple[str, ...]:
    """Where the run may be that a path belongs to: itself, and the two folders above it."""
    above = os.path.dirname(os.path.abspath(path))
    return path, above, os.path.dirname(above)


def _same_place(first: str, second: str | None) -> bool:
    return second is not None and os.path.realpath(first) == os.path.realpath(second)


def _class_to_idx(loaded: LoadedModel) -> dict[str, int] | None:
    return {name: index for index, name in enumerate(loaded.classes)} if loaded.classes else None


def own_splits(path: str, settings: Settings, loaded: LoadedModel) -> dict[str, Any]:
    """The data sets of the run that `path` belongs to, split as the run split them, without transforms."""
    mode = loaded.preprocessing.mode
    for folder in _folders(path):
        table = os.path.join(folder, "splits.csv")
        if os.path.isfile(table):
            return data.read_splits(table, pictures.root_of(settings), _class_to_idx(loaded), mode=mode,
                                    target=loaded.kind.target)  # fmt: skip
    parts = folds.open_splits(settings, mode)
    if settings.from_run is not None:  # a run that knows more classes than its data have
        parts = reindexed(parts, loaded.classes)
    if settings.samples_per_class:  # the run trained on these alone
        parts["train"] = pictures.take_few(parts["train"], settings.samples_per_class, settings.seed)
    return parts


def _other(wish: Settings, loaded: LoadedModel, split: str, notes: list[str]) -> Any:
    """The pictures of a source that is not the run's own. What should be known about the choice is added to `notes`."""
    order, mode, source = _class_to_idx(loaded), loaded.preprocessing.mode, str(wish.data)
    pictures.check_table_flags(wish)
    if pictures.is_digits(source) or table_of(wish) is not None:
        if pictures.is_digits(source):
            digits = data.load_digits()
            if loaded.classes != digits.classes:
                raise UsageError("the model does not know the digits' classes", code="data.extra_class")
            notes.append(f"nothing says which digits {loaded.path} was trained on: this is the usual split (seed "
                         f"{Settings.seed}), and if it was trained on another one, it has seen some of these "
                         "pictures; a run folder knows its own split")  # fmt: skip
            return _pick(pictures.open_splits(Settings(data=source), mode), split, source)
        return _of_table(wish, loaded, split, notes)
    if not os.path.isdir(source):
        raise UsageError(f"cannot read the data folder {source}: there is no such folder", code="data.no_folder",
                         file=source)  # fmt: skip
    if loaded.task in ("regression", "multi-label"):
        raise UsageError(f"a {loaded.task} model is evaluated on a CSV table", code="usage.conflict",
                         hint="--data FOLDER --labels TABLE.csv, or --data TABLE.csv")  # fmt: skip
    folder = os.path.join(source, split)
    if not os.path.isdir(folder):
        notes.append(f"all pictures of {source} are measured: it has no folder {split}")
        folder = source
    return data.ImageFolder(folder, class_to_idx=order, mode=mode)


def _of_table(wish: Settings, loaded: LoadedModel, split: str, notes: list[str]) -> Any:
    """The rows of a table. A model that knows what its numbers are called takes them from the columns of that name."""
    table = pictures.open_labels(wish)
    names = loaded.kind.known.get("names", loaded.classes if len(table.labels) > 1 else [])
    if not wish.label_columns and len(names) > 1:
        table = pictures.open_labels(dataclasses.replace(wish, label_columns=tuple(names)))
    if not table.rows:
        raise UsageError(f"no pictures in the table {table.path}", code="data.empty", file=table.path)
    parts = data.open_table(table, pictures.root_of(wish), loaded.kind.target, _class_to_idx(loaded),
                            loaded.preprocessing.mode, wish.on_bad_image == "skip")  # fmt: skip
    if table.has_split:
        return _pick({str(name): part for name, part in parts.items()}, split, table.path)
    notes.append(f"all pictures of {table.path} are measured: it has no column split")
    return parts[None]


def _pick(parts: dict[str, Any], split: str, name: str) -> Any:
    if split not in parts:
        raise UsageError(f"{name} has no split {split}; it has {', '.join(parts)}", code="data.no_split")
    return parts[split]
