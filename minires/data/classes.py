"""One class order: made once, from the names of the training folders or from a file, and used for every split.

Names are compared and kept in Unicode's composed form (NFC): a Mac writes "é" as two characters where Linux writes one,
and the same class must not become two.
"""

import json
import os
import unicodedata
from collections.abc import Iterable

from minires.data.reading import read_text
from minires.errors import DataError, UsageError


def normal_name(name: str) -> str:
    """The name in composed form (NFC)."""
    return unicodedata.normalize("NFC", name)


def order_classes(names: Iterable[str]) -> dict[str, int]:
    """Index of each class, by sorted name as in torchvision (text order: "1", "10", "2")."""
    return {name: index for index, name in enumerate(sorted({normal_name(name) for name in names}))}


def check_class_order(class_to_idx: dict[str, int]) -> dict[str, int]:
    """The same order with normal names, sorted by index. Raises DataError unless the indices are 0, 1, ... K - 1."""
    order = {normal_name(name): index for name, index in sorted(class_to_idx.items(), key=lambda item: item[1])}
    if list(order.values()) != list(range(len(class_to_idx))):
        raise DataError(
            f"the classes need distinct names and the indices 0 to {len(class_to_idx) - 1}, got {class_to_idx}",
            code="data.class_map",
        )
    return order


def list_folders(root: str | os.PathLike[str]) -> list[str]:
    """Names of the folders in `root`, sorted; those that begin with a dot (.ipynb_checkpoints, .git) do not count.

    Raises UsageError where `root` is missing, no folder, or not to be read.
    """
    try:
        with os.scandir(root) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        reason = {FileNotFoundError: "there is no such folder", NotADirectoryError: "it is a file, not a folder"}.get(
            type(error), error.strerror or str(error)
        )
        message = f"cannot read the data folder {os.fspath(root)}: {reason}"
        raise UsageError(message, code="data.no_folder", file=os.fspath(root)) from error


def class_folders(root: str | os.PathLike[str]) -> dict[str, str]:
    """Class (normal name) -> name of its folder. Raises DataError for two folders whose names only look different."""
    folders: dict[str, str] = {}
    for folder in list_folders(root):
        name = normal_name(folder)
        if name in folders:
            message = f"two folders in {os.fspath(root)} spell the same name {name!r} in two ways: merge them"
            raise DataError(message, code="data.class_name", file=os.path.join(root, folder))
        folders[name] = folder
    return folders


def read_class_map(path: str | os.PathLike[str], number_repeats: bool = False) -> dict[str, int]:
    """Class order from a file: .json (a list of names, or an object name -> index) or text with one name a line.

    number_repeats: a name that a list holds twice gets its index behind it, as ImageNet's second "crane (517)" does.
    Raises DataError that names the file if it is neither, repeats a name otherwise, or leaves out an index.
    """
    text = read_text(path, "class map")
    try:
        if os.fspath(path).lower().endswith(".json"):
            content = json.loads(text)
        else:
            content = [line.strip() for line in text.splitlines() if line.strip()]
        if number_repeats and isinstance(content, list):
            first = {name: index for index, name in reversed(list(enumerate(content)))}
            content = [name if first[name] == index else f"{name} ({index})" for index, name in enumerate(content)]
        if isinstance(content, list) and len(set(content)) == len(content):
            content = {name: index for index, name in enumerate(content)}
        if (
            not isinstance(content, dict)
            or not content
            or not all(isinstance(name, str) and type(index) is int for name, index in content.items())
        ):
            raise ValueError("expected distinct class names in a list, or an object from name to index")
        return check_class_order(content)
    except (ValueError, TypeError, DataError) as error:
        message = f"cannot use the class map {os.fspath(path)}: {error}"
        raise DataError(message, code="data.class_map", file=os.fspath(path)) from error
