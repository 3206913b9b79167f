"""From a table of labels (labels_table.py) to data sets: pictures are looked for, and every label is checked."""

import difflib
import os
from collections.abc import Callable, Sequence
from typing import Any

from minires.data.classes import check_class_order, normal_name, order_classes
from minires.data.files import FileDataset
from minires.data.images import IMG_EXTENSIONS
from minires.data.labels_dataset import BETWEEN, MultiLabelDataset
from minires.data.labels_table import SPLIT_COLUMN, LabelTable, table_fault
from minires.errors import DataError
from minires.io import files

TARGETS = ("class", "labels", "number")
SEPARATORS = ("|", ";", ",")  # between labels of a cell, looked for in this order; else spaces


def open_table(
    table: LabelTable, root: str, target: str = "class", class_to_idx: dict[str, int] | None = None,
    mode: str = "RGB", missing_ok: bool = False,
) -> dict[str | None, FileDataset]:  # fmt: skip
    """The data sets of a table: {None: all of it}, or by the names in its column "split".

    target: "class", "labels" (any number of classes) or "number" (one a label column). root: the folder that the
    pictures' names are relative to; a name without an ending means the picture that is called so. class_to_idx: the
    class order, where it is known. missing_ok: a picture that is not there is kept, for a scan to find.
    Raises DataError for the first cell that makes no sense, a missing picture, and a picture that has two rows.
    """
    if target not in TARGETS:
        raise ValueError(f"target is one of {', '.join(TARGETS)}, got {target!r}")
    order, read = _READERS[target](table, class_to_idx)
    find = _Finder(root)
    seen: dict[str, int] = {}
    found: dict[str | None, list[tuple[str, Any]]] = {}
    for line, row in table.rows:
        name = row[table.picture]
        if not name:
            raise table.fault(line, table.picture, "nothing")
        place = find(name)
        if place is None and not missing_ok:
            reason = f"no such picture {name!r} (looked for below {root})"
            hint = "mend the table, or leave it out: --on-bad-image skip"
            raise table.fault(line, table.picture, reason, code="data.not_found", hint=hint)
        path = os.path.join(root, name) if place is None else place
        if (first := seen.setdefault(os.path.normpath(path), line)) != line:
            raise table.fault(line, table.picture, f"{name!r} stands in line {first}, too,", code="data.duplicate",
                              hint="leave one of the two rows out")  # fmt: skip
        split = row[SPLIT_COLUMN] if table.has_split else None
        if split == "":
            raise table.fault(line, SPLIT_COLUMN, "nothing")
        found.setdefault(split, []).append((path, read(line, row)))
    kind = MultiLabelDataset if target == "labels" else FileDataset
    return {split: kind(samples, list(order), root, mode=mode) for split, samples in found.items()}


class _Finder:
    """Where a picture is that a table names; None if nowhere. Below a root, folders are listed once."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.stems: dict[str, dict[str, list[str]]] = {}

    def __call__(self, name: str) -> str | None:
        path = os.path.join(self.root, name.replace("/", os.sep))
        if os.path.lexists(path) and not os.path.isdir(path):
            return path
        if name.lower().endswith(IMG_EXTENSIONS):
            return None
        folder, stem = os.path.split(path)
        if folder not in self.stems:
            self.stems[folder] = _by_stem(folder)
        twins = self.stems[folder].get(stem, [])
        return os.path.join(folder, twins[0]) if len(twins) == 1 else None


def _by_stem(folder: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in files.list_folder(folder) if os.path.isdir(folder) else ():
        if name.lower().endswith(IMG_EXTENSIONS):
            found.setdefault(os.path.splitext(name)[0], []).append(name)
    return found


# ------------------------------------------------------------------ what a row says: class order, and a reader of rows

Reader = Callable[[int, dict[str, str]], Any]


def _classes(table: LabelTable, class_to_idx: dict[str, int] | None) -> tuple[dict[str, int], Reader]:
    """One class a picture."""
    if len(table.labels) != 1:
        raise DataError(f"{table.path} has the label columns {', '.join(table.labels)}, and a class takes one",
                        code="data.table", file=table.path,
                        hint="--label-columns NAME, or --task multi-label or regression")  # fmt: skip
    column = table.labels[0]
    for line, row in table.rows:
        if not row[column]:
            raise table.fault(line, column, "nothing")
    names = (row[column] for _, row in table.rows)
    order = order_classes(names) if class_to_idx is None else check_class_order(class_to_idx)
    return order, lambda line, row: _index(table, line, column, row[column], order)


def _numbers(table: LabelTable, class_to_idx: dict[str, int] | None) -> tuple[dict[str, int], Reader]:
    """A number, or several."""

    def read(line: int, row: dict[str, str]) -> float | tuple[float, ...]:
        values = tuple(_number(table, line, column, row[column]) for column in table.labels)
        return values[0] if len(values) == 1 else values

    return {}, read


def _number(table: LabelTable, line: int, column: str, text: str) -> float:
    if not text:
        raise table.fault(line, column, "nothing", "data.label")
    try:
        value = float(text)
    except ValueError as error:
        raise table.fault(line, column, f"{text!r} is no number", "data.label") from error
    if value - value != 0:  # NaN or infinite
        raise table.fault(line, column, f"the target {text} is not finite", "data.label")
    return value


def _labels(table: LabelTable, class_to_idx: dict[str, int] | None) -> tuple[dict[str, int], Reader]:
    """Any number of classes: all in one cell, or 0 or 1 in a column for each."""
    if len(table.labels) > 1 or all_yes_or_no(table.cells()):
        order = {normal_name(name): place for place, name in enumerate(table.labels)}
        if class_to_idx is not None:
            order = check_class_order(class_to_idx)
            missing = [name for name in order if name not in table.labels]
            if missing:
                raise table_fault(table.path, 1, f"no column {missing[0]!r}, which is a class", "data.table")
        _check_names(table, order)
        return order, lambda line, row: tuple(
            index for name, index in order.items() if _yes_or_no(table, line, name, row[name])
        )
    column, separator = table.labels[0], separator_of(table)
    cells = [words(row[column], separator) for _, row in table.rows]
    order = order_classes(name for cell in cells for name in cell)
    order = order if class_to_idx is None else check_class_order(class_to_idx)
    _check_names(table, order)

    def read(line: int, row: dict[str, str]) -> tuple[int, ...]:
        found = {_index(table, line, column, name, order) for name in words(row[column], separator)}
        return tuple(sorted(found))

    return order, read


_READERS = {"class": _classes, "number": _numbers, "labels": _labels}


def words(cell: str, separator: str | None) -> list[str]:
    """The labels in a cell. separator: None stands for spaces."""
    return [word for part in cell.split(separator) if (word := part.strip())]


def separator_of(table: LabelTable) -> str | None:
    """What separates the labels of a cell: as given, else the first of "|", ";", "," that occurs; None: spaces."""
    if table.separator is not None:
        return table.separator.strip() or None
    cells = table.cells()
    return next((sign for sign in SEPARATORS if any(sign in cell for cell in cells)), None)


def all_yes_or_no(cells: Sequence[str]) -> bool:
    """Whether there are cells, and all say yes or no in a way that is understood."""
    return bool(cells) and all(cell.strip().lower() in _YES_OR_NO for cell in cells)


_YES_OR_NO = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}


def _yes_or_no(table: LabelTable, line: int, column: str, text: str) -> bool:
    word = text.strip().lower()
    if word not in _YES_OR_NO:
        reason = f"{text!r} is neither 0 nor 1" if text else "nothing"
        raise table.fault(line, column, reason, "data.label")
    return _YES_OR_NO[word]


def _index(table: LabelTable, line: int, column: str, name: str, order: dict[str, int]) -> int:
    if normal_name(name) not in order:
        near = difflib.get_close_matches(name, list(order), n=1)
        shown = ", ".join(list(order)[:20]) + (", ..." if len(order) > 20 else "")
        raise table.fault(line, column, f"{name!r} is none of the classes {shown};", "data.extra_class",
                          f"did you mean {near[0]!r}?" if near else None)  # fmt: skip
    return order[normal_name(name)]


def _check_names(table: LabelTable, order: dict[str, int]) -> None:
    """Names with "|" could not be told apart again in splits.csv."""
    wrong = next((name for name in order if BETWEEN in name), None)
    if wrong is not None:
        raise table_fault(table.path, 1, f"the class {wrong!r} has a {BETWEEN} in its name", "data.label")
