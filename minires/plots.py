"""Line charts without a plotting library: a chart is a few lines, areas and words, written as SVG or drawn as PNG.

    chart = draw([Panel("loss", "epoch", [Series("train", epochs, losses)])])
    chart.svg()     text of an SVG file        chart.png()     bytes of a PNG file

The same figures give the same bytes. A value that is None, NaN or infinite is a gap in its line. Nothing here knows
about models; files are written by whoever asks for the chart.
"""

import io
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito 2008: for every eye
INK, GRID, FONT = "#333333", "#dddddd", 13
LEFT, RIGHT, BOTTOM = 58, 16, 46  # room around the axes, for the numbers beside them

Point = tuple[float, float]


@dataclass
class Series:
    """One line: name, places x, values y, and perhaps a band around it: (low, high) at each x, say of several runs."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    band: Sequence[tuple[float | None, float | None]] = ()

    @property
    def is_visible(self) -> bool:
        """Whether any of its values is finite."""
        return bool(_finite(self.y))


@dataclass
class Panel:
    """One pair of axes. `percent`: 0.5 is written as 50 %."""

    title: str
    x_label: str
    series: Sequence[Series]
    percent: bool = False


@dataclass
class Line:
    """A line through points in pixels."""

    points: list[Point]
    colour: str
    width: float = 1.0


@dataclass
class Area:
    """A polygon, filled so that what lies under it shows through."""

    points: list[Point]
    colour: str


@dataclass
class Words:
    """Text whose start, middle or end (anchor) is at x, on the base line y."""

    x: float
    y: float
    text: str
    anchor: str = "start"
    size: int = FONT


@dataclass
class Chart:
    """Marks in the order in which they are painted, on a white page of width x height pixels."""

    width: int
    height: int
    marks: list[Line | Area | Words] = field(default_factory=list)

    def svg(self) -> str:
        """The chart as the text of an SVG 1.1 file."""
        size = f'width="{self.width}" height="{self.height}" viewBox="0 0 {self.width} {self.height}"'
        lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
                 '<rect width="100%" height="100%" fill="#ffffff"/>']  # fmt: skip
        return "\n".join([*lines, *map(_svg_mark, self.marks), "</svg>"]) + "\n"

    def png(self) -> bytes:
        """The chart as the bytes of a PNG file, drawn at twice the size and with smooth edges."""
        from PIL import Image, ImageDraw

        fine, scale = 4, 2
        image = Image.new("RGB", (self.width * fine, self.height * fine), "#ffffff")
        draw = ImageDraw.Draw(image, "RGBA")
        for mark in self.marks:
            _draw_mark(draw, mark, fine)
        stream = io.BytesIO()
        image.reduce(fine // scale).save(stream, "PNG")
        return stream.getvalue()


def draw(panels: Sequence[Panel], width: int = 460, height: int = 360) -> Chart:
    """The panels side by side, each width x height pixels. ValueError if a panel has no finite value to show."""
    chart = Chart(width * len(panels), height)
    for place, panel in enumerate(panels):
        _draw_panel(chart, panel, place * width, width, height)
    return chart


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """About so many round numbers (1, 2 or 5 times a power of ten apart) from `low` to `high`."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _draw_panel(chart: Chart, panel: Panel, offset: int, width: int, height: int) -> None:
    """Title, legend, axes; then bands, and the lines over them."""
    xs = _finite(value for series in panel.series for value in series.x)
    ys = _finite(value for series in panel.series for value in (*series.y, *itertools.chain(*series.band)))
    if not xs or not ys:
        raise ValueError(f"the chart {panel.title!r} has no finite value to show")
    left, right, bottom = offset + LEFT, offset + width - RIGHT, height - BOTTOM
    chart.marks.append(Words(left, 24, panel.title, size=FONT + 2))
    top = _draw_legend(chart, panel.series, left, right) + 16
    x_axis, y_axis = _Axis(xs, left, right, 0.0), _Axis(ys, bottom, top, 0.04)
    _draw_axes(chart, panel, x_axis, y_axis)
    for series, colour in zip(panel.series, itertools.cycle(COLOURS)):
        if outline := _outline(series):
            chart.marks.append(Area([(x_axis(x), y_axis(y)) for x, y in outline], colour))
    for series, colour in zip(panel.series, itertools.cycle(COLOURS)):
        for piece in _unbroken(series):
            points = [(x_axis(x), y_axis(y)) for x, y in piece]
            if len(points) == 1:  # a single value is a short dash
                points = [(points[0][0] - 3, points[0][1]), (points[0][0] + 3, points[0][1])]
            chart.marks.append(Line(points, colour, 2))


def _draw_axes(chart: Chart, panel: Panel, x_axis: "_Axis", y_axis: "_Axis") -> None:
    left, right, bottom, top = x_axis.start, x_axis.end, y_axis.start, y_axis.end
    for value in ticks(x_axis.low, x_axis.high):
        if value == round(value):  # there is no half epoch
            chart.marks.append(Line([(x_axis(value), bottom), (x_axis(value), bottom + 4)], INK))
            chart.marks.append(Words(x_axis(value), bottom + 18, f"{value:g}", "middle"))
    for value in ticks(y_axis.low, y_axis.high):
        text = f"{100 * value:g} %" if panel.percent else f"{value:g}"
        chart.marks.append(Line([(left, y_axis(value)), (right, y_axis(value))], GRID))
        chart.marks.append(Words(left - 6, y_axis(value) + 4, text, "end"))
    chart.marks.append(Line([(left, top), (left, bottom), (right, bottom)], INK))
    chart.marks.append(Words((left + right) / 2, bottom + 38, panel.x_label, "middle"))


def _draw_legend(chart: Chart, series: Sequence[Series], left: float, right: float) -> float:
    """A dash and a name for each series, in as many rows as they need; returns where the last row ends."""
    x, y = left, 46.0
    for one, colour in zip(series, itertools.cycle(COLOURS)):
        width = 26 + 0.6 * FONT * len(one.name) + 14
        if x > left and x + width > right:
            x, y = left, y + 18
        chart.marks.append(Line([(x, y - 4), (x + 20, y - 4)], colour, 3))
        chart.marks.append(Words(x + 26, y, one.name))
        x += width
    return y


class _Axis:
    """From values to pixels; `margin`: room beyond the outermost values, as a part of their range."""

    def __init__(self, values: Sequence[float], start: float, end: float, margin: float) -> None:
        low, high = min(values), max(values)
        room = margin * (high - low) if high > low else max(abs(high), 1.0) / 2
        self.low, self.high, self.start, self.end = low - room, high + room, start, end

    def __call__(self, value: float) -> float:
        return self.start + (self.end - self.start) * (value - self.low) / (self.high - self.low)


def _finite(values: Any) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def _outline(series: Series) -> list[Point]:
    """Around the band: along its upper edge and back along the lower; [] if it is known at less than two places."""
    if not series.band:
        return []
    known = [(x, *edges) for x, edges in zip(series.x, series.band, strict=True) if len(_finite(edges)) == 2]
    upper, lower = [(x, high) for x, _, high in known], [(x, low) for x, low, _ in reversed(known)]
    return [*upper, *lower] if len(known) > 1 else []  # type: ignore[list-item]  # None is not finite


def _unbroken(series: Series) -> list[list[Point]]:
    """The pieces of a line between its gaps."""
    pieces: list[list[Point]] = [[]]
    for x, y in zip(series.x, series.y, strict=True):
        if y is not None and math.isfinite(y):
            pieces[-1].append((x, y))
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]


def _svg_mark(mark: Line | Area | Words) -> str:
    match mark:
        case Line(points, colour, width):
            return f'<polyline points="{_pairs(points)}" fill="none" stroke="{colour}" stroke-width="{width:g}"/>'
        case Area(points, colour):
            return f'<polygon points="{_pairs(points)}" fill="{colour}" fill-opacity="0.18"/>'
        case Words(x, y, text, anchor, size):
            style = f'font-family="sans-serif" font-size="{size}" fill="{INK}" text-anchor="{anchor}"'
            return f'<text x="{x:.2f}" y="{y:.2f}" {style}>{escape(_printable(text))}</text>'


def _printable(text: str) -> str:
    """Text without the control characters and lone surrogates that XML does not allow."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def _pairs(points: Sequence[Point]) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in points)


def _draw_mark(draw: Any, mark: Line | Area | Words, scale: int) -> None:
    from PIL import ImageFont

    match mark:
        case Line(points, colour, width):
            draw.line([(x * scale, y * scale) for x, y in points], colour, round(width * scale), joint="curve")
        case Area(points, colour):
            draw.polygon([(x * scale, y * scale) for x, y in points], colour + "2e")
        case Words(x, y, text, anchor, size):
            place = {"start": "ls", "middle": "ms", "end": "rs"}[anchor]
            font = ImageFont.load_default(size * scale)
            draw.text((x * scale, y * scale), _printable(text), INK, font, place)
