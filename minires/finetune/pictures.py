"""From the word after --data to checked data sets with transforms: what happens to pictures before any training."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from minires import data
from minires.data import Preprocessing, ScanReport, transforms
from minires.data.folder import DEFAULT_FRACTIONS, TEST_NAMES, VAL_NAMES
from minires.data.images import convert_mode
from minires.data.scan import count_classes
from minires.data.table import read_rows
from minires.errors import DataError, UsageError
from minires.finetune.settings import DIGITS, Settings
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
    return os.path.dirname(os.path.abspath(source)) if is_table(source) else source


def class_roots(settings: Settings) -> list[str]:
    """The folders whose folders are classes: the data folder, or those of its splits where it has such."""
    root = str(settings.data)
    parts = [settings.train_split, settings.val_split, settings.test_split, *VAL_NAMES, *TEST_NAMES]
    named = os.path.isdir(os.path.join(root, settings.train_split))
    return [os.path.join(root, part) for part in parts if isinstance(part, str)] if named else [root]


def has_split_column(table: str) -> bool:
    """Whether a CSV table says in a column "split" which row belongs where."""
    _, row = next(read_rows(table, ["path", "label"], delimiter(table)))
    return "split" in row


def delimiter(table: str) -> str:
    """What separates the cells of a table: a tab in a .tsv file, else a comma."""
    return "\t" if table.lower().endswith(".tsv") else ","


def open_splits(settings: Settings, mode: str = "RGB", order: dict[str, int] | None = None) -> Splits:
    """The data sets "train", "val" and perhaps "test", without transforms; one class order for all of them.

    order: class name -> index, where it is known from before.
    Raises UsageError for a missing, empty or one-class source, DataError for what is wrong inside it.
    """
    source = settings.data
    assert source is not None
    class_to_idx = order
    if settings.class_map and order is None:
        class_to_idx = read_class_map(settings.class_map)
    if is_digits(source):
        if settings.class_map:
            raise UsageError("--class-map does not go with the digits", code="usage.conflict")
        return _regression_or_not(_cut(data.load_digits(), settings), settings)
    if not os.path.exists(source):
        raise UsageError(f"cannot read the data folder {source}: there is no such folder", code="data.no_folder",
                         file=source)  # fmt: skip
    if is_table(source):
        return _open_table(settings, mode, class_to_idx)
    if settings.task == "regression":
        raise UsageError("regression takes a CSV table with the columns path and label, not a folder of classes",
                         code="usage.conflict", hint="--data TABLE.csv")  # fmt: skip
    return data.folder_splits(
        source, settings.train_split, settings.val_split, settings.test_split, settings.seed, class_to_idx, mode=mode,
        group_by=settings.group_by,
    )  # fmt: skip


def read_class_map(path: str) -> dict[str, int]:
    """Class name -> index from the file after --class-map. UsageError for a missing file and a senseless one."""
    try:
        return data.read_class_map(path)
    except DataError as error:
        raise UsageError(error.message, code=error.code, file=path) from error


def _open_table(settings: Settings, mode: str, class_to_idx: dict[str, int] | None) -> Splits:
    """A CSV table: split by its column "split" if it has one, else here."""
    path = str(settings.data)
    separator = delimiter(path)
    target = "number" if settings.task == "regression" else "class"

    def rows(split: str | None) -> Any:
        return data.CSVDataset(path, target=target, split=split, class_to_idx=class_to_idx, delimiter=separator,
                               mode=mode)  # fmt: skip

    whole = rows(None)
    if not len(whole):
        raise UsageError(f"no pictures in the table {path}", code="data.empty", file=path)
    if target == "class" and len(whole.classes) < 2:
        raise UsageError(f"{path} has only one class ({whole.classes[0]!r}): there is nothing to tell apart",
                         code="data.one_class", file=path)  # fmt: skip
    if not has_split_column(path):
        return _cut(whole, settings)
    for name, wish in (("val", settings.val_split), ("test", settings.test_split)):
        if wish is not None:
            raise UsageError(f"--{name}-split does not go with {path}: its column split says which is which",
                             code="usage.conflict")  # fmt: skip
    found = {name: rows(name) for name in ("train", "val", "test")}
    if not len(found["train"]):
        raise UsageError(f"no row of {path} has the split train", code="data.empty", file=path)
    return {name: dataset for name, dataset in found.items() if len(dataset)}


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
    group_by = settings.group_by if isinstance(whole, data.CSVDataset) else None
    return data.split_dataset(whole, fractions, settings.seed, group_by=group_by)


def _regression_or_not(splits: Splits, settings: Settings) -> Splits:
    """The digits as numbers to be predicted, where regression is asked for."""
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
            report.counts[name] = count_classes(part)
    empty = [name for name, part in splits.items() if len(part) == 0]
    if empty:
        raise DataError(f"no readable picture is left in the split {empty[0]}", code="data.empty")
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
