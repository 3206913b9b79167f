"""Folders of pictures, one folder a class, and the splits made of them."""

import os
from collections.abc import Callable
from typing import Any

from minires.data.classes import check_class_order, class_folders, list_folders, order_classes
from minires.data.files import FileDataset
from minires.data.images import is_image_file
from minires.data.split import split_dataset
from minires.errors import DataError, UsageError

VAL_NAMES = ("val", "valid", "validation")
TEST_NAMES = ("test",)
DEFAULT_FRACTIONS = {"val": 0.2, "test": 0.1}


class ImageFolder(FileDataset):
    """Pictures in root/CLASS/*.jpg, also in folders below the class's: torchvision's ImageFolder.

    `class_to_idx`: the class order to use, e.g. the training split's; a class without a folder here keeps its index, a
    folder that is no class is an error that names it. By default the sorted names of the folders; then a class without
    pictures is an error unless `allow_empty`. `samples`, `targets`, `classes`, `class_to_idx` as in torchvision.

    Differs from torchvision: .gif counts as a picture; files and folders whose names begin with a dot do not count
    (".ipynb_checkpoints" is no class, "._photo.jpg" no photo); pictures turn upright by their EXIF orientation unless
    `exif="ignore"`; class names are in Unicode's composed form.

    Raises UsageError if `root` is missing or holds no class folders, DataError for empty and extra classes.
    """

    def __init__(
        self, root: str | os.PathLike[str], transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None, loader: Callable[[str], Any] | None = None,
        is_valid_file: Callable[[str], bool] | None = None, allow_empty: bool = False, *,
        class_to_idx: dict[str, int] | None = None, mode: str = "RGB", exif: str = "transpose",
    ) -> None:  # fmt: skip
        folders = class_folders(root)
        if class_to_idx is None:
            if not folders:
                message = f"no class folders in {os.fspath(root)}: expected pictures in {os.fspath(root)}/CLASS/"
                raise UsageError(message, code="data.no_classes", file=os.fspath(root))
            order = order_classes(folders)
        else:
            order, allow_empty = check_class_order(class_to_idx), True
            extra = sorted(set(folders) - set(order))
            if extra:
                message = f"{os.fspath(root)} has folders that are no class of the training data: {', '.join(extra)}"
                raise DataError(message, code="data.extra_class", file=os.path.join(root, folders[extra[0]]))
        samples: list[tuple[str, int]] = []
        for name, index in order.items():
            found = list_pictures(os.path.join(root, folders[name]), is_valid_file) if name in folders else []
            if not found and not allow_empty:
                message = f"the class {name!r} has no pictures in {os.path.join(root, name)}"
                raise DataError(message, code="data.empty_class", file=os.path.join(root, name))
            samples += [(path, index) for path in found]
        super().__init__(samples, list(order), root, transform, target_transform, loader, mode, exif)


def list_pictures(folder: str, is_valid_file: Callable[[str], bool] | None = None) -> list[str]:
    """Paths of the pictures in a folder and those below it, sorted folder by folder; links are followed, once each.

    Raises DataError that names a folder that cannot be read.
    """

    def fail(error: OSError) -> None:
        message = f"cannot read the folder {error.filename}: {error.strerror or error}"
        raise DataError(message, code="data.no_folder", file=error.filename)

    found: list[str] = []
    visited: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True, onerror=fail):
        real = os.path.realpath(place)
        if real in visited:  # a link that leads back up would be walked for ever
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = [os.path.join(place, name) for name in sorted(names) if not name.startswith(".")]
        found += [path for path in paths if (is_valid_file or is_image_file)(path)]
    return found


def folder_splits(
    root: str | os.PathLike[str], train_split: str = "train", val_split: str | float | None = None,
    test_split: str | float | None = None, seed: int = 0, class_to_idx: dict[str, int] | None = None,
    train_transform: Callable[[Any], Any] | None = None, eval_transform: Callable[[Any], Any] | None = None,
    mode: str = "RGB", exif: str = "transpose", group_by: str | None = None,
) -> dict[str, FileDataset]:  # fmt: skip
    """The data sets "train", "val" and perhaps "test" of a folder, all with the same class order.

    Two layouts: root/train/CLASS/..., root/val/CLASS/..., root/test/CLASS/... (it is this one where root/`train_split`
    has folders in it), or root/CLASS/... alone. `val_split`, `test_split`: the name of a folder, or a fraction between
    0 and 1 to be taken from the training pictures (0: none), seeded and stratified (see `split`; `group_by` there). By
    default: val is the folder val, valid or validation, else 0.2 of the training pictures; test is the folder test if
    there is one, else 0.1 of the pictures in the second layout and none in the first.

    Raises UsageError for a missing or one-class folder and senseless fractions, DataError as ImageFolder does.
    """
    named = os.path.isdir(os.path.join(root, train_split)) and bool(list_folders(os.path.join(root, train_split)))
    folder = os.path.join(root, train_split) if named else os.fspath(root)
    train: FileDataset = ImageFolder(folder, allow_empty=True, class_to_idx=class_to_idx, mode=mode, exif=exif)
    train.root = os.fspath(root)
    if len(train.classes) < 2:
        message = f"{folder} has only one class ({train.classes[0]!r}): there is nothing to tell apart"
        raise UsageError(message, code="data.one_class", file=folder)
    if not train.samples:
        raise UsageError(f"no pictures in the class folders of {folder}", code="data.empty", file=folder)

    parts: dict[str, FileDataset] = {}
    fractions: dict[str, float] = {}
    for part, wish, usual in (("val", val_split, VAL_NAMES), ("test", test_split, TEST_NAMES)):
        source = _source(root, part, wish, usual, named)
        if isinstance(source, str):
            parts[part] = ImageFolder(source, class_to_idx=train.class_to_idx, mode=mode, exif=exif)
            parts[part].root = os.fspath(root)
        elif source:
            fractions[part] = source
    if fractions:
        parts |= split_dataset(train, fractions, seed, group_by=group_by)
    else:
        parts["train"] = train
    for part, dataset in parts.items():
        dataset.transform = train_transform if part == "train" else eval_transform
    return {part: parts[part] for part in ("train", "val", "test") if part in parts}


def _source(root: str | os.PathLike[str], part: str, wish: str | float | None, usual: tuple[str, ...],
            named: bool) -> str | float:  # fmt: skip
    """Where a part comes from: the path of its folder, or the fraction of the training pictures."""
    if wish is None:
        for name in usual if named else ():
            if os.path.isdir(os.path.join(root, name)):
                return os.path.join(root, name)
        return DEFAULT_FRACTIONS[part] if part == "val" or not named else 0.0
    try:
        return float(wish)
    except ValueError:
        pass
    folder = os.path.join(root, str(wish))
    if not named or not os.path.isdir(folder):
        message = f"the {part} split {wish!r} is neither a folder beside the training folder in {root} nor a fraction"
        raise UsageError(message, code="data.no_split", file=folder)
    return folder
