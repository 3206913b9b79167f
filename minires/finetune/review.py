"""`--review FILE`: what somebody has decided about single pictures, applied before a run uses them.

The file is a table (minires writes one as review.csv into every run's folder) with the columns path, label, suggestion
and action. action is empty or "keep" (nothing happens), "delete" (the picture is left out), or "relabel" (the picture
gets the class in the column suggestion). The pictures themselves are not touched. A picture stays in its split.
"""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

from minires.data import FileDataset, MultiLabelDataset
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
        suggestion = row.suggestion if row.reason.startswith("label") else ""
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

    Raises DataError naming the picture for one that no split has, and for a class that the data do not have.
    """
    if path is None:
        return []
    decisions = read_review(path)
    single = (isinstance(part, FileDataset) and not isinstance(part, MultiLabelDataset) and part.classes
              for part in splits.values())  # fmt: skip
    if not all(single):
        raise UsageError("--review is for picture files of one class each", code="usage.conflict")
    names = {part.relative_name(file) for part in splits.values() for file, _ in part.samples}
    classes = next(iter(splits.values())).class_to_idx
    for name, (_, wish) in decisions.items():
        if name not in names:
            raise DataError(f"{path}: the data have no picture {name}", code="data.review", file=path)
        if wish and wish not in classes:
            raise DataError(f"{path}: {name} is to become {wish!r}, which is no class of the data", code="data.review",
                            file=path)  # fmt: skip
    for part in splits.values():
        part.samples = [sample for old in part.samples if (sample := _decided(part, old, decisions)) is not None]
    deleted = sum(action == "delete" for action, _ in decisions.values())
    return [f"review: {deleted} pictures left out, {len(decisions) - deleted} relabelled, as {path} says"]


def _decided(part: FileDataset, sample: tuple[str, Any], decisions: Mapping[str, Decision]) -> tuple[str, Any] | None:
    file, target = sample
    action, wish = decisions.get(part.relative_name(file), ("", ""))
    if action == "delete":
        return None
    return (file, part.class_to_idx[wish]) if action == "relabel" else (file, target)


def _fault(path: str, line: int, reason: str) -> DataError:
    return DataError(f"{path}, line {line}: {reason}", code="data.review", file=path)
