"""Transforms of pictures, with torchvision.transforms' names, arguments, numerics and texts.

    transform = Compose([RandomResizedCrop(224), RandomHorizontalFlip(), ToTensor(), Normalize(mean, std)])

The random ones draw from `minires.random.generator()` and from nowhere else: under a DataLoader that is the address of
the sample (seed, epoch, index), so that neither workers nor a resume can change a bit. Pillow pictures go in; ToTensor
turns them into tensors (C, H, W) for what follows.
"""

from minires.data.transforms import functional
from minires.data.transforms.colour import ColorJitter, Grayscale
from minires.data.transforms.compose import Compose, Lambda, RandomApply
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
    Normalize,
    PILToTensor,
    PixelValues,
    RandomErasing,
    ReverseChannels,
    ToPILImage,
    ToTensor,
)

__all__ = [
    "CAFFE_MEAN",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "ConvertImageDtype",
    "Grayscale",
    "InterpolationMode",
    "Lambda",
    "Normalize",
    "PILToTensor",
    "Pad",
    "PixelValues",
    "Preprocessing",
    "RandAugment",
    "RandomApply",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "Resize",
    "ReverseChannels",
    "ToPILImage",
    "ToTensor",
    "TrivialAugmentWide",
    "functional",
    "preset_caffe",
    "preset_eval",
    "preset_train",
]
