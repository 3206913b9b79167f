"""`--dry-run`: everything that can be tried without keeping anything, before hours are spent.

The data have been looked at and the model has been built when this begins. One batch is loaded, sent through the model
and back, and one validation batch through it; nothing is written, and no weight moves.
"""

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minires import random
from minires.errors import NumericalError
from minires.finetune.fitting import losses_of, make_loaders
from minires.training.batches import Batches, inputs_and_targets
from minires.training.evaluation import evaluating, number
from minires.training.gradients import gradient_norm
from minires.training.precision import Precision
from minires.training.progress import show_duration
from minires.training.step import cut

if TYPE_CHECKING:
    from minires.finetune.job import Job


@dataclass
class Trial:
    """What the try has shown: figures of one batch, seconds, bytes, and what the whole training would take."""

    command: str
    pictures: int
    loss: float
    gradient_norm: float
    seconds_loading: float
    seconds_computing: float
    steps: int
    seconds_estimated: float
    memory: dict[str, int] | None
    trained_parameters: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"dry_run": True, **self.__dict__}

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"one batch of {self.pictures} pictures: loss {self.loss:.4f}, gradient norm {self.gradient_norm:.4g}; "
            f"loaded in {self.seconds_loading:.2f} s, forward and backward in {self.seconds_computing:.2f} s",
            f"by that, {self.steps} steps take about {show_duration(self.seconds_estimated)}, without validation",
            "dry run: nothing was trained, nothing is kept",
        ]  # fmt: skip


def try_out(job: "Job") -> Trial:
    """Load a batch and make one forward and backward pass. NumericalError if a number in it is not finite."""
    settings = job.settings
    train, val = make_loaders(job)
    loss_fn, eval_loss_fn = losses_of(job)
    began = time.perf_counter()
    inputs, targets = inputs_and_targets(next(iter(Batches(train, 0))), job.device)
    precision = Precision(settings.amp, job.device)
    loaded = time.perf_counter()
    loss = 0.0
    job.model.train()
    for part in cut(inputs, targets, settings.batch_size):
        with random.address(settings.seed, "step", 0, part.number):
            with precision.computing():
                value = loss_fn(job.model(part.inputs), part.targets) * part.share
            value.backward()
        loss += number(value)
    done = time.perf_counter()
    norm = gradient_norm(job.model.parameters())
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise NumericalError(f"the first batch has the loss {loss} and a gradient of the norm {norm}")
    if val is not None:
        with evaluating(job.model):
            number(eval_loss_fn(*_forward(job, next(iter(Batches(val, 0))))))
    assert settings.epochs is not None
    steps = settings.epochs * len(train)
    computing = (done - loaded) * (2 if settings.sam else 1)
    return Trial(
        job.command, len(inputs), loss, norm, round(loaded - began, 4), round(done - loaded, 4), steps,
        round(steps * (loaded - began + computing), 1), None if job.memory is None else job.memory.to_dict(),
        sum(parameter.numel() for parameter in job.model.parameters() if parameter.requires_grad),
    )  # fmt: skip


def _forward(job: "Job", batch: Any) -> tuple[Any, Any]:
    inputs, targets = inputs_and_targets(batch, job.device)
    return job.model(inputs), targets
