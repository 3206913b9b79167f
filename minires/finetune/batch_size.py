"""Batches that fit into the memory: `--batch-size auto`, and what happens when they do not."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from minires.errors import MiniresError, UsageError
from minires.finetune.estimates import show_bytes
from minires.finetune.settings import make_settings
from minires.io.memory import available_memory

if TYPE_CHECKING:
    from minires.finetune.job import Job
    from minires.training import Trainer

AUTO = "auto"
SHARE = 0.7  # of the memory that is free: the estimate is one
LARGEST = 256
STEPS = 10  # that an epoch has at least: a few large batches teach less than many small ones
TRIED = 2  # pictures a batch of the job that the estimate is made with


def with_batch_size(command: str, values: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """The arguments of a job with a number in the place of batch_size "auto"; then halve_on_oom is set, too.

    The number is the largest power of two of which the estimate says that it fits into SHARE of the free memory, but at
    most LARGEST, and small enough for STEPS steps an epoch. Raises UsageError where not even two pictures fit, or
    nothing can be estimated.
    """
    if values.get("batch_size") != AUTO:
        return dict(values)
    from minires.finetune.job import Job

    room = available_memory()
    settings = make_settings({**values, "batch_size": TRIED}).check().resolved(command)
    job = Job(command, settings, lambda text: None, False)
    job.prepare()
    if job.memory is None or room is None:
        what = "the free memory is not known" if room is None else "pictures of many sizes"
        raise UsageError(f"--batch-size auto: {what}, nothing can be estimated", code="usage.value",
                         hint="--batch-size 32")  # fmt: skip
    each, weights = job.memory.batch / TRIED, job.memory.weights
    fitting = (SHARE * room - weights) / each
    if fitting < 2:
        needed = f"two pictures need about {show_bytes(weights + 2 * each)}, and {show_bytes(room)} are free"
        raise UsageError(f"--batch-size auto: {needed}", code="usage.value", hint="a smaller --img-size or --model")
    enough = max(2, len(job.splits["train"]) // (STEPS * settings.grad_accum_steps))
    chosen = power_of_two(min(fitting, LARGEST, enough))
    say(f"batch size {chosen}: about {show_bytes(weights + chosen * each)} of {show_bytes(room)} that are free")
    return {**values, "batch_size": chosen, "halve_on_oom": True}


def power_of_two(limit: float) -> int:
    """The largest power of two that is not above `limit` (at least 1)."""
    return 1 << (int(limit).bit_length() - 1)


def halve(job: "Job", trainer: "Trainer", error: MemoryError) -> None:
    """After `error` in a step: let batches go through the model in parts half as large from here on.

    Raises MiniresError (code "memory") that says what to try where that is not wished (the setting halve_on_oom), not
    possible, or of no use because the step had begun to move the weights.
    """
    settings = job.settings
    size = trainer.micro_batch_size or settings.batch_size
    smaller = size // 2
    if settings.halve_on_oom and trainer.consistent and smaller >= 2:
        trainer.micro_batch_size = smaller
        job.say(f"out of memory in step {trainer.step + 1}: from here on {smaller} pictures go through the model at a "
                f"time (a step stays one of {settings.step_size})")  # fmt: skip
        assert job.folder is not None
        job.folder.event("oom", step=trainer.step + 1, pictures_at_a_time=smaller)
        return
    estimate = "" if job.memory is None else f" (the estimate was {show_bytes(job.memory.total)})"
    hint = "a smaller --img-size or --model needs less"
    if smaller >= 2:
        parts = settings.step_size // smaller
        hint = f"--batch-size {smaller} --grad-accum-steps {parts}, or --batch-size auto"
    raise MiniresError(f"out of memory in step {trainer.step + 1} with {size} pictures at a time{estimate}",
                       code="memory", hint=hint) from error  # fmt: skip
