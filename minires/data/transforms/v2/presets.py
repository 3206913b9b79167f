"""The usual chain for pictures with a class for each pixel: what torchvision's recipe for segmentation does."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image as Pillow

from minires.data.transforms.pictures import pair
from minires.data.transforms.presets import IMAGENET_MEAN, IMAGENET_STD
from minires.data.transforms.tensors import Normalize, ToTensor
from minires.data.transforms.v2.joint import ImagesOnly, rebuilt
from minires.data.transforms.v2.moves import Compose, RandomHorizontalFlip, RandomResizedCrop, Resize
from minires.data.transforms.v2.targets import Mask
from minires.tensor import Tensor


class MasksOfPictures:
    """For a pair (picture, picture of class numbers), as VOCSegmentation gives it: the second one as a `Mask`.

    Class numbers are pixels of the mode "P" or "L"; anything else stays, and so does a pair whose target is no picture.
    """

    def __call__(self, picture: Any, target: Any) -> tuple[Any, Any]:
        if isinstance(target, Pillow.Image) and target.mode in ("P", "L"):
            target = Mask(np.asarray(target).astype(np.int64))
        return picture, target

    def __repr__(self) -> str:
        return "MasksOfPictures()"


class ToLabels:
    """Masks as plain tensors of int64, which a loss takes; everything else as it is."""

    def __call__(self, *inputs: Any) -> Any:
        def change(leaf: Any) -> Any:
            return Tensor(np.ascontiguousarray(leaf.array, np.int64)) if isinstance(leaf, Mask) else leaf

        result = rebuilt(inputs, change)
        return result[0] if len(inputs) == 1 else result

    def __repr__(self) -> str:
        return "ToLabels()"


def preset_segmentation(
    size: int | Sequence[int], train: bool = False, mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD, scale: Sequence[float] = (0.25, 1.0), hflip: float = 0.5,
) -> Compose:  # fmt: skip
    """A Pillow picture and its Mask, or a picture of class numbers, to tensors: normalised (C, H, W), numbers (H, W).

    size: of both in the end, (height, width) or one side; other proportions are squeezed. train: a random crop of a
    part of `scale` of the area, and a mirror image with the probability `hflip`, before.
    """
    moves: list[Any] = [Resize(pair(size))]
    if train:
        moves = [RandomResizedCrop(size, scale), RandomHorizontalFlip(hflip)]
    return Compose([MasksOfPictures(), *moves, ImagesOnly(ToTensor()), ImagesOnly(Normalize(mean, std)), ToLabels()])
