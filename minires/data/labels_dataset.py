"""Pictures with any number of labels each: none, one, or several of a list of classes."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from minires.data.files import FileDataset

BETWEEN = "|"  # the labels of a picture in splits.csv and in tables of predictions


class MultiLabelDataset(FileDataset):
    """Picture files with sets of labels; sample i is (image, yes or no for each class: float32 (K,) of 0 and 1).

    `samples`: (path, sorted tuple of class indices); an empty tuple is a picture that has none of the labels.
    The rest is FileDataset's.
    """

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, target = super().__getitem__(index)
        return image, target if self.target_transform is not None else many_hot(target, len(self.classes))

    def label(self, target: Any) -> str:
        """The names of the classes with "|" between them; "" for none."""
        return BETWEEN.join(self.classes[index] for index in target)

    def with_samples(
        self, samples: Iterable[tuple[str, Any]], transform: Callable[[Any], Any] | None = None
    ) -> "MultiLabelDataset":
        """A data set of other samples with the same classes, root and loader; `transform` is the given one, or ours."""
        return MultiLabelDataset(samples, self.classes, self.root, transform or self.transform, self.target_transform,
                                 self.loader, self.mode, self.exif)  # fmt: skip


def many_hot(indices: Sequence[int], classes: int) -> np.ndarray:
    """float32 (classes,): 1 at the indices, else 0."""
    found = np.zeros(classes, np.float32)
    found[list(indices)] = 1
    return found


def label_counts(targets: Iterable[Sequence[int]], classes: int) -> np.ndarray:
    """How many of the targets, tuples of class indices, have each class: int64 (classes,)."""
    return np.bincount(np.array([index for target in targets for index in target], np.int64), minlength=classes)
