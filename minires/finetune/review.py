"""`--review FILE`: what somebody has decided about single pictures, applied before a run uses them.

The file is a table (minires writes one as review.csv into every run's folder) with the columns path, label, suggestion
and action. action is empty or "keep" (nothing happens), "delete" (the picture is left out), or "relabel" (the picture
gets what is in the column suggestion: a class, several labels such as cat|dog or | for none at all, or numbers with
spaces between them). The pictures themselves are not touched. A picture stays in its split.
"""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minires.data import FileDataset, MultiLabelDataset
from minires.data.classes import normal_name
from minires.data.labels_dataset import BETWEEN
from minires.data.labels_opening import words
from minires.data.table import read_rows
from minires.errors import DataError, UsageError
from minires.report.facts import Review

HEADER = ("path", "label", "suggestion", "action", "reason")
ACTIONS = ("", "keep", "delete", "relabel")
Decision = tuple[str, str]  # action, class


def review_table(rows: Sequence[Review]) -> str:
    """The text of review.csv. Its column action is empty: it is the user's to fill in."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for row in rows:
        suggestion = "" if row.reason.startswith("duplicate") else row.suggestion
        reason = row.reason if suggestion else f"{row.reason}: {row.suggestion}"
        writer.writerow([row.path, row.label, suggestion, "", reason])
    return text.getvalue()


def read_review(path: str) -> dict[str, Decision]:
    """Picture -> (action, class) of all rows that ask for something.

    Raises UsageError for a missing file, DataError naming the row for an unknown action, a missing class, and two rows
    that ask for different things of the same picture.
    """
    if not os.path.isfile(path):
        raise UsageError(f"--review: no such file {path}", code="data.review", file=path)
    decisions: dict[str, Decision] = {}
    for line, row in read_rows(path, ["path"]):
        if "action" not in row:
            raise _fault(path, 1, "no column 'action'")
        name, action = row["path"], (row["action"] or "").strip().lower()
        if action not in ACTIONS:
            raise _fault(path, line, f"the action is delete, relabel, keep or empty, not {action!r}")
        if action in ("", "keep"):
            continue
        wish = (row.get("suggestion") or "").strip() if action == "relabel" else ""
        if action == "relabel" and not wish:
            raise _fault(path, line, f"{name} is to be relabelled, but the column suggestion names no class")
        if decisions.setdefault(name, (action, wish)) != (action, wish):
            raise _fault(path, line, f"{name} stands there before with another action")
    return decisions


def apply_review(splits: Mapping[str, Any], path: str | None) -> list[str]:
    """Take out and relabel in all splits what the file says; returns a line of what was done, [] without a file.

    Raises DataError naming the picture for one that no split has, and for what is no label of the data.
    """
    if path is None:
        return []
    decisions = read_review(path)
    if not all(isinstance(part, FileDataset) for part in splits.values()):
        raise UsageError("--review is for picture files", code="usage.conflict")
    names = {part.relative_name(file) for part in splits.values() for file, _ in part.samples}
    missing = next((name for name in decisions if name not in names), None)
    if missing is not None:
        raise DataError(f"{path}: the data have no picture {missing}", code="data.review", file=path)
    decided = {name: [each for sample in part.samples for each in _decided(part, sample, decisions, path)]
               for name, part in splits.items()}  # fmt: skip
    for name, part in splits.items():
        part.samples = decided[name]
    deleted = sum(action == "delete" for action, _ in decisions.values())
    return [f"review: {deleted} pictures left out, {len(decisions) - deleted} relabelled, as {path} says"]


def _decided(
    part: FileDataset, sample: tuple[str, Any], decisions: Mapping[str, Decision], path: str
) -> list[tuple[str, Any]]:  # fmt: skip
    """The sample as the file wants it; nothing where it is to be left out."""
    name = part.relative_name(sample[0])
    action, wish = decisions.get(name, ("", ""))
    if action == "delete":
        return []
    if action != "relabel":
        return [sample]
    try:
        return [(sample[0], _target(part, wish, sample[1]))]
    except (KeyError, ValueError) as error:
        what = "no class of the data" if part.classes else "no label like the others"
        raise DataError(f"{path}: {name} is to become {wish!r}, which is {what}", code="data.review",
                        file=path) from error  # fmt: skip


def _target(part: FileDataset, wish: str, old: Any) -> Any:
    """The target that stands for a suggestion. KeyError for an unknown class, ValueError for what is no number."""
    if isinstance(part, MultiLabelDataset):
        return tuple(sorted({part.class_to_idx[normal_name(name)] for name in words(wish, BETWEEN)}))
    if part.classes:
        return part.class_to_idx[normal_name(wish)]
    numbers = tuple(float(word) for word in wish.split())
    if len(numbers) != np.size(old) or not np.isfinite(numbers).all():
        raise ValueError(wish)
    return numbers[0] if np.ndim(old) == 0 else numbers


def _fault(path: str, line: int, reason: str) -> DataError:
    return DataError(f"{path}, line {line}: {reason}", code="data.review", file=path)
