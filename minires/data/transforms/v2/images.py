"""What changes the image alone, under torchvision.transforms.v2's names: colours, blur, types. Masks and boxes stay.

Each class takes the arguments of the one of its name in `minires.data.transforms`.
"""

import functools
from typing import Any

from minires.data.transforms import colour, functional, tensors, tones
from minires.data.transforms.v2.joint import ImagesOnly
from minires.tensor import Tensor


def of_images(kind: type) -> type[ImagesOnly]:
    """The class of transforms that do what `kind` does to the image, and nothing to masks and boxes."""

    @functools.wraps(kind.__init__)  # type: ignore[misc]
    def start(self: ImagesOnly, *arguments: Any, **settings: Any) -> None:
        ImagesOnly.__init__(self, kind(*arguments, **settings))

    names = {"__init__": start, "__doc__": kind.__doc__, "__module__": __name__}
    return type(kind.__name__, (ImagesOnly,), names)


ColorJitter, Grayscale = of_images(colour.ColorJitter), of_images(colour.Grayscale)
GaussianBlur, RandomGrayscale = of_images(tones.GaussianBlur), of_images(tones.RandomGrayscale)
RandomInvert, RandomPosterize = of_images(tones.RandomInvert), of_images(tones.RandomPosterize)
RandomSolarize, RandomEqualize = of_images(tones.RandomSolarize), of_images(tones.RandomEqualize)
RandomAdjustSharpness = of_images(tones.RandomAdjustSharpness)
RandomAutocontrast = of_images(tones.RandomAutocontrast)
Normalize, RandomErasing = of_images(tensors.Normalize), of_images(tensors.RandomErasing)
LinearTransformation = of_images(tensors.LinearTransformation)
ToTensor, PILToTensor = of_images(tensors.ToTensor), of_images(tensors.PILToTensor)
ToPILImage, ConvertImageDtype = of_images(tensors.ToPILImage), of_images(tensors.ConvertImageDtype)


class ToDtype(ImagesOnly):
    """The image tensor in another type; `scale`: its values brought from the old type's range to the new one's."""

    def __init__(self, dtype: Any, scale: bool = False) -> None:
        self.dtype, self.scale = dtype, scale
        super().__init__(self._convert)

    def _convert(self, image: Tensor) -> Tensor:
        return functional.convert_image_dtype(image, self.dtype) if self.scale else image.to(self.dtype)

    def __repr__(self) -> str:
        return f"ToDtype(scale={self.scale})"


class Identity(ImagesOnly):
    """Everything as it is."""

    def __init__(self) -> None:
        super().__init__(lambda image: image)

    def __call__(self, *inputs: Any) -> Any:
        return inputs[0] if len(inputs) == 1 else inputs

    def __repr__(self) -> str:
        return "Identity()"
