"""Pictures with a class for each pixel: a folder of pictures, and one of masks whose files have the same names."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from minires.data.datasets.base import AnnotatedPictures, Function, Joint
from minires.data.datasets.voc import open_mask
from minires.data.folder import list_pictures
from minires.data.images import open_image
from minires.data.transforms.v2.targets import Mask
from minires.errors import DataError, UsageError

IGNORED = 255


class SegmentationFolder(AnnotatedPictures):
    """Sample i is (picture, Mask (H, W) of int64): the picture in `images`, and its mask in `masks`.

    A mask is a PNG of grey values or a palette whose numbers are the classes, called as its picture is but for the
    suffix ("street/1.jpg" and "street/1.png"); 255 is no class. `classes`: their names in the order of the numbers;
    then a mask with another number is an error. `transforms`: joint ones, such as v2.preset_segmentation makes;
    `transform`, `target_transform`: as in AnnotatedPictures.
    Raises UsageError for a missing folder, DataError for no pictures, for a picture without a mask, for two pictures of
    one name, and when a sample is read, for a mask of another size and a number that is no class.
    """

    def __init__(
        self, images: str | os.PathLike[str], masks: str | os.PathLike[str], classes: Sequence[str] | None = None,
        transforms: Joint | None = None, transform: Function | None = None, target_transform: Function | None = None,
    ) -> None:  # fmt: skip
        super().__init__(images, transforms, transform, target_transform)
        self.classes = None if classes is None else list(classes)
        for folder in (images, masks):
            if not os.path.isdir(folder):
                raise UsageError(f"there is no folder {os.fspath(folder)}", code="data.not_found",
                                 file=os.fspath(folder))  # fmt: skip
        pictures, self._masks_by_name = _by_name(images), _by_name(masks)
        if not pictures:
            raise DataError(f"no pictures in {os.fspath(images)}", code="data.empty", file=os.fspath(images))
        missing = sorted(set(pictures) - set(self._masks_by_name))
        if missing:
            raise DataError(f"{len(missing)} pictures have no mask in {os.fspath(masks)}, the first is "
                            f"{pictures[missing[0]]}", code="data.label", file=pictures[missing[0]])  # fmt: skip
        self.images = list(pictures.values())
        self.masks = [self._masks_by_name[name] for name in pictures]

    def __len__(self) -> int:
        return len(self.images)

    def sample_name(self, index: int) -> str:
        """The picture's file, for messages."""
        return self.images[index]

    def load(self, index: int) -> tuple[Any, Any]:
        """Picture (Pillow, RGB) and mask of a sample, untouched."""
        path = self.masks[index]
        picture, mask = open_image(self.images[index], exif="ignore"), open_mask(path)
        if picture.size != mask.size:
            raise DataError(f"{path} is {mask.size[0]} x {mask.size[1]} pixels, its picture {picture.size[0]} x "
                            f"{picture.size[1]}", code="data.label", file=path)  # fmt: skip
        numbers = np.asarray(mask)
        labels = np.unique(numbers[numbers != IGNORED])
        if self.classes is not None and len(labels) and labels[-1] >= len(self.classes):
            raise DataError(f"{path} has the class number {labels[-1]}, there are {len(self.classes)} classes",
                            code="data.label", file=path)  # fmt: skip
        return picture, Mask(numbers.astype(np.int64))


def _by_name(folder: str | os.PathLike[str]) -> dict[str, str]:
    """The pictures of a folder by their path in it without the suffix. DataError for two of one name."""
    found: dict[str, str] = {}
    for path in list_pictures(os.fspath(folder)):
        name = os.path.splitext(os.path.relpath(path, folder))[0]
        if name in found:
            raise DataError(f"{found[name]} and {path} have the same name but for the suffix", code="data.label",
                            file=path)  # fmt: skip
        found[name] = path
    return found
