"""A head that grows: the classes of a trained model keep their numbers, and new ones come behind them.

    merge_classes(["cat", "dog"], ["bird", "cat"])  ->  ["cat", "dog", "bird"]
    grow_head(model, 3)                              row 2 is new, rows 0 and 1 keep their bits

Classes are matched by name. An order that contradicts the model's is refused: a model whose class 0 was "cat" and
silently became "bird" would go on answering, wrongly.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minires import nn
from minires.data import ArrayDataset, FileDataset
from minires.errors import UsageError
from minires.finetune.heads import last_linear


def merge_classes(old: Sequence[str], new: Sequence[str], order: Sequence[str] | None = None) -> list[str]:
    """The old classes in their order, then those of `new` that are not among them, in theirs.

    order: the names in a file after --class-map. It must begin with the old classes in their order, and name all new
    ones; else UsageError (code "data.class_order").
    """
    if order is None:
        return [*old, *(name for name in new if name not in set(old))]
    if list(order[: len(old)]) != list(old):
        place = next((index for index, name in enumerate(old) if list(order[index : index + 1]) != [name]), 0)
        given = repr(order[place]) if place < len(order) else "nothing"
        raise UsageError(f"--class-map would change the class order: class {place} of the earlier run is "
                         f"{old[place]!r}, and the file has {given} there", code="data.class_order",
                         hint=f"begin the file with {', '.join(old)}, or leave --class-map out")  # fmt: skip
    missing = [name for name in new if name not in set(order)]
    if missing:
        raise UsageError(f"--class-map leaves out the class {missing[0]!r} of the new data", code="data.class_map")
    return list(order)


def reindexed(splits: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """The same pictures with labels that count in `classes`, matched by name. ValueError for a class that is missing.

    Data sets that count so already are returned as they are.
    """
    return {name: dataset if list(dataset.classes) == list(classes) else _counting_in(dataset, classes)
            for name, dataset in splits.items()}  # fmt: skip


def _counting_in(dataset: Any, classes: Sequence[str]) -> Any:
    missing = [name for name in dataset.classes if name not in classes]
    if missing:
        raise ValueError(f"the class {missing[0]!r} is none of {', '.join(classes)}")
    places = np.array([list(classes).index(name) for name in dataset.classes], np.int64)
    if isinstance(dataset, ArrayDataset):
        targets = places[np.asarray(dataset.targets)]
        return ArrayDataset(dataset.images, targets, dataset.transform, dataset.target_transform, classes)
    samples = [(path, int(places[target])) for path, target in dataset.samples]
    return FileDataset(samples, classes, dataset.root, dataset.transform, dataset.target_transform, dataset.loader,
                       dataset.mode, dataset.exif)  # fmt: skip


def grow_head(model: Any, outputs: int) -> None:
    """Give the model's last linear layer `outputs` rows: the old ones keep their bits, new ones are their mean.

    So a new class begins neither louder nor quieter than a usual one, and nothing is drawn. ValueError for fewer rows
    than there are.
    """
    layer = last_linear(model)
    if outputs < layer.out_features:
        raise ValueError(f"a head of {layer.out_features} outputs does not grow to {outputs}")
    more = outputs - layer.out_features
    if not more:
        return
    layer.weight = nn.Parameter(_longer(layer.weight.array, more), layer.weight.requires_grad)
    if layer.bias is not None:
        layer.bias = nn.Parameter(_longer(layer.bias.array, more), layer.bias.requires_grad)
    layer.out_features = outputs


def _longer(rows: np.ndarray, more: int) -> np.ndarray:
    """(K, ...) to (K + more, ...), the new ones the mean of the old ones."""
    mean = rows.mean(axis=0, dtype=np.float64).astype(rows.dtype)
    return np.concatenate([rows, np.broadcast_to(mean, (more, *rows.shape[1:]))])


def namesakes(old: Sequence[str], new: Sequence[str]) -> list[tuple[str, str]]:
    """(new, old) names that differ only in case or in spaces at their ends: likely the same class."""
    plain = {name.strip().casefold(): name for name in old}
    return [(name, plain[name.strip().casefold()]) for name in new
            if name not in old and name.strip().casefold() in plain]  # fmt: skip
