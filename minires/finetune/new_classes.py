"""New classes for a model that gives embeddings, from a few pictures of each and without any training."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.data import ImageFolder
from minires.errors import UsageError
from minires.finetune.embeddings import add_directions, class_means, directions, gives_embeddings
from minires.finetune.inference import predict
from minires.finetune.loading import LoadedModel, load_model
from minires.io import files, model_directory


@dataclass
class NewClasses:
    """What came of it: the new model's folder, its new classes with their numbers of pictures, and all its classes.

    right: how many of these pictures the new model gives its own class, of how many.
    """

    path: str
    added: dict[str, int]
    classes: list[str]
    right: int
    pictures: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"model": self.path, "added": self.added, "classes": self.classes, "right": self.right,
                "pictures": self.pictures}  # fmt: skip


def add_classes(
    model: str | os.PathLike[str], source: str, output: str | os.PathLike[str], *, batch_size: int = 32
) -> NewClasses:  # fmt: skip
    """A copy of `model` in the folder `output` that also knows the classes of which `source`/CLASS/ has pictures.

    A new class is the mean of its pictures' embeddings; the known ones, their order and all weights stay.
    model: as for `load_model`, trained with --loss arcface, cosface or triplet. Raises UsageError for another model,
    for a class that it knows already and for a folder `output` that holds anything, DataError for unreadable pictures.
    """
    loaded = load_model(model)
    if not gives_embeddings(loaded.model):
        raise UsageError(f"{loaded.path} has no embeddings to compare pictures by", code="usage.conflict",
                         hint="train it with --loss arcface, cosface or triplet")  # fmt: skip
    data = ImageFolder(source, mode=loaded.preprocessing.mode)
    known = sorted(set(data.classes) & set(loaded.classes))
    if known:
        raise UsageError(f"{loaded.path} knows the class {known[0]!r} already", code="data.extra_class", file=source)
    if os.path.exists(output) and (not os.path.isdir(output) or files.list_folder(output)):
        raise UsageError(f"{os.fspath(output)} exists and is not empty", code="usage.output", file=os.fspath(output))
    rows, labels = _embeddings(loaded, data, batch_size)
    add_directions(loaded.model, class_means(rows, labels, len(data.classes)))
    classes = [*loaded.classes, *data.classes]
    model_directory.save(loaded.model, output, loaded.preprocessing.to_config(), classes, loaded.metrics)
    said = (rows @ _unit(directions(loaded.model).weight.array).T).argmax(axis=1)
    right = int((said == labels + len(loaded.classes)).sum())
    counts = {name: int((labels == index).sum()) for index, name in enumerate(data.classes)}
    return NewClasses(os.fspath(output), counts, classes, right, len(labels))


def _embeddings(loaded: LoadedModel, data: ImageFolder, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """(embeddings (N, size), class numbers (N,)) of all pictures. Raises the DataError of one that cannot be read."""
    rows = []
    for prediction in predict(loaded, [path for path, _ in data.samples], batch_size, features=True):
        if prediction.error is not None:
            raise prediction.error
        rows.append(prediction.features)
    return np.stack(rows), np.asarray(data.targets)  # type: ignore[arg-type]


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
