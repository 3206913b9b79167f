"""From the annotations of COCO and VOC to what the transforms here understand, and what becomes of boxes afterwards."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image as Pillow

from minires.data.transforms import functional
from minires.data.transforms.v2 import boxes as moved
from minires.data.transforms.v2.joint import leaves, rebuilt
from minires.data.transforms.v2.targets import BoundingBoxes, Image, Mask
from minires.tensor import Tensor


def coco_target(annotations: Sequence[Mapping[str, Any]], canvas_size: tuple[int, int]) -> dict[str, Any]:
    """{"boxes": BoundingBoxes XYXY (N, 4), "labels": int64 (N,) of "category_id"} from a sample of CocoDetection.

    `canvas_size`: (height, width) of the picture. Annotations without a "bbox" are left out.
    """
    found = [entry for entry in annotations if "bbox" in entry]
    boxes = np.array([entry["bbox"] for entry in found], np.float32).reshape(-1, 4)
    given = BoundingBoxes(boxes, format="XYWH", canvas_size=canvas_size)
    labels = np.array([entry["category_id"] for entry in found], np.int64)
    return {"boxes": moved.convert_bounding_box_format(given, "XYXY"), "labels": Tensor(labels)}


def voc_target(annotation: Mapping[str, Any], classes: Sequence[str], canvas_size: tuple[int, int]) -> dict[str, Any]:
    """{"boxes": BoundingBoxes XYXY (N, 4), "labels": int64 (N,)} from a sample of VOCDetection.

    VOC counts pixels from 1; its numbers are taken as they stand, as torchvision takes them. `classes`: names in the
    order of their numbers (`VOC_CLASSES`); ValueError for a name that is none of them.
    """
    objects = annotation["annotation"]["object"]
    corners = [[float(found["bndbox"][side]) for side in ("xmin", "ymin", "xmax", "ymax")] for found in objects]
    for found in objects:
        if found["name"] not in classes:
            raise ValueError(f"the object {found['name']!r} is none of the classes {', '.join(classes)}")
    boxes = BoundingBoxes(np.array(corners, np.float32).reshape(-1, 4), format="XYXY", canvas_size=canvas_size)
    return {"boxes": boxes, "labels": Tensor(np.array([classes.index(found["name"]) for found in objects], np.int64))}


class ToImage:
    """Pillow pictures as `Image`s (C, H, W) of bytes; everything else as it is."""

    def __call__(self, *inputs: Any) -> Any:
        def change(leaf: Any) -> Any:
            return Image(functional.pil_to_tensor(leaf).array) if isinstance(leaf, Pillow.Image) else leaf

        result = rebuilt(inputs, change)
        return result[0] if len(inputs) == 1 else result

    def __repr__(self) -> str:
        return "ToImage()"


class _OnBoxes:
    """A change of boxes alone."""

    def change(self, boxes: BoundingBoxes) -> BoundingBoxes:
        raise NotImplementedError(f"{type(self).__name__} must say what it changes")

    def __call__(self, *inputs: Any) -> Any:
        result = rebuilt(inputs, lambda leaf: self.change(leaf) if isinstance(leaf, BoundingBoxes) else leaf)
        return result[0] if len(inputs) == 1 else result

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in vars(self).items())})"


class ConvertBoundingBoxFormat(_OnBoxes):
    """Boxes in the form `format`: "XYXY", "XYWH" or "CXCYWH"."""

    def __init__(self, format: str) -> None:
        self.format = format

    def change(self, boxes: BoundingBoxes) -> BoundingBoxes:
        """The same boxes, written otherwise."""
        return moved.convert_bounding_box_format(boxes, self.format)


class ClampBoundingBoxes(_OnBoxes):
    """Boxes cut off at the edge of their canvas."""

    def change(self, boxes: BoundingBoxes) -> BoundingBoxes:
        """What is left inside."""
        return moved.clamp_bounding_boxes(boxes)


class SanitizeBoundingBoxes:
    """Boxes that are smaller than `min_size` in either direction, or reach beyond the canvas, taken out.

    With them go their rows of "labels" (or what `labels_getter(inputs)` gives) and of the masks, where these have as
    many rows as there were boxes. ValueError where there are not one set of boxes and as many labels.
    """

    def __init__(self, min_size: float = 1.0, labels_getter: Callable[[Any], Any] | str | None = "default") -> None:
        if min_size < 0:
            raise ValueError(f"min_size must not be negative, got {min_size}")
        self.min_size, self.labels_getter = min_size, labels_getter

    def __call__(self, *inputs: Any) -> Any:
        every = [leaf for leaf in leaves(inputs) if isinstance(leaf, BoundingBoxes)]
        if len(every) != 1:
            raise ValueError(f"SanitizeBoundingBoxes needs one set of boxes, got {len(every)}")
        boxes = every[0]
        labels = self._labels(inputs)
        if labels is not None and len(labels) != len(boxes):
            raise ValueError(f"{len(labels)} labels for {len(boxes)} boxes")
        kept = self._good(boxes)

        def change(leaf: Any) -> Any:
            if leaf is boxes:
                return BoundingBoxes(boxes.array[kept], format=boxes.format, canvas_size=boxes.canvas_size)
            if leaf is labels:
                return Tensor(labels.array[kept])
            if isinstance(leaf, Mask) and leaf.ndim == 3 and len(leaf) == len(kept):
                return Mask(leaf.array[kept])
            return leaf

        result = rebuilt(inputs, change)
        return result[0] if len(inputs) == 1 else result

    def _good(self, boxes: BoundingBoxes) -> np.ndarray:
        xyxy = moved.to_xyxy(boxes.array, boxes.format)
        height, width = boxes.canvas_size
        large = (xyxy[:, 2:] - xyxy[:, :2] >= self.min_size).all(1)
        return large & (xyxy >= 0).all(1) & (xyxy <= [width, height, width, height]).all(1)

    def _labels(self, inputs: tuple[Any, ...]) -> Any:
        if self.labels_getter is None:
            return None
        if callable(self.labels_getter):
            return self.labels_getter(inputs[0] if len(inputs) == 1 else inputs)
        key = "labels" if self.labels_getter == "default" else self.labels_getter
        found = [value[key] for value in inputs if isinstance(value, Mapping) and key in value]
        if len(found) != 1:
            raise ValueError(
                f"no {key!r} beside the boxes: name the labels by labels_getter, or None if there are none"
            )
        return found[0]

    def __repr__(self) -> str:
        return f"SanitizeBoundingBoxes(min_size={self.min_size}, labels_getter={self.labels_getter})"
