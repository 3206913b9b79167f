"""Drawings of a report as SVG inside the page."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minires.explain.calibration import Calibration
from minires.explain.flow import LayerFlow, signal_chart
from minires.plots import COLOURS, INK, Chart, Line, Panel, Series, Words, draw
from minires.report.markup import Html
from minires.training.curves import history_chart

DOT = 5
GREY = "#888888"
# Twenty colours that can be told apart, those of the lines first; classes beyond that begin again and are not named.
COLOURS_OF_CLASSES = (*COLOURS, "#882255", "#999933", "#332288", "#117733", "#aa4499", "#661100", "#6699cc", "#888888",
                      "#000000", "#f0e442", "#44aa99", "#ff6f61", "#7b68ee", "#8b4513")  # fmt: skip


def inline(chart: Chart) -> Html:
    """The chart as an element of the page (`Chart.svg` escapes its words)."""
    return Html(chart.svg().partition("\n")[2])  # without the declaration of an XML file


def curves(history: Sequence[Mapping[str, Any]]) -> Html | None:
    """Figures over the epochs; None if no epoch is finished."""
    chart = history_chart(history)
    return None if chart is None else inline(chart)


def reliability(found: Calibration) -> Html:
    """The share that is right over the confidence, and the diagonal that it should lie on."""
    own = Series("right", [100 * value for value in found.confidence], found.right)
    ideal = Series("as it should be", [0, 100], [0, 1])
    return inline(draw([Panel("share that is right", "confidence, %", [own, ideal], percent=True)], 420, 340))


def signals(layers: Sequence[LayerFlow]) -> Html:
    """Outputs and gradients from the first layer to the last."""
    return inline(signal_chart({"trained model": layers}))


def agreement(truth: Any, said: Any, labels: tuple[str, str], side: int = 420) -> Html:
    """Points (N,) and (N,) on equal axes, with the diagonal and the ends of the axes."""
    truth, said = np.asarray(truth, np.float64), np.asarray(said, np.float64)
    low, high = min(truth.min(), said.min()), max(truth.max(), said.max())
    size = high - low if high > low else 1.0
    left, bottom, inner = 60, side - 40, side - 80

    def place(x: float, y: float) -> tuple[float, float]:
        return left + inner * (x - low) / size, bottom - inner * (y - low) / size

    chart = Chart(side, side)
    chart.marks.append(Line([(left, bottom - inner), (left, bottom), (left + inner, bottom)], INK))
    chart.marks.append(Line([place(low, low), place(high, high)], GREY))
    for x, y in zip(truth, said, strict=True):
        across, up = place(x, y)
        chart.marks.append(Line([(across - DOT / 2, up), (across + DOT / 2, up)], COLOURS_OF_CLASSES[0], DOT))
    for value, where in ((low, 0.0), (high, float(inner))):
        chart.marks.append(Words(left + where, bottom + 16, f"{value:.4g}", "middle"))
        chart.marks.append(Words(left - 6, bottom - where + 4, f"{value:.4g}", "end"))
    chart.marks.append(Words(left + inner / 2, side - 6, labels[0], "middle"))
    chart.marks.append(Words(8, 24, labels[1]))
    return inline(chart)


def scatter(
    places: Any, groups: Sequence[int], names: Sequence[str], labels: tuple[str, str], side: int = 460
) -> Html:  # fmt: skip
    """Points (N, 2), a colour a group; names of up to 20 groups stand beside them. labels: of both axes."""
    places = np.asarray(places, np.float64)
    low, high = places.min(axis=0), places.max(axis=0)
    size = np.where(high > low, high - low, 1)
    named = names if len(names) <= len(COLOURS_OF_CLASSES) else []
    chart = Chart(side + (170 if named else 0), side)
    inner = side - 60
    chart.marks.append(Line([(40, 20), (40, side - 30), (side - 10, side - 30)], INK))
    for (x, y), group in zip((places - low) / size, groups, strict=True):
        left, top = 45 + inner * x, side - 35 - inner * y
        colour = COLOURS_OF_CLASSES[group % len(COLOURS_OF_CLASSES)]
        chart.marks.append(Line([(left - DOT / 2, top), (left + DOT / 2, top)], colour, DOT))
    chart.marks.append(Words(side / 2, side - 8, labels[0], "middle"))
    chart.marks.append(Words(8, 14, labels[1]))
    for place, (name, colour) in enumerate(zip(named, COLOURS_OF_CLASSES, strict=False)):
        y = 24 + 20 * place
        chart.marks.append(Line([(side + 5, y), (side + 5 + DOT, y)], colour, DOT))
        chart.marks.append(Words(side + 16, y + 4, name if len(name) <= 20 else name[:19] + "…"))
    return inline(chart)
