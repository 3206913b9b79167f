"""The usual chains of transforms, and the description of preprocessing that travels with a model.

A model is only as good as the pixels it is given: `Preprocessing` says in a few JSON-able words all that happens to a
file before the model sees it, so that a model directory can hold it and `predict` repeat it.
"""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from minires.data.images import EXIF_POLICIES, MODES, convert_mode, open_image
from minires.data.transforms.colour import ColorJitter
from minires.data.transforms.compose import Compose, Transform
from minires.data.transforms.geometry import (
    CenterCrop,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomVerticalFlip,
    Resize,
)
from minires.data.transforms.pictures import interpolation_mode, pair
from minires.data.transforms.policies import RandAugment, TrivialAugmentWide
from minires.data.transforms.tensors import Normalize, PixelValues, RandomErasing, ReverseChannels, ToTensor
from minires.tensor import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CAFFE_MEAN = (103.939, 116.779, 123.68)  # of ImageNet's blue, green and red values from 0 to 255
SCALES = ("0..1", "0..255")
CHANNEL_ORDERS = ("RGB", "BGR")
AUTO_AUGMENT = ("none", "ra", "ta_wide")


@dataclass(frozen=True)
class Preprocessing:
    """What happens to a picture in evaluation; calling it turns a Pillow picture into a tensor (C, H, W).

    `resize`: shorter side, or (height, width), or None; `crop`: middle part, or None; `mode`: "RGB", "L" or "RGBA";
    `exif`: what becomes of the camera's orientation when a file is opened ("transpose" or "ignore"); `scale`: the range
    of the pixel values before `mean` and `std` are applied, "0..1" or "0..255"; `channel_order`: that of the tensor,
    and so of `mean` and `std`, "RGB" or "BGR". Raises ValueError for settings that make no sense.
    """

    resize: int | tuple[int, int] | None = 256
    crop: int | tuple[int, int] | None = 224
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    mode: str = "RGB"
    exif: str = "transpose"
    scale: str = "0..1"
    channel_order: str = "RGB"

    def __post_init__(self) -> None:
        for name in ("resize", "crop"):
            size = getattr(self, name)
            if size is not None:
                object.__setattr__(self, name, size if isinstance(size, int) else tuple(size))
                pair(size, name)
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if self.channel_order == "BGR" and self.mode != "RGB":
            raise ValueError(f"channel_order BGR is for colour pictures, not for the mode {self.mode}")
        object.__setattr__(self, "interpolation", str(interpolation_mode(self.interpolation)))
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
            values, channels = getattr(self, name), len(self.mode)  # a letter a channel
            if len(values) != channels:
                raise ValueError(f"{name} needs {channels} values for the mode {self.mode}, got {values}")
        if not all(value > 0 for value in self.std):
            raise ValueError(f"std must be above 0, got {self.std}")
        object.__setattr__(self, "_chain", self._make_chain())

    def _make_chain(self) -> Compose:
        steps: list[Transform] = []
        if self.resize is not None:
            steps.append(Resize(self.resize, self.interpolation))
        if self.crop is not None:
            steps.append(CenterCrop(self.crop))
        return Compose([*steps, *_to_numbers(self.scale, self.channel_order, self.mean, self.std)])

    @property
    def transform(self) -> Compose:
        """The chain of transforms, for pictures that are in the right mode already."""
        return self._chain  # type: ignore[attr-defined]

    def __call__(self, image: Image.Image) -> Tensor:
        return self.transform(convert_mode(image, self.mode))

    def open(self, path: str | os.PathLike[str]) -> Image.Image:
        """The picture in a file, upright and in the right mode. Raises DataError that names the file."""
        return open_image(path, self.mode, self.exif)

    def load(self, path: str | os.PathLike[str]) -> Tensor:
        """The tensor (C, H, W) for the picture in a file."""
        return self.transform(self.open(path))

    @property
    def output_size(self) -> tuple[int, int] | None:
        """(height, width) of the result where it is the same for every picture, else None."""
        size = self.crop if self.crop is not None else None if isinstance(self.resize, int) else self.resize
        return None if size is None else pair(size)

    def to_config(self) -> dict[str, Any]:
        """JSON-able description, from which `from_config` makes the same preprocessing."""
        config = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in config.items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Preprocessing":
        """Inverse of `to_config`. Raises ValueError for a key that is unknown or missing: nothing is guessed.

        Only keys that are younger than the format may be missing (_YOUNGER): folders written before have their default.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        unknown, missing = sorted(set(config) - names), sorted(names - set(config) - _YOUNGER)
        if unknown or missing:
            raise ValueError(f"preprocessing has unknown keys {unknown} and lacks the keys {missing}")
        return cls(**config)


_CHOICES = {"mode": MODES, "exif": EXIF_POLICIES, "scale": SCALES, "channel_order": CHANNEL_ORDERS}
_YOUNGER = {"channel_order"}


def _to_numbers(scale: str, channel_order: str, mean: Sequence[float], std: Sequence[float]) -> list[Transform]:
    """The last steps: from a picture to a normalised tensor."""
    turned = [ReverseChannels()] if channel_order == "BGR" else []
    return [ToTensor() if scale == "0..1" else PixelValues(), *turned, Normalize(mean, std)]


def preset_eval(
    resize: int | Sequence[int] | None = 256, crop: int | Sequence[int] | None = 224, interpolation: str = "bilinear",
    mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD, mode: str = "RGB",
    exif: str = "transpose",
) -> Preprocessing:  # fmt: skip
    """Resize, crop the middle, scale to 0..1, normalise: torchvision's evaluation preset, as a `Preprocessing`."""
    return Preprocessing(resize, crop, interpolation, tuple(mean), tuple(std), mode, exif)  # type: ignore[arg-type]


def preset_caffe(
    resize: int | tuple[int, int] | None = (224, 224), crop: int | tuple[int, int] | None = None,
    interpolation: str = "nearest", exif: str = "transpose",
) -> Preprocessing:  # fmt: skip
    """Blue, green and red from 0 to 255, minus CAFFE_MEAN: Keras's preprocessing for its ResNets, taken from Caffe.

    The sizes are those of `load_img(file, target_size=(224, 224))` in Keras: the nearest pixels, other proportions.
    """
    order = {"scale": "0..255", "channel_order": "BGR"}
    return Preprocessing(resize, crop, interpolation, CAFFE_MEAN, (1.0, 1.0, 1.0), exif=exif, **order)


def preset_train(
    size: int | Sequence[int] = 224, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD,
    interpolation: str = "bilinear", scale: Sequence[float] | None = (0.08, 1.0),
    ratio: Sequence[float] = (3.0 / 4.0, 4.0 / 3.0), padding: int = 0, hflip: float = 0.5, vflip: float = 0.0,
    rotate: float = 0.0, color_jitter: float | Sequence[float] = 0.0, erase: float = 0.0, values: str = "0..1",
    channel_order: str = "RGB", auto_augment: str = "none",
) -> Compose:  # fmt: skip
    """Random crop, flip, colour and erasing, then scale to 0..1 and normalise: torchvision's training preset.

    `scale`: areas for RandomResizedCrop; None resizes to `size` instead and, with `padding`, crops at random from the
    padded picture (the recipe for CIFAR). `hflip`, `vflip`, `erase`: probabilities; `rotate`: degrees to each side;
    `color_jitter`: one strength for brightness, contrast and saturation, or ColorJitter's arguments; `values`,
    `channel_order`: as `scale` and `channel_order` of Preprocessing; `auto_augment`: "ra" for RandAugment, "ta_wide"
    for TrivialAugmentWide, with torchvision's usual strengths. ValueError for another word there.
    """
    if auto_augment not in AUTO_AUGMENT:
        raise ValueError(f"auto_augment must be one of {', '.join(AUTO_AUGMENT)}, got {auto_augment!r}")
    steps: list[Transform] = []
    if scale is not None:
        steps.append(RandomResizedCrop(size, scale, ratio, interpolation))
    else:
        steps.append(Resize(pair(size), interpolation))
    if padding:
        steps.append(RandomCrop(size, padding=padding))
    if hflip:
        steps.append(RandomHorizontalFlip(hflip))
    if vflip:
        steps.append(RandomVerticalFlip(vflip))
    if rotate:
        steps.append(RandomRotation(rotate, "bilinear"))
    if color_jitter:
        strengths = (color_jitter,) * 3 if isinstance(color_jitter, int | float) else tuple(color_jitter)
        steps.append(ColorJitter(*strengths))
    if auto_augment != "none":
        steps.append(RandAugment() if auto_augment == "ra" else TrivialAugmentWide())
    steps += _to_numbers(values, channel_order, mean, std)
    if erase:
        steps.append(RandomErasing(erase))
    return Compose(steps)
