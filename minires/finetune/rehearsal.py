"""Rehearsal: a few pictures of the earlier classes are seen again while the new ones are learnt.

They come from the earlier run: its training pictures, as splits.csv and data.json remember them, where the files are
still there and still of the same size; else the copies that it kept in RUN/rehearsal/ (--store-rehearsal N).

    RUN/rehearsal/pictures.csv    path,label,split        RUN/rehearsal/0003-0012.png    class 3, the 12th kept
"""

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from minires import data
from minires.data import FileDataset
from minires.data.table import read_rows, splits_text
from minires.io import RunFolder, files
from minires.random import philox

FOLDER, TABLE = "rehearsal", "pictures.csv"
Named = tuple[str, str]  # path of a picture and its class


@dataclass
class Remembered:
    """Pictures that an earlier run leaves to its successor, by split, and lines about those that it does not."""

    splits: dict[str, list[Named]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def remember(folder: str, splits: Mapping[str, Any]) -> Remembered:
    """What of the run in `folder`, whose data sets are `splits`, is still there: its own files, else stored copies."""
    found = Remembered()
    arrays = [name for name, part in splits.items() if not isinstance(part, FileDataset)]
    if arrays:
        found.notes.append("its pictures are no files (digits): a run keeps some with --store-rehearsal N")
    else:
        kept, lost = still_there(folder, splits)
        found.splits = {name: [(path, part.classes[target]) for path, target in part.samples]
                        for name, part in kept.items()}  # fmt: skip
        if lost:
            found.notes.append(f"{lost} of its pictures are no longer there, or have changed")
    have = {label for _, label in found.splits.get("train", [])}
    copies = [entry for entry in stored(folder) if entry[1] not in have]
    if copies:
        found.splits["train"] = [*found.splits.get("train", []), *copies]
        found.notes.append(f"{len(copies)} pictures that it stored in {os.path.join(folder, FOLDER)}")
    return found


def still_there(folder: str, splits: Mapping[str, FileDataset]) -> tuple[dict[str, FileDataset], int]:
    """The data sets without the files that are gone or have another size than data.json says, and their number."""
    known = json.loads(files.read_text(os.path.join(folder, "data.json")))["fingerprint"]["splits"]
    kept, lost = {}, 0
    for name, part in splits.items():
        sizes = known.get(name, {})
        own = [(path, target) for path, target in part.samples
               if _size(path) == sizes.get(part.relative_name(path), [None])[0]]  # fmt: skip
        kept[name], lost = part.with_samples(own), lost + len(part) - len(own)
    return kept, lost


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -2  # -1 in data.json is a file that was missing then


def draw(named: Sequence[Named], classes: Sequence[str], per_class: int, seed: int) -> list[Named]:
    """At most `per_class` pictures of each of `classes`, drawn by the seed; in the order of the classes."""
    chosen: list[Named] = []
    for index, name in enumerate(classes):
        own = [entry for entry in named if entry[1] == name]
        places = sorted(philox(seed, "rehearsal", index).permutation(len(own))[:per_class].tolist())
        chosen += [own[place] for place in places]
    return chosen


def store(folder: RunFolder, train: Any, per_class: int, seed: int) -> int:
    """Copy so many training pictures of each class into RUN/rehearsal/; returns how many there are.

    Files keep their bytes; pictures in memory become PNG files.
    """
    place = folder.file(FOLDER)
    files.make_folder(place)
    labels = [int(target) for target in train.targets]
    numbered = [(str(index), train.classes[label]) for index, label in enumerate(labels)]
    samples, counts = [], dict.fromkeys(train.classes, 0)
    for number, name in draw(numbered, train.classes, per_class, seed):
        content, ending = _content(train, int(number))
        label, counts[name] = train.class_to_idx[name], counts[name] + 1
        path = os.path.join(place, f"{label:04d}-{counts[name]:04d}{ending}")
        files.write_atomic(path, content)
        samples.append((path, label))
    files.write_atomic(os.path.join(place, TABLE), splits_text({"train": FileDataset(samples, train.classes, place)}))
    return len(samples)


def _content(train: Any, index: int) -> tuple[bytes, str]:
    if isinstance(train, FileDataset):
        path = train.samples[index][0]
        return data.reading.read_bytes(path), os.path.splitext(path)[1].lower()
    stream = io.BytesIO()
    Image.fromarray(train.images[index]).save(stream, "PNG")
    return stream.getvalue(), ".png"


def stored(folder: str) -> list[Named]:
    """The copies that a run has kept; [] where it has none."""
    table = os.path.join(folder, FOLDER, TABLE)
    if not os.path.isfile(table):
        return []
    return [(os.path.join(folder, FOLDER, row["path"]), row["label"]) for _, row in read_rows(table, ["path", "label"])]
