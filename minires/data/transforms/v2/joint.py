"""One draw for everything that belongs together: how a transform finds images, masks and boxes and moves them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PIL import Image as Pillow

from minires.data.transforms import functional
from minires.data.transforms.v2.targets import BoundingBoxes, Image, Mask
from minires.tensor import Tensor

KINDS = (("boxes", BoundingBoxes), ("mask", Mask), ("image", (Image, Pillow.Image)), ("tensor", Tensor))


def kind_of(value: Any) -> str | None:
    """ "boxes", "mask", "image", "tensor" for a plain one, or None for what no transform touches."""
    return next((name for name, types in KINDS if isinstance(value, types)), None)


def leaves(value: Any) -> list[Any]:
    """What lists, tuples and dictionaries hold in the end, in order."""
    if isinstance(value, Mapping):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


def rebuilt(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same lists, tuples and dictionaries, with every leaf changed."""
    if isinstance(value, Mapping):
        return {key: rebuilt(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [rebuilt(item, change) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return change(value)


def images_among(found: Sequence[Any]) -> list[Any]:
    """The images: Pillow pictures and `Image`s, or where there are none, the first plain tensor alone."""
    marked = [leaf for leaf in found if kind_of(leaf) == "image"]
    return marked or [leaf for leaf in found if kind_of(leaf) == "tensor"][:1]


def size_of(value: Any) -> tuple[int, int]:
    """(height, width) of an image, a mask, or the canvas of boxes."""
    if isinstance(value, BoundingBoxes):
        return value.canvas_size
    _, height, width = functional.get_dimensions(value)
    return height, width


class Joint:
    """Called with an image and its targets, in any nesting: `transform(image, {"boxes": ..., "masks": ...})`.

    Images, masks and boxes are moved by one draw; anything else, labels say, comes back as it is. One argument gives
    one result, several give a tuple. Raises ValueError where image, mask and canvas differ in size, TypeError where
    there is nothing to transform.
    """

    interpolation: Any = "bilinear"
    fill: Any = 0

    def draw(self, height: int, width: int) -> Any:
        """What is drawn for pictures of this size; None: nothing happens."""
        raise NotImplementedError(f"{type(self).__name__} must say what it draws")

    def warp(self, img: Any, drawn: Any, interpolation: Any, fill: Any) -> Any:
        """An image or mask, moved."""
        raise NotImplementedError(f"{type(self).__name__} must say how it moves images")

    def boxes(self, boxes: BoundingBoxes, drawn: Any) -> BoundingBoxes:
        """Boxes, moved."""
        raise NotImplementedError(f"{type(self).__name__} must say how it moves boxes")

    def __call__(self, *inputs: Any) -> Any:
        found = leaves(inputs)
        images = {id(leaf) for leaf in images_among(found)}
        things = [leaf for leaf in found if id(leaf) in images or kind_of(leaf) in ("boxes", "mask")]
        if not things:
            raise TypeError(f"{type(self).__name__} needs a picture, an image tensor, a mask or boxes")
        sizes = {size_of(thing) for thing in things}
        if len(sizes) > 1:
            listed = ", ".join(f"{type(thing).__name__} {size_of(thing)}" for thing in things)
            raise ValueError(f"image, masks and boxes must be of one size (height, width), got {listed}")
        drawn = self.draw(*sizes.pop())

        def change(leaf: Any) -> Any:
            if drawn is None:
                return leaf
            if isinstance(leaf, BoundingBoxes):
                return self.boxes(leaf, drawn)
            if isinstance(leaf, Mask):
                return Mask(self.warp(leaf, drawn, "nearest-exact", self.fill_of(Mask)).array)
            if id(leaf) not in images:
                return leaf
            result = self.warp(leaf, drawn, self.interpolation, self.fill_of(Image))
            return Image(result.array) if isinstance(leaf, Image) else result

        result = rebuilt(inputs, change)
        return result[0] if len(inputs) == 1 else result

    def fill_of(self, kind: type) -> Any:
        """What comes in from outside: `fill` for images and 0 for masks, or what {Image: ..., Mask: ...} says."""
        if isinstance(self.fill, Mapping):
            return self.fill.get(kind, 0)
        return 0 if kind is Mask else self.fill


class ImagesOnly:
    """A transform of one image that leaves masks and boxes alone: colours, blur, types. `transform`: what it does."""

    def __init__(self, transform: Callable[[Any], Any]) -> None:
        self.transform = transform

    def __call__(self, *inputs: Any) -> Any:
        found = images_among(leaves(inputs))
        if len(found) > 1:
            raise ValueError(f"{self!r} takes one image at a time, got {len(found)}")
        chosen = {id(leaf) for leaf in found}

        def change(leaf: Any) -> Any:
            if id(leaf) not in chosen:
                return leaf
            result = self.transform(leaf)
            return Image(result.array) if isinstance(leaf, Image) and isinstance(result, Tensor) else result

        result = rebuilt(inputs, change)
        return result[0] if len(inputs) == 1 else result

    def __repr__(self) -> str:
        return repr(self.transform)
