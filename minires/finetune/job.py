"""One job from its settings to its result. `recipe.py` decides where it runs, `fitting.py` holds the training."""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from minires import data
from minires.data.scan import count_classes
from minires.errors import UsageError
from minires.finetune import data_changes, folds, pictures, same_machine
from minires.finetune.adapters import remove
from minires.finetune.adapters.delta import base_of, save_delta
from minires.finetune.continual import OldRun
from minires.finetune.devices import find_device
from minires.finetune.embedding_jobs import start_directions
from minires.finetune.estimates import MemoryEstimate, estimate_memory
from minires.finetune.first_screen import first_screen
from minires.finetune.fitting import Fit, fit
from minires.finetune.inference import Evaluation, evaluate, predictions_csv
from minires.finetune.old_task import measure_forgetting
from minires.finetune.rehearsal import store
from minires.finetune.reporting import Material, write_report
from minires.finetune.result import HEADLINES, Result, finished, write_curves
from minires.finetune.resuming import Changes, describe_changes, record_changes
from minires.finetune.review import apply_review
from minires.finetune.settings import Settings
from minires.finetune.start import Start, build_model, find_start
from minires.finetune.stochastic_depth import stochastic_depth
from minires.finetune.strategies.choosing import SMALL, choose_strategy
from minires.finetune.targets import TargetScale
from minires.finetune.tasks import MultiLabel
from minires.finetune.tasks.known import task_of_data, tell_model
from minires.finetune.tasks.thresholds import tuned
from minires.finetune.watching import noted
from minires.io import RunFolder, environment, files, model_directory
from minires.training import Callback
from minires.training.weights import copy_weights, restore_weights

Say = Callable[[str], None]
DELTA = "delta.safetensors"  # in the model's folder: what a small strategy has changed


class Job:
    """Everything a job holds between its steps: prepare, then start or resume."""

    splits: dict[str, Any]
    model: Any
    start_point: Start
    old: OldRun | None  # with --from

    def __init__(
        self, command: str, settings: Settings, say: Say, progress: bool, *, changes: Changes | None = None,
        checkpoint: str | None = None, accept_data_change: bool = False,
        last_screen: Callable[[Result], str] | None = None, callbacks: Sequence[Callback] = (),
    ) -> None:  # fmt: skip
        """changes, checkpoint, accept_data_change: of a resumed run. last_screen: what log.txt ends with.

        callbacks: of the Trainer, beside the job's own.
        """
        self.command, self.settings, self.progress = command, settings, progress
        self.changes, self.checkpoint, self.accept_data_change = changes or {}, checkpoint, accept_data_change
        self._say, self._last_screen, self.callbacks = say, last_screen, callbacks
        self.began = time.monotonic()
        self.folder: RunFolder | None = None
        self.class_order: dict[str, int] | None = None  # of the run that is resumed
        self.data_changed: list[str] = []  # lines about changes that were accepted
        self.memory: MemoryEstimate | None = None
        self.memory_of_all: MemoryEstimate | None = None  # if everything were trained

    def say(self, text: str) -> None:
        """One or more lines for people, and for log.txt once there is one."""
        self._say(text)
        if self.folder is not None:
            self.folder.log(text)

    # ------------------------------------------------------------------------------------------- before the folder

    def prepare(self, known: dict[str, Any] | None = None, splits_file: str | None = None) -> None:
        """Read and check everything, build the model. Nothing is written.

        known, splits_file: data.json and splits.csv of the run that is resumed.
        """
        settings = self.settings
        self.device = find_device(settings.device, settings.amp)
        self.old = OldRun.of(settings)
        if self.old is not None and known is not None:
            self.old.check_same(known)
        self.start_point = (find_start(settings, self.say, None if self.progress else False) if self.old is None
                            else self.old.start())  # fmt: skip
        self.preprocessing = pictures.input_preprocessing(self.start_point.preprocessing, settings)
        self.splits = self._open(known, splits_file, self.preprocessing.mode)
        check_class_number(self.splits["train"], settings)
        self.report = pictures.check_pictures(self.splits, settings.on_bad_image)
        if settings.samples_per_class and not (known and splits_file):
            take = pictures.take_few if self.old is None else self.old.few
            self.splits["train"] = take(self.splits["train"], settings.samples_per_class, settings.seed)
        pictures.set_transforms(self.splits, settings, self.preprocessing)
        train = self.splits["train"]
        self.task = task_of_data(settings, train)
        self.classes = self.task.classes
        if settings.tune_thresholds and "val" not in self.splits:
            raise UsageError("--tune-thresholds needs validation pictures, and there are none", code="usage.conflict")
        self.scale = TargetScale.of(train.targets) if settings.task == "regression" else None
        self.model = (build_model(self.start_point, settings, self.task.outputs) if self.old is None
                      else self.old.grown_model(self.task.outputs))  # fmt: skip
        self.model.metadata = {"preprocessing": self.preprocessing.to_config(), "classes": self.classes}
        tell_model(self.model, self.task, self.class_counts())
        if self.scale is not None:
            self.model.metadata["outputs"] = self.scale.describe(self.model)
        self.base = base_of(self.model, self.start_point) if settings.strategy in SMALL else None
        self.strategy = choose_strategy(self.model, settings)
        if settings.drop_path:
            stochastic_depth(self.model, settings.drop_path)
        self.strategy.apply(self.strategy.last_start)  # when most is trained
        check_batches(self.model, len(train), settings.batch_size)
        self.fingerprint = data.fingerprint(self.splits)
        self.unused = data_changes.unused(self.listed, self.fingerprint) if data_changes.are_files(self.splits) else {}
        size = self.preprocessing.output_size
        if size is not None:
            side = settings.train_crop_size
            channels = self.start_point.config.get("in_channels", 3)
            area = size if side is None else (side, side)
            self.memory = estimate_memory(self.model, settings, area, channels)
            if settings.strategy in SMALL:
                self.model.requires_grad_(True)
                self.memory_of_all = estimate_memory(self.model, settings, area, channels)
        self.strategy.apply(0)
        self.model.to(self.device)

    def _open(self, known: dict[str, Any] | None, splits_file: str | None, mode: str) -> dict[str, Any]:
        settings = self.settings
        listed = (folds.open_splits(settings, mode, self.class_order) if self.old is None
                  else self.old.open_splits(settings, mode, self.class_order))  # fmt: skip
        for line in apply_review(listed, settings.review):
            self.say(line)
        self.listed = data.fingerprint(listed)
        if known is None or splits_file is None:
            return listed
        changes = data_changes.compare(known, self.listed)
        if changes.lines():
            self._accept(changes.lines())
            return data_changes.accepted_splits(settings, known, listed, changes)
        return data.read_splits(splits_file, pictures.root_of(settings), self.class_order, mode=mode,
                                target=pictures.target_of(settings))  # fmt: skip

    def _accept(self, lines: list[str]) -> None:
        """Changes of the data: refused, unless the user has said that they are meant."""
        if not self.accept_data_change:
            message = f"the data have changed since the run began: {'; '.join(lines)}"
            raise UsageError(message, code="data.changed", hint="put them back, or go on with --accept-data-change")
        self.data_changed = lines

    def describe(self) -> str:
        """The first screen: data, model, plan."""
        return first_screen(self)

    def class_counts(self) -> list[int]:
        """Training pictures of each class; none for regression."""
        return list(count_classes(self.splits["train"]).values()) if self.classes else []

    def time_left(self) -> float | None:
        """Seconds that --max-time leaves for the training; None if it is not limited."""
        if self.settings.max_time is None:
            return None
        return max(self.settings.max_time - (time.monotonic() - self.began), 1e-3)

    # --------------------------------------------------------------------------------------------- with the folder

    def start(self, folder: RunFolder) -> Result:
        """Run the job in its new folder."""
        self.folder = folder
        with noted(folder):
            self._write_start(folder, [])
            self.say(self.describe() + f"\noutput   {folder.path}")
            return self._run(folder)

    def _write_start(self, folder: RunFolder, changes: list[Any]) -> None:
        folder.write_json("env.json", environment.describe(seed=self.settings.seed))
        record = {"classes": self.classes, "fingerprint": self.fingerprint, "unused": self.unused,
                  "scan": self.report.to_dict(), "changes": changes}  # fmt: skip
        if self.old is not None:
            record["from"] = self.old.to_record()
        if data_changes.are_files(self.splits):
            data.write_splits(folder.file("splits.csv"), self.splits)
        folder.write_json("data.json", record)  # last: whoever finds it finds splits.csv

    def resume(self, folder: RunFolder) -> Result:
        """Go on with the run in `folder`, or say that it has ended."""
        self.folder = folder
        with noted(folder):
            done = finished(folder)
            if done is not None and not self._has_more_to_do(done):
                self.say(f"{folder.path}: this run has ended ({done.status}): nothing is left to resume")
                return done
            known = folder.read_json("data.json") if os.path.isfile(folder.file("data.json")) else None
            self._prepare_again(folder, known)
            self.say(self.describe() + f"\noutput   {folder.path} (resumed)")
            if self.changes:
                self.say(f"changed  {describe_changes(self.changes)}")
                record_changes(folder, self.command, self.settings, self.changes, self.checkpoint)
            other = same_machine.differences(folder)
            if other:
                self.say(f"note: computed with {', '.join(other)}: the last digits will not be those of a run that "
                         "went on undisturbed")  # fmt: skip
            folder.event("resume", checkpoint=self.checkpoint, computed_with=other)
            if done is not None:
                folder.write_json("metrics.json", {"status": "running", "split": done.split, "before": done.before})
            return self._run(folder)

    def _has_more_to_do(self, done: Result) -> bool:
        """Whether a run that has ended goes on: from an older checkpoint, for more epochs, or with more patience."""
        more_epochs = "epochs" in self.changes and (self.settings.epochs or 0) > done.epochs_done
        return self.checkpoint is not None or more_epochs or (
            done.status == "early-stopped" and "patience" in self.changes)  # fmt: skip

    def _prepare_again(self, folder: RunFolder, known: dict[str, Any] | None) -> None:
        """Prepare as the run was prepared that is resumed. `known`: its data.json; None if it did not come so far."""
        splits = folder.file("splits.csv")
        if known is None:
            self.prepare()
            self._write_start(folder, [])
            return
        self.class_order = {name: index for index, name in enumerate(known["classes"])} or None
        self.prepare(known, splits if os.path.isfile(splits) else None)
        if not self.data_changed:
            lines = data.differences(known["fingerprint"], self.fingerprint)
            if lines:
                self._accept(lines)
        if self.data_changed:
            folder.event("data_change_accepted", changes=self.data_changed)
            self.say(f"accepted: the data have changed: {'; '.join(self.data_changed)}")
            self._write_start(folder, [*known.get("changes", []), self.data_changed])

    def _run(self, folder: RunFolder) -> Result:
        split = next(name for name in ("test", "val", "train") if name in self.splits)
        start_directions(self)
        before = self._before(folder, split)
        fitted = fit(self, folder)
        return self._finish(folder, split, before, fitted)

    def measure(self, split: str) -> Evaluation:
        """The model as it is now, on one split, in the units of the labels."""
        dataset = self.splits[split]
        settings = self.settings
        size = settings.validation_batch_size or settings.batch_size
        own, dataset.transform = dataset.transform, self.preprocessing
        try:
            if self.scale is None:
                return evaluate(self.model, dataset, self.classes, size, settings.workers, settings.worker_type,
                                self.task)  # fmt: skip
            weights = copy_weights(self.model)
            self.scale.fold_into(self.model)
            try:
                return evaluate(self.model, dataset, self.classes, size, settings.workers, settings.worker_type,
                                self.task)  # fmt: skip
            finally:
                restore_weights(self.model, weights)
        finally:
            dataset.transform = own

    def _before(self, folder: RunFolder, split: str) -> dict[str, Any]:
        """Figures of the model before training: measured once, then taken from metrics.json."""
        if os.path.isfile(folder.file("metrics.json")):
            return folder.read_json("metrics.json")["before"]
        before = self.measure(split).metrics
        folder.write_json("metrics.json", {"status": "running", "split": split, "before": before})
        return before

    def _finish(self, folder: RunFolder, split: str, before: dict[str, Any], fitted: Fit) -> Result:
        """Measure the best weights, write figures, predictions and the model."""
        found: dict[str, Evaluation] = {name: self.measure(name) for name in ("val", "test") if name in self.splits}
        if isinstance(self.task, MultiLabel) and self.settings.tune_thresholds:
            self.task = tuned(self.task, found["val"].outputs, found["val"].targets)
            self.model.metadata["task"] = self.task.to_record()
            for each in found.values():
                each.metrics = self.task.figures(each.outputs, each.targets)
        last = found[split] if split in found else self.measure(split)
        if fitted.status != "paused":
            for name, evaluation in found.items():
                table = predictions_csv(self.splits[name], evaluation, self.task)
                files.write_atomic(folder.file(f"predictions_{name}.csv"), table)
        self.model.to("cpu")  # what follows, the report among it, is done there
        write_curves(folder, fitted.history)
        if self.scale is not None:
            self.scale.fold_into(self.model)
        if self.base is not None:
            files.make_folder(folder.model)
            save_delta(self.model, os.path.join(folder.model, DELTA), self.base)
        remove(self.model)  # adapters go into the weights
        figures = {f"{split}_{name}": value for name, value in last.metrics.items() if isinstance(value, int | float)}
        model_directory.save(self.model, folder.model, self.preprocessing.to_config(), self.classes,
                             {**figures, "best_epoch": fitted.best_epoch}, self.model.metadata.get("task"))  # fmt: skip
        if self.settings.store_rehearsal:
            store(folder, self.splits["train"], self.settings.store_rehearsal, self.settings.seed)
        old_task = (None if self.old is None
                    else measure_forgetting(self.old, self.model, self.preprocessing, self.settings))  # fmt: skip
        result = Result(
            command=self.command, path=folder.path, model_path=folder.model, split=split, before=before,
            after=last.metrics, best_epoch=fitted.best_epoch, epochs_done=fitted.epochs_done, history=fitted.history,
            status=fitted.status, headline=HEADLINES.get(fitted.status) or f"paused: {fitted.pause_reason}",
            old_task=old_task,
        )  # fmt: skip
        folder.write_json("metrics.json", {**result.to_dict(), "val": found["val"].metrics if "val" in found else None})
        if self._last_screen is not None:
            folder.log(self._last_screen(result))
        if fitted.status != "paused":
            material = Material(self.model, self.preprocessing, self.classes, self.splits, self.settings, self.task)
            write_report(folder, result, material)
        return result


def check_batches(model: Any, samples: int, batch_size: int) -> None:
    """Refuse batches of one picture where a batch norm would have to learn statistics from them."""
    learning = any(hasattr(type(part), "freeze_statistics") and not part.statistics_frozen for part in model.modules())
    if learning and min(samples, batch_size) == 1:
        raise UsageError("batches of one picture: batch norm cannot learn statistics from them", code="usage.conflict",
                         hint="a larger --batch-size, or --bn frozen")  # fmt: skip


def check_class_number(dataset: Any, settings: Settings) -> None:
    """Refuse data with another number of classes than --num-classes says."""
    if settings.num_classes not in (None, len(dataset.classes)):
        few = ", ".join(dataset.classes[:10]) + (", ..." if len(dataset.classes) > 10 else "")
        raise UsageError(f"--num-classes {settings.num_classes}, but {settings.data} has {len(dataset.classes)} "
                         f"classes ({few})", code="data.class_number")  # fmt: skip
