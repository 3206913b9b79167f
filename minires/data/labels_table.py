"""Tables of labels as people have them: a row a picture, as Kaggle, fastai and Keras write them.

    filename,label        filename,tags            filename,cat,dog,red      filename,age,weight
    a.jpg,cat             a.jpg,cat red            a.jpg,1,0,1               a.jpg,3.5,4.1
    one class             several, in one cell     several, a column each    numbers

Everything that is wrong is an error that names the file, the line and the column.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minires.data.reading import read_text
from minires.data.table import read_rows
from minires.errors import DataError

PICTURE_COLUMNS = ("path", "filename", "file_name", "file", "image", "image_name", "image_path", "image_id", "img",
                   "picture", "fname", "id", "name")  # fmt: skip
LABEL_COLUMNS = ("label", "labels", "tags", "target", "class")
SPLIT_COLUMN = "split"


@dataclass(frozen=True)
class Columns:
    """Which columns of a table mean what; None and () leave it to their names. separator: between labels of a cell."""

    picture: str | None = None
    labels: tuple[str, ...] = ()
    separator: str | None = None


@dataclass
class LabelTable:
    """A table that was read: its rows as (line, column -> text), and which columns mean what."""

    path: str
    rows: list[tuple[int, dict[str, str]]]
    picture: str
    labels: tuple[str, ...]
    separator: str | None = None

    @property
    def has_split(self) -> bool:
        """Whether a column says which row belongs to which split."""
        return bool(self.rows) and SPLIT_COLUMN in self.rows[0][1] and SPLIT_COLUMN not in self.labels

    def cells(self) -> list[str]:
        """All cells of all label columns."""
        return [row[column] for _, row in self.rows for column in self.labels]

    def fault(
        self, line: int, column: str, reason: str, code: str = "data.table", hint: str | None = None
    ) -> DataError:
        """The error about one cell."""
        return DataError(f"{self.path}, line {line}: {reason} in the column {column!r}", code=code, file=self.path,
                         hint=hint)  # fmt: skip


def read_table(path: str, columns: Columns | None = None, delimiter: str = ",") -> LabelTable:
    """Read a table and find its columns.

    The picture's column is the first one with a usual name (path, filename, image, image_id, ...), else the first. The
    labels are in the column label, labels, tags, target or class, else in all others but "split".
    Raises DataError for a table without rows, a column that is missing or there twice, a row of another length.
    """
    columns = columns or Columns()
    header = _header(path, delimiter)
    rows = list(read_rows(path, [], delimiter))
    picture = columns.picture or _first(PICTURE_COLUMNS, header) or header[0]
    usual = _first(LABEL_COLUMNS, [name for name in header if name != picture])
    others = tuple(name for name in header if name not in (picture, SPLIT_COLUMN) and name.strip())
    labels = columns.labels or ((usual,) if usual is not None else others)
    for name in (picture, *labels):
        if name not in header:
            raise table_fault(path, 1, f"no column {name!r} among {', '.join(header)}")
    if not labels:
        cells = "a tab" if delimiter == "\t" else "a comma"
        raise table_fault(path, 1, f"no column of labels beside {', '.join(header)} (between two cells stands {cells})")
    if picture in labels:
        raise table_fault(path, 1, f"the column {picture!r} cannot be both the picture and its label")
    for line, row in rows:
        if None in row or None in row.values():
            raise table_fault(path, line, f"{_cells(row)} cells, the header has {len(header)}")
    return LabelTable(path, rows, picture, tuple(labels), columns.separator)


def _header(path: str, delimiter: str) -> list[str]:
    try:
        header = next(csv.reader(io.StringIO(read_text(path, "table"), newline=""), delimiter=delimiter), [])
    except csv.Error as error:
        raise table_fault(path, 1, str(error)) from error
    twice = next((name for name in header if header.count(name) > 1 and name.strip()), None)
    if twice is not None:
        raise table_fault(path, 1, f"two columns are called {twice!r}")
    if not header:
        raise table_fault(path, 1, "no header line", "data.empty")
    return header


def _first(usual: Sequence[str], header: Sequence[str]) -> str | None:
    by_lower = {name.strip().lower(): name for name in reversed(header)}
    return next((by_lower[name] for name in usual if name in by_lower), None)


def _cells(row: dict[Any, Any]) -> int:
    return sum(len(value) if isinstance(value, list) else 1 for value in row.values() if value is not None)


def table_fault(path: str, line: int, reason: str, code: str = "data.table") -> DataError:
    """The error about a line."""
    return DataError(f"{path}, line {line}: {reason}", code=code, file=path)
