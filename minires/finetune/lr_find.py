"""The learning-rate finder (Smith 2017, section 3.3): train a little with a growing rate, and see where the loss falls.

    found = lr_find(data="photos", weights="runs/other")
    found.suggestion, found.chart().png()

A step is made at each rate, from `lowest` to `highest`, in equal ratios. As long as the rate is too small nothing
happens; then the loss falls; when the rate is too large it rises beyond all bounds, and the search ends. Nothing is
kept of that training.

The suggestion is the middle of the fall: the geometric mean of the rates at which a tenth and nine tenths of the way
from the loss at the start to the smallest one are made. There the loss falls fast, and it is some way to a rise.
"""

import csv
import io
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minires import optim
from minires.errors import UsageError
from minires.finetune.batch_size import with_batch_size
from minires.finetune.fitting import keepers, losses_of, make_loaders, mixing
from minires.finetune.job import Job
from minires.finetune.optimizers import make_optimizer
from minires.finetune.settings import make_settings
from minires.plots import Chart, Panel, Series, draw
from minires.training import Callback, NotFiniteError, Trainer

LOWEST, HIGHEST, STEPS = 1e-6, 1.0, 100
AROUND = 4  # losses to each side that a smoothed one is the mean of
LEAST_FALL = 0.05  # of the loss at the start: less is no fall
TOO_MUCH = 4.0  # times the smallest smoothed loss: there the search ends
AT_LEAST = 10  # steps before it may end


@dataclass(frozen=True)
class Finding:
    """The rates that were tried, their losses as they were and smoothed; suggestion: None if the loss never fell."""

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    suggestion: float | None
    ended: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dict(self.__dict__)

    def to_csv(self) -> str:
        """A line a step."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["lr", "loss", "smoothed"])
        writer.writerows(zip(self.rates, self.losses, self.smoothed, strict=True))
        return text.getvalue()

    def chart(self) -> Chart:
        """The losses over the rates (log10), and the suggestion as a line."""
        x = [math.log10(rate) for rate in self.rates]
        highest = 1.5 * max(self.smoothed[: _lowest(self.smoothed) + 1])  # what lies above says nothing more
        shown = [min(value, highest) for value in self.losses]
        series = [Series("loss", x, shown), Series("smoothed", x, [min(value, highest) for value in self.smoothed])]
        if self.suggestion is not None:
            place = math.log10(self.suggestion)
            series.append(Series(f"suggestion {self.suggestion:.2g}", [place, place], [min(shown), max(shown)]))
        return draw([Panel("loss while the learning rate grows", "log10 of the learning rate", series)], 640, 400)


class Sweep(Callback):
    """Notes rate and loss of every step, and ends the training when the loss has risen too far."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.losses: list[float] = []

    def after_step(self, trainer: Trainer) -> None:
        self.rates.append(trainer.last_lr)
        self.losses.append(trainer.loss)
        smoothed = smooth(self.losses)
        if len(smoothed) >= AT_LEAST and smoothed[-1] > TOO_MUCH * min(smoothed):
            raise _RisenTooFar


class _RisenTooFar(Exception):  # noqa: N818 - no error: the end of the search
    pass


def lr_find(
    command: str = "finetune", lowest: float = LOWEST, highest: float = HIGHEST, steps: int = STEPS,
    say: Any = lambda text: None, **settings: Any,
) -> Finding:  # fmt: skip
    """Search for the job that `command` ("finetune" or "train") with these settings would be.

    Raises UsageError for a range or number of steps that makes no sense, and for all that the job itself refuses.
    """
    if not 0 < lowest < highest or not math.isfinite(highest):
        raise UsageError(f"the rates must grow from above 0, got {lowest:g} to {highest:g}", code="usage.value")
    if steps < AT_LEAST:
        raise UsageError(f"at least {AT_LEAST} steps are needed, got {steps}", code="usage.value")
    for name in ("lr", "lr_base"):
        if settings.get(name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} is what is searched for", code="usage.conflict")
    job = Job(
        command,
        make_settings({**with_batch_size(command, settings, say), "lr": lowest}).check().resolved(command),
        say,
        False,
    )
    job.prepare()
    optimizer = make_optimizer(job.model, job.settings, job.strategy)
    train, _ = make_loaders(job)
    sweep = Sweep()
    growth = (highest / lowest) ** (1 / (steps - 1))
    trainer = Trainer(
        job.model, optimizer, losses_of(job)[0],
        schedule_per="step",
        scheduler=optim.lr_scheduler.LambdaLR(optimizer, lambda step: growth**step),
        callbacks=[*keepers(job.settings), *mixing(job), sweep],
        clip_grad=job.settings.clip_grad, seed=job.settings.seed, progress=False, amp=job.settings.amp,
        micro_batch_size=job.settings.batch_size if job.settings.grad_accum_steps > 1 else None,
    )  # fmt: skip
    ended = "all rates were tried"
    try:
        trainer.fit(train, None, steps, max_steps=steps)
    except _RisenTooFar:
        ended = f"the loss rose to {TOO_MUCH:g} times its smallest"
    except NotFiniteError as error:
        if len(sweep.losses) < AT_LEAST:
            raise
        ended = f"not finite at the rate {error.lr:.3g}"
    smoothed = smooth(sweep.losses)
    return Finding(sweep.rates, sweep.losses, smoothed, suggest(sweep.rates, smoothed), ended)


def smooth(losses: Sequence[float]) -> list[float]:
    """Each loss as the mean of itself and up to AROUND others on each side, as many on the one as on the other."""
    found = []
    for place in range(len(losses)):
        reach = min(AROUND, place, len(losses) - 1 - place)
        part = losses[place - reach : place + reach + 1]
        found.append(sum(part) / len(part))
    return found


def suggest(rates: Sequence[float], smoothed: Sequence[float]) -> float | None:
    """The middle of the fall (see above); None where there is none."""
    lowest = _lowest(smoothed)
    level = statistics.median(smoothed[: max(1, min(lowest, len(smoothed) // 10))])
    fall = level - smoothed[lowest]
    if fall < LEAST_FALL * abs(level):
        return None
    begin = max((place for place in range(lowest) if smoothed[place] >= level - 0.1 * fall), default=0)
    end = min(place for place in range(begin, lowest + 1) if smoothed[place] <= level - 0.9 * fall)
    return math.sqrt(rates[begin] * rates[end])


def _lowest(values: Sequence[float]) -> int:
    return min(range(len(values)), key=lambda place: values[place])
