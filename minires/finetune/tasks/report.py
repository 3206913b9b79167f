"""What the report of a run tells of tasks other than one class a picture."""

from typing import Any

import numpy as np

from minires.explain.classes import confusion_matrix
from minires.finetune.tasks import MultiLabel, Ordinal, Regression, Task
from minires.finetune.tasks.multi_label import label_losses
from minires.report import Facts
from minires.training.metrics_ordinal import ranks_of

MOST_POINTS = 1500  # of a drawing


def tell_task(facts: Facts, task: Task, scores: np.ndarray, truth: np.ndarray) -> None:
    """Put tables and drawings of the measured split into the facts. scores: (N, K)."""
    facts.task, facts.headline = task.name, list(task.headline)
    if isinstance(task, Regression):
        _numbers(facts, task, scores, truth.reshape(scores.shape))
    elif isinstance(task, MultiLabel):
        _labels(facts, task)
    elif isinstance(task, Ordinal):
        facts.confusion = confusion_matrix(truth, ranks_of(scores), len(task.classes))


def _numbers(facts: Facts, task: Regression, scores: np.ndarray, truth: np.ndarray) -> None:
    names = task.names or ([""] if truth.shape[1] == 1 else [f"number {k + 1}" for k in range(truth.shape[1])])
    some = np.linspace(0, len(truth) - 1, min(len(truth), MOST_POINTS)).astype(int)
    facts.answers = [(name, truth[some, place], scores[some, place]) for place, name in enumerate(names)]
    each = facts.after.get("per_output")
    if each is None:
        return
    rows = [[name, *(own[key] for key in ("rmse", "mae", "r2"))] for name, own in each.items()]
    text = "Each in its own units: rmse and mae above are means over all of them."
    facts.tables.append(("Numbers", text, ["number", "rmse", "mae", "r2"], rows))


def _labels(facts: Facts, task: MultiLabel) -> None:
    keys = ["samples", "said", "right", "precision", "recall", "f1", "ap"]
    head = ["label", "pictures", "said", "right", "precision", "recall", "F1", "AP"]
    each = facts.after["per_class"]
    names = sorted(each, key=lambda name: (each[name]["ap"] is None, each[name]["ap"] or 0.0))
    above = f"{task.threshold:g}"
    if task.tuned:
        keys, head, above = [*keys, "threshold"], [*head, "threshold"], "its own threshold"
    text = (f"A label is said where its probability is above {above}. AP, average precision, needs no "
            "threshold: near the share of pictures that have the label it is chance.")  # fmt: skip
    if "untuned" in facts.after:
        untuned = ", ".join(f"{key} {facts.after['untuned'][key]:.4f}" for key in task.headline[1:4])
        text += (f" The thresholds were tuned on the validation pictures; with {task.threshold:g} for every label: "
                 f"{untuned}.")  # fmt: skip
    facts.tables.append(("Labels", text, head, [[name, *(each[name][key] for key in keys)] for name in names]))


def told(task: Task, scores: np.ndarray, target: Any) -> list[str]:
    """Lines below a picture: what it is, and what was said of it. scores: (K,)."""
    values = task.values(scores[None])[0]
    if isinstance(task, MultiLabel):
        return [f"is {task.label(target) or '–'}", f"said {task.said(values) or '–'}"]
    return [f"is {task.label(target)}", f"said {task.said(values)}"]


def place_to_look_at(task: Task, scores: np.ndarray, target: Any) -> int | None:
    """The output whose evidence in the picture is shown: the one most wrong; None where there is no such thing."""
    if isinstance(task, MultiLabel):
        return int(label_losses(scores[None], np.asarray(target)[None]).argmax())
    if isinstance(task, Ordinal):
        return min(int(target), len(scores) - 1)
    return None
