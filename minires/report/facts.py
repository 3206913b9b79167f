"""What a report is made of. Whoever gathers it (minires/finetune/reporting.py) leaves out what a run does not have."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minires.explain.calibration import Calibration
from minires.explain.flow import LayerFlow


@dataclass
class Sample:
    """One picture: its name, pixels (H, W, 3), a map over it (H, W) of 0 to 1, and lines of text below it."""

    name: str
    pixels: np.ndarray
    lines: list[str]
    heat: np.ndarray | None = None


@dataclass
class Review:
    """One thing to look at: file, its label, what it rather is (or the file it resembles), and why."""

    path: str
    label: str
    suggestion: str
    reason: str


@dataclass
class Facts:
    """A run. `figures`: metrics before and after on `split`, each with "intervals". `settings`, `versions`: any values.

    counts: split -> class -> pictures. notes: lines about the data. temperature: (T, loss before, loss after, split it
    was found on). embedding: places (N, 2), classes (N,), shares of the variance.
    """

    title: str
    status: str
    split: str
    classes: list[str]
    before: dict[str, Any]
    after: dict[str, Any]
    best_epoch: int
    epochs: int
    seed: int
    history: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    augmented: list[Sample] = field(default_factory=list)
    confusion: np.ndarray | None = None
    calibration: Calibration | None = None
    temperature: tuple[float, float, float, str] | None = None
    mistakes: list[Sample] = field(default_factory=list)
    task: str = "classification"
    pictures: dict[str, int] = field(default_factory=dict)  # split -> pictures, where counts are not of single classes
    headline: list[str] = field(default_factory=list)  # the figures of the first table; [] for the usual ones
    answers: list[tuple[str, np.ndarray, np.ndarray]] = field(default_factory=list)  # regression: name, labels, said
    tables: list[tuple[str, str, list[str], list[list[Any]]]] = field(default_factory=list)  # title, text, head, rows
    review: list[Review] = field(default_factory=list)
    review_file: bool = False  # whether the pictures are files, so that review.csv names them
    embedding: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
    signals: list[LayerFlow] = field(default_factory=list)
    model: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
