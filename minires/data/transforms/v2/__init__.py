"""Transforms of image, masks and boxes together, with torchvision.transforms.v2's names.

    transform = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomAffine(10), v2.SanitizeBoundingBoxes()])
    image, target = transform(image, {"boxes": BoundingBoxes(...), "masks": Mask(...), "labels": labels})

What moves pixels moves all three by one draw. What changes colours or types changes the image alone, as
`v2.ColorJitter(0.4)` does; `v2.ImagesOnly(transform)` makes such a one of any function of an image.
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
from minires.data.transforms.v2.images import (
    ColorJitter,
    ConvertImageDtype,
    GaussianBlur,
    Grayscale,
    Identity,
    LinearTransformation,
    Normalize,
    PILToTensor,
    RandomAdjustSharpness,
    RandomAutocontrast,
    RandomEqualize,
    RandomErasing,
    RandomGrayscale,
    RandomInvert,
    RandomPosterize,
    RandomSolarize,
    ToDtype,
    ToPILImage,
    ToTensor,
)
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
    "ColorJitter",
    "Compose",
    "ConvertBoundingBoxFormat",
    "ConvertImageDtype",
    "ElasticTransform",
    "GaussianBlur",
    "Grayscale",
    "Identity",
    "Image",
    "ImagesOnly",
    "Joint",
    "LinearTransformation",
    "Mask",
    "MasksOfPictures",
    "Normalize",
    "PILToTensor",
    "Pad",
    "RandomAdjustSharpness",
    "RandomAffine",
    "RandomAutocontrast",
    "RandomCrop",
    "RandomEqualize",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomInvert",
    "RandomPerspective",
    "RandomPosterize",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomShortestSize",
    "RandomSolarize",
    "RandomVerticalFlip",
    "RandomZoomOut",
    "Resize",
    "SanitizeBoundingBoxes",
    "ScaleJitter",
    "ToDtype",
    "ToImage",
    "ToLabels",
    "ToPILImage",
    "ToTensor",
    "clamp_bounding_boxes",
    "coco_target",
    "convert_bounding_box_format",
    "preset_segmentation",
    "voc_target",
]
