"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009, "Learning multiple layers of features from tiny images").

Both published forms are read: Python's pickles, which are run by minires's own machine that executes nothing (see
`minires.io.unpickle`), and the binary files: one label byte (two for CIFAR-100: coarse, then fine) and 3,072 pixels,
1,024 red, then green, then blue, row by row.
"""

import os
from typing import Any

import numpy as np

from minires.data.datasets.base import Function, PictureArrays, refuse_download
from minires.data.reading import read_bytes, read_text
from minires.errors import DataError, FileFormatError
from minires.io.numpy_values import NUMPY_NAMES, NumpyArray
from minires.io.unpickle import Unpickler

PIXELS = 3 * 32 * 32


class CIFAR10(PictureArrays):
    """60,000 pictures of 32 x 32 pixels in ten classes; 50,000 for training, or 10,000 for the test (`train=False`).

    In `root`: the folder cifar-10-batches-py, else cifar-10-batches-bin. `download=True` is refused.
    Raises DataError for a file that is missing, FileFormatError naming file and place for one that is damaged.
    """

    pickled, binary = "cifar-10-batches-py", "cifar-10-batches-bin"
    train_files, test_files = tuple(f"data_batch_{number}" for number in range(1, 6)), ("test_batch",)
    meta_file, names_key, label_key = "batches.meta", "label_names", "labels"
    names_file = "batches.meta.txt"
    label_bytes = 1  # in front of the pixels of the binary form; the last one is the label

    def __init__(
        self, root: str | os.PathLike[str], train: bool = True, transform: Function | None = None,
        target_transform: Function | None = None, download: bool = False,
    ) -> None:  # fmt: skip
        refuse_download(download, root, f"the folder {self.pickled} (or {self.binary})")
        names = self.train_files if train else self.test_files
        folder = os.path.join(root, self.pickled)
        if os.path.isdir(folder):
            classes = _pickled_names(os.path.join(folder, self.meta_file), self.names_key)
            parts = [_pickled(os.path.join(folder, name), self.label_key, len(classes)) for name in names]
        elif os.path.isdir(os.path.join(root, self.binary)):
            folder = os.path.join(root, self.binary)
            classes = read_text(os.path.join(folder, self.names_file), "list of classes").split()
            parts = [_binary(os.path.join(folder, f"{name}.bin"), self.label_bytes, len(classes)) for name in names]
        else:
            message = f"{os.fspath(root)} has neither the folder {self.pickled} nor {self.binary}"
            raise DataError(message, code="data.no_folder", file=os.fspath(root))
        images = np.concatenate([images for images, _ in parts])
        labels = np.concatenate([labels for _, labels in parts])
        super().__init__(images, labels, classes, root, train, transform, target_transform)


class CIFAR100(CIFAR10):
    """As CIFAR10, with a hundred classes (the fine labels): the folder cifar-100-python, else cifar-100-binary."""

    pickled, binary = "cifar-100-python", "cifar-100-binary"
    train_files, test_files = ("train",), ("test",)
    meta_file, names_key, label_key = "meta", "fine_label_names", "fine_labels"
    names_file = "fine_label_names.txt"
    label_bytes = 2


def _as_pictures(rows: np.ndarray) -> np.ndarray:
    """(N, 3072) red, green, blue planes to (N, 32, 32, 3)."""
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _check_labels(path: str, labels: Any, count: int, classes: int) -> np.ndarray:
    if type(labels) is not list or len(labels) != count:
        found = f"{len(labels)} labels" if type(labels) is list else f"labels that are a {type(labels).__name__}"
        raise FileFormatError(path, None, f"{found} for {count} pictures")
    for place, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < classes:
            raise FileFormatError(
                path, None, f"the label {label!r} of picture {place} is none of {classes} classes"[:300]
            )
    return np.array(labels, np.int64)


def _dictionary(path: str) -> dict[Any, Any]:
    """The dictionary that a pickle holds."""
    content = read_bytes(path, "CIFAR file")
    value = Unpickler(content, path, NUMPY_NAMES).load()
    if type(value) is not dict:
        raise FileFormatError(path, None, f"the pickle holds a {type(value).__name__}, not a dictionary")
    return value


def _pickled_names(path: str, key: str) -> list[str]:
    names = _dictionary(path).get(key)
    if type(names) is not list or not names or any(type(name) is not str for name in names):
        raise FileFormatError(path, None, f"{key!r} must be a list of the classes' names")
    return names


def _pickled(path: str, label_key: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and labels of one pickle."""
    found = _dictionary(path)
    pixels = found.get("data")
    if not isinstance(pixels, NumpyArray) or len(pixels.shape) != 2 or pixels.shape[1] != PIXELS:
        shape = f"the shape {pixels.shape}" if isinstance(pixels, NumpyArray) else f"a {type(pixels).__name__}"
        raise FileFormatError(path, None, f"'data' must be an array (N, {PIXELS}), got {shape}")
    try:
        rows = pixels.numpy()
    except TypeError as error:
        raise FileFormatError(path, None, f"'data': {error}") from error
    if rows.dtype != np.uint8:
        raise FileFormatError(path, None, f"'data' must hold uint8, got {rows.dtype}")
    return _as_pictures(rows), _check_labels(path, found.get(label_key), len(rows), classes)


def _binary(path: str, label_bytes: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and labels of one binary file."""
    content, record = read_bytes(path, "CIFAR file"), label_bytes + PIXELS
    rest = len(content) % record
    if rest:
        reason = f"a record has {record} bytes, this last one {rest}"
        raise FileFormatError(path, len(content) - rest, reason)
    rows = np.frombuffer(content, np.uint8).reshape(-1, record)
    labels = rows[:, label_bytes - 1].astype(np.int64)
    for place in np.flatnonzero(labels >= classes)[:1]:
        reason = f"the label {labels[place]} of picture {place} is none of {classes} classes"
        raise FileFormatError(path, int(place) * record + label_bytes - 1, reason)
    return _as_pictures(rows[:, label_bytes:]), labels
