"""The data set of made pictures: any number of samples, each of which can be made alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from minires.data.arrays import ArrayDataset
from minires.data.shapes.rendering import CLASSES, render
from minires.data.transforms import functional
from minires.random import philox


class ShapesDataset:
    """`samples` labelled pictures of side x side, RGB, made when they are asked for; sample i is (image, target).

    Forty classes: glyphs (digits and letters, by hand and printed), plain figures, and textures. Sample i is an address
    and not the i-th of a stream: it is drawn from (seed, "shapes", i), its class is i modulo the number of classes, so
    that it is the same whoever asks, in whatever order. Two data sets of different seeds share no picture.

    transform, target_transform: as in ArrayDataset; without a transform pictures become tensors 0..1.
    Raises ValueError for a number of samples or a side below 1 and 8.
    """

    def __init__(
        self, samples: int = 40_000, seed: int = 0, side: int = 32, transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:  # fmt: skip
        if samples < 1 or side < 8:
            raise ValueError(f"at least 1 sample of a side of at least 8 is needed, got {samples} and {side}")
        self.samples_count, self.seed, self.side = samples, seed, side
        self.transform, self.target_transform = transform, target_transform
        self.classes = list(CLASSES)
        self.class_to_idx = {name: index for index, name in enumerate(self.classes)}
        self.targets = np.arange(samples, dtype=np.int64) % len(self.classes)

    def __len__(self) -> int:
        return self.samples_count

    def picture(self, index: int) -> Image.Image:
        """The Pillow picture of one sample, without its transform."""
        if not 0 <= index < len(self):
            raise IndexError(f"the index {index} is out of range for a data set of {len(self)} samples")
        return render(self.classes[self.targets[index]], philox(self.seed, "shapes", index), self.side)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image: Any = self.picture(index)
        image = functional.to_tensor(image) if self.transform is None else self.transform(image)
        target: Any = int(self.targets[index])
        return image, target if self.target_transform is None else self.target_transform(target)

    def rendered(self) -> ArrayDataset:
        """The same data set with every picture made once and kept: 3 side^2 bytes a sample."""
        images = np.empty((len(self), self.side, self.side, 3), np.uint8)
        for index in range(len(self)):
            images[index] = np.asarray(self.picture(index))
        return ArrayDataset(images, self.targets, self.transform, self.target_transform, self.classes)
