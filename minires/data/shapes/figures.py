"""Plain figures as polygons in a box of 100 x 100: what is filled, and what is then cut out of it.

A figure is a list of (ink, points): ink 255 fills the polygon, 0 cuts it out again. y grows downwards.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

Points = list[tuple[float, float]]
Figure = list[tuple[int, Points]]

CENTRE = 50.0


def arc(radius: float, start: float = 0.0, end: float = 360.0, x: float = CENTRE, y: float = CENTRE) -> Points:
    """Points on a circle around (x, y), from one angle in degrees to another."""
    steps = max(8, round(abs(end - start) / 7.5))
    angles = [math.radians(start + (end - start) * step / steps) for step in range(steps + 1)]
    return [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]


def corners(radii: Sequence[float], count: int, first: float = -90.0) -> Points:
    """`count` points around the centre at equal angles, whose distances from it repeat `radii`."""
    angles = [math.radians(first + 360 * place / count) for place in range(count)]
    lengths = [radii[place % len(radii)] for place in range(count)]
    return [(CENTRE + r * math.cos(a), CENTRE + r * math.sin(a)) for r, a in zip(lengths, angles, strict=True)]


def shrunk(points: Points, factor: float) -> Points:
    """The polygon made smaller around the mean of its points."""
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return [(x + (px - x) * factor, y + (py - y) * factor) for px, py in points]


def _filled_or_outlined(points: Points, random: np.random.Generator) -> Figure:
    """The polygon as a whole, or only its border."""
    if random.random() < 0.6:
        return [(255, points)]
    return [(255, points), (0, shrunk(points, random.uniform(0.5, 0.75)))]


def _disc(random: np.random.Generator) -> Figure:
    return [(255, arc(45))]


def _ring(random: np.random.Generator) -> Figure:
    return [(255, arc(46)), (0, arc(random.uniform(22, 36)))]


def _triangle(random: np.random.Generator) -> Figure:
    return _filled_or_outlined([(50, random.uniform(4, 16)), (95, 90), (5, 90)], random)


def _square(random: np.random.Generator) -> Figure:
    return _filled_or_outlined(corners([52], 4, 45), random)


def _star(random: np.random.Generator) -> Figure:
    return _filled_or_outlined(corners([50, random.uniform(17, 25)], 10), random)


def _cross(random: np.random.Generator) -> Figure:
    half, end = random.uniform(8, 17), 46.0
    near, far = CENTRE - half, CENTRE + half
    low, high = CENTRE - end, CENTRE + end
    upright = [(near, low), (far, low), (far, high), (near, high)]
    return [(255, upright), (255, [(y, x) for x, y in upright])]


def _arrow(random: np.random.Generator) -> Figure:
    half, neck = random.uniform(5, 10), random.uniform(40, 60)
    head = [(50.0, 3.0), (86, neck), (14, neck)]
    return [(255, head), (255, [(50 - half, neck - 2), (50 + half, neck - 2), (50 + half, 97), (50 - half, 97)])]


def _heart(random: np.random.Generator) -> Figure:
    lobes = arc(24, 150, 360, 27, 32) + arc(24, 180, 390, 73, 32)
    return _filled_or_outlined([*lobes, (50, 95)], random)


def _crescent(random: np.random.Generator) -> Figure:
    return [(255, arc(46)), (0, arc(random.uniform(34, 42), x=CENTRE + random.uniform(18, 26)))]


def _half_disc(random: np.random.Generator) -> Figure:
    return _filled_or_outlined(arc(48, 0, 180, y=27), random)


FIGURES: dict[str, Callable[[np.random.Generator], Figure]] = {
    "disc": _disc, "ring": _ring, "triangle": _triangle, "square": _square, "star": _star, "cross": _cross,
    "arrow": _arrow, "heart": _heart, "crescent": _crescent, "half_disc": _half_disc,
}  # fmt: skip
