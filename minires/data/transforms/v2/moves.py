"""Flips, crops, sizes and warps of image, masks and boxes together: the arguments are those of the transforms alone."""

from collections.abc import Sequence
from typing import Any

from minires.data.transforms import compose, functional, geometry, warps
from minires.data.transforms.pictures import _size_by_shorter_side, borders
from minires.data.transforms.v2 import boxes as moved
from minires.data.transforms.v2.joint import Joint
from minires.data.transforms.v2.targets import BoundingBoxes
from minires.random import generator


class RandomHorizontalFlip(Joint, geometry.RandomHorizontalFlip):
    """Left and right exchanged, with the probability `p`."""

    def draw(self, height: int, width: int) -> Any:
        return True if generator().random() < self.p else None

    def warp(self, img: Any, drawn: Any, interpolation: Any, fill: Any) -> Any:
        return functional.hflip(img)

    def boxes(self, boxes: BoundingBoxes, drawn: Any) -> BoundingBoxes:
        return moved.hflip(boxes)


class RandomVerticalFlip(Joint, geometry.RandomVerticalFlip):
    """Top and bottom exchanged, with the probability `p`."""

    def draw(self, height: int, width: int) -> Any:
        return True if generator().random() < self.p else None

    def warp(self, img: Any, drawn: Any, interpolation: Any, fill: Any) -> Any:
        return functional.vflip(img)

    def boxes(self, boxes: BoundingBoxes, drawn: Any) -> BoundingBoxes:
        return moved.vflip(boxes)


class Resize(Joint, geometry.Resize):
    """The size (height, width), or the shorter side. See `transforms.Resize`."""

    def draw(self, height: int, width: int) -> Any:
        if not isinstance(self.size, int) and len(self.size) == 2:
            return tuple(self.size)
        shorter = self.size if isinstance(self.size, int) else self.size[0]
        columns, rows = _size_by_shorter_side((width, height), shorter, self.max_size)
        return rows, columns

    def warp(self, img: Any, drawn: Any, interpolation: Any, fill: Any) -> Any:
        return functional.resize(img, drawn, interpolation, antialias=self.antialias)

    def boxes(self, boxes: BoundingBoxes, drawn: Any) -> BoundingBoxes:
        return moved.resize(boxes, *drawn)


class Pad(Joint, geometry.Pad):
    """A border around everything. See `transforms.Pad`."""

    def draw(self, height: int, width: int) -> Any:
        return borders(self.padding)

    def warp(self, img: Any, drawn: Any, interpolation: Any, fill: Any) -> Any:
        return functional.pad(img, drawn, fill, self.padding_mode)

    def boxes(self, boxes: BoundingBoxes, drawn: Any) -> BoundingBoxes:
        return moved.pad(boxes, *drawn)


class CenterCrop(Joint, geometry.CenterCrop):
    """The middle part. See `transforms.CenterCrop`."""

    def draw(self, height: int, width: int) -> Any:
        """The border that is needed first, and top, left, height, width of the part."""
        rows, columns = self.size
        taller, wider = max(rows - height, 0), max(columns - width, 0)
        border = (wider // 2, taller // 2, (wider + 1) // 2, (taller + 1) // 2)
        return border, (round((height + taller - rows) / 2.0), round((width + wider - columns) / 2.0), rows, columns)

    def warp(self, img: Any, drawn: Any, interpolation: Any, fill: Any) -> Any:
        border, part = drawn
        return functional.crop(functional.pad(img, border, fill) if any(border) else img, *part)

    def boxes(self, boxes: BoundingBoxes, drawn: Any) -> BoundingBoxes:
        border, part = drawn
        return moved.crop(moved.pad(boxes, *border), *part)


class RandomCrop(Joint, geometry.RandomCrop):
    """A part from a random place. See `transforms.RandomCrop`."""

    def draw(self, height: int, width: int) -> Any:
        """The border that is needed first, and top, left, height, width of the part."""
        rows, columns = self.size
        left, top, right, bottom = borders(self.padding) if self.padding is not None else (0, 0, 0, 0)
        if self.pad_if_needed:
            wider = max(columns - (width + left + right), 0)
            taller = max(rows - (height + top + bottom), 0)
            left, top, right, bottom = left + wider, top + taller, right + wider, bottom + taller
        place = self.place((height + top + bottom, width + left + right), self.size)
        return (left, top, right, bottom), place

    def warp(self, img: Any, drawn: Any, interpolation: Any, fill: Any) -> Any:
        border, part = drawn
        return functional.crop(functional.pad(img, border, fill, self.padding_mode) if any(border) else img, *part)

    def boxes(self, boxes: BoundingBoxes, drawn: Any) -> BoundingBoxes:
        border, part = drawn
        return moved.crop(moved.pad(boxes, *border), *part)


class RandomResizedCrop(Joint, geometry.RandomResizedCrop):
    """A part of random area and proportions, resized. See `transforms.RandomResizedCrop`."""

    def draw(self, height: int, width: int) -> Any:
        return self.place((height, width), self.scale, self.ratio)

    def warp(self, img: Any, drawn: Any, interpolation: Any, fill: Any) -> Any:
        return functional.resized_crop(img, *drawn, self.size, interpolation, self.antialias)

    def boxes(self, boxes: BoundingBoxes, drawn: Any) -> BoundingBoxes:
        return moved.resize(moved.crop(boxes, *drawn), *self.size)


class RandomRotation(Joint, geometry.RandomRotation):
    """Turned by a random angle. See `transforms.RandomRotation`. ValueError for `expand` and `center` together."""

    def draw(self, height: int, width: int) -> Any:
        if self.expand and self.center is not None:
            raise ValueError("expand turns about the middle: leave center out")
        return self.get_params(self.degrees)

    def warp(self, img: Any, drawn: Any, interpolation: Any, fill: Any) -> Any:
        return functional.rotate(img, drawn, interpolation, self.expand, self.center, fill)

    def boxes(self, boxes: BoundingBoxes, drawn: Any) -> BoundingBoxes:
        return moved.rotate(boxes, drawn, self.expand, self.center)


class RandomAffine(Joint, warps.RandomAffine):
    """Turned, moved, scaled and sheared by random amounts. See `transforms.RandomAffine`."""

    def draw(self, height: int, width: int) -> Any:
        return self.get_params(self.degrees, self.translate, self.scale, self.shear, (width, height))

    def warp(self, img: Any, drawn: Any, interpolation: Any, fill: Any) -> Any:
        angle, move, scale, shear = drawn
        return functional.affine(img, angle, move, scale, shear, interpolation, fill, self.center)

    def boxes(self, boxes: BoundingBoxes, drawn: Any) -> BoundingBoxes:
        angle, move, scale, shear = drawn
        return moved.affine(boxes, angle, move, scale, shear, self.center)


class RandomPerspective(Joint, warps.RandomPerspective):
    """Seen at a slant, with the probability `p`. See `transforms.RandomPerspective`."""

    def draw(self, height: int, width: int) -> Any:
        if generator().random() >= self.p:
            return None
        return self.get_params(width, height, self.distortion_scale)

    def warp(self, img: Any, drawn: Any, interpolation: Any, fill: Any) -> Any:
        start, end = drawn
        return functional.perspective(img, start, end, interpolation, fill)

    def boxes(self, boxes: BoundingBoxes, drawn: Any) -> BoundingBoxes:
        start, end = drawn
        return moved.perspective(boxes, start, end)


class ElasticTransform(Joint, warps.ElasticTransform):
    """Bent as if seen through water. See `transforms.ElasticTransform`."""

    def draw(self, height: int, width: int) -> Any:
        return self.get_params(self.alpha, self.sigma, (height, width))

    def warp(self, img: Any, drawn: Any, interpolation: Any, fill: Any) -> Any:
        return functional.elastic_transform(img, drawn, interpolation, fill)

    def boxes(self, boxes: BoundingBoxes, drawn: Any) -> BoundingBoxes:
        return moved.elastic(boxes, drawn.array)


class Compose:
    """One transform after the other, each with all of the inputs."""

    def __init__(self, transforms: Sequence[Any]) -> None:
        self.transforms = transforms

    def __call__(self, *inputs: Any) -> Any:
        for transform in self.transforms:
            result = transform(*inputs)
            inputs = result if len(inputs) > 1 else (result,)
        return inputs if len(inputs) > 1 else inputs[0]

    def __repr__(self) -> str:
        return compose._lines(self, self.transforms)
