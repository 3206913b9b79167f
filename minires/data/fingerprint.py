"""What a run remembers of its data, so that a resume notices files that were added, deleted, changed or relabelled."""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from minires.data.arrays import ArrayDataset
from minires.data.files import FileDataset
from minires.data.reading import read_bytes

MOST_NAMES = 5  # names listed for each kind of difference


def fingerprint(splits: Mapping[str, Any], contents: bool = False) -> dict[str, Any]:
    """JSON-able: `samples`, `classes` in order, `sha256` of all of it, and `splits`: name -> file -> [size, label].

    Files are named relative to the data set's root; a file that is missing has the size -1. Names, sizes and labels
    are quick to read and miss only a file replaced by another of exactly its size; `contents=True` reads every file and
    puts a hash of it in the place of the size. Arrays in memory are hashed whole.
    """
    parts = {name: _part(name, dataset, contents) for name, dataset in splits.items()}
    classes = list(next(iter(splits.values())).classes) if splits else []
    text = json.dumps([classes, parts], sort_keys=True)
    samples = sum(len(dataset) for dataset in splits.values())
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    return {"samples": samples, "classes": classes, "sha256": digest, "splits": parts}


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs between two fingerprints: a plain line for each kind, with the first few files; empty if nothing."""
    if old["sha256"] == new["sha256"]:
        return []
    lines = []
    if old["classes"] != new["classes"]:
        lines.append(f"classes: {', '.join(old['classes'])} became {', '.join(new['classes'])}")
    before, after = _by_file(old["splits"]), _by_file(new["splits"])
    kinds = {"deleted": sorted(set(before) - set(after)), "added": sorted(set(after) - set(before))}
    for file in sorted(set(before) & set(after)):
        (old_split, old_size, old_label), (new_split, new_size, new_label) = before[file], after[file]
        if old_size != new_size:
            kinds.setdefault("changed", []).append(file)
        if old_label != new_label:
            kinds.setdefault("relabelled", []).append(f"{file} ({old_label} -> {new_label})")
        if old_split != new_split:
            kinds.setdefault("moved", []).append(f"{file} ({old_split} -> {new_split})")
    for kind, names in kinds.items():
        if names:
            rest = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
            lines.append(f"{kind}: {len(names)} ({', '.join(names[:MOST_NAMES])}{rest})")
    return lines or ["the order of the samples"]


def _part(name: str, dataset: Any, contents: bool) -> dict[str, list[Any]]:
    if isinstance(dataset, FileDataset):
        return {
            dataset.relative_name(path): [_state(path, contents), dataset.label(target)]
            for path, target in dataset.samples
        }
    if isinstance(dataset, ArrayDataset):
        arrays = {"images": dataset.images, "targets": dataset.targets}
        return {f"{name} {kind}": [_array_hash(array), ""] for kind, array in arrays.items()}
    base, indices = getattr(dataset, "dataset", None), getattr(dataset, "indices", None)
    if base is None or indices is None:
        raise TypeError(f"no fingerprint for a data set of the type {type(dataset).__name__}")
    if isinstance(base, FileDataset):
        return _part(name, base.with_samples(base.samples[index] for index in indices), contents)
    return {**_part(name, base, contents), f"{name} indices": [_array_hash(np.array(indices, np.int64)), ""]}


def _state(path: str, contents: bool) -> int | str:
    """What tells one content of a file from another: its size, or its hash; -1 for a file that is not there."""
    if contents and os.path.isfile(path) and os.path.getsize(path):
        return hashlib.sha256(read_bytes(path)).hexdigest()
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def _array_hash(array: np.ndarray) -> str:
    head = f"{array.dtype.str} {array.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()


def _by_file(splits: dict[str, dict[str, list[Any]]]) -> dict[str, tuple[str, Any, str]]:
    """File -> (split, size, label)."""
    return {file: (name, size, label) for name, files in splits.items() for file, (size, label) in files.items()}
