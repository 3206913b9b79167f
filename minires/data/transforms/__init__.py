"""Transforms of pictures, with torchvision.transforms' names, arguments, numerics and texts.

    transform = Compose([RandomResizedCrop(224), RandomHorizontalFlip(), ToTensor(), Normalize(mean, std)])

The random ones draw from `minires.random.generator()` and from nowhere else: under a DataLoader that is the address of
the sample (seed, epoch, index), so that neither workers nor a resume can change a bit. Pillow pictures or tensors
(..., C, H, W) go in; ToTensor makes the one of the other.
"""

from minires.data.transforms import functional, v2
from minires.data.transforms.auto_augment import AugMix, AutoAugment, AutoAugmentPolicy
from minires.data.transforms.colour import ColorJitter, Grayscale
from minires.data.transforms.compose import Compose, Lambda, RandomApply, RandomChoice, RandomOrder
from minires.data.transforms.geometry import (
    CenterCrop,
    Pad,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomVerticalFlip,
    Resize,
)
from minires.data.transforms.pictures import InterpolationMode
from minires.data.transforms.policies import RandAugment, TrivialAugmentWide
from minires.data.transforms.presets import (
    CAFFE_MEAN,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
    preset_caffe,
    preset_eval,
    preset_train,
)
from minires.data.transforms.tensors import (
    ConvertImageDtype,
    LinearTransformation,
    Normalize,
    PILToTensor,
    PixelValues,
    RandomErasing,
    ReverseChannels,
    ToPILImage,
    ToTensor,
)
from minires.data.transforms.tones import (
    GaussianBlur,
    RandomAdjustSharpness,
    RandomAutocontrast,
    RandomEqualize,
    RandomGrayscale,
    RandomInvert,
    RandomPosterize,
    RandomSolarize,
)
from minires.data.transforms.warps import (
    ElasticTransform,
    FiveCrop,
    RandomAffine,
    RandomPerspective,
    TenCrop,
)

__all__ = [
    "CAFFE_MEAN",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "AugMix",
    "AutoAugment",
    "AutoAugmentPolicy",
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "ConvertImageDtype",
    "ElasticTransform",
    "FiveCrop",
    "GaussianBlur",
    "Grayscale",
    "InterpolationMode",
    "Lambda",
    "LinearTransformation",
    "Normalize",
    "PILToTensor",
    "Pad",
    "PixelValues",
    "Preprocessing",
    "RandAugment",
    "RandomAdjustSharpness",
    "RandomAffine",
    "RandomApply",
    "RandomAutocontrast",
    "RandomChoice",
    "RandomCrop",
    "RandomEqualize",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomInvert",
    "RandomOrder",
    "RandomPerspective",
    "RandomPosterize",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomSolarize",
    "RandomVerticalFlip",
    "Resize",
    "ReverseChannels",
    "TenCrop",
    "ToPILImage",
    "ToTensor",
    "TrivialAugmentWide",
    "functional",
    "preset_caffe",
    "preset_eval",
    "preset_train",
    "v2",
]
