"""The rows of review.csv: labels that are probably wrong, and pictures that are there twice (explain/labels.py)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from minires.data import FileDataset
from minires.data.labels_dataset import BETWEEN
from minires.explain.labels import label_errors, near_duplicates, wrong_labels
from minires.finetune.tasks import MultiLabel, Regression, Task
from minires.report.facts import Review

if TYPE_CHECKING:
    from minires.finetune.reporting import Outputs

MOST_REVIEWED = 500  # rows of each kind
NO_LABEL = BETWEEN  # the suggestion that a picture has none of the labels: an empty cell is one that was forgotten


def suspicious(task: Task, found: Mapping[str, "Outputs"]) -> list[Review]:
    """Probable label errors among the pictures that were not trained on, and near duplicates among all looked at.

    A number that is wrong cannot be told from one that is hard to guess: of regression there are duplicates alone.
    """
    rows = []
    for name, part in found.items():
        if name != "train" and not isinstance(task, Regression):
            rows += _wrong(task, name, part)[:MOST_REVIEWED]
    return rows + _twice(task, found)


def _wrong(task: Task, split: str, part: "Outputs") -> list[Review]:
    """The most suspicious labels of a split first."""
    values = task.values(part.scores)
    if not isinstance(task, MultiLabel):
        return [Review(name_of(part.dataset, one.index), task.classes[one.label], task.classes[one.suggestion],
                       f"label ({split}): the model is {one.margin:.0%} surer of the other class")
                for one in label_errors(values, part.targets)]  # fmt: skip
    rows = []
    for several in wrong_labels(values, part.targets):
        own = part.targets[several.index] > 0.5
        changed = own.copy()
        changed[several.labels] = ~own[several.labels]
        words = ", ".join(f"{'not ' if own[label] else ''}{task.classes[label]}" for label in several.labels)
        reason = f"labels ({split}): rather {words}; the model is up to {several.margin:.0%} surer"
        name = name_of(part.dataset, several.index)
        rows.append(Review(name, task.label(own), task.label(changed) or NO_LABEL, reason))
    return rows


def _twice(task: Task, found: Mapping[str, "Outputs"]) -> list[Review]:
    """Near duplicates, the most alike first."""
    every = [(name, part.dataset, index) for name, part in found.items() for index in part.kept.tolist()]
    labels = [task.label(target) for part in found.values() for target in part.targets[part.kept]]
    rows = []
    features, small = (np.concatenate([getattr(part, name) for part in found.values()])
                       for name in ("features", "thumbnails"))  # fmt: skip
    pairs = near_duplicates(features, thumbnails=small)
    for first, second, alike in pairs[:MOST_REVIEWED]:
        (one_split, one, i), (other_split, other, j) = every[first], every[second]
        where = "" if one_split == other_split else f", across {one_split} and {other_split}"
        unlike = "" if labels[first] == labels[second] else ", with another label"
        rows.append(Review(name_of(one, i), labels[first], name_of(other, j),
                           f"duplicate: pictures alike to {alike:.4f}{where}{unlike}"))  # fmt: skip
    return rows


def name_of(dataset: Any, index: int) -> str:
    """The file of a sample relative to its data, or its number."""
    if isinstance(dataset, FileDataset):
        return dataset.relative_name(dataset.samples[index][0])
    return f"sample {index}"
