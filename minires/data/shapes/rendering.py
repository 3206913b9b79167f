"""From a class to a picture: ink on a mask, turned and placed, then colours, light, blur and noise."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from minires.data.shapes.figures import FIGURES, Figure
from minires.data.shapes.glyphs import STROKES, drawn_by_hand, printed
from minires.data.shapes.textures import TEXTURES

CLASSES: list[str] = [*STROKES, *FIGURES, *TEXTURES]

_FINER = 3  # masks are drawn this many times as large, then reduced: smooth edges
_GREY = (0.299, 0.587, 0.114)  # luminance of red, green and blue (ITU-R BT.601)


def render(name: str, random: np.random.Generator, side: int = 32) -> Image.Image:
    """An RGB picture of side x side of the class `name`, everything else drawn from `random`."""
    ink = _texture_ink(name, random, side) if name in TEXTURES else _placed_ink(name, random, side)
    ink = _soften(ink, random, side)
    pixels = _paint(np.asarray(ink, np.float64) / 255, random)
    pixels = light(pixels, random)
    pixels += random.uniform(0, 0.07) * random.standard_normal(pixels.shape)
    return Image.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8))


def _placed_ink(name: str, random: np.random.Generator, side: int) -> Image.Image:
    """The mask of a figure or glyph (mode "L", side x side), turned, stretched and moved."""
    large = side * _FINER
    if name in FIGURES:
        mask, turn = draw_figure(FIGURES[name](random), large), random.uniform(-180, 180)
    else:
        draw = printed if random.random() < 0.35 else drawn_by_hand
        mask, turn = draw(name, random, large), float(np.clip(9 * random.standard_normal(), -25, 25))
    mask = mask.transform(mask.size, Image.Transform.AFFINE, _placement(random, turn, large), Image.Resampling.BILINEAR)
    return mask.reduce(_FINER)


def draw_figure(figure: Figure, side: int) -> Image.Image:
    """A mask of side x side (mode "L", ink 255)."""
    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)
    for ink, points in figure:
        draw.polygon([(x * side / 100, y * side / 100) for x, y in points], fill=ink)
    return mask


def _placement(random: np.random.Generator, turn: float, side: int) -> tuple[float, ...]:
    """Pillow's six numbers, which lead from a place in the result back to the place it came from.

    The picture is made smaller by `scale`, narrower or wider by `aspect`, slanted, turned by `turn` degrees, and moved
    as far as its size leaves room.
    """
    scale, aspect, slant = random.uniform(0.45, 1.0), math.exp(random.uniform(-0.3, 0.2)), random.uniform(-0.25, 0.25)
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    forward = scale * np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, slant], [0, 1]]) @ np.diag([aspect, 1])
    back = np.linalg.inv(forward)
    centre = side / 2 + random.uniform(-0.45, 0.45, 2) * (1 - scale) * side
    offset = np.array([side / 2, side / 2]) - back @ centre
    return (back[0, 0], back[0, 1], offset[0], back[1, 0], back[1, 1], offset[1])


def _texture_ink(name: str, random: np.random.Generator, side: int) -> Image.Image:
    """The mask of a texture: three to six periods, turned and stretched, over the whole picture."""
    large = side * _FINER
    periods, angle = random.uniform(2.5, 6), random.uniform(0, 2 * math.pi)
    line = (np.arange(large) + 0.5) / large - 0.5
    x, y = line[None, :] * periods, line[:, None] * periods * random.uniform(0.75, 1.3)
    u = x * math.cos(angle) - y * math.sin(angle) + random.random()
    v = x * math.sin(angle) + y * math.cos(angle) + random.random()
    ink = TEXTURES[name](u, v, random)
    return Image.fromarray(np.rint(ink * 255).astype(np.uint8)).reduce(_FINER)


def _soften(ink: Image.Image, random: np.random.Generator, side: int) -> Image.Image:
    """Sharp, blurred, or as if scanned with few pixels and enlarged."""
    kind = random.random()
    if kind < 0.35:
        return ink.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 1.2)))
    if kind < 0.7:
        few = round(side * random.uniform(0.25, 0.6))
        return ink.resize((few, few), Image.Resampling.BOX).resize((side, side), Image.Resampling.BILINEAR)
    return ink


def _paint(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Colours 0..1 (H, W, 3): ink over paper, two colours (or greys) that differ in brightness by a quarter or more."""
    dark = random.uniform(0, 0.6)
    light = dark + random.uniform(0.25, 1) * (1 - dark)
    if light - dark < 0.25:
        light = dark + 0.25
    inked, paper = (dark, light) if random.random() < 0.5 else (light, dark)
    colour, ground = _colour(inked, random), _colour(paper, random)
    return ground + ink[:, :, None] * (colour - ground)


def _colour(brightness: float, random: np.random.Generator) -> np.ndarray:
    """A colour (3,) of about this brightness: grey in four of ten cases."""
    if random.random() < 0.4:
        return np.full(3, brightness)
    tint = random.uniform(-0.35, 0.35, 3)
    return np.clip(brightness + tint - tint @ np.array(_GREY), 0, 1)


def light(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Brightness that falls off along some direction, as under a lamp at the side."""
    height, width = pixels.shape[:2]
    angle, strength = random.uniform(0, 2 * math.pi), random.uniform(0, 0.45)
    x = (np.arange(width) + 0.5) / width - 0.5
    y = (np.arange(height) + 0.5) / height - 0.5
    slope = x[None, :] * math.cos(angle) + y[:, None] * math.sin(angle)
    return pixels * (1 + strength * slope)[:, :, None]
