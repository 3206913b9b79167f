"""Sample pictures of a report as --mixup and --cutmix mix them, with the shares of their labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minires.data import collate
from minires.finetune.settings import Settings
from minires.finetune.tasks import Task
from minires.random import philox
from minires.training import Mixing

STEPS = 3  # of the training's first steps, whose draws are shown


def mixed(images: Sequence[Any], targets: Sequence[Any], task: Task, settings: Settings) -> tuple[list[Any], list[str]]:
    """(pictures, what their labels have become). They are mixed with each other, a third of them as in each step."""
    mixing = Mixing(len(task.classes), settings.mixup, settings.cutmix)
    pictures, words = list(images), [task.label(target) for target in targets]
    for step in range(STEPS):
        places = list(range(step, len(images), STEPS))
        if len(places) < 2:
            continue
        batch, labels = collate([(images[place], targets[place]) for place in places])
        found, shares = mixing.mix(batch, labels, philox(settings.seed, "mixing", step))
        for row, place in enumerate(places):
            pictures[place], words[place] = found[row], shared_label(shares.numpy()[row], task.classes)
    return pictures, words


def shared_label(shares: np.ndarray, classes: Sequence[str]) -> str:
    """ "63% cat, 37% dog": the largest share first."""
    order = [index for index in np.argsort(-shares, kind="stable").tolist() if shares[index] > 0]
    return ", ".join(f"{shares[index]:.0%} {classes[index]}" for index in order)
