"""Pictures that are in memory already, and parts of any data set."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from minires.data.transforms import functional
from minires.errors import DataError
from minires.tensor import Tensor


class ArrayDataset:
    """Images and targets from NumPy arrays; sample i is (image, target).

    `images`: uint8 of the shape (N, H, W) or (N, H, W, C), C = 1 or 3, handed to `transform` as Pillow pictures; or
    float32/float64 of the shape (N, C, H, W), handed over as tensors (C, H, W). Without a transform, uint8 pictures are
    scaled to 0..1 as ToTensor does, and floats are left as they are.
    `targets`: (N,) integers for classes, floats (N,) or (N, K) for regression. `classes`: names in order of their
    indices (default: "0", "1", ... for integer targets).

    Raises DataError for arrays of other types and shapes, of different lengths, and for a class index out of range.
    """

    def __init__(
        self, images: Any, targets: Any, transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None, classes: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        self.images, self.targets = np.asarray(images), np.asarray(targets)
        self.transform, self.target_transform = transform, target_transform
        self._check()
        self.classes: list[str] = list(classes) if classes is not None else self._numbered_classes()
        self.class_to_idx = {name: index for index, name in enumerate(self.classes)}
        if self.targets.dtype.kind in "iu" and self.targets.size:
            low, high = self.targets.min(), self.targets.max()
            if low < 0 or high >= len(self.classes):
                wrong = low if low < 0 else high
                raise DataError(f"the target {wrong} is no index of the {len(self.classes)} classes", code="data.label")

    def _check(self) -> None:
        shape, kind = self.images.shape, self.images.dtype
        as_pictures = kind == np.uint8 and (len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3)))
        if not as_pictures and not (kind in (np.float32, np.float64) and len(shape) == 4):
            raise DataError(
                "images must be uint8 of the shape (N, H, W) or (N, H, W, 1 or 3), or float32 of the shape "
                f"(N, C, H, W), got {kind} of the shape {shape}",
                code="data.array",
            )
        if self.targets.ndim == 0 or len(self.targets) != len(self.images):
            lengths = f"{len(self.images)} images and targets of the shape {self.targets.shape}"
            raise DataError(f"one target for every image is needed, got {lengths}", code="data.array")
        if self.targets.dtype.kind not in "iuf" or (self.targets.dtype.kind != "f" and self.targets.ndim != 1):
            raise DataError(
                "targets must be integers of the shape (N,) or floats of the shape (N,) or (N, K), "
                f"got {self.targets.dtype} of the shape {self.targets.shape}",
                code="data.array",
            )
        if self.targets.dtype.kind == "f" and not np.isfinite(self.targets).all():
            raise DataError("the targets hold NaN or infinity", code="data.label")

    def _numbered_classes(self) -> list[str]:
        if self.targets.dtype.kind == "f" or not self.targets.size:
            return []
        return [str(index) for index in range(int(self.targets.max()) + 1)]

    def take(self, indices: Sequence[int], transform: Callable[[Any], Any] | None = None) -> "ArrayDataset":
        """A data set of the samples at `indices`, with the same classes; `transform` is the given one, or ours."""
        places = np.asarray(indices, np.int64)
        return ArrayDataset(self.images[places], self.targets[places], transform or self.transform,
                            self.target_transform, self.classes)  # fmt: skip

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        pixels = self.images[index]
        image: Any
        if pixels.dtype == np.uint8:
            flat = pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
            image = Image.fromarray(np.ascontiguousarray(flat))
            image = functional.to_tensor(image) if self.transform is None else self.transform(image)
        else:
            image = Tensor(pixels.copy())  # so that a transform that writes in place cannot spoil the data
            image = image if self.transform is None else self.transform(image)
        target: Any = self.targets[index]
        target = target.item() if target.ndim == 0 else target
        return image, target if self.target_transform is None else self.target_transform(target)


class Subset:
    """The samples of `dataset` at `indices`, in that order. Classes and labels are those of the whole."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = [int(index) for index in indices]
        wrong = [index for index in self.indices if not 0 <= index < len(dataset)]
        if wrong:
            raise IndexError(f"the index {wrong[0]} is out of range for a data set of {len(dataset)} samples")

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of their indices."""
        return list(self.dataset.classes)

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Index of each class."""
        return dict(self.dataset.class_to_idx)

    @property
    def targets(self) -> list[Any]:
        """Target of each sample."""
        return [self.dataset.targets[index] for index in self.indices]

    def sample_name(self, index: int) -> str:
        """Where the sample comes from, for messages."""
        return sample_name(self.dataset, self.indices[index])


def sample_name(dataset: Any, index: int) -> str:
    """The file of a sample, if the data set knows one, else its number: for messages that name the culprit."""
    if hasattr(dataset, "sample_name"):
        return str(dataset.sample_name(index))
    samples = getattr(dataset, "samples", None)
    return str(samples[index][0]) if samples is not None else f"sample {index}"
