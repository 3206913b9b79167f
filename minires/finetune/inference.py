"""Using a trained model: classify pictures, measure it on labelled ones."""

import csv
import io
import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minires.data import DataLoader, FileDataset, Preprocessing, collate
from minires.errors import DataError, UsageError
from minires.finetune.embedding_jobs import figures_of_embeddings
from minires.finetune.embeddings import head_of_embeddings, noted_embeddings
from minires.finetune.loading import LoadedModel
from minires.finetune.tasks import Task, make_task
from minires.finetune.tasks.classification import softmax
from minires.finetune.workers import loader_workers
from minires.io import files
from minires.tensor import Tensor
from minires.training.evaluation import evaluating


def forward(model: Any, images: Tensor) -> np.ndarray:
    """Outputs of one batch in eval mode, without a graph."""
    images = images.to(next(model.parameters()).device)
    return _in_eval_mode(model, lambda: np.asarray(model(images).cpu().numpy()))


def forward_with_features(model: Any, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(outputs, features) of one batch in eval mode: what the head makes, and is given.

    features: pooled (N, num_features), or the embeddings (N, size) of a model that is made for them.
    """

    def compute() -> tuple[np.ndarray, np.ndarray]:
        features = model.forward_features(images.to(next(model.parameters()).device))
        pooled = model.forward_head(features, pre_logits=True)
        embedding = head_of_embeddings(model)
        pooled = pooled if embedding is None else embedding(pooled)
        return np.asarray(model.forward_head(features).cpu().numpy()), np.asarray(pooled.cpu().numpy())

    return _in_eval_mode(model, compute)


def _in_eval_mode(model: Any, compute: Callable[[], Any]) -> Any:
    with evaluating(model):
        return compute()


# ------------------------------------------------------------------------------------------------------- prediction


@dataclass
class Prediction:
    """What a model says about one picture: `values` are probabilities of the classes, or the predicted numbers.

    `error` says why a picture could not be read; then there are no values. `features`: what the head was given, float32
    (num_features,), where they were asked for.
    """

    path: str
    values: list[float] = field(default_factory=list)
    error: DataError | None = None
    features: np.ndarray | None = None

    def top(self, count: int) -> list[int]:
        """Indices of the `count` most probable classes, best first; of equal ones the first."""
        return np.argsort(-np.asarray(self.values), kind="stable")[:count].tolist()


def predict(
    loaded: LoadedModel, paths: Iterable[str], batch_size: int = 32, features: bool = False
) -> Iterator[Prediction]:
    """One Prediction for each path, in order. An unreadable picture gives one with an error, and the rest go on.

    features: whether the predictions carry the pooled features that the head was given.
    """
    for group in _groups(paths, batch_size):
        answers: dict[int, Prediction] = {}
        tensors, places = [], []
        for place, path in enumerate(group):
            try:
                tensors.append(_load(loaded.preprocessing, path))
                places.append(place)
            except DataError as error:
                answers[place] = Prediction(path, error=error)
        for members in _same_shape(tensors):
            images = collate([tensors[member] for member in members])
            pooled: Any = [None] * len(members)
            if features:
                outputs, pooled = forward_with_features(loaded.model, images)
            else:
                outputs = forward(loaded.model, images)
            values = loaded.kind.values(outputs)
            for member, row, found in zip(members, values.tolist(), pooled, strict=True):
                answers[places[member]] = Prediction(group[places[member]], row, features=found)
        yield from (answers[place] for place in range(len(group)))


def _load(preprocessing: Preprocessing, path: str) -> Tensor:
    try:
        return preprocessing.load(path)
    except ValueError as error:
        raise DataError(f"cannot transform the picture {path}: {error}", code="data.transform", file=path) from error


def _groups(paths: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(paths)
    while group := list(itertools.islice(iterator, size)):
        yield group


def _same_shape(tensors: Sequence[Tensor]) -> list[list[int]]:
    """Places of the tensors, grouped by shape: one batch each."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, tensor in enumerate(tensors):
        groups.setdefault(tuple(tensor.shape), []).append(place)
    return list(groups.values())


def find_pictures(inputs: Sequence[str], recursive: bool = False) -> list[str]:
    """The files that `inputs` name: files as they are, folders as the pictures in them (`recursive`: and below).

    Raises UsageError for a path that does not exist and for a folder without pictures.
    """
    from minires.data.folder import list_pictures
    from minires.data.images import is_image_file

    found: list[str] = []
    for name in inputs:
        if os.path.isdir(name):
            if recursive:
                inside = list_pictures(name)
            else:
                entries = (os.path.join(name, entry) for entry in files.list_folder(name))
                inside = [path for path in entries if is_image_file(path) and not os.path.isdir(path)]
            if not inside:
                below = "" if recursive else " (folders below it are looked into with --recursive)"
                raise UsageError(f"no pictures in {name}{below}", code="data.empty", file=name)
            found += inside
        elif os.path.lexists(name):
            found.append(name)
        else:
            raise UsageError(f"no such picture: {name}", code="data.not_found", file=name)
    return found


# ------------------------------------------------------------------------------------------------------- evaluation


@dataclass
class Evaluation:
    """Outputs for every sample of a data set, in its order, and the figures made of them."""

    metrics: dict[str, Any]
    outputs: np.ndarray  # (N, K) scores, or (N, K) numbers
    targets: np.ndarray  # (N,) class indices or ranks, (N, K) labels or numbers


def evaluate(
    model: Any, dataset: Any, classes: Sequence[str], batch_size: int = 32, workers: int | str = 0,
    worker_type: str = "thread", task: Task | None = None,
) -> Evaluation:  # fmt: skip
    """Run the model over a data set whose transform is set. `classes`: names in index order; none for regression.

    task: what the labels are, where that is more than classes or numbers (finetune/tasks).
    Beside the figures the metrics hold "intervals": figure -> [low, high] of 95 %, or None (minires/explain/intervals).
    """
    outputs, targets = [], []
    with noted_embeddings(model) as embeddings:
        for images, target in DataLoader(dataset, batch_size, **loader_workers(workers, worker_type, dataset)):
            outputs.append(forward(model, images))
            targets.append(target.numpy())
    scores, truth = np.concatenate(outputs), np.concatenate(targets)
    task = task or make_task(None, classes)
    if task.name == "regression":
        truth = truth.reshape(len(truth), -1)
    found = task.figures(scores, truth)
    if embeddings:
        found.update(figures_of_embeddings(embeddings, truth))
    return Evaluation(found, scores, truth)


def predictions_csv(dataset: Any, evaluation: Evaluation, task: Task | None = None) -> str:
    """A table of single answers: path, label, pred, prob (of one class a picture), loss."""
    task = task or make_task(None, dataset.classes)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    named = isinstance(dataset, FileDataset)
    paths = [dataset.relative_name(path) for path, _ in dataset.samples] if named else range(len(dataset))
    if task.name == "classification":
        writer.writerow(["path", "label", "pred", "prob", "loss"])
        probabilities = softmax(evaluation.outputs)
        for path, row, target in zip(paths, probabilities, evaluation.targets, strict=True):
            best = int(row.argmax())
            loss = -math.log(max(float(row[target]), 1e-300))
            writer.writerow([path, dataset.classes[target], dataset.classes[best], f"{row[best]:.6f}", f"{loss:.6f}"])
        return text.getvalue()
    writer.writerow(["path", "label", "pred", "loss"])
    values, losses = task.values(evaluation.outputs), task.losses(evaluation.outputs, evaluation.targets)
    for path, row, target, loss in zip(paths, values, evaluation.targets, losses.tolist(), strict=True):
        writer.writerow([path, *_exactly(task, target, row), f"{loss:.6g}"])
    return text.getvalue()


def _exactly(task: Task, target: Any, row: np.ndarray) -> list[str]:
    """Label and answer in words; numbers with all their digits."""
    if task.name != "regression":
        return [task.label(target), task.said(row)]
    return [" ".join(repr(float(value)) for value in values) for values in (target, row)]
