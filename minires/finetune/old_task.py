"""How well the earlier classes are told apart before and after: forgetting, measured on the earlier run's pictures.

Before is the earlier model. After is the new one among all its classes; "among the old" is the new one asked for the
best of the old classes only, which tells what is forgotten from what is merely taken for something new. Forgetting of a
class is its accuracy before less after (Chaudhry et al. 2018).
"""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minires.data import FileDataset
from minires.errors import MiniresError
from minires.explain.intervals import wilson
from minires.finetune.evaluation import own_splits, run_settings
from minires.finetune.growing import reindexed
from minires.finetune.inference import evaluate
from minires.finetune.loading import load_model
from minires.finetune.rehearsal import still_there

if TYPE_CHECKING:
    from minires.finetune.continual import OldRun
    from minires.finetune.settings import Settings

MEASURED = ("test", "val", "train")  # the split that is looked at is the first of these that a run has
Part = tuple[str, Any]  # split and data set


def run_folder_of(path: str) -> str | None:
    """The run folder that a model folder or run belongs to; None for a model that has left its run."""
    for folder in (path, os.path.dirname(os.path.abspath(path))):
        if os.path.isfile(os.path.join(folder, "args.toml")) and os.path.isfile(os.path.join(folder, "data.json")):
            return folder
    return None


def old_pictures(path: str, classes: Sequence[str]) -> tuple[list[Part], list[str]]:
    """The pictures that the run at `path` was measured on, and those of the runs before it that it began from.

    Their labels count in `classes`. Also lines about what is missing. A picture that two runs have counts once.
    """
    parts: list[Part] = []
    notes: list[str] = []
    seen: set[str] = set()
    place: str | None = path
    while place:
        folder, settings = run_folder_of(place), run_settings(place)
        if folder is None or settings is None:
            notes.append(f"{place} is not in its run folder: nothing says which pictures it was measured on")
            break
        try:
            splits = own_splits(folder, settings, load_model(folder))
        except MiniresError as error:
            notes.append(f"{place}: {error.message}")
            break
        name = next(split for split in MEASURED if split in splits)
        part = reindexed({name: splits[name]}, classes)[name]
        if isinstance(part, FileDataset):
            part = _once(_present(folder, name, part, notes), seen)
        if len(part):
            parts.append((name, part))
        place = settings.from_run
    return parts, notes


def _present(folder: str, name: str, part: FileDataset, notes: list[str]) -> FileDataset:
    kept, lost = still_there(folder, {name: part})
    if lost:
        notes.append(f"{lost} of the {len(part)} {name} pictures of {folder} are no longer there, or have changed")
    return kept[name]


def _once(part: FileDataset, seen: set[str]) -> FileDataset:
    own = [sample for sample in part.samples if os.path.realpath(sample[0]) not in seen]
    seen.update(os.path.realpath(path) for path, _ in own)
    return part.with_samples(own)


def measure_forgetting(old: "OldRun", model: Any, preprocessing: Any, settings: "Settings") -> dict[str, Any]:
    """The record in metrics.json under "old_task"; "reason" in the place of figures where no picture is reachable.

    model: the trained one, whose first classes are the old ones.
    """
    classes = old.loaded.classes
    parts, notes = old_pictures(old.path, classes)
    record: dict[str, Any] = {"run": old.path, "classes": len(classes), "notes": notes}
    if not parts:
        return {**record, "reason": "; ".join(notes) or "no picture is left"}
    size = settings.validation_batch_size or settings.batch_size

    def scores(of: Any, how: Any) -> tuple[np.ndarray, np.ndarray]:
        rows = []
        for _, part in parts:
            part.transform = how
            names = [str(index) for index in range(of.config["num_classes"])]
            rows.append(evaluate(of, part, names, size, settings.workers, settings.worker_type))
        return np.concatenate([each.outputs for each in rows]), np.concatenate([each.targets for each in rows])

    old.loaded.model.to("cpu")
    before, truth = scores(old.loaded.model, old.loaded.preprocessing)
    after, _ = scores(model, preprocessing)
    return {**record, "split": " and ".join(dict.fromkeys(name for name, _ in parts)),
            **forgetting(before, after, truth, classes)}  # fmt: skip


def forgetting(before: np.ndarray, after: np.ndarray, truth: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Figures of scores before (N, K) and after (N, K' >= K) for pictures of the classes truth (N,) < K."""
    right = {"before": before.argmax(axis=1) == truth, "after": after.argmax(axis=1) == truth,
             "after_among_old": after[:, : len(classes)].argmax(axis=1) == truth}  # fmt: skip
    figures: dict[str, Any] = {"pictures": len(truth)}
    figures |= {name: float(each.mean()) for name, each in right.items()}
    figures["forgetting"] = figures["before"] - figures["after"]
    figures["intervals"] = {name: list(wilson(int(each.sum()), len(truth))) for name, each in right.items()}
    per_class: dict[str, Any] = {}
    for index, name in enumerate(classes):
        own = truth == index
        if own.any():
            shares = {key: float(each[own].mean()) for key, each in right.items()}
            per_class[name] = {"pictures": int(own.sum()), **shares, "forgetting": shares["before"] - shares["after"]}
        else:
            per_class[name] = {"pictures": 0, **dict.fromkeys((*right, "forgetting"))}
    return {**figures, "per_class": per_class}


def forgetting_lines(record: Mapping[str, Any]) -> list[str]:
    """A few lines for the last screen: accuracy before and after, and the classes that were forgotten most."""
    if "before" not in record:
        return [f"old classes: not measured: {record['reason']}"]
    low, high = record["intervals"]["after"]
    lines = [f"old classes ({record['pictures']} {record['split']} pictures of {record['run']}): accuracy "
             f"{record['before']:.4f} before, {record['after']:.4f} after (95 % interval {low:.4f} to {high:.4f}), "
             f"{record['after_among_old']:.4f} among the old classes alone"]  # fmt: skip
    worst = sorted(((name, each["forgetting"]) for name, each in record["per_class"].items() if each["forgetting"]),
                   key=lambda pair: -pair[1])[:5]  # fmt: skip
    lost = ", ".join(f"{name} {share:.4f}" for name, share in worst if share > 0)
    lines.append(f"forgetting: {record['forgetting']:.4f}" + (f"; most of {lost}" if lost else ""))
    return [*lines, *(f"note:       {note}" for note in record["notes"])]


HEAD = ["class", "pictures", "before", "after", "among the old", "forgetting"]
SHOWN = ("pictures", "before", "after", "after_among_old", "forgetting")


def forgetting_table(record: Mapping[str, Any]) -> tuple[str, str, list[str], list[list[Any]]]:
    """Title, text, head and rows for the report."""
    title = "The earlier classes"
    if "before" not in record:
        return title, f"Forgetting was not measured: {record['reason']}.", HEAD, []
    text = (f"Accuracy on {record['pictures']} {record['split']} pictures of {record['run']}: before with the earlier "
            "model, after with the new one among all classes, and with the new one among the old classes alone. "
            "Forgetting is before less after.")  # fmt: skip
    rows = [["all", *(record[key] for key in SHOWN)]]
    rows += [[name, *(each[key] for key in SHOWN)] for name, each in record["per_class"].items()]
    return title, " ".join([text, *(f"{note}." for note in record["notes"])]), HEAD, rows


def began_from(record: Mapping[str, Any]) -> list[str]:
    """A line for the report from a run's data.json: what it began from, and how many old pictures are among its own."""
    if "from" not in record:
        return []
    old = record["from"]
    mixed = ", ".join(f"{count} {name}" for name, count in old["rehearsed"].items())
    return [f"begun from {old['run']}: {len(old['classes'])} earlier classes, {len(old['added'])} new ones; "
            + (f"{mixed} pictures are rehearsed from there" if mixed else "no picture is rehearsed")]  # fmt: skip
