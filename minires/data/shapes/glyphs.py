"""Letters and digits: strokes as a hand would draw them, and the letters of Pillow's built-in font.

A glyph is written as "x,y x,y ..." in a box of 100 x 100, y downwards; ";" begins another stroke, and a stroke that
begins with "~" is a curve through its points. One glyph has several forms, as people write a 1 or a 4 in several ways.
"""

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Points = list[tuple[float, float]]

STROKES: dict[str, tuple[str, ...]] = {
    "0": ("~ 50,5 22,20 15,50 22,80 50,95 78,80 85,50 78,20 50,5", "~ 58,4 30,16 22,52 34,90 56,94 74,70 76,30 50,6"),
    "1": ("50,4 50,96", "26,30 54,4 54,96", "30,26 52,5 52,95 ; 28,95 76,95", "60,4 42,96"),
    "2": ("~ 20,28 36,7 64,8 77,28 64,54 40,76 20,93 ; 20,93 83,93",
          "~ 22,22 46,5 72,18 68,46 38,80 20,90 30,78 52,88 84,90"),
    "3": ("~ 20,15 50,5 76,22 64,42 42,48 ; ~ 42,48 70,54 80,74 55,95 18,86",
          "20,7 78,7 44,42 ; ~ 44,42 74,52 78,78 50,95 18,86", "~ 24,8 60,6 72,24 46,46 74,62 72,88 44,96 20,88"),
    "4": ("64,96 64,5 14,66 88,66", "28,5 20,52 82,52 ; 70,8 66,96", "~ 44,4 30,30 20,58 ; 20,58 84,58 ; 62,34 58,96"),
    "5": ("78,7 30,7 25,45 ; ~ 25,45 55,38 80,58 72,86 45,95 17,85",
          "~ 34,8 30,40 60,42 78,66 60,92 22,92 ; 34,8 80,6"),
    "6": ("~ 70,5 40,28 20,64 32,90 60,94 78,74 66,55 40,56 23,72", "~ 46,4 28,36 22,72 42,95 68,84 66,62 44,58 26,74"),
    "7": ("18,8 80,8 42,96", "18,12 82,8 44,96 ; 34,52 74,50", "~ 20,16 50,10 80,8 ; ~ 80,8 56,44 46,96"),
    "8": ("~ 74,22 50,5 27,22 40,42 62,56 78,76 50,95 22,76 38,56 60,42 74,22",
          "~ 50,5 32,12 32,36 50,46 68,36 68,12 50,5 ; ~ 50,46 26,58 26,86 50,95 74,86 74,58 50,46"),
    "9": ("~ 76,28 56,6 28,16 24,42 48,54 70,40 76,28 ; ~ 76,28 74,60 60,96",
          "~ 72,22 48,6 28,26 40,48 66,42 74,20 ; 74,20 72,96", "~ 74,20 46,8 30,32 52,48 74,24 76,60 60,92 26,90"),
    "A": ("12,95 50,5 88,95 ; 28,62 72,62",),
    "E": ("78,7 24,7 24,93 80,93 ; 24,50 68,50", "~ 76,14 40,8 30,30 54,46 26,66 40,92 80,86"),
    "F": ("80,7 26,7 26,95 ; 26,50 68,50",),
    "G": ("~ 80,20 54,5 22,24 15,54 28,86 58,95 82,78 ; 82,78 82,56 56,56",),
    "H": ("20,5 20,95 ; 80,5 80,95 ; 20,50 80,50",),
    "K": ("24,5 24,95 ; 80,6 26,56 ; 42,44 82,95",),
    "M": ("12,95 18,5 50,66 82,5 88,95",),
    "R": ("24,95 24,6 ; ~ 24,6 64,8 74,28 60,48 24,50 ; 48,50 80,95",),
    "T": ("12,8 88,8 ; 50,8 50,95",),
    "W": ("8,6 28,94 50,36 72,94 92,6", "~ 10,10 16,74 36,90 50,50 ; ~ 50,50 62,90 84,74 90,8"),
    "X": ("16,6 84,94 ; 84,6 16,94",),
    "Y": ("14,6 50,50 ; 86,6 50,50 50,95", "14,6 50,52 ; 88,6 34,96"),
}  # fmt: skip


def parse(form: str) -> list[tuple[bool, Points]]:
    """The strokes of one form: (whether it is a curve, its points)."""
    strokes = []
    for stroke in form.split(";"):
        words = stroke.split()
        curved = words[0] == "~"
        pairs = [word.split(",") for word in words[curved:]]
        strokes.append((curved, [(float(x), float(y)) for x, y in pairs]))
    return strokes


def curve(points: Points, steps: int = 6) -> Points:
    """A smooth line through all points: the Catmull-Rom spline (Catmull and Rom 1974), with its ends doubled.

    Between p1 and p2, with their neighbours p0 and p3 and t from 0 to 1:
    ((2 p1) + (p2 - p0) t + (2 p0 - 5 p1 + 4 p2 - p3) t^2 + (3 p1 - p0 - 3 p2 + p3) t^3) / 2.
    """
    ends = np.array([points[0], *points, points[-1]])
    p0, p1, p2, p3 = (ends[place : len(ends) - 3 + place, None] for place in range(4))
    t = (np.arange(steps) / steps)[:, None]
    line = (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3) / 2
    return [(float(x), float(y)) for x, y in [*line.reshape(-1, 2), points[-1]]]


def drawn_by_hand(name: str, random: np.random.Generator, side: int) -> Image.Image:
    """A mask of side x side (mode "L", ink 255): one form of the glyph, its points shaken, with some width of pen."""
    forms = STROKES[name]
    form = parse(forms[random.integers(len(forms))])
    pen, shake, unit = random.uniform(6, 21) * side / 100, random.uniform(0.5, 4.5), side / 100
    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)
    for curved, points in form:
        moved = np.clip(np.array(points) + shake * random.standard_normal((len(points), 2)), 4, 96)
        line = [(x * unit, y * unit) for x, y in (curve(moved.tolist()) if curved else moved.tolist())]
        draw.line(line, fill=255, width=round(pen), joint="curve")
        for x, y in (line[0], line[-1]):  # round ends
            draw.ellipse((x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2), fill=255)
    return mask


@cache
def _font(height: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(height)  # type: ignore[return-value]  # with a size it is a scalable font


def printed(name: str, random: np.random.Generator, side: int) -> Image.Image:
    """A mask of side x side (mode "L", ink 255): the glyph of Pillow's font, drawn thinner or bolder."""
    mask = Image.new("L", (side, side))
    bold = int(random.integers(0, 1 + side // 24))
    height = side - 2 * bold
    ImageDraw.Draw(mask).text((side / 2, side / 2), name, fill=255, font=_font(height), anchor="mm", stroke_width=bold)
    return mask
