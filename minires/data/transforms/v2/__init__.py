"""Transforms of image, masks and boxes together, with torchvision.transforms.v2's names.

    transform = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomAffine(10), v2.SanitizeBoundingBoxes()])
    image, target = transform(image, {"boxes": BoundingBoxes(...), "masks": Mask(...), "labels": labels})

What moves pixels moves all three by one draw. What changes colours or types changes the image alone: `ImagesOnly` makes
such a transform of any in `minires.data.transforms`, `v2.ImagesOnly(ColorJitter(0.4))`.
"""

from minires.data.transforms.v2.annotations import (
    ClampBoundingBoxes,
    ConvertBoundingBoxFormat,
    SanitizeBoundingBoxes,
    ToImage,
    coco_target,
    voc_target,
)
from minires.data.transforms.v2.boxes import clamp_bounding_boxes, convert_bounding_box_format
from minires.data.transforms.v2.joint import ImagesOnly, Joint
from minires.data.transforms.v2.moves import (
    CenterCrop,
    Compose,
    ElasticTransform,
    Pad,
    RandomAffine,
    RandomCrop,
    RandomHorizontalFlip,
    RandomPerspective,
    RandomResizedCrop,
    RandomRotation,
    RandomVerticalFlip,
    Resize,
)
from minires.data.transforms.v2.presets import MasksOfPictures, ToLabels, preset_segmentation
from minires.data.transforms.v2.scales import RandomShortestSize, RandomZoomOut, ScaleJitter
from minires.data.transforms.v2.targets import BoundingBoxes, Image, Mask

__all__ = [
    "BoundingBoxes",
    "CenterCrop",
    "ClampBoundingBoxes",
    "Compose",
    "ConvertBoundingBoxFormat",
    "ElasticTransform",
    "Image",
    "ImagesOnly",
    "Joint",
    "Mask",
    "MasksOfPictures",
    "Pad",
    "RandomAffine",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomPerspective",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomShortestSize",
    "RandomVerticalFlip",
    "RandomZoomOut",
    "Resize",
    "SanitizeBoundingBoxes",
    "ScaleJitter",
    "ToImage",
    "ToLabels",
    "clamp_bounding_boxes",
    "coco_target",
    "convert_bounding_box_format",
    "preset_segmentation",
    "voc_target",
]
