"""Training a finished run further on new data, `--from RUN`: what the job takes over from it, and on which conditions.

    finetune(from_run="runs/animals", data="birds")        minires finetune --from runs/animals --data birds

The model begins as the earlier run's best one. Its classes keep their numbers whether the new data have them or not;
new classes come behind them (growing.py). A sample of the earlier pictures is mixed in (rehearsal.py), the earlier
model may be asked what not to forget (distillation.py), and what was forgotten is measured (old_task.py).
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from minires import data
from minires.data import FileDataset
from minires.data.classes import class_folders, normal_name, order_classes
from minires.errors import DataError, UsageError
from minires.finetune import folds, pictures
from minires.finetune.embeddings import gives_embeddings
from minires.finetune.evaluation import own_splits, run_settings
from minires.finetune.growing import grow_head, merge_classes, namesakes, reindexed
from minires.finetune.loading import LoadedModel, load_model, model_folder
from minires.finetune.old_task import run_folder_of
from minires.finetune.rehearsal import Remembered, draw, remember
from minires.finetune.setting_checks import REHEARSED
from minires.finetune.settings import Settings
from minires.finetune.start import Start
from minires.finetune.tasks.deciding import table_of
from minires.io import files


@dataclass
class OldRun:
    """The run that a job begins from. `loaded`: its best model, which stays as it is and is the teacher.

    rehearsed: pictures of it that are mixed in, split -> number; mixed_in: their files. notes: lines for the first
    screen.
    """

    path: str
    loaded: LoadedModel
    sha256: str
    added: list[str] = field(default_factory=list)
    rehearsed: dict[str, int] = field(default_factory=dict)
    mixed_in: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, settings: Settings) -> "OldRun | None":
        """The run that `settings` begin from, None for a job of its own.

        UsageError for a run that has no model yet, one without classes, and settings that contradict it.
        """
        if settings.from_run is None:
            return None
        path = settings.from_run
        folder = model_folder(path)
        loaded = load_model(path)
        if loaded.task != "classification" or not loaded.classes or settings.task != "classification":
            other = loaded.task if loaded.task != "classification" else settings.task
            message = f"--from is for classification with named classes, not for {other} ({path})"
            raise UsageError(message, code="usage.conflict", hint="--weights RUN begins with its body and a new head")
        if len(loaded.classes) != loaded.model.config["num_classes"]:
            raise UsageError(f"{path} has {loaded.model.config['num_classes']} outputs and names of "
                             f"{len(loaded.classes)} classes: nothing says which is which", code="data.class_order",
                             file=path)  # fmt: skip
        if gives_embeddings(loaded.model):
            raise UsageError(f"--from does not go with a model of embeddings ({path})", code="usage.conflict",
                             hint="minires add-classes gives it new classes without training")  # fmt: skip
        name, channels = loaded.model.config["name"], loaded.model.config.get("in_channels", 3)
        for flag, wish, own in (("--model", settings.model, name), ("--in-chans", settings.in_chans, channels)):
            if wish not in (None, own):
                raise UsageError(f"{flag} {wish} contradicts --from {path}, which has {own}", code="usage.conflict")
        settings.model = name
        loaded.model.requires_grad_(False)
        sha256 = hashlib.sha256(files.read_bytes(os.path.join(folder, "model.safetensors"))).hexdigest()
        return cls(path, loaded, sha256)

    def start(self) -> Start:
        """Configuration, tensors and preprocessing to begin with."""
        model = self.loaded.model
        tensors = {name: tensor.array for name, tensor in model.state_dict().items()}
        head = [name for name in tensors if name.startswith(f"{model.head_name}.")]
        return Start(model.config, tensors, self.loaded.preprocessing, self.path, head)

    def grown_model(self, outputs: int) -> Any:
        """Its model once more, to be trained, with rows for the new classes."""
        model = load_model(self.path).model
        grow_head(model, outputs)
        return model

    # ---------------------------------------------------------------------------------------------------- the data

    def open_splits(self, settings: Settings, mode: str, known: Mapping[str, int] | None = None) -> dict[str, Any]:
        """The new data, labels counted in the old classes and then the new ones, with the rehearsed pictures.

        known: the order of the run that is resumed. UsageError (code "data.class_order") where --class-map contradicts
        the old order; UsageError (code "data.rehearsal") where pictures were asked for and there are none.
        """
        old, order = self.loaded.classes, None
        if settings.class_map:
            names = pictures.read_class_map(settings.class_map)
            order = sorted(names, key=lambda name: names[name])
        new = _class_names(settings)
        classes = merge_classes(old, new, order)
        if known is not None and list(known) != classes:
            raise DataError(f"{settings.data} has other classes than when the run began: {', '.join(classes)} in the "
                            f"place of {', '.join(known)}", code="data.extra_class", file=settings.data)  # fmt: skip
        self.added = classes[len(old) :]
        self.notes = [f"note: {name!r} is taken for a new class; the earlier run has {like!r}"
                      for name, like in namesakes(old, new)]  # fmt: skip
        splits = folds.open_splits(settings, mode, {name: index for index, name in enumerate(classes)})
        splits = reindexed(splits, classes)
        found = self._remembered()
        self.notes += self._warnings(splits, found)
        return self._with_rehearsal(splits, found, settings)

    def _warnings(self, splits: Mapping[str, Any], found: Remembered) -> list[str]:
        """What to know before believing the figures."""
        folder, lines = run_folder_of(self.path), []
        if folder is not None:
            status = json.loads(files.read_text(os.path.join(folder, "metrics.json"))).get("status")
            if status in ("paused", "running"):
                lines.append(f"note: {self.path} is not finished ({status}): this is its best model so far")
        trained = {os.path.realpath(path) for path, _ in found.splits.get("train", [])}
        for name, part in splits.items():
            seen = [path for path, _ in getattr(part, "samples", ()) if os.path.realpath(path) in trained]
            if seen and name != "train":
                lines.append(f"note: the earlier run was trained on {len(seen)} of the {name} pictures, such as "
                             f"{seen[0]}: figures of them are too good")  # fmt: skip
        return lines

    def _with_rehearsal(self, splits: dict[str, Any], found: Remembered, settings: Settings) -> dict[str, Any]:
        per_class = REHEARSED if settings.rehearsal is None else settings.rehearsal
        self.rehearsed = {}
        if per_class == 0:
            risk = "" if settings.distill else ": old classes that the new data lack are likely to be forgotten"
            self.notes.append(f"rehearsal: none (--rehearsal 0){risk}")
            return splits
        train = splits["train"]
        if not isinstance(train, FileDataset):
            found = Remembered({}, ["the new data are no files (digits), which cannot be mixed with pictures of a run"])
        if not found.splits.get("train"):
            reason = "; ".join(found.notes)
            if settings.rehearsal:
                raise UsageError(f"--rehearsal {per_class}: no training picture of {self.path} can be had: {reason}",
                                 code="data.rehearsal", hint="--rehearsal 0, perhaps with --distill 1")  # fmt: skip
            self.notes.append(f"rehearsal: none can be had: {reason}")
            return splits
        old = found.splits
        if settings.fold is not None:  # each picture of the new data is validated on once, and no other
            old = {"train": old["train"]}
        mixed = self._mixed(splits, old, per_class, settings.seed)
        counts = ", ".join(f"{count} {name}" for name, count in self.rehearsed.items())
        told = (f"{counts} pictures of the earlier run, at most {per_class} of each class" if counts
                else "none: all pictures of the earlier run are among the new ones")  # fmt: skip
        self.notes.append(f"rehearsal: {told}")
        self.notes += [f"           {note}" for note in found.notes]
        return mixed

    def _mixed(
        self, splits: dict[str, Any], old: Mapping[str, list[tuple[str, str]]], per_class: int, seed: int
    ) -> dict[str, Any]:  # fmt: skip
        """Old pictures join the training, and those of the old validation the validation: it chooses the best epoch."""
        own = {os.path.realpath(path) for part in splits.values() for path, _ in part.samples}
        mixed = dict(splits)
        for name in ("train", "val"):
            if name not in splits or name not in old:
                continue
            free = [entry for entry in old[name] if os.path.realpath(entry[0]) not in own]
            chosen = draw(free, self.loaded.classes, per_class, seed)
            if not chosen:
                continue
            own |= {os.path.realpath(path) for path, _ in chosen}
            self.mixed_in |= {path for path, _ in chosen}
            part = splits[name]
            more = [(path, part.class_to_idx[label]) for path, label in chosen]
            mixed[name], self.rehearsed[name] = part.with_samples([*part.samples, *more]), len(more)
        return mixed

    def few(self, train: Any, per_class: int, seed: int) -> Any:
        """At most `per_class` of the new pictures of each class, and all that are mixed in (--rehearsal says those)."""
        if not self.mixed_in:
            return pictures.take_few(train, per_class, seed)
        old = [sample for sample in train.samples if sample[0] in self.mixed_in]
        new = train.with_samples([sample for sample in train.samples if sample[0] not in self.mixed_in])
        return train.with_samples([*pictures.take_few(new, per_class, seed).samples, *old])

    def _remembered(self) -> Remembered:
        folder, settings = run_folder_of(self.path), run_settings(self.path)
        if folder is None or settings is None:
            return Remembered({}, [f"{self.path} is a model without its run folder"])
        return remember(folder, own_splits(folder, settings, self.loaded))

    # ---------------------------------------------------------------------------------------------------- the record

    def to_record(self) -> dict[str, Any]:
        """What data.json keeps, so that a resume knows the run again."""
        return {"run": self.path, "model_sha256": self.sha256, "classes": self.loaded.classes, "added": self.added,
                "rehearsed": self.rehearsed}  # fmt: skip

    def check_same(self, known: Mapping[str, Any]) -> None:
        """UsageError if the model has changed since the run began whose data.json is `known`."""
        if known.get("from", {}).get("model_sha256") != self.sha256:
            raise UsageError(f"the model of {self.path} has changed since this run began from it", code="run.from",
                             file=self.path, hint="put it back, or begin anew")  # fmt: skip

    def lines(self) -> list[str]:
        """For the first screen."""
        kept, added = len(self.loaded.classes), ", ".join(self.added[:10]) + (", ..." if len(self.added) > 10 else "")
        new = f"{len(self.added)} new behind them ({added})" if self.added else "no new ones"
        return [f"from     {self.path}: its {kept} classes keep their numbers 0 to {kept - 1}, {new}",
                *(f"         {note}" for note in self.notes)]  # fmt: skip


def _class_names(settings: Settings) -> list[str]:
    """The classes of the new data in their own order; one is enough. Errors are left to whoever opens them."""
    if pictures.is_digits(str(settings.data)):
        return data.load_digits().classes
    if table_of(settings) is not None:
        return list(order_classes(normal_name(cell) for cell in pictures.open_labels(settings).cells() if cell))
    if not os.path.isdir(str(settings.data)):
        raise UsageError(f"cannot read the data folder {settings.data}: there is no such folder", code="data.no_folder",
                         file=settings.data)  # fmt: skip
    return list(order_classes(class_folders(pictures.class_roots(settings)[0])))
