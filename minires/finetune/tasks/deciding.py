"""Which task a table of labels is for, where nobody says: decided only where the labels leave no doubt.

several columns, all cells 0 or 1                          multi-label
one column with "|" in a cell                              multi-label
a column tags or labels, cells of words that recur         multi-label
all cells numbers, not all of them whole                   regression
anything else                                              classification
"""

import math
import os
from typing import TYPE_CHECKING

from minires.data.labels_dataset import BETWEEN
from minires.data.labels_opening import all_yes_or_no
from minires.data.labels_table import Columns, LabelTable, read_table
from minires.errors import DataError
from minires.io.files import FileAccessError

if TYPE_CHECKING:
    from minires.finetune.settings import Settings

SEVERAL = ("labels", "tags")  # columns whose name says that a cell has several


def table_of(settings: "Settings") -> str | None:
    """The table that the labels stand in: after --labels, or --data itself; None for a folder of classes."""
    if settings.labels is not None:
        return settings.labels
    source = str(settings.data)
    return source if source.lower().endswith((".csv", ".tsv")) and os.path.isfile(source) else None


def delimiter(table: str) -> str:
    """What separates the cells of a table: a tab in a .tsv file, else a comma."""
    return "\t" if table.lower().endswith(".tsv") else ","


def columns_of(settings: "Settings") -> Columns:
    """What the settings say about the table's columns."""
    return Columns(settings.image_column, tuple(settings.label_columns), settings.label_delim)


def decide_task(settings: "Settings") -> str:
    """The name of the task. A table that cannot be read is left to whoever opens it."""
    path = table_of(settings)
    if path is None:
        return "classification"
    try:
        table = read_table(path, columns_of(settings), delimiter(path))
    except (DataError, FileAccessError):
        return "classification"
    return task_of_table(table)


def task_of_table(table: LabelTable) -> str:
    """See above."""
    cells = table.cells()
    if len(table.labels) > 1 and all_yes_or_no(cells):
        return "multi-label"
    if len(table.labels) == 1 and (table.separator is not None or any(BETWEEN in cell for cell in cells)):
        return "multi-label"
    if len(table.labels) == 1 and table.labels[0].strip().lower() in SEVERAL:
        recurring = {word for cell in cells for word in cell.split()}
        if any(" " in cell.strip() for cell in cells) and len(recurring) < len(set(cells)):
            return "multi-label"
    numbers = [_number(cell) for cell in cells if cell.strip()]  # a cell left empty, or NaN, is looked at by the reader
    if None not in numbers and any(not number.is_integer() for number in numbers if number and math.isfinite(number)):
        return "regression"
    return "classification"


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def why(settings: "Settings", classes: list[str]) -> str | None:
    """A line for the first screen about what the labels were taken for, where somebody might mean another task."""
    path = table_of(settings)
    if settings.task != "classification" or path is None:
        return None
    if classes and all(_number(name) is not None for name in classes):
        return "whole numbers are taken for classes: --task regression or ordinal if they are amounts or grades"
    return None
