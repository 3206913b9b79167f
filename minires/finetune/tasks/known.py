"""The task of a job: what its settings say, and what its training labels teach of the usual answer."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minires.data.labels_dataset import label_counts
from minires.errors import UsageError
from minires.finetune.pictures import number_names
from minires.finetune.settings import Settings
from minires.finetune.tasks import Classification, MultiLabel, Ordinal, Regression, Task
from minires.finetune.tasks.ranks import set_thresholds

FEWEST_RANKS = 3


def task_of_data(settings: Settings, train: Any) -> Task:
    """The task for these training pictures. UsageError for ranks of fewer than three classes."""
    if settings.task == "regression":
        usual = np.asarray(train.targets, np.float64).reshape(len(train), -1).mean(axis=0)
        names = number_names(settings)
        return Regression([], {"outputs": len(usual), "usual": usual.tolist(), **({"names": names} if names else {})})
    classes = list(train.classes)
    if settings.task == "multi-label":
        usual = label_counts(train.targets, len(classes)) / len(train)
        return MultiLabel(classes, {"threshold": settings.threshold, "usual": usual.tolist()})
    if settings.task == "ordinal":
        if len(classes) < FEWEST_RANKS:
            raise UsageError(f"an order needs at least {FEWEST_RANKS} classes, {settings.data} has {len(classes)}",
                             code="data.class_number", hint="--task classification")  # fmt: skip
        return Ordinal(classes, {"usual": int(np.median(np.asarray(train.targets)))})
    return Classification(classes)


def tell_model(model: Any, task: Task, counts: Sequence[int]) -> None:
    """What the task asks of a model before it is trained: a note of what its outputs mean, and sound thresholds."""
    if task.name != "classification":
        model.metadata["task"] = task.to_record()
    if isinstance(task, Ordinal):
        set_thresholds(model, counts)
