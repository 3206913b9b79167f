"""Transforms made of other transforms."""

from collections.abc import Callable, Sequence
from typing import Any

from minires.random import generator

Transform = Callable[[Any], Any]


def check_probability(p: float) -> float:
    """`p`, if it is a probability; else ValueError."""
    if not 0 <= p <= 1:
        raise ValueError(f"p must lie between 0 and 1, got {p}")
    return p


def _lines(owner: object, items: Sequence[object]) -> str:
    """torchvision's text: one item a line, indented by four spaces."""
    return "\n".join([f"{type(owner).__name__}(", *(f"    {item}" for item in items), ")"])


class Compose:
    """One transform after the other."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = transforms

    def __call__(self, img: Any) -> Any:
        for transform in self.transforms:
            img = transform(img)
        return img

    def __repr__(self) -> str:
        return _lines(self, self.transforms)


class Lambda:
    """A function of yours as a transform."""

    def __init__(self, lambd: Transform) -> None:
        if not callable(lambd):
            raise TypeError(f"argument lambd should be callable, got {type(lambd).__name__}")
        self.lambd = lambd

    def __call__(self, img: Any) -> Any:
        return self.lambd(img)

    def __repr__(self) -> str:
        return "Lambda()"


class RandomApply:
    """All of `transforms` with the probability `p`, else none of them."""

    def __init__(self, transforms: Sequence[Transform], p: float = 0.5) -> None:
        self.transforms = transforms
        self.p = check_probability(p)

    def __call__(self, img: Any) -> Any:
        if generator().random() >= self.p:
            return img
        for transform in self.transforms:
            img = transform(img)
        return img

    def __repr__(self) -> str:
        return _lines(self, [f"p={self.p}", *self.transforms])


class RandomChoice:
    """One of `transforms`, drawn with the probabilities `p` (default: all alike)."""

    def __init__(self, transforms: Sequence[Transform], p: Sequence[float] | None = None) -> None:
        if not transforms:
            raise ValueError("transforms must not be empty")
        if p is not None and (len(p) != len(transforms) or min(p) < 0 or not 0 < sum(p) < float("inf")):
            raise ValueError(f"p needs a probability for each of {len(transforms)} transforms, got {p!r}")
        self.transforms, self.p = transforms, p

    def __call__(self, img: Any) -> Any:
        shares = None if self.p is None else [share / sum(self.p) for share in self.p]
        return self.transforms[int(generator().choice(len(self.transforms), p=shares))](img)

    def __repr__(self) -> str:
        return f"{_lines(self, self.transforms)}(p={self.p})"


class RandomOrder:
    """All of `transforms`, in a random order."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = transforms

    def __call__(self, img: Any) -> Any:
        for place in generator().permutation(len(self.transforms)):
            img = self.transforms[place](img)
        return img

    def __repr__(self) -> str:
        return _lines(self, self.transforms)
