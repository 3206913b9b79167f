"""Textures: how much ink (0..1) there is at each place of a plane, a function of coordinates u and v.

u and v are float64 arrays of one shape; 1 is a period. The plane is turned and stretched by whoever makes u and v.
"""

from collections.abc import Callable

import numpy as np

Texture = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def _saw(x: np.ndarray) -> np.ndarray:
    """Distance to the nearest whole number, 0 to 0.5."""
    return np.abs(x - np.rint(x))


def _edge(distance: np.ndarray, softness: float = 0.06) -> np.ndarray:
    """1 where `distance` is negative, 0 where it is positive, with a soft edge."""
    return np.clip(0.5 - distance / (2 * softness), 0, 1)


def _stripes(u: np.ndarray, v: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return _edge(_saw(u) - random.uniform(0.15, 0.35))


def _checks(u: np.ndarray, v: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return np.abs(_edge(_saw(u) - 0.25) - _edge(_saw(v) - 0.25))


def _dots(u: np.ndarray, v: np.ndarray, random: np.random.Generator) -> np.ndarray:
    shift = 0.5 * random.integers(2) * np.mod(np.rint(v), 2)
    return _edge(np.hypot(_saw(u + shift), _saw(v)) - random.uniform(0.2, 0.36))


def _grid(u: np.ndarray, v: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return _edge(np.minimum(_saw(u), _saw(v)) - random.uniform(0.06, 0.14))


def _bricks(u: np.ndarray, v: np.ndarray, random: np.random.Generator) -> np.ndarray:
    row = np.floor(v)
    joint = np.minimum(_saw(v), 2 * _saw(u / 2 + 0.5 * np.mod(row, 2)))
    return 1 - _edge(joint - random.uniform(0.05, 0.12))


def _waves(u: np.ndarray, v: np.ndarray, random: np.random.Generator) -> np.ndarray:
    bend = random.uniform(0.25, 0.4) * np.sin(2 * np.pi * u * random.uniform(0.5, 0.8))
    return _edge(_saw(v + bend) - random.uniform(0.15, 0.33))


def _ripples(u: np.ndarray, v: np.ndarray, random: np.random.Generator) -> np.ndarray:
    x, y = random.uniform(-0.5, 0.5, 2)
    return _edge(_saw(np.hypot(u - x, v - y)) - random.uniform(0.15, 0.33))


def _blotches(u: np.ndarray, v: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A sum of plane waves in random directions, cut at its middle."""
    angles, phases = random.uniform(0, 2 * np.pi, 7), random.uniform(0, 2 * np.pi, 7)
    lengths = random.uniform(0.5, 1.1, 7)
    parts = [np.sin(2 * np.pi * k * (u * np.cos(a) + v * np.sin(a)) + p)
             for k, a, p in zip(lengths, angles, phases, strict=True)]  # fmt: skip
    return _edge(sum(parts) / 7, 0.08)


TEXTURES: dict[str, Texture] = {
    "stripes": _stripes, "checks": _checks, "dots": _dots, "grid": _grid, "bricks": _bricks, "waves": _waves,
    "ripples": _ripples, "blotches": _blotches,
}  # fmt: skip
