"""A data set of picture files: what ImageFolder, CSVDataset and the parts of a split have in common."""

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from minires.data.images import open_image
from minires.errors import DataError


class FileDataset:
    """Pictures in files, each with a target; sample i is (image, target).

    `samples`: (path, target) pairs, the target an index of `classes`, or a float or a tuple of floats for regression.
    `classes`: names in the order of their indices; empty for regression. `root`: the folder that names are relative to
    in reports and in splits.csv. `loader`: from path to picture (default: `open_image` with `mode` and `exif`).

    Reading a sample raises DataError that names the file, for a picture that cannot be read ("data.unreadable_image")
    and for one that the transform refuses with a ValueError ("data.transform"; a crop larger than the picture, say).
    """

    def __init__(
        self, samples: Iterable[tuple[str, Any]], classes: Sequence[str], root: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None, target_transform: Callable[[Any], Any] | None = None,
        loader: Callable[[str], Any] | None = None, mode: str = "RGB", exif: str = "transpose",
    ) -> None:  # fmt: skip
        self.samples = list(samples)
        self.classes = list(classes)
        self.class_to_idx = {name: index for index, name in enumerate(self.classes)}
        self.root = os.fspath(root)
        self.transform, self.target_transform = transform, target_transform
        self.mode, self.exif = mode, exif
        self.loader = loader or functools.partial(open_image, mode=mode, exif=exif)

    @property
    def targets(self) -> list[Any]:
        """Target of each sample."""
        return [target for _, target in self.samples]

    @property
    def imgs(self) -> list[tuple[str, Any]]:
        """torchvision's other name for `samples`."""
        return self.samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        path, target = self.samples[index]
        image = self.loader(path)
        if self.transform is not None:
            try:
                image = self.transform(image)
            except ValueError as error:
                message = f"cannot transform the picture {path}: {error}"
                raise DataError(message, code="data.transform", file=path) from error
        return image, target if self.target_transform is None else self.target_transform(target)

    def relative_name(self, path: str) -> str:
        """The path as splits.csv writes it: relative to the root, with "/" on every system."""
        return os.path.relpath(path, self.root).replace(os.sep, "/")

    def label(self, target: Any) -> str:
        """The target as splits.csv writes it: the name of the class, or the number(s)."""
        if self.classes:
            return self.classes[target]
        return " ".join(repr(float(value)) for value in (target if isinstance(target, tuple) else (target,)))

    def with_samples(
        self, samples: Iterable[tuple[str, Any]], transform: Callable[[Any], Any] | None = None
    ) -> "FileDataset":
        """A data set of other samples with the same classes, root and loader; `transform` is the given one, or ours."""
        return FileDataset(samples, self.classes, self.root, transform or self.transform, self.target_transform,
                           self.loader, self.mode, self.exif)  # fmt: skip

    def take(self, indices: Sequence[int], transform: Callable[[Any], Any] | None = None) -> "FileDataset":
        """A data set of the samples at `indices`; `transform` is the given one, or ours."""
        return self.with_samples((self.samples[index] for index in indices), transform)

    def exclude(self, paths: Iterable[str]) -> int:
        """Take the samples of these files out (the unreadable ones that a scan found, say); returns how many."""
        unwanted, before = set(paths), len(self.samples)
        self.samples = [sample for sample in self.samples if sample[0] not in unwanted]
        return before - len(self.samples)

    def __repr__(self) -> str:
        lines = [f"Dataset {type(self).__name__}", f"    Number of datapoints: {len(self)}"]
        lines.append(f"    Root location: {self.root}")
        if self.transform is not None:
            lines += ["    Transform: " + repr(self.transform).replace("\n", "\n               ")]
        return "\n".join(lines)
