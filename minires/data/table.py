"""Data sets from tables: a CSV file of paths and labels, and the splits.csv that a run writes and reads back."""

import csv
import io
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from minires.data.classes import check_class_order, normal_name, order_classes
from minires.data.files import FileDataset
from minires.data.labels_dataset import BETWEEN, MultiLabelDataset
from minires.data.reading import read_text
from minires.errors import DataError
from minires.io import files

SPLITS_HEADER = ("path", "label", "split")


class CSVDataset(FileDataset):
    """Pictures listed in a CSV file with a header line; sample i is (image, target).

    `label_column`: for `target="class"` the column with the class's name; for `target="number"` (regression) a column
    of numbers, or several (the target is then a tuple of floats). Paths are relative to `root` (default: the folder of
    the CSV file), or absolute. `split`: only the rows whose column "split" says so. `class_to_idx`: class order
    (default: sorted names of all rows, whatever their split).

    Raises DataError that names the file and the line: a missing column or cell, an unknown class, no finite number.
    """

    def __init__(
        self, path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None, *,
        path_column: str = "path", label_column: str | Sequence[str] = "label", target: str = "class",
        split: str | None = None, class_to_idx: dict[str, int] | None = None, delimiter: str = ",",
        transform: Callable[[Any], Any] | None = None, target_transform: Callable[[Any], Any] | None = None,
        loader: Callable[[str], Any] | None = None, mode: str = "RGB", exif: str = "transpose",
    ) -> None:  # fmt: skip
        if target not in ("class", "number"):
            raise ValueError(f'target must be "class" or "number", got {target!r}')
        root = root if root is not None else os.path.dirname(os.path.abspath(path))
        columns = [label_column] if isinstance(label_column, str) else list(label_column)
        needed = [path_column, *columns, *(["split"] if split is not None else [])]
        rows = list(read_rows(path, needed, delimiter))
        order: dict[str, int] = {}
        if target == "class":
            if len(columns) != 1:
                raise ValueError(f"classes need one label column, got {columns}")
            names = (row[columns[0]] for _, row in rows)
            order = check_class_order(class_to_idx) if class_to_idx is not None else order_classes(names)
        samples = []
        for line, row in rows:
            if split is None or row["split"] == split:
                place = _place(root, row[path_column])
                labels = [row[column] for column in columns]
                samples.append((place, _class(path, line, labels[0], order) if order else _numbers(path, line, labels)))
        super().__init__(samples, list(order), root, transform, target_transform, loader, mode, exif)


def read_rows(
    path: str | os.PathLike[str], needed: Sequence[str], delimiter: str = ","
) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells (column -> text) of each row; every needed column is there and filled."""
    reader = csv.DictReader(io.StringIO(read_text(path, "table"), newline=""), delimiter=delimiter, strict=True)
    try:
        missing = [column for column in needed if column not in (reader.fieldnames or ())]
        if missing:
            raise _fault(path, 1, f"no column {missing[0]!r} among {', '.join(reader.fieldnames or ())}")
        for row in reader:
            empty = [column for column in needed if not row[column]]
            if empty:
                raise _fault(path, reader.line_num, f"nothing in the column {empty[0]!r}")
            yield reader.line_num, row
    except csv.Error as error:
        raise _fault(path, reader.line_num, str(error)) from error


def splits_text(splits: Mapping[str, FileDataset]) -> str:
    """The text of splits.csv: path (relative to the root, with "/"), label, split; one row a sample, in order."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(SPLITS_HEADER)
    for name, dataset in splits.items():
        writer.writerows((dataset.relative_name(path), dataset.label(target), name) for path, target in dataset.samples)
    return text.getvalue()


def write_splits(path: str | os.PathLike[str], splits: Mapping[str, FileDataset]) -> None:
    """Write splits.csv, so that `read_splits` finds the same pictures in the same splits again."""
    files.write_atomic(path, splits_text(splits))


def read_splits(
    path: str | os.PathLike[str], root: str | os.PathLike[str], class_to_idx: dict[str, int] | None = None,
    train_transform: Callable[[Any], Any] | None = None, eval_transform: Callable[[Any], Any] | None = None,
    mode: str = "RGB", exif: str = "transpose", target: str = "class",
) -> dict[str, FileDataset]:  # fmt: skip
    """The data sets of a splits.csv, by name of the split, in the order of its rows.

    `class_to_idx`: the model's class order; without it the sorted labels, so that a class without any picture is lost.
    target: "class", "number", or "labels" for any number of classes ("cat|dog").
    Raises DataError that names the file and the line for a malformed table or a label that is no class.
    """
    if target == "labels":
        return _read_sets(path, root, class_to_idx, train_transform, eval_transform, mode, exif)
    rows = list(read_rows(path, SPLITS_HEADER))
    order: dict[str, int] = {}
    if target == "class":
        order = check_class_order(class_to_idx) if class_to_idx else order_classes(row["label"] for _, row in rows)
    samples: dict[str, list[tuple[str, Any]]] = {}
    for line, row in rows:
        label = _class(path, line, row["label"], order) if order else _numbers(path, line, row["label"].split())
        samples.setdefault(row["split"], []).append((_place(root, row["path"]), label))
    return {
        name: FileDataset(own, list(order), root, train_transform if name == "train" else eval_transform,
                          mode=mode, exif=exif)
        for name, own in samples.items()
    }  # fmt: skip


def _read_sets(
    path: str | os.PathLike[str], root: str | os.PathLike[str], class_to_idx: dict[str, int] | None,
    train_transform: Any, eval_transform: Any, mode: str, exif: str,
) -> dict[str, FileDataset]:  # fmt: skip
    """The data sets of a splits.csv of pictures with any number of labels."""
    rows = list(read_rows(path, ("path", "split")))
    names = [row["label"].split(BETWEEN) if row.get("label") else [] for _, row in rows]
    order = check_class_order(class_to_idx) if class_to_idx else order_classes(name for own in names for name in own)
    samples: dict[str, list[tuple[str, Any]]] = {}
    for (line, row), own in zip(rows, names, strict=True):
        indices = tuple(sorted({_class(path, line, name, order) for name in own}))
        samples.setdefault(row["split"], []).append((_place(root, row["path"]), indices))
    return {
        name: MultiLabelDataset(own, list(order), root, train_transform if name == "train" else eval_transform,
                                mode=mode, exif=exif)
        for name, own in samples.items()
    }  # fmt: skip


def _place(root: str | os.PathLike[str], name: str) -> str:
    """The path of a file that a table names with "/" on every system; an absolute name stays."""
    return os.path.join(root, name.replace("/", os.sep))


def _class(path: object, line: int, name: str, order: dict[str, int]) -> int:
    if normal_name(name) not in order:
        raise _fault(path, line, f"{name!r} is none of the classes {', '.join(order)}", "data.extra_class")
    return order[normal_name(name)]


def _numbers(path: object, line: int, texts: Sequence[str]) -> float | tuple[float, ...]:
    values = []
    for text in texts:
        try:
            value = float(text)
        except ValueError as error:
            raise _fault(path, line, f"{text!r} is no number", "data.label") from error
        if not math.isfinite(value):
            raise _fault(path, line, f"the target {text} is not finite", "data.label")
        values.append(value)
    return values[0] if len(values) == 1 else tuple(values)


def _fault(path: object, line: int, reason: str, code: str = "data.table") -> DataError:
    return DataError(f"{path}, line {line}: {reason}", code=code, file=str(path))
