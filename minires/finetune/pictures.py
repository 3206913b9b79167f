"""From the word after --data to checked data sets with transforms: what happens to pictures before any training."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minires import data
from minires.data import Preprocessing, ScanReport, transforms
from minires.data.folder import DEFAULT_FRACTIONS, TEST_NAMES, VAL_NAMES
from minires.data.images import convert_mode
from minires.data.labels_table import LABEL_COLUMNS
from minires.data.scan import count_classes
from minires.errors import DataError, UsageError
from minires.finetune.settings import DIGITS, Settings, flag
from minires.finetune.tasks import TASKS
from minires.finetune.tasks.deciding import columns_of, delimiter, table_of
from minires.random import philox

Splits = dict[str, Any]


def is_digits(source: str | os.PathLike[str]) -> bool:
    """Whether `source` means scikit-learn's digits: the word, unless there is a folder of that name."""
    return os.fspath(source) == DIGITS and not os.path.exists(source)


def is_table(source: str | os.PathLike[str]) -> bool:
    """Whether `source` is a CSV file."""
    return os.fspath(source).lower().endswith((".csv", ".tsv")) and os.path.isfile(source)


def root_of(settings: Settings) -> str:
    """The folder that the names in splits.csv are relative to."""
    source = str(settings.data)
    own_table = settings.labels is None and is_table(source)
    return os.path.dirname(os.path.abspath(source)) if own_table else source


def class_roots(settings: Settings) -> list[str]:
    """The folders whose folders are classes: the data folder, or those of its splits where it has such.

    None where a table holds the labels.
    """
    if settings.labels is not None:
        return []
    root = str(settings.data)
    parts = [settings.train_split, settings.val_split, settings.test_split, *VAL_NAMES, *TEST_NAMES]
    named = os.path.isdir(os.path.join(root, settings.train_split))
    return [os.path.join(root, part) for part in parts if isinstance(part, str)] if named else [root]


def says_splits(settings: Settings) -> bool:
    """Whether the labels stand in a CSV table that says in a column "split" which row belongs where."""
    return table_of(settings) is not None and open_labels(settings).has_split


def open_labels(settings: Settings) -> data.LabelTable:
    """The table of the labels, which must be there."""
    path = table_of(settings)
    assert path is not None
    return data.read_table(path, columns_of(settings), delimiter(path))


def target_of(settings: Settings) -> str:
    """What a label is for the data sets: "class", "labels" or "number"."""
    return TASKS[settings.task or "classification"].target


def open_splits(settings: Settings, mode: str = "RGB", order: dict[str, int] | None = None) -> Splits:
    """The data sets "train", "val" and perhaps "test", without transforms; one class order for all of them.

    order: class name -> index, where it is known from before.
    Raises UsageError for a missing, empty or one-class source, DataError for what is wrong inside it.
    """
    source = settings.data
    assert source is not None
    class_to_idx = order
    check_table_flags(settings)
    if settings.class_map and order is None:
        class_to_idx = read_class_map(settings.class_map)
    if is_digits(source):
        if settings.class_map:
            raise UsageError("--class-map does not go with the digits", code="usage.conflict")
        return _regression_or_not(_cut(data.load_digits(), settings), settings)
    if not os.path.exists(source):
        raise UsageError(f"cannot read the data folder {source}: there is no such folder", code="data.no_folder",
                         file=source)  # fmt: skip
    if table_of(settings) is not None:
        return _open_table(settings, mode, class_to_idx, is_known=order is not None)
    if settings.task in ("regression", "multi-label"):
        raise UsageError(f"{settings.task} takes a CSV table with a row a picture, not a folder of classes",
                         code="usage.conflict", hint="--labels TABLE.csv, or --data TABLE.csv")  # fmt: skip

    def folders(classes: dict[str, int] | None) -> Splits:
        return data.folder_splits(source, settings.train_split, settings.val_split, settings.test_split, settings.seed,
                                  classes, mode=mode, group_by=settings.group_by)  # fmt: skip

    found = folders(class_to_idx)
    if settings.task == "ordinal" and class_to_idx is None:
        return folders(order_of_ranks(found["train"].classes))
    return found


def check_table_flags(settings: Settings) -> None:
    """UsageError for flags about a table of labels where there is none."""
    if settings.labels is not None:
        if not os.path.isfile(settings.labels):
            raise UsageError(f"cannot read the table --labels {settings.labels}: there is no such file",
                             code="data.no_labels", file=settings.labels)  # fmt: skip
        if not os.path.isdir(str(settings.data)):
            raise UsageError(f"--labels names a table of the pictures in a folder, and --data {settings.data} is none",
                             code="usage.conflict")  # fmt: skip
    if table_of(settings) is not None:
        return
    for name in ("image_column", "label_columns", "label_delim"):
        if getattr(settings, name):
            raise UsageError(f"{flag(name)} is about a table of labels: give --labels TABLE.csv", code="usage.conflict")


def order_of_ranks(classes: Sequence[str]) -> dict[str, int]:
    """Class -> rank, by size of the numbers that the classes are called. UsageError for other names."""
    try:
        numbers = {name: float(name) for name in classes}
    except ValueError as error:
        few = ", ".join(classes[:5]) + (", ..." if len(classes) > 5 else "")
        message = f"nothing says in which order {few} are: ordinal classes need --class-map"
        hint = "--class-map FILE with one class a line, the lowest first"
        raise UsageError(message, code="data.class_map", hint=hint) from error
    return {name: rank for rank, name in enumerate(sorted(classes, key=lambda name: numbers[name]))}


def read_class_map(path: str) -> dict[str, int]:
    """Class name -> index from the file after --class-map. UsageError for a missing file and a senseless one."""
    try:
        return data.read_class_map(path)
    except DataError as error:
        raise UsageError(error.message, code=error.code, file=path) from error


def _open_table(settings: Settings, mode: str, class_to_idx: dict[str, int] | None, is_known: bool) -> Splits:
    """A CSV table: split by its column "split" if it has one, else here.

    is_known: an earlier run had a class order. What is missing is then told with the other changes of the data, and by
    the scan of the pictures at the latest.
    """
    table = open_labels(settings)
    path, target = table.path, target_of(settings)
    if not table.rows:
        raise UsageError(f"no pictures in the table {path}", code="data.empty", file=path)
    missing_ok = settings.on_bad_image == "skip" or is_known
    parts = data.open_table(table, root_of(settings), target, class_to_idx, mode, missing_ok)
    some = next(iter(parts.values()))
    if settings.task == "ordinal" and class_to_idx is None:
        parts = data.open_table(table, root_of(settings), target, order_of_ranks(some.classes), mode, missing_ok)
    if target == "class" and len(some.classes) < 2:
        raise UsageError(f"{path} has only one class ({some.classes[0]!r}): there is nothing to tell apart",
                         code="data.one_class", file=path)  # fmt: skip
    if target == "labels" and not some.classes:
        raise UsageError(f"no picture in {path} has a label", code="data.no_classes", file=path)
    if not table.has_split:
        return _cut(parts[None], settings)
    for name, wish in (("val", settings.val_split), ("test", settings.test_split)):
        if wish is not None:
            raise UsageError(f"--{name}-split does not go with {path}: its column split says which is which",
                             code="usage.conflict")  # fmt: skip
    if "train" not in parts:
        raise UsageError(f"no row of {path} has the split train", code="data.empty", file=path)
    return {name: parts[name] for name in ("train", "val", "test") if name in parts}


def number_names(settings: Settings) -> list[str]:
    """What a table calls the numbers of its labels; [] for one that it only calls label."""
    if settings.task != "regression" or table_of(settings) is None:
        return []
    names = list(open_labels(settings).labels)
    return [] if len(names) == 1 and names[0].lower() in LABEL_COLUMNS else names


def _cut(whole: Any, settings: Settings) -> Splits:
    wishes = {"val": settings.val_split, "test": settings.test_split}
    fractions = {}
    for name, wish in wishes.items():
        wish = DEFAULT_FRACTIONS[name] if wish is None else wish
        if isinstance(wish, str):
            raise UsageError(f"--{name}-split must be a fraction for this data, got {wish!r}", code="data.no_split")
        if wish:
            fractions[name] = wish
    if not fractions:
        return {"train": whole}
    group_by = settings.group_by if isinstance(whole, data.FileDataset) else None
    return data.split_dataset(whole, fractions, settings.seed, group_by=group_by)


def _regression_or_not(splits: Splits, settings: Settings) -> Splits:
    """The digits as numbers to be predicted, where regression is asked for."""
    if settings.task == "multi-label":
        raise UsageError("multi-label takes a CSV table: a digit has one class", code="usage.conflict")
    if settings.task != "regression":
        return splits
    return {name: data.ArrayDataset(part.images, part.targets.astype(np.float32)) for name, part in splits.items()}


def check_pictures(splits: Splits, on_bad_image: str = "error") -> ScanReport:
    """Decode every picture once. Bad ones are named in a DataError, or taken out of the splits and reported."""
    report = data.scan(splits, verify=True)
    try:
        report.check(on_bad_image)
    except DataError as error:
        error.hint = "mend or remove such files, or leave them out: --on-bad-image skip"
        raise
    for name, part in splits.items():
        if report.unreadable and hasattr(part, "exclude"):
            part.exclude(report.unreadable)
            report.counts[name], report.pictures[name] = count_classes(part), len(part)
    empty = next((name for name, part in splits.items() if len(part) == 0), None)
    if empty is not None:
        why = "no readable picture is left in" if report.unreadable else "there are too few pictures to give any to"
        hint = "" if empty == "train" else f"more pictures, or --{empty}-split 0"
        raise DataError(f"{why} the split {empty}", code="data.empty", hint=hint or None)
    return report


def take_few(dataset: Any, per_class: int, seed: int) -> Any:
    """At most `per_class` samples of each class, drawn by the seed; the order stays."""
    targets = np.asarray(dataset.targets)
    if targets.dtype.kind == "f":
        raise UsageError("--samples-per-class is for classification", code="usage.conflict")
    chosen: list[int] = []
    for label in np.unique(targets):
        own = np.flatnonzero(targets == label)
        chosen += philox(seed, "few", int(label)).permutation(own)[:per_class].tolist()
    return dataset.take(sorted(chosen))


def input_preprocessing(preprocessing: Preprocessing, settings: Settings) -> Preprocessing:
    """The weights' preprocessing with the sizes and the interpolation that the settings say."""
    if settings.interpolation is not None:
        preprocessing = dataclasses.replace(preprocessing, interpolation=settings.interpolation)
    crop = settings.val_crop_size or settings.img_size
    if crop is not None and preprocessing.output_size != (crop, crop):
        preprocessing = _of_size(preprocessing, crop)
    if settings.val_resize_size is None:
        return preprocessing
    size = preprocessing.output_size
    if size is not None and settings.val_resize_size < max(size):
        raise UsageError(f"--val-resize-size {settings.val_resize_size} is too small to cut {max(size)} x {max(size)} "
                         "pictures out of it: give --val-crop-size", code="usage.conflict")  # fmt: skip
    return dataclasses.replace(preprocessing, resize=settings.val_resize_size, crop=preprocessing.crop or size)


def _of_size(preprocessing: Preprocessing, side: int) -> Preprocessing:
    """The preprocessing at another input size; the margin between resize and crop keeps its proportion."""
    resize, crop = preprocessing.resize, preprocessing.crop
    if crop is None:
        return dataclasses.replace(preprocessing, resize=(side, side))
    ratio = resize / min(_sides(crop)) if isinstance(resize, int) else 1.0
    return dataclasses.replace(preprocessing, resize=round(side * ratio), crop=side)


def _sides(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


class TrainTransform:
    """Augmentation in the preprocessing's mode, size, mean and standard deviation. Call it with a Pillow picture."""

    def __init__(self, settings: Settings, preprocessing: Preprocessing) -> None:
        side = settings.train_crop_size
        size = preprocessing.output_size if side is None else (side, side)
        if size is None:
            raise UsageError("the weights' preprocessing gives pictures of many sizes: give --img-size",
                             code="usage.missing")  # fmt: skip
        self.mode = preprocessing.mode
        self.chain = transforms.preset_train(
            size, preprocessing.mean, preprocessing.std, preprocessing.interpolation, scale=settings.scale,
            ratio=settings.ratio, hflip=settings.hflip or 0.0, vflip=settings.vflip, rotate=settings.rotate,
            color_jitter=settings.color_jitter, erase=settings.reprob, auto_augment=settings.aa,
            values=preprocessing.scale, channel_order=preprocessing.channel_order,
        )  # fmt: skip

    def __call__(self, image: Any) -> Any:
        return self.chain(convert_mode(image, self.mode))

    def __repr__(self) -> str:
        return repr(self.chain)


def set_transforms(splits: Mapping[str, Any], settings: Settings, preprocessing: Preprocessing) -> None:
    """Augment the training split unless told not to; the others get the plain preprocessing."""
    for name, dataset in splits.items():
        if name != "train":
            dataset.transform = preprocessing
        elif not settings.no_aug:
            dataset.transform = TrainTransform(settings, preprocessing)
        else:
            side = settings.train_crop_size
            dataset.transform = preprocessing if side is None else _of_size(preprocessing, side)
