"""The picture of a run: every figure of its history over the epochs, training and validation in one panel."""

from collections.abc import Mapping, Sequence
from typing import Any

from minires.plots import Chart, Panel, Series, draw

NOT_FIGURES = ("epoch", "step", "lr")
SHARES = ("accuracy", "top", "f1", "macro_f1", "micro_f1", "map", "exact_match", "precision", "recall")  # in per cent


def history_chart(rows: Sequence[Mapping[str, Any]]) -> Chart | None:
    """A panel for each figure that has a finite value; None if there is none (no epoch is finished)."""
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in NOT_FIGURES]
    panels = []
    for name in dict.fromkeys(name.removeprefix("val_") for name in names):
        epochs = [row["epoch"] for row in rows]
        columns = [(title, f"{prefix}{name}") for title, prefix in (("training", ""), ("validation", "val_"))]
        series = [Series(title, epochs, [row.get(column) for row in rows])
                  for title, column in columns if column in names]  # fmt: skip
        series = [one for one in series if one.is_visible]
        if series:
            panels.append(Panel(name, "epoch", series, percent=name.startswith(SHARES)))
    return draw(panels) if panels else None
