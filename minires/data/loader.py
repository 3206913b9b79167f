"""DataLoader: batches in a fixed order, prepared ahead by worker threads, the same bits whatever their number.

Three decisions carry this. The order of an epoch is a permutation drawn from the address (seed, "shuffle", epoch).
Sample i of epoch e is loaded under the address (seed, "augment"; e, i), where the transforms draw. And batches are
handed out in the order of the plan, however the threads finish. So neither workers nor prefetching nor a resume can
change a bit, and the whole state is (epoch, position).

Workers are threads, not processes: Pillow's decoding and NumPy's arithmetic release Python's lock, and threads need no
copies, no fork after BLAS has run and no shared memory. For pictures as small as digits they only get in each other's
way: num_workers=0 is quicker there.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Generator as Coroutine
from typing import Any

from minires.data.arrays import sample_name
from minires.data.collate import collate
from minires.data.workers import Prepare, WorkerPool
from minires.errors import DataError
from minires.random import Generator, address, philox

Job = list[tuple[int, int]]  # the samples of a batch: (index, address of its augmentation)
Prepared = Coroutine[tuple[Any, dict[str, str]], None, None]  # (batch or None, pictures left out), one after the other

READING_CODES = ("data.unreadable_image", "data.image_too_large")


class DataLoader:
    """Iterating gives the batches of one epoch: (images (N, C, H, W) float32 in channels-last memory, targets int64).

    `dataset` has `len()` and `dataset[i]`. `shuffle`: a new order every epoch. `sampler`: an iterable of indices
    instead (what it draws, it draws from `minires.random.generator()`; its `set_epoch(e)` is called if it has one).
    `num_workers`: threads that prepare batches, each up to `prefetch_factor` ahead (0: in the calling thread).
    `drop_last`: leave out a last batch that is not full. `seed`: of the order and of the transforms' draws;
    `manual_seed` does not touch it. `generator`: a `minires.random.Generator` that gives each epoch's seed instead (no
    resume inside an epoch then). `timeout`: seconds to wait for a worker's batch, 0 for ever. `collate_fn`: from a list
    of samples to a batch.

    Every `iter()` is the next epoch, 0, 1, 2, ...; `set_epoch` says otherwise. To resume, `load_state_dict` what
    `state_dict` gave: the next iteration goes on at that place.

    `on_bad_image`: "error" raises the DataError that names the file; "skip" leaves the picture out and notes it in
    `skipped` (file -> reason). Its batch is then one picture shorter, and a batch of bad pictures alone is left out; no
    other picture changes its place, none is put in twice. For whole batches and a `len()` that holds, find the bad
    files by `scan(..., verify=True)` and `exclude` them first.
    """

    def __init__(
        self, dataset: Any, batch_size: int = 1, shuffle: bool = False, sampler: Iterable[int] | None = None, *,
        num_workers: int = 0, collate_fn: Callable[[list[Any]], Any] | None = None, drop_last: bool = False,
        seed: int = 0, prefetch_factor: int = 2, generator: Generator | None = None, on_bad_image: str = "error",
        timeout: float = 0,
    ) -> None:  # fmt: skip
        for name, value, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0),
                                   ("prefetch_factor", prefetch_factor, 1)):  # fmt: skip
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
        if on_bad_image not in ("error", "skip"):
            raise ValueError(f'on_bad_image must be "error" or "skip", got {on_bad_image!r}')
        if sampler is not None and shuffle:
            raise ValueError("shuffle and sampler exclude each other: the sampler gives the order")
        if len(dataset) == 0:
            raise DataError("the data set has no samples", code="data.empty")
        self.dataset, self.batch_size, self.shuffle, self.sampler = dataset, batch_size, shuffle, sampler
        self.num_workers, self.collate_fn, self.drop_last = num_workers, collate_fn, drop_last
        self.seed, self.prefetch_factor, self.generator = seed, prefetch_factor, generator
        self.on_bad_image, self.timeout = on_bad_image, timeout
        self.skipped: dict[str, str] = {}
        self._epoch, self._position = 0, 0  # of the running, or last, iteration
        self._next_epoch, self._next_position, self._epoch_is_asked = 0, 0, False

    def __len__(self) -> int:
        """Number of batches in an epoch (before any picture is skipped)."""
        samples = len(self.dataset) if self.sampler is None else len(self.sampler)  # type: ignore[arg-type]
        return samples // self.batch_size if self.drop_last else -(-samples // self.batch_size)

    @property
    def last_batch_size(self) -> int:
        """Samples in the last batch of an epoch; see the function of this name for the reason to ask."""
        samples = len(self.dataset) if self.sampler is None else len(self.sampler)  # type: ignore[arg-type]
        return last_batch_size(samples, self.batch_size, self.drop_last)

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is of this epoch; from its beginning, unless a loaded state is in the midst of it."""
        if epoch != self._next_epoch:
            self._next_epoch, self._next_position = epoch, 0
        self._epoch_is_asked = True

    def state_dict(self) -> dict[str, int]:
        """{"epoch": e, "position": p}: of epoch e, p batches have been handed out (prefetched ones do not count)."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on there at the next iteration: with the rest of that epoch, or the next epoch if nothing is left of it.

        Only after `set_epoch` to that very epoch does an iteration with nothing left of it give no batch.
        Raises ValueError for a position that this loader cannot have.
        """
        epoch, position = int(state["epoch"]), int(state["position"])
        if epoch < 0 or not 0 <= position <= len(self):
            raise ValueError(f"no place for this loader of {len(self)} batches: epoch {epoch}, position {position}")
        if self.generator is not None and 0 < position < len(self):
            raise ValueError("a loader with generator= cannot go on inside an epoch: give it seed= instead")
        self._epoch, self._position = epoch, position
        self._next_epoch, self._next_position = epoch, position
        self._epoch_is_asked = False

    def __iter__(self) -> Iterator[Any]:
        epoch, position = self._next_epoch, self._next_position
        if position and position >= len(self) and not self._epoch_is_asked:
            epoch, position = epoch + 1, 0
        self._epoch, self._position = epoch, position
        self._next_epoch, self._next_position, self._epoch_is_asked = epoch + 1, 0, False
        seed = self.seed if self.generator is None else int(self.generator.next().integers(1 << 62))
        jobs = self._plan(seed, epoch)[position:]

        def prepare(job: Job, checkpoint: Callable[[str], None]) -> tuple[Any, dict[str, str]]:
            return self._prepare(seed, epoch, job, checkpoint)

        return self._batches(jobs, prepare)

    def _plan(self, seed: int, epoch: int) -> list[Job]:
        """The jobs of an epoch: for each batch, pairs (index, address of its augmentation)."""
        count = len(self.dataset)
        if self.sampler is not None:
            set_epoch = getattr(self.sampler, "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch)
            with address(seed, "shuffle", epoch):
                order = [int(index) for index in self.sampler]
        elif self.shuffle:
            order = philox(seed, "shuffle", epoch).permutation(count).tolist()
        else:
            order = list(range(count))
        times: dict[int, int] = {}
        pairs = []
        for index in order:  # a sampler may repeat an index: each time gets numbers of its own
            repeat = times.get(index, 0)
            times[index] = repeat + 1
            pairs.append((index, index + repeat * count))
        full = len(pairs) - len(pairs) % self.batch_size if self.drop_last else len(pairs)
        return [pairs[start : start + self.batch_size] for start in range(0, full, self.batch_size)]

    def _prepare(
        self, seed: int, epoch: int, job: Job, checkpoint: Callable[[str], None]
    ) -> tuple[Any, dict[str, str]]:
        """One batch (None if no picture of it can be read) and the pictures left out. Runs in a worker."""
        samples, names, skipped = [], [], {}
        for index, place in job:
            name = sample_name(self.dataset, index)
            checkpoint(name)
            try:
                with address(seed, "augment", epoch, place):
                    samples.append(self.dataset[index])
                names.append(name)
            except DataError as error:
                if self.on_bad_image != "skip" or error.code not in READING_CODES:
                    raise
                skipped[name] = error.message
            except Exception as error:
                error.add_note(f"while loading sample {index} ({name})")
                raise
        if not samples:
            return None, skipped
        return (collate(samples, names) if self.collate_fn is None else self.collate_fn(samples)), skipped

    def _batches(self, jobs: list[Job], prepare: Prepare) -> Iterator[Any]:
        """The batches in order; whoever stops early closes the generator, and with it the threads."""
        results = self._prepared_here(jobs, prepare) if self.num_workers == 0 else self._prepared_ahead(jobs, prepare)
        with contextlib.closing(results):
            for batch, skipped in results:
                self._position += 1
                self.skipped.update(skipped)
                if batch is not None:
                    yield batch

    def _prepared_here(self, jobs: list[Job], prepare: Prepare) -> Prepared:
        for job in jobs:
            yield prepare(job, lambda name: None)

    def _prepared_ahead(self, jobs: list[Job], prepare: Prepare) -> Prepared:
        pool = WorkerPool(prepare, min(self.num_workers, len(jobs)))
        patient = True
        try:
            ahead = self.num_workers * self.prefetch_factor
            for number, job in enumerate(jobs[:ahead]):
                pool.submit(number, job)
            for number in range(len(jobs)):
                result = pool.take(number, self.timeout)
                if number + ahead < len(jobs):
                    pool.submit(number + ahead, jobs[number + ahead])
                yield result
        except TimeoutError:
            patient = False  # a thread that hangs cannot be waited for
            raise
        finally:
            pool.close(wait=patient)


def last_batch_size(samples: int, batch_size: int, drop_last: bool = False) -> int:
    """Samples in the last batch of an epoch.

    One is too few for batch norm in training, which has no variance to divide by: whoever trains asks here before the
    first epoch, and drops that batch or chooses another size.
    """
    rest = samples % batch_size
    return batch_size if rest == 0 or (drop_last and samples >= batch_size) else rest
