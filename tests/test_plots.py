"""Charts: what stands in the file, gaps, ticks, names that XML must not see, and equal bytes for equal figures."""

import io
import math
import xml.etree.ElementTree as ElementTree

import pytest
from PIL import Image

from minires.plots import COLOURS, Line, Panel, Series, Words, draw, ticks

SVG = "{http://www.w3.org/2000/svg}"
NAN = float("nan")


def chart(y=(0.1, 0.5, 0.9), name="train", band=(), **more):
    return draw([Panel("accuracy", "epoch", [Series(name, range(1, len(y) + 1), y, band)], **more)])


def lines(drawing, colour=COLOURS[0]):
    """The lines of one series, without the dash in the legend."""
    return [mark.points for mark in drawing.marks if isinstance(mark, Line) and mark.colour == colour][1:]


def words(drawing):
    return [mark.text for mark in drawing.marks if isinstance(mark, Words)]


def test_the_svg_is_xml_with_a_line_a_legend_and_numbers():
    root = ElementTree.fromstring(chart(percent=True).svg())
    assert root.tag == SVG + "svg" and root.get("viewBox") == "0 0 460 360"
    texts = [element.text for element in root.iter(SVG + "text")]
    assert {"accuracy", "epoch", "train", "1", "2", "3", "20 %", "80 %"} <= set(texts)
    assert len(root.findall(f"{SVG}polyline[@stroke='{COLOURS[0]}']")) == 2
    assert not root.findall(SVG + "polygon")


def test_values_stand_at_their_places():
    (points,) = lines(chart((0.0, 1.0, 0.5)))
    xs, ys = zip(*points, strict=True)
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1]) and xs[0] < xs[1]
    assert ys[1] < ys[2] < ys[0], "the page's y grows downwards"
    assert ys[2] == pytest.approx((ys[0] + ys[1]) / 2)


@pytest.mark.parametrize("hole", [None, NAN, math.inf, -math.inf])
def test_what_is_not_finite_is_a_gap(hole):
    drawing = chart((0.1, 0.2, hole, 0.4, hole, 0.6))
    assert [len(piece) for piece in lines(drawing)] == [2, 2, 2]
    _, second, dash = lines(drawing)
    assert second[0] != second[1] and dash[1][0] - dash[0][0] == pytest.approx(6)
    assert "nan" not in drawing.svg().lower() and "inf" not in drawing.svg().lower()


@pytest.mark.parametrize("y", [(), (None,), (NAN, None)])
def test_nothing_to_show_is_an_error_that_names_the_chart(y):
    with pytest.raises(ValueError, match="'accuracy' has no finite value"):
        chart(y)


def test_lengths_must_agree():
    with pytest.raises(ValueError):
        draw([Panel("a", "epoch", [Series("s", [1, 2, 3], [1, 2])])])
    with pytest.raises(ValueError):
        chart(band=[(0, 1)])


@pytest.mark.parametrize("y", [(3,), (0.0, 0.0), (-5, -5), (1e-9, 2e-9), (-1e6, 1e6)])
def test_one_value_equal_values_and_other_sizes(y):
    drawing = chart(y)
    for piece in lines(drawing):
        assert all(0 < x < drawing.width and 0 < place < drawing.height for x, place in piece)


def test_a_band_surrounds_its_line_and_skips_what_is_unknown():
    band = [(0, 0.2), (0.4, 0.6), (None, 1), (0.5, 0.7)]
    drawing = chart((0.1, 0.5, 0.9, 0.6), band=band)
    (area,) = (mark for mark in drawing.marks if type(mark).__name__ == "Area")
    assert len(area.points) == 6
    (line,) = lines(drawing)
    assert area.points[0][1] < line[0][1] < area.points[-1][1]
    assert drawing.marks.index(area) < len(drawing.marks) - 1, "lines are painted over bands"


@pytest.mark.parametrize("name", ["<b>&\"'", "\x00\x1b[31m", "\udcff", "é 日本"])
def test_any_name_gives_a_file_that_can_be_read(name):
    text = chart(name=name).svg()
    found = [element.text for element in ElementTree.fromstring(text.encode("utf-8")).iter(SVG + "text")]
    assert len(found) == len(words(chart()))
    assert name in found or not name.isprintable()


def test_equal_figures_give_equal_bytes():
    first, second = (chart(band=[(0, 0.2), (0.4, 0.6), (0.8, 1)]) for _ in range(2))
    assert first.svg() == second.svg() and first.png() == second.png()
    assert first.svg() != chart((0.1, 0.5, 0.8)).svg()


def test_the_png_is_twice_the_size_and_shows_the_line():
    drawing = chart()
    image = Image.open(io.BytesIO(drawing.png()))
    assert image.size == (2 * drawing.width, 2 * drawing.height)
    (points,) = lines(drawing)
    x, y = points[1]
    pixel = image.getpixel((round(2 * x), round(2 * y)))
    assert pixel == tuple(int(COLOURS[0][place : place + 2], 16) for place in (1, 3, 5))
    assert image.getpixel((0, 0)) == (255, 255, 255)


def test_panels_stand_side_by_side():
    panel = Panel("loss", "epoch", [Series(f"run {place}", [1, 2], [place, 1]) for place in range(8)])
    drawing = draw([panel, panel])
    assert drawing.width == 920
    titles = [mark.x for mark in drawing.marks if isinstance(mark, Words) and mark.text == "loss"]
    assert titles[1] - titles[0] == 460
    names = [mark for mark in drawing.marks if isinstance(mark, Words) and mark.text.startswith("run")]
    assert len({mark.y for mark in names[:8]}) > 1, "a long legend takes several rows"
    assert all(mark.x < 460 - 16 for mark in names[:8])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, 60, [0, 10, 20, 30, 40, 50, 60]), (-3, 7, [-2, 0, 2, 4, 6]),
     (0.101, 0.109, [0.102, 0.104, 0.106, 0.108]), (0, 3e5, [0, 50000, 100000, 150000, 200000, 250000, 300000])],
)  # fmt: skip
def test_ticks_are_round_numbers(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)
