"""Pictures that were deleted, added, changed or relabelled since a run began: found, listed, and accepted if asked.

data.json remembers every file that the run saw, used or not. On a resume the source is listed again and compared.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from minires import data
from minires.finetune import pictures
from minires.finetune.settings import Settings
from minires.finetune.tasks.deciding import table_of

Listing = dict[str, list[Any]]  # file -> [size, label]
MOST_NAMES = 5  # files named for each kind of change


@dataclass
class DataChanges:
    """File names by kind of change; a relabelled file as (old name, new name): equal in a table."""

    deleted: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    relabelled: list[tuple[str, str]] = field(default_factory=list)

    def lines(self) -> list[str]:
        """One line for each kind, with the first few files; empty if nothing has changed."""
        relabelled = [old for old, new in self.relabelled if old == new]
        moved = [f"{old} -> {new}" for old, new in self.relabelled if old != new]
        kinds = {"deleted": self.deleted, "added": self.added, "changed": self.changed, "relabelled": relabelled,
                 "moved": moved}  # fmt: skip
        lines = []
        for kind, names in kinds.items():
            if names:
                rest = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
                lines.append(f"{kind}: {len(names)} ({', '.join(names[:MOST_NAMES])}{rest})")
        return lines


def flat(fingerprint: Mapping[str, Any]) -> Listing:
    """file -> [size, label] of all splits."""
    return {file: entry for part in fingerprint["splits"].values() for file, entry in part.items()}


def unused(before: Mapping[str, Any], after: Mapping[str, Any]) -> Listing:
    """What was there but not used: unreadable pictures, and those beyond --samples-per-class."""
    used = flat(after)
    return {file: entry for file, entry in flat(before).items() if file not in used}


def compare(known: Mapping[str, Any], now: Mapping[str, Any]) -> DataChanges:
    """What has changed between the record in data.json and a fingerprint of all files that are there now."""
    old, new = {**flat(known["fingerprint"]), **known.get("unused", {})}, flat(now)
    found = DataChanges(changed=[file for file in old if file in new and old[file][0] != new[file][0] != -1])
    found.relabelled = [(file, file) for file in old if file in new and old[file][1] != new[file][1]]
    gone = [file for file in old if file not in new or (new[file][0] == -1 != old[file][0])]
    come = [file for file in new if file not in old]
    if "unused" not in known:  # a run of an earlier version does not know which files it left out
        come = []
    twins = {_name_and_size(file, new[file]): file for file in come}
    moved = set()
    for file in gone:  # the same file in another class's folder: it was moved, not lost
        twin = twins.pop(_name_and_size(file, old[file]), None)
        if twin is None:
            found.deleted.append(file)
        else:
            moved.add(twin)
            found.relabelled.append((file, twin))
    found.added = [file for file in come if file not in moved]
    return found


def _name_and_size(file: str, entry: list[Any]) -> tuple[str, Any]:
    return os.path.basename(file), entry[0]


def accepted_splits(
    settings: Settings, known: Mapping[str, Any], listed: Mapping[str, Any], changes: DataChanges
) -> dict[str, Any]:  # fmt: skip
    """The run's splits with the changes in them. `listed`: the data sets as they are found now.

    A deleted file leaves its split, a relabelled one stays in it under its new label. A new one joins the split whose
    folder or table row says so, else the training pictures; with --samples-per-class it is left out.
    """
    targets = {
        dataset.relative_name(path): (path, target, name)
        for name, dataset in listed.items()
        for path, target in dataset.samples
    }
    moved, deleted = dict(changes.relabelled), set(changes.deleted)
    some = next(iter(listed.values()))
    samples = {
        name: [targets[moved.get(file, file)][:2] for file in part if file not in deleted]
        for name, part in known["fingerprint"]["splits"].items()
    }
    for file in changes.added if settings.samples_per_class is None else ():
        path, target, name = targets[file]
        samples[name if _says_its_split(settings, file) else "train"].append((path, target))
    return {name: some.with_samples(own) for name, own in samples.items()}


def _says_its_split(settings: Settings, file: str) -> bool:
    """Whether it is the user's folders or table that put `file` into its split, and not a draw."""
    if table_of(settings) is not None:
        return pictures.says_splits(settings)
    named = os.path.isdir(os.path.join(str(settings.data), settings.train_split))
    return named and not file.startswith(f"{settings.train_split}/")


def are_files(splits: Mapping[str, Any]) -> bool:
    """Whether the splits are of files, which splits.csv can name."""
    return all(isinstance(part, data.FileDataset) for part in splits.values())
