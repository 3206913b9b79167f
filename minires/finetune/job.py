"""One job from its settings to its result. `recipe.py` decides where it runs, `fitting.py` holds the training."""

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minires import data
from minires.errors import UsageError
from minires.finetune import pictures
from minires.finetune.fitting import Fit, fit, steps_in_epoch
from minires.finetune.freezing import freeze, parse_freeze, set_batch_norm
from minires.finetune.inference import Evaluation, evaluate, predictions_csv
from minires.finetune.settings import Settings
from minires.finetune.start import Start, build_model, find_start
from minires.finetune.targets import TargetScale
from minires.io import RunFolder, environment, files, model_directory
from minires.training.curves import history_chart
from minires.training.weights import copy_weights, restore_weights

Say = Callable[[str], None]


@dataclass
class Result:
    """What a job has come to. `before`, `after`: figures on the split `split` with the first and the best weights."""

    command: str
    path: str
    model_path: str
    split: str
    before: dict[str, Any]
    after: dict[str, Any]
    best_epoch: int
    epochs_done: int
    history: list[dict[str, Any]]
    status: str  # "done", "early-stopped", or "paused" (--max-steps): then it can be resumed
    headline: str

    @property
    def resumable(self) -> bool:
        """Whether steps are left to be made."""
        return self.status == "paused"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


class Job:
    """Everything a job holds between its steps: prepare, then start or resume."""

    splits: dict[str, Any]
    model: Any
    start_point: Start

    def __init__(self, command: str, settings: Settings, say: Say, progress: bool) -> None:
        self.command, self.settings, self.progress = command, settings, progress
        self._say = say
        self.folder: RunFolder | None = None
        self.class_order: dict[str, int] | None = None  # of the run that is resumed

    def say(self, text: str) -> None:
        """One or more lines for people, and for log.txt once there is one."""
        self._say(text)
        if self.folder is not None:
            self.folder.log(text)

    # ------------------------------------------------------------------------------------------- before the folder

    def prepare(self, splits_file: str | None = None) -> None:
        """Read and check everything, build the model. Nothing is written. `splits_file`: the split made earlier."""
        settings = self.settings
        self.start_point = find_start(settings, self.say, None if self.progress else False)
        preprocessing = pictures.input_preprocessing(self.start_point.preprocessing, settings.img_size)
        self.preprocessing = preprocessing
        self.splits = self._open(splits_file, preprocessing.mode)
        self.report = pictures.check_pictures(self.splits, settings.on_bad_image)
        if settings.samples_per_class and splits_file is None:
            self.splits["train"] = pictures.take_few(self.splits["train"], settings.samples_per_class, settings.seed)
        pictures.set_transforms(self.splits, settings, preprocessing)
        train = self.splits["train"]
        self.classes = list(train.classes) if settings.task == "classification" else []
        self.scale = None if self.classes else TargetScale.of(train.targets)
        outputs = len(self.classes) if self.scale is None else len(self.scale.mean)
        self.model = build_model(self.start_point, settings, outputs)
        self.model.metadata = {"preprocessing": preprocessing.to_config(), "classes": self.classes}
        if self.scale is not None:
            self.model.metadata["outputs"] = self.scale.describe(self.model)
        self.frozen = parse_freeze(self.model, settings.freeze)
        freeze(self.model, self.frozen)
        set_batch_norm(self.model, settings.bn)
        check_batches(self.model, len(train), settings.batch_size)
        self.fingerprint = data.fingerprint(self.splits)

    def _open(self, splits_file: str | None, mode: str) -> dict[str, Any]:
        settings = self.settings
        if splits_file is None:
            return pictures.open_splits(settings, mode)
        order = self.class_order
        target = "class" if settings.task == "classification" else "number"
        return data.read_splits(splits_file, pictures.root_of(settings), order, mode=mode, target=target)

    def describe(self) -> str:
        """The first screen: data, model, plan."""
        settings, model = self.settings, self.model
        total = sum(parameter.numel() for parameter in model.parameters())
        trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        steps = steps_in_epoch(len(self.splits["train"]), settings.batch_size)
        size = self.preprocessing.output_size
        head = "linear" if settings.head in (None, "linear") else f"hidden {settings.head}"
        lines = [f"data     {settings.data}", *(f"         {line}" for line in self.report.lines())]
        few = settings.samples_per_class
        if few:
            lines.append(f"         trained on {len(self.splits['train'])} pictures: at most {few} of each class")
        shown = ", ".join(self.classes[:10]) + (", ..." if len(self.classes) > 10 else "")
        lines.append(f"         classes: {shown}" if self.classes else "         labels are numbers (regression)")
        side = "pictures" if size is None else f"{size[1]} x {size[0]} pictures"
        lines += [
            f"model    {settings.model}, weights: {self.start_point.origin}, {side}, new head: {head}",
            f"         {trained:,} of {total:,} parameters are trained; frozen: {', '.join(self.frozen) or 'none'}; "
            f"batch norm: {settings.bn}",
            f"plan     {settings.epochs} epochs of {steps} steps, batch size {settings.batch_size}, "
            f"seed {settings.seed}",
            f"         {settings.opt}, lr {settings.lr:g}, schedule {settings.sched}, warm-up "
            f"{settings.warmup_epochs:g} epochs, weight decay {settings.weight_decay:g} (norms and biases "
            f"{settings.norm_weight_decay:g})",
        ]  # fmt: skip
        return "\n".join(lines)

    # --------------------------------------------------------------------------------------------- with the folder

    def start(self, folder: RunFolder) -> Result:
        """Run the job in its new folder."""
        self.folder = folder
        self._write_start(folder)
        self.say(self.describe() + f"\noutput   {folder.path}")
        return self._run(folder)

    def _write_start(self, folder: RunFolder) -> None:
        folder.write_json("env.json", environment.describe(seed=self.settings.seed))
        record = {"classes": self.classes, "fingerprint": self.fingerprint, "scan": self.report.to_dict()}
        if all(isinstance(part, data.FileDataset) for part in self.splits.values()):
            data.write_splits(folder.file("splits.csv"), self.splits)
        folder.write_json("data.json", record)  # last: whoever finds it finds splits.csv

    def resume(self, folder: RunFolder) -> Result:
        """Go on with the run in `folder`, or say that it has ended."""
        self.folder = folder
        done = finished(folder)
        if done is not None:
            self.say(f"{folder.path}: this run has ended ({done.status}): nothing is left to resume")
            return done
        begun = os.path.isfile(folder.file("data.json"))
        if begun:
            known = folder.read_json("data.json")
            self.class_order = {name: index for index, name in enumerate(known["classes"])} or None
        splits = folder.file("splits.csv")
        self.prepare(splits if begun and os.path.isfile(splits) else None)
        if begun:
            changes = data.differences(known["fingerprint"], self.fingerprint)
            if changes:
                message = f"the data have changed since the run began: {'; '.join(changes)}"
                raise UsageError(message, code="data.changed", hint="put them back, or start another run")
        else:
            self._write_start(folder)
        self.say(self.describe() + f"\noutput   {folder.path} (resumed)")
        folder.event("resume")
        return self._run(folder)

    def _run(self, folder: RunFolder) -> Result:
        split = next(name for name in ("test", "val", "train") if name in self.splits)
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
                return evaluate(self.model, dataset, self.classes, size, settings.workers)
            weights = copy_weights(self.model)
            self.scale.fold_into(self.model)
            try:
                return evaluate(self.model, dataset, self.classes, size, settings.workers)
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
        found = {name: self.measure(name) for name in ("val", "test") if name in self.splits}
        last = found[split] if split in found else self.measure(split)
        if fitted.status != "paused":
            for name, evaluation in found.items():
                table = predictions_csv(self.splits[name], evaluation)
                files.write_atomic(folder.file(f"predictions_{name}.csv"), table)
        _write_curves(folder, fitted.history)
        if self.scale is not None:
            self.scale.fold_into(self.model)
        figures = {f"{split}_{name}": value for name, value in last.metrics.items() if isinstance(value, int | float)}
        model_directory.save(self.model, folder.model, self.preprocessing.to_config(), self.classes,
                             {**figures, "best_epoch": fitted.best_epoch})  # fmt: skip
        result = Result(
            command=self.command, path=folder.path, model_path=folder.model, split=split, before=before,
            after=last.metrics, best_epoch=fitted.best_epoch, epochs_done=fitted.epochs_done, history=fitted.history,
            status=fitted.status, headline=HEADLINES[fitted.status],
        )  # fmt: skip
        folder.write_json("metrics.json", {**result.to_dict(), "val": found["val"].metrics if "val" in found else None})
        return result


def _write_curves(folder: RunFolder, history: list[dict[str, Any]]) -> None:
    """plots/curves.svg, as soon as there is an epoch to show."""
    chart = history_chart(history)
    if chart is not None:
        files.make_folder(folder.plots)
        files.write_atomic(os.path.join(folder.plots, "curves.svg"), chart.svg())


HEADLINES = {
    "done": "done: all epochs",
    "early-stopped": "done: stopped early, no improvement any more",
    "paused": "paused: the steps allowed are used up",
}


def finished(folder: RunFolder) -> Result | None:
    """The result of a run that has ended, None if steps are left."""
    if not os.path.isfile(folder.file("metrics.json")):
        return None
    figures = folder.read_json("metrics.json")
    if figures.get("status") not in ("done", "early-stopped"):
        return None
    names = {field.name for field in dataclasses.fields(Result)}
    result = Result(**{name: value for name, value in figures.items() if name in names})
    result.path, result.model_path = folder.path, folder.model
    return result


def check_batches(model: Any, samples: int, batch_size: int) -> None:
    """Refuse batches of one picture where a batch norm would have to learn statistics from them."""
    learning = any(hasattr(type(part), "freeze_statistics") and not part.statistics_frozen for part in model.modules())
    if learning and min(samples, batch_size) == 1:
        raise UsageError("batches of one picture: batch norm cannot learn statistics from them", code="usage.conflict",
                         hint="a larger --batch-size, or --bn frozen")  # fmt: skip
