"""What labels can be: one class, any number of classes, ranks, numbers. A task knows what follows from it.

base             what every task says             deciding     which task a table is for, where nobody says
classification   one class a picture              losses       what is made small
multi_label      any number of classes            ranks        rank consistency
ordinal          classes that have an order       thresholds   one for each label
regression       numbers
"""

from collections.abc import Mapping, Sequence
from typing import Any

from minires.finetune.tasks.base import Task
from minires.finetune.tasks.classification import Classification
from minires.finetune.tasks.multi_label import MultiLabel
from minires.finetune.tasks.ordinal import Ordinal
from minires.finetune.tasks.regression import Regression

__all__ = ["TASKS", "Classification", "MultiLabel", "Ordinal", "Regression", "Task", "make_task"]

TASKS: dict[str, type[Task]] = {kind.name: kind for kind in (Classification, MultiLabel, Regression, Ordinal)}


def make_task(record: Mapping[str, Any] | None, classes: Sequence[str]) -> Task:
    """The task that a model's record says; without one, classification where there are classes, else regression.

    Raises ValueError for a record of a task that this version does not know.
    """
    record = dict(record or {"name": "classification" if classes else "regression"})
    name = record.pop("name", None)
    if name not in TASKS:
        raise ValueError(f"the task {name!r} is none of {', '.join(TASKS)}")
    return TASKS[name](list(classes), record)
