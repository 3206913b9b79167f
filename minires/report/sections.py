"""The parts of a report, each from the facts that it needs; None where the run does not have them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minires.explain.classes import class_report, most_confused
from minires.report import charts
from minires.report.facts import Facts, Sample
from minires.report.markup import Html, folded, join, table, tag
from minires.report.pictures import heated, matrix_picture, picture

BASELINES = {
    "regression": "the mean of the training labels, said of every picture.",
    "multi-label": "the same of every picture: how frequent each label was in training.",
    "ordinal": "the median class of the training pictures, said of every picture.",
}
FIGURES = ("top1", "top5", "balanced_acc", "macro_f1", "recall_at_1", "recall_at_5", "map_at_r", "loss",
           "rmse", "mae", "r2")  # fmt: skip
MOST_CELLS = 20  # classes whose confusion is a table of numbers; more of them are a picture
MOST_ROWS = 50  # rows of a long table that are shown at once
MOST_FOLDED = 300  # rows of it that are on the page at all


def number(value: Any, digits: int = 4) -> str:
    """A figure for people."""
    return "–" if value is None else f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def interval(ends: Sequence[float] | None, digits: int = 4) -> str:
    """The ends of an interval."""
    return "–" if ends is None else f"{ends[0]:.{digits}f} … {ends[1]:.{digits}f}"


def figures(facts: Facts) -> Html:
    """Before and after, with intervals."""
    names = [name for name in facts.headline or FIGURES if name in facts.after]
    intervals, usual = facts.after.get("intervals") or {}, facts.after.get("baseline")
    rows = [[name, number(facts.before.get(name)), tag("b", number(facts.after[name])), interval(intervals.get(name)),
             *([] if usual is None else [number(usual.get(name))])]
            for name in names]  # fmt: skip
    text = (f"Measured on {facts.after['samples']} {facts.split} pictures, with the weights of epoch "
            f"{facts.best_epoch or facts.epochs} of {facts.epochs}.")  # fmt: skip
    if not facts.best_epoch:
        text += " No epoch had a figure to choose the best one by (eval_metric), so these are the last one's."
    if facts.split == "train":
        text += " These are the pictures that the model was trained on: nothing says how it does on others."
    head = ["figure", "before", "after", "95 % interval"]
    if usual is not None:
        head.append("baseline")
        text += f" Baseline: {BASELINES[facts.task]}"
    return tag("section", tag("h2", "Before and after"), tag("p", text), table(head, rows))


def data(facts: Facts) -> Html:
    """What the run was trained and measured on, with some training pictures as the model saw them."""
    names = list(dict.fromkeys(name for counts in facts.counts.values() for name in counts))
    splits = list(facts.counts)
    totals = ["all", *(facts.pictures.get(split, sum(facts.counts[split].values())) for split in splits)]
    rows = [] if names == [""] else [[name, *(facts.counts[split].get(name, 0) for split in splits)] for name in names]
    shown = table(["" if names == [""] else "class", *splits], [totals, *rows[:MOST_ROWS]])
    rest = tag("p", f"and {len(rows) - MOST_ROWS} more classes") if len(rows) > MOST_ROWS else None
    return tag("section", tag("h2", "Data"), *(tag("p", line) for line in facts.notes), shown, rest,
               *gallery("Training pictures as the model saw them", facts.augmented))  # fmt: skip


def gallery(title: str, samples: Sequence[Sample]) -> list[Html]:
    """Pictures side by side, with their maps."""
    if not samples:
        return []
    cards = []
    for sample in samples:
        shown = [picture(sample.pixels, sample.name, 112)]
        if sample.heat is not None:
            shown.append(picture(heated(sample.pixels, sample.heat), f"{sample.name}: where the model looked", 112))
        lines = [tag("div", line) for line in sample.lines]
        cards.append(tag("figure", tag("div", *shown, class_="pair"), tag("figcaption", *lines)))
    return [tag("h3", title), tag("div", *cards, class_="gallery")]


def training(facts: Facts) -> Html | None:
    """Curves over the epochs."""
    drawing = charts.curves(facts.history)
    return None if drawing is None else tag("section", tag("h2", "Training"), tag("div", drawing, class_="wide"))


def confusion(facts: Facts) -> Html | None:
    """Which classes are taken for which."""
    if facts.confusion is None:
        return None
    pairs = most_confused(facts.confusion, facts.classes)
    worst = table(["is", "was called", "pictures"], pairs) if pairs else tag("p", "No picture was mistaken.")
    return tag("section", tag("h2", "Confusion"), tag("p", "A row for each class, a column for what it was called."),
               _matrix(facts.confusion, facts.classes), tag("h3", "Most frequent mistakes"), worst,
               tag("h3", "Classes"), _classes(facts))  # fmt: skip


def _matrix(counts: np.ndarray, classes: Sequence[str]) -> Html:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    if len(classes) > MOST_CELLS:
        return matrix_picture(shares, "confusion matrix, a pixel for each pair of classes")
    head = tag("tr", tag("th"), *(tag("th", tag("span", name)) for name in classes))
    rows = []
    for name, own, parts in zip(classes, counts.tolist(), shares.tolist(), strict=True):
        cells = [tag("td", count or "", style=f"background:rgba(0,90,160,{share:.2f});color:{_ink(share)}")
                 for count, share in zip(own, parts, strict=True)]  # fmt: skip
        rows.append(tag("tr", tag("th", name), *cells))
    return tag("div", tag("table", head, *rows, class_="matrix"), class_="wide")


def _ink(share: float) -> str:
    return "#fff" if share > 0.5 else "#222"


def _classes(facts: Facts) -> Html:
    assert facts.confusion is not None
    rows = class_report(facts.confusion, facts.classes)
    rows.sort(key=lambda row: (row["recall"] is None, row["recall"] or 0.0))
    cells = [[row["class"], row["samples"], number(row["precision"], 3), number(row["recall"], 3),
              interval(row["recall_interval"], 3), number(row["f1"], 3), row["mostly_taken_for"] or "–"]
             for row in rows]  # fmt: skip
    head = ["class", "pictures", "precision", "recall", "95 % interval", "F1", "mostly taken for"]
    first = table(head, cells[:MOST_ROWS])
    return join([first, folded(f"{len(cells) - MOST_ROWS} more classes", table(head, cells[MOST_ROWS:]))]
                if len(cells) > MOST_ROWS else [first])  # fmt: skip


def calibration(facts: Facts) -> Html | None:
    """Whether the model means what it says."""
    if facts.calibration is None:
        return None
    lines = [f"Expected calibration error: {facts.calibration.error:.4f}. A point under the diagonal says that the "
             "model is too sure of itself there."]  # fmt: skip
    if facts.temperature is not None:
        by, before, after, split = facts.temperature
        lines.append(f"All scores divided by the temperature {by:.3f} would make the {split} loss smallest: "
                     f"{before:.4f} becomes {after:.4f}. No prediction changes by that.")  # fmt: skip
    return tag("section", tag("h2", "Calibration"), *(tag("p", line) for line in lines),
               charts.reliability(facts.calibration))  # fmt: skip


def mistakes(facts: Facts) -> Html | None:
    """The pictures with the largest losses."""
    if not facts.mistakes:
        return None
    text = "The pictures with the largest losses; in red, where the model found what it said (Grad-CAM)."
    if facts.task == "regression":
        text = "The pictures with the largest errors."
    if facts.task == "multi-label":
        text = "The pictures with the largest losses; in red, what spoke for the label that was most wrong (Grad-CAM)."
    if facts.task == "ordinal":
        text = "The pictures with the largest losses; in red, what made the model say a higher rank (Grad-CAM)."
    return tag("section", tag("h2", "Worst mistakes"), tag("p", text), *gallery("", facts.mistakes)[1:])


def answers(facts: Facts) -> Html | None:
    """Regression: what was said over what is."""
    if not facts.answers:
        return None
    parts = []
    for name, truth, predicted in facts.answers:
        drawing = charts.agreement(truth, predicted, ("label", "prediction"))
        parts.append(join([tag("h3", name) if name else None, drawing]))
    text = "A point a picture: what was said over what is. On the line both are the same."
    return tag("section", tag("h2", "Predictions"), tag("p", text), *parts)


def tables(facts: Facts) -> Html | None:
    """What a task tells in tables of its own."""
    if not facts.tables:
        return None
    parts: list[Html] = []
    for title, text, head, rows in facts.tables:
        cells = [[number(cell, 3) if cell is None or isinstance(cell, float) else cell for cell in row] for row in rows]
        parts += [tag("h2", title), tag("p", text), table(head, cells[:MOST_ROWS])]
        if len(cells) > MOST_ROWS:
            parts.append(folded(f"{len(cells) - MOST_ROWS} more", table(head, cells[MOST_ROWS:MOST_FOLDED])))
    return tag("section", *parts)


def review(facts: Facts) -> Html | None:
    """Labels that are probably wrong, and pictures that are there twice."""
    if not facts.review:
        return None
    rows = [[item.path, item.label, item.suggestion, item.reason] for item in facts.review]
    text = "Labels that are probably wrong, and pictures that are there twice."
    if facts.review_file:
        text += (" Write relabel or delete into the column action of review.csv where you agree, and give the file to "
                 "the next run: --review review.csv")  # fmt: skip
    head = ["picture", "label", "suggestion", "reason"]
    shown = [table(head, rows[:MOST_ROWS])]
    if len(rows) > MOST_ROWS:
        shown.append(folded("more of them", table(head, rows[MOST_ROWS:MOST_FOLDED])))
    if len(rows) > MOST_FOLDED:
        shown.append(tag("p", f"{len(rows) - MOST_FOLDED} more are not shown."))
    return tag("section", tag("h2", "To look at"), tag("p", text), *shown)


def embedding(facts: Facts) -> Html | None:
    """The features in the plane."""
    if facts.embedding is None:
        return None
    places, classes, shares = facts.embedding
    labels = (f"first direction ({shares[0]:.0%} of the variance)", f"second ({shares[1]:.0%})")
    text = f"What the head is given, for {len(places)} {facts.split} pictures: the two directions of largest variance."
    return tag("section", tag("h2", "Features"), tag("p", text),
               charts.scatter(places, classes.tolist(), facts.classes, labels))  # fmt: skip


def signals(facts: Facts) -> Html | None:
    """Outputs and gradients from layer to layer."""
    if not any(layer.deviation > 0 for layer in facts.signals):
        return None
    names = ", ".join(f"{place} {layer.name}" for place, layer in enumerate(facts.signals, 1))
    return tag("section", tag("h2", "Layers"), tag("p", "One batch of training pictures through the trained model and "
               "back. Frozen layers have no gradient."), tag("div", charts.signals(facts.signals), class_="wide"),
               folded("names of the layers", tag("p", names)))  # fmt: skip


def facts_table(title: str, values: Mapping[str, Any]) -> Html | None:
    """Names and values."""
    if not values:
        return None
    return tag("section", tag("h2", title), table(["name", "value"], [[key, _shown(value)]
                                                                      for key, value in values.items()]))  # fmt: skip


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items()) or "–"
    if isinstance(value, list | tuple):
        return ", ".join(_shown(item) for item in value) or "–"
    return "–" if value is None else str(value)
