"""Strategies of whole stages: all at once, only the last, the head first, or from the head down to the input."""

import math
from typing import Any

from minires.finetune.freezing import HEAD
from minires.finetune.strategies.plan import Strategy


def full(model: Any, bn: str = "auto") -> Strategy:
    """Everything is trained, from the beginning."""
    return Strategy(model, dict.fromkeys(model.stages(), 0), bn=bn)


def head(model: Any, bn: str = "auto") -> Strategy:
    """Only the head is trained: a linear probe of the pretrained features."""
    return Strategy(model, {HEAD: 0}, bn=bn)


def last(model: Any, count: int, bn: str = "auto") -> Strategy:
    """The last `count` stages are trained, the head among them. ValueError for a number that there is not."""
    names = list(model.stages())
    if not 1 <= count <= len(names):
        raise ValueError(f"the model has {len(names)} stages, {', '.join(names)}: not the last {count}")
    return Strategy(model, dict.fromkeys(names[-count:], 0), bn=bn)


def lp_ft(model: Any, epochs: int, probe_epochs: int | None = None, bn: str = "auto") -> Strategy:
    """The head alone for `probe_epochs` (default: half of `epochs`), then everything.

    A new head is random; gradients through it would distort good features before it is worth anything. Where the head
    has been fitted first, fine-tuning keeps more of what the features know of pictures from elsewhere (Kumar et al.
    2022, "Fine-tuning can distort pretrained features and underperform out-of-distribution").
    """
    probe = epochs // 2 if probe_epochs is None else probe_epochs
    return Strategy(model, {**dict.fromkeys(model.stages(), probe), HEAD: 0}, bn=bn)


def gradual(model: Any, epochs: int, bn: str = "auto") -> Strategy:
    """From the head down: one stage more at a time, evenly over the first half of `epochs`, and then all of them.

    Howard and Ruder 2018, "Universal language model fine-tuning" (gradual unfreezing, as in fastai).
    """
    names = list(model.stages())[::-1]
    apart = epochs / (2 * max(len(names) - 1, 1))
    starts = {name: min(math.ceil(place * apart), epochs - 1) for place, name in enumerate(names)}
    return Strategy(model, starts, bn=bn)
