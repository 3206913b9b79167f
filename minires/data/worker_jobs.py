"""What a worker does for a batch, whether it is a thread, a process, or the caller itself."""

from collections.abc import Callable
from typing import Any, NamedTuple

from minires.data.arrays import sample_name
from minires.data.collate import collate
from minires.errors import DataError, MiniresError
from minires.random import address

READING_CODES = ("data.unreadable_image", "data.image_too_large")

Checkpoint = Callable[[int], None]  # told the place in the batch of the sample that comes next


class Job(NamedTuple):
    """One batch. `samples`: pairs (index, address of its augmentation). Nothing else decides the batch's bits."""

    seed: int
    epoch: int
    samples: list[tuple[int, int]]


class WorkerError(MiniresError, RuntimeError):
    """A worker process ended, or could not begin. Its text names worker, sample and file. Code "data.worker_died"."""

    code = "data.worker_died"


class WorkerTimeoutError(MiniresError, TimeoutError):
    """A worker has not made its batch in time. Its text names worker, sample and file. Code "data.worker_timeout"."""

    code = "data.worker_timeout"


class Prepare:
    """`prepare(job)` loads the samples of a batch, each under its own address, and collates them.

    Returns (batch, skipped): `skipped` maps the pictures that `on_bad_image="skip"` left out to the reason; the batch
    is None if none is left. What a sample raises gets a note that says which sample it was. finish(batch) is the last
    thing that is done with a batch, by the worker still.
    """

    def __init__(
        self, dataset: Any, collate_fn: Callable[[list[Any]], Any] | None = None, on_bad_image: str = "error",
        finish: Callable[[Any], Any] | None = None,
    ) -> None:  # fmt: skip
        self.dataset, self.collate_fn, self.on_bad_image, self.finish = dataset, collate_fn, on_bad_image, finish

    def __call__(self, job: Job, checkpoint: Checkpoint = lambda place: None) -> tuple[Any, dict[str, str]]:
        samples, names, skipped = [], [], {}
        for place, (index, number) in enumerate(job.samples):
            checkpoint(place)
            name = sample_name(self.dataset, index)
            try:
                with address(job.seed, "augment", job.epoch, number):
                    samples.append(self.dataset[index])
                names.append(name)
            except Exception as error:
                reading = isinstance(error, DataError) and error.code in READING_CODES
                if not (reading and self.on_bad_image == "skip"):
                    error.add_note(f"while loading sample {index} ({name})")
                    raise
                skipped[name] = str(error)
        checkpoint(len(job.samples))
        if not samples:
            return None, skipped
        batch = collate(samples, names) if self.collate_fn is None else self.collate_fn(samples)
        return (batch if self.finish is None else self.finish(batch)), skipped

    def where(self, job: Job, place: int) -> tuple[str, str | None]:
        """What a checkpoint at `place` was about, in words, and the file at hand if there is one."""
        if place >= len(job.samples):
            return f"the batch of sample {job.samples[0][0]}, whose samples are all loaded", None
        index = job.samples[place][0]
        name = sample_name(self.dataset, index)
        return f"sample {index} ({name})", None if name == f"sample {index}" else name
