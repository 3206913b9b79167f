"""A seeded, stratified split: which samples are for training, which for validation and for the test."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minires.data.labels_split import is_sets_of_labels, stratify
from minires.errors import UsageError
from minires.random import philox


def split(
    targets: Sequence[Any], fractions: Mapping[str, float], seed: int = 0, *, group_by: str | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, list[int]]:  # fmt: skip
    """Indices of the samples in each part: "train", and the names of `fractions`; sorted, disjoint, together complete.

    `targets`: the class index of each sample, a tuple of several (dealt out by labels_split.py), or its number(s) for
    regression.

    Stratified: of a class with n samples, each part gets n * fraction, rounded to nearest, but at least one while there
    is one left to give; the rest, at least one, is for training (a class with one sample is for training alone). Float
    targets (regression) make up one class. Which samples: a permutation drawn from (seed, "split", class), so that one
    class's pictures do not move when another's change.

    `group_by`: a regular expression; samples whose `names` give the same match (its first group, or the whole match)
    stay together, as pictures of one patient must. Whole groups are then dealt out until a part has its share, so that
    the fractions hold only roughly; every group counts to the class of its first sample. Raises UsageError for
    fractions that are not above 0 and together below 1, and for a name in which the expression finds nothing.
    """
    total = sum(fractions.values())
    if "train" in fractions or not all(0 < value < 1 for value in fractions.values()) or not total < 1:
        raise UsageError(f"fractions must be above 0 and together below 1, got {dict(fractions)}", code="data.fraction")
    labels = list(targets)
    if is_sets_of_labels(labels):
        shares = [1 - total, *fractions.values()]
        dealt = stratify(labels, _units(len(labels), group_by, names), shares, seed)
        return dict(zip(("train", *fractions), dealt, strict=True))
    if any(isinstance(label, float | tuple | np.floating | np.ndarray) for label in labels):
        labels = [0] * len(labels)
    units = _units(len(labels), group_by, names)
    parts: dict[str, list[int]] = {"train": [], **{name: [] for name in fractions}}
    for label in sorted({labels[unit[0]] for unit in units}):
        own = [unit for unit in units if labels[unit[0]] == label]
        order = philox(seed, "split", int(label)).permutation(len(own))
        _deal([own[place] for place in order], fractions, parts)
    return {name: sorted(indices) for name, indices in parts.items()}


def split_dataset(
    dataset: Any, fractions: Mapping[str, float], seed: int = 0, *, group_by: str | None = None,
    train_transform: Callable[[Any], Any] | None = None, eval_transform: Callable[[Any], Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The parts of a data set in memory or in files (one that has `take`) as data sets of their own; see `split`.

    A transform that is not given is the data set's own. `group_by` looks at the files' names.
    """
    names = [dataset.relative_name(path) for path, _ in dataset.samples] if group_by is not None else None
    parts = split(dataset.targets, fractions, seed, group_by=group_by, names=names)
    return {
        name: dataset.take(indices, train_transform if name == "train" else eval_transform)
        for name, indices in parts.items()
    }


def _units(count: int, group_by: str | None, names: Sequence[str] | None) -> list[list[int]]:
    """What is dealt out as a whole: single samples, or groups of them."""
    if group_by is None:
        return [[index] for index in range(count)]
    if names is None or len(names) != count:
        raise ValueError("group_by needs the names of all samples")
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        match = re.search(group_by, name)
        if match is None:
            raise UsageError(f"the expression {group_by!r} finds nothing in the name {name!r}", code="data.group")
        key = match.group(1) if match.re.groups else match.group(0)
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def _deal(units: list[list[int]], fractions: Mapping[str, float], parts: dict[str, list[int]]) -> None:
    """Deal one class's units out: each part takes units until it has its share, and leaves one for training."""
    samples = sum(len(unit) for unit in units)
    remaining = list(units)
    for name, fraction in fractions.items():
        share, taken = max(1, int(samples * fraction + 0.5)), 0
        while len(remaining) > 1 and taken < share:
            unit = remaining.pop()
            parts[name] += unit
            taken += len(unit)
    for unit in remaining:
        parts["train"] += unit
