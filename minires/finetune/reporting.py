"""`report.html` and `review.csv` of a run: gathered at the end of its job, or later from its folder.

Everything is computed once more from the model and the pictures, so that a run of yesterday has the report of today.
Of a large data set a part is looked at, and the report says which.
"""

import copy
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires import models, random
from minires.data import DataLoader, FileDataset, Preprocessing
from minires.explain.attribution import enlarge, grad_cam
from minires.explain.calibration import calibration, scaled_loss, temperature
from minires.explain.classes import confusion_matrix
from minires.explain.embedding import principal_components
from minires.explain.flow import signal_flow
from minires.explain.labels import thumbnails
from minires.finetune.evaluation import own_splits, run_settings
from minires.finetune.inference import forward_with_features, softmax
from minires.finetune.loading import load_model, unfinished
from minires.finetune.mixed_samples import mixed
from minires.finetune.old_task import began_from, forgetting_table
from minires.finetune.pictures import TrainTransform
from minires.finetune.result import Result, finished
from minires.finetune.resuming import told_changes
from minires.finetune.review import review_table
from minires.finetune.settings import Settings
from minires.finetune.suspects import name_of, suspicious
from minires.finetune.tasks import Task, make_task
from minires.finetune.tasks.report import place_to_look_at, tell_task, told
from minires.finetune.workers import loader_workers
from minires.io import RunFolder, files
from minires.report import Facts, Sample, render
from minires.report.pictures import visible
from minires.tensor import Tensor
from minires.training.batches import inputs_and_targets
from minires.training.evaluation import eval_mode

AUGMENTED, MISTAKES = 12, 12  # pictures shown
AT_ONCE = 32  # pictures that go through the model together: a report must not need more memory than the training
MOST_PICTURES = 2000  # of a split that are looked at for features, duplicates and labels
MOST_POINTS = 1500  # of the features in the plane


@dataclass
class Material:
    """What a report is made from: the trained model, its pictures (without transforms) and the run's settings."""

    model: Any
    preprocessing: Preprocessing
    classes: list[str]
    splits: Mapping[str, Any]
    settings: Settings
    task: Task | None = None

    @property
    def kind(self) -> Task:
        """The task; where nobody says it, classification where there are classes, else regression."""
        return self.task or make_task(None, self.classes)


@dataclass
class Outputs:
    """A split, or a part of it, through the model: the data set, scores (N, K), targets (N,).

    features (M, F) and thumbnails (M, T), of the pictures at the places `kept` (M,): of a large data set not all.
    """

    dataset: Any
    scores: np.ndarray
    targets: np.ndarray
    features: np.ndarray
    thumbnails: np.ndarray
    kept: np.ndarray


def report_run(path: str, say: Callable[[str], None] = lambda text: None) -> str:
    """Write the report of the run in `path` anew; returns the path of report.html.

    Raises UsageError for a folder that is no run, or one whose run has not ended.
    """
    with RunFolder.resume(path) as folder:
        result = finished(folder)
        if result is None:
            raise unfinished(path, "has no report yet: its run has not ended")
        loaded = load_model(path, say=say)
        settings = run_settings(path)
        assert settings is not None  # RunFolder.resume has seen args.toml
        splits = own_splits(path, settings, loaded)
        return write_report(folder, result, Material(loaded.model, loaded.preprocessing, loaded.classes, splits,
                                                     settings, loaded.kind))  # fmt: skip


def write_report(folder: RunFolder, result: Result, material: Material) -> str:
    """report.html and review.csv in the run's folder; returns the path of the page.

    A review.csv that is there already stays: somebody may have written into it.
    """
    facts = gather(folder, result, material)
    if facts.review_file and not os.path.exists(folder.file("review.csv")):
        files.write_atomic(folder.file("review.csv"), review_table(facts.review))
    files.write_atomic(folder.file("report.html"), render(facts))
    return folder.file("report.html")


def gather(folder: RunFolder, result: Result, material: Material) -> Facts:
    """All that the page shows."""
    record = folder.read_json("data.json")
    found = {name: run_split(material, part) for name, part in _parts(material, result.split).items()}
    measured = found[result.split]
    facts = Facts(
        title=f"{result.command}: {os.path.basename(os.path.abspath(folder.path))}", status=result.headline,
        split=result.split, classes=material.classes, before=result.before, after=result.after,
        best_epoch=result.best_epoch, epochs=result.epochs_done, seed=material.settings.seed, history=result.history,
        counts=record["scan"]["counts"], pictures=record["scan"].get("pictures", {}),
        notes=[*_notes(material), *began_from(record), *told_changes(folder)],
        augmented=augmented(material), model=_model(material),
        settings={key: value for key, value in material.settings.to_dict().items() if value not in (None, [])},
        versions=_versions(folder.read_json("env.json")),
    )  # fmt: skip
    if result.old_task is not None:
        facts.tables.append(forgetting_table(result.old_task))
    facts.mistakes = worst_mistakes(material, measured)
    facts.review = suspicious(material.kind, found)
    facts.review_file = all(isinstance(part, FileDataset) for part in material.splits.values())
    if material.kind.name != "classification":
        tell_task(facts, material.kind, measured.scores, measured.targets)
        return facts
    predicted = measured.scores.argmax(axis=1)
    facts.confusion = confusion_matrix(measured.targets, predicted, len(material.classes))
    facts.calibration = calibration(softmax(measured.scores), measured.targets)
    facts.temperature = _temperature(found)
    places, shares = principal_components(measured.features)
    shown = random.philox(material.settings.seed, "report", 2).permutation(len(places))[:MOST_POINTS]
    facts.embedding = (places[shown], measured.targets[measured.kept][shown], shares)
    facts.signals = _signals(material)
    return facts


def run_split(material: Material, dataset: Any) -> Outputs:
    """Scores, targets and features of a data set with the model's own preprocessing."""
    settings = material.settings
    plain = copy.copy(dataset)
    plain.transform, plain.target_transform = material.preprocessing, None
    size = min(settings.validation_batch_size or settings.batch_size, AT_ONCE)
    workers = loader_workers(settings.workers, settings.worker_type, plain)
    kept = _drawn(len(plain), settings.seed)
    rows: list[tuple[np.ndarray, ...]] = []
    done = 0
    for images, targets in DataLoader(plain, size, **workers):
        scores, features = forward_with_features(material.model, images)
        own = kept[(kept >= done) & (kept < done + len(scores))] - done
        rows.append((scores, np.asarray(targets.numpy()), features[own], thumbnails(images.numpy()[own])))
        done += len(scores)
    scores, targets, features, small = (np.concatenate(column) for column in zip(*rows, strict=True))
    return Outputs(plain, scores, targets, features, small, kept)


def augmented(material: Material) -> list[Sample]:
    """Some training pictures as the first epoch sees them: drawn from the same addresses as in the training.

    With --mixup or --cutmix they are mixed among themselves (mixed_samples.py).
    """
    train, settings = material.splits["train"], material.settings
    transform = material.preprocessing if settings.no_aug else TrainTransform(settings, material.preprocessing)
    plain = copy.copy(train)
    plain.transform, plain.target_transform = transform, None
    places = np.linspace(0, len(plain) - 1, min(AUGMENTED, len(plain))).astype(int).tolist()
    images, targets = [], []
    for index in places:
        with random.address(settings.seed, "augment", 0, index):
            image, target = plain[index]
        images.append(image)
        targets.append(target)
    words = [_label(material, target) for target in targets]
    if settings.mixup or settings.cutmix:
        images, words = mixed(images, targets, material.kind, settings)
    return [Sample(name_of(plain, index), visible(image.numpy(), material.preprocessing), [label])
            for index, image, label in zip(places, images, words, strict=True)]  # fmt: skip


def worst_mistakes(material: Material, found: Outputs) -> list[Sample]:
    """The pictures with the largest losses (largest first), with Grad-CAM for what was said of them."""
    task = material.kind
    losses = task.losses(found.scores, found.targets)
    order = np.argsort(-losses, kind="stable")[:MISTAKES].tolist()
    if task.name != "regression":
        answers = [task.said(row) for row in task.values(found.scores[order])]
        order = [index for index, own in zip(order, answers, strict=True) if own != task.label(found.targets[index])]
    samples = []
    for index in order:
        image = found.dataset[index][0]
        sample = Sample(name_of(found.dataset, index), visible(image.numpy(), material.preprocessing), [])
        if task.name == "classification":
            said = int(found.scores[index].argmax())
            share = softmax(found.scores[index : index + 1])[0]
            maps = grad_cam(material.model, Tensor(image.array[None]), [said])
            sample.heat = enlarge(maps, *image.shape[1:])[0]
            sample.lines = [f"is {material.classes[found.targets[index]]}",
                            f"said {material.classes[said]} ({share[said]:.0%})"]  # fmt: skip
        else:
            sample.lines = told(task, found.scores[index], found.targets[index])
            output = place_to_look_at(task, found.scores[index], found.targets[index])
            if output is not None:
                maps = grad_cam(material.model, Tensor(image.array[None]), [output])
                sample.heat = enlarge(maps, *image.shape[1:])[0]
        sample.lines += [f"loss {losses[index]:.3g}", sample.name]
        samples.append(sample)
    return samples


def _parts(material: Material, split: str) -> dict[str, Any]:
    """The data sets that are looked at: all of `split`, and of the others at most MOST_PICTURES."""
    return {
        name: part if name == split or len(part) <= MOST_PICTURES else _some(part, material.settings.seed)
        for name, part in material.splits.items()
    }


def _some(dataset: Any, seed: int) -> Any:
    return dataset.take(_drawn(len(dataset), seed).tolist())


def _drawn(count: int, seed: int) -> np.ndarray:
    """The places of at most MOST_PICTURES of `count` pictures, in order."""
    return np.sort(random.philox(seed, "report").permutation(count)[:MOST_PICTURES])


def _temperature(found: Mapping[str, Outputs]) -> tuple[float, float, float, str] | None:
    """Found on the validation pictures: those of the test are to stay unseen. None where there are none."""
    if "val" not in found:
        return None
    scores, targets = found["val"].scores, found["val"].targets
    by = temperature(scores, targets)
    return by, scaled_loss(scores, targets, 1.0), scaled_loss(scores, targets, by), "val"


def _signals(material: Material) -> list[Any]:
    """One batch of training pictures through the model and back, in eval mode."""
    plain = copy.copy(material.splits["train"])
    plain.transform, plain.target_transform = material.preprocessing, None
    order = random.philox(material.settings.seed, "report", 1).permutation(len(plain))
    count = min(material.settings.batch_size, AT_ONCE)
    batch = next(iter(DataLoader(plain.take(order[:count].tolist()), count)))
    with eval_mode(material.model):
        return signal_flow(material.model, *inputs_and_targets(batch, "cpu"))


def _notes(material: Material) -> list[str]:
    settings = material.settings
    lines = [f"data: {settings.data}" + (f", labels in {settings.labels}" if settings.labels else "")]
    if settings.samples_per_class:
        count = len(material.splits["train"])
        lines.append(f"trained on {count} pictures: at most {settings.samples_per_class} "
                     f"{'new ones ' if settings.from_run else ''}of each class")  # fmt: skip
    for name, part in material.splits.items():
        if len(part) > MOST_PICTURES:
            lines.append(f"{name}: {MOST_PICTURES} of {len(part)} pictures were looked at for features and duplicates")
    return lines


def _model(material: Material) -> dict[str, Any]:
    size = material.preprocessing.output_size
    total = sum(parameter.numel() for parameter in material.model.parameters())
    facts = {"name": material.model.config["name"], "parameters": f"{total:,}",
             "preprocessing": material.preprocessing.to_config()}  # fmt: skip
    if size is not None:
        channels = material.model.config.get("in_channels", 3)
        facts["multiply-adds"] = f"{models.summarize(material.model, (1, channels, *size)).multiply_adds:,}"
    return facts


def _versions(env: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("minires", "python", "packages", "platform", "cpu", "cpus", "variables", "git_commit")
    return {name: env[name] for name in kept if env.get(name)}


def _label(material: Material, target: Any) -> str:
    return material.kind.label(target) or "–"
