"""What the readers of published data sets have in common: torchvision's arguments, and what their files must hold."""

import copy
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from minires.data.arrays import ArrayDataset
from minires.errors import DataError, UsageError

Function = Callable[[Any], Any]
Joint = Callable[[Any, Any], tuple[Any, Any]]


def refuse_download(download: bool, root: str | os.PathLike[str], what: str) -> None:
    """UsageError for download=True: nothing here fetches data sets; it says which files belong where."""
    if download:
        message = f"download=True: minires fetches no data sets; put {what} into {os.fspath(root)} and leave it out"
        raise UsageError(message, code="data.no_download", file=os.fspath(root))


class PictureArrays(ArrayDataset):
    """Pictures of one size in memory, each a Pillow picture until `transform` makes something else of it.

    `data`: uint8 (N, H, W) or (N, H, W, 3), torchvision's name for `images`.
    """

    def __init__(
        self, images: np.ndarray, targets: np.ndarray, classes: Sequence[str], root: str | os.PathLike[str],
        train: bool, transform: Function | None, target_transform: Function | None,
    ) -> None:  # fmt: skip
        super().__init__(images, targets, transform, target_transform, classes)
        self.root, self.train = os.fspath(root), train

    @property
    def data(self) -> np.ndarray:
        """The pixels of all pictures."""
        return self.images

    def take(self, indices: Sequence[int], transform: Function | None = None) -> "PictureArrays":
        """A data set of the samples at `indices`; `transform` is the given one, or ours."""
        part, places = copy.copy(self), np.asarray(indices, np.int64)
        part.images, part.targets = self.images[places], self.targets[places]
        part.transform = transform or self.transform
        return part

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, target = Image.fromarray(self.images[index]), int(self.targets[index])
        return (image if self.transform is None else self.transform(image),
                target if self.target_transform is None else self.target_transform(target))  # fmt: skip


class AnnotatedPictures:
    """Pictures in files, each with an annotation: sample i is (picture, target).

    `transform` and `target_transform` change one of the two; `transforms` both at once (`transforms.v2`, which keeps
    boxes and masks in step with the picture), and excludes the other two.
    """

    def __init__(
        self, root: str | os.PathLike[str], transforms: Joint | None, transform: Function | None,
        target_transform: Function | None,
    ) -> None:  # fmt: skip
        if transforms is not None and (transform is not None or target_transform is not None):
            raise ValueError("Only transforms or transform/target_transform can be passed as argument")
        self.root = os.fspath(root)
        self.transforms, self.transform, self.target_transform = transforms, transform, target_transform

    def load(self, index: int) -> tuple[Any, Any]:
        """Picture and target of a sample, untouched."""
        raise NotImplementedError(f"{type(self).__name__} must say what a sample is")

    def sample_name(self, index: int) -> str:
        """The picture's file, for messages."""
        raise NotImplementedError(f"{type(self).__name__} must name its files")

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        picture, target = self.load(index)
        try:
            if self.transforms is not None:
                return self.transforms(picture, target)
            if self.transform is not None:
                picture = self.transform(picture)
        except ValueError as error:
            file = self.sample_name(index)
            raise DataError(
                f"cannot transform the picture {file}: {error}", code="data.transform", file=file
            ) from error
        return picture, target if self.target_transform is None else self.target_transform(target)
