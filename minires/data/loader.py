"""DataLoader: batches in a fixed order, prepared ahead by worker threads, the same bits whatever their number.

Three decisions carry this. The order of an epoch is a permutation drawn from the address (seed, "shuffle", epoch).
Sample i of epoch e is loaded under the address (seed, "augment"; e, i), where the transforms draw. And batches are
handed out in the order of the plan, however the threads finish. So neither workers nor prefetching nor a resume can
change a bit, and the whole state is (epoch, position).

Workers are threads unless processes are asked for: Pillow's decoding and NumPy's arithmetic release Python's lock, and
threads need no copies, no fork after BLAS has run and no shared memory. Processes are for transforms that are Python
for the most part, and hold that lock. For pictures as small as digits all of them only get in each other's way:
num_workers=0 is quicker there.
"""

import contextlib
import itertools
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Generator as Coroutine
from typing import Any

from minires import backend
from minires.data.collate import each_tensor
from minires.data.worker_jobs import Job, Prepare
from minires.data.workers import ThreadPool
from minires.errors import DataError
from minires.random import Generator, address, philox
from minires.tensor import Tensor

Prepared = Coroutine[tuple[Any, dict[str, str]], None, None]  # (batch or None, pictures left out), one after the other

WORKER_TYPES = ("thread", "process")


class DataLoader:
    """Iterating gives the batches of one epoch: (images (N, C, H, W) float32 in channels-last memory, targets int64).

    `dataset` has `len()` and `dataset[i]`. `shuffle`: a new order every epoch. `sampler`: an iterable of indices
    instead (what it draws, it draws from `minires.random.generator()`; its `set_epoch(e)` is called if it has one).
    `batch_sampler`: an iterable of lists of indices, one a batch, instead of `batch_size`, `shuffle`, `sampler` and
    `drop_last`.
    `num_workers`: workers that prepare batches, each up to `prefetch_factor` ahead (0: the caller alone, when asked).
    `drop_last`: leave out a last batch that is not full. `seed`: of the order and of the transforms' draws;
    `manual_seed` does not touch it. `generator`: a `minires.random.Generator` that gives each epoch's seed instead (no
    resume inside an epoch then). `timeout`: seconds to wait for a worker's batch, 0 for ever; then a TimeoutError names
    worker, sample and file. `collate_fn`: from a list of samples to a batch.

    `worker_type`: "thread" or "process". Processes are started by `multiprocessing_context`: "forkserver" (the default
    on Linux) or "spawn" (elsewhere); "fork" is refused. Data set, transforms, `collate_fn` and `worker_init_fn` must
    be picklable then, each process has its copy of them, and a script must do its work below
    `if __name__ == "__main__":`. In each process BLAS has one thread. Batches come back through shared memory on Linux,
    through a pipe elsewhere. A process that dies is replaced, with a RuntimeWarning, and its batches are made again,
    the same bits; a sample that ends two processes is named by an error (`worker_jobs.WorkerError`).
    `worker_init_fn(worker)`: called first in each worker. `persistent_workers`: keep workers, and their copies of the
    data set, from epoch to epoch; `close()` ends them, and so does the end of the loader.

    `pin_memory`: batches lie in page-locked memory, from which `to("cuda", non_blocking=True)` copies while the next
    one is prepared; `Prefetcher(loader, "cuda")` does so one batch ahead. RuntimeError, at the first batch, where there
    is no GPU.

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
        timeout: float = 0, worker_type: str = "thread", multiprocessing_context: Any = None,
        persistent_workers: bool = False, worker_init_fn: Callable[[int], Any] | None = None,
        batch_sampler: Iterable[Sequence[int]] | None = None, pin_memory: bool = False,
    ) -> None:  # fmt: skip
        for name, value, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0),
                                   ("prefetch_factor", prefetch_factor, 1)):  # fmt: skip
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
        for name, word, words in (("on_bad_image", on_bad_image, ("error", "skip")),
                                  ("worker_type", worker_type, WORKER_TYPES)):  # fmt: skip
            if word not in words:
                raise ValueError(f'{name} must be "{words[0]}" or "{words[1]}", got {word!r}')
        if not timeout >= 0:
            raise ValueError(f"timeout must be at least 0, got {timeout!r}")
        if persistent_workers and num_workers == 0:
            raise ValueError("persistent_workers needs num_workers > 0: there is nobody to keep")
        if multiprocessing_context is not None:
            if worker_type != "process" or num_workers == 0:
                raise ValueError('multiprocessing_context is for worker_type="process" with num_workers > 0')
            from minires.data.worker_starting import start_context

            multiprocessing_context = start_context(multiprocessing_context)
        if sampler is not None and shuffle:
            raise ValueError("shuffle and sampler exclude each other: the sampler gives the order")
        if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
            raise ValueError("batch_sampler excludes batch_size, shuffle, sampler and drop_last: it gives the batches")
        if len(dataset) == 0:
            raise DataError("the data set has no samples", code="data.empty")
        self.dataset, self.batch_size, self.shuffle, self.sampler = dataset, batch_size, shuffle, sampler
        self.num_workers, self.collate_fn, self.drop_last = num_workers, collate_fn, drop_last
        self.seed, self.prefetch_factor, self.generator = seed, prefetch_factor, generator
        self.on_bad_image, self.timeout = on_bad_image, timeout
        self.worker_type, self.multiprocessing_context = worker_type, multiprocessing_context
        self.persistent_workers, self.worker_init_fn = persistent_workers, worker_init_fn
        self.batch_sampler, self.pin_memory = batch_sampler, pin_memory
        self._kept: Any = None  # the pool of persistent workers, and what ends it
        self.skipped: dict[str, str] = {}
        self._epoch, self._position = 0, 0  # of the running, or last, iteration
        self._next_epoch, self._next_position, self._epoch_is_asked = 0, 0, False

    def __len__(self) -> int:
        """Number of batches in an epoch (before any picture is skipped)."""
        if self.batch_sampler is not None:
            return len(self.batch_sampler)  # type: ignore[arg-type]
        samples = len(self.dataset) if self.sampler is None else len(self.sampler)  # type: ignore[arg-type]
        return samples // self.batch_size if self.drop_last else -(-samples // self.batch_size)

    @property
    def last_batch_size(self) -> int:
        """Samples in the last batch of an epoch; see the function of this name for the reason to ask.

        Raises ValueError under a `batch_sampler`, which alone knows.
        """
        if self.batch_sampler is not None:
            raise ValueError("only the batch_sampler knows how many samples its last batch will have")
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
        return self._batches(self._plan(seed, epoch)[position:])

    def _plan(self, seed: int, epoch: int) -> list[Job]:
        """The jobs of an epoch, one for each batch."""
        count, times = len(self.dataset), dict[int, int]()
        jobs = []
        for batch in self._order(seed, epoch):
            pairs = []
            for index in batch:  # a sampler may repeat an index: each time gets numbers of its own
                repeat = times.get(index, 0)
                times[index] = repeat + 1
                pairs.append((index, index + repeat * count))
            jobs.append(Job(seed, epoch, pairs))
        return jobs

    def _order(self, seed: int, epoch: int) -> list[list[int]]:
        """The indices of an epoch, batch by batch."""
        source: Any = self.sampler if self.batch_sampler is None else self.batch_sampler
        if source is not None:
            set_epoch = getattr(source, "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch)
            with address(seed, "shuffle", epoch):
                given = list(source)
            if self.batch_sampler is not None:
                return [[int(index) for index in batch] for batch in given]
            order = [int(index) for index in given]
        elif self.shuffle:
            order = philox(seed, "shuffle", epoch).permutation(len(self.dataset)).tolist()
        else:
            order = list(range(len(self.dataset)))
        full = len(order) - len(order) % self.batch_size if self.drop_last else len(order)
        return [order[start : start + self.batch_size] for start in range(0, full, self.batch_size)]

    def _batches(self, jobs: list[Job]) -> Iterator[Any]:
        """The batches in order; whoever stops early closes the generator, and with it the workers."""
        results = self._prepared_here(jobs) if self.num_workers == 0 or not jobs else self._prepared_ahead(jobs)
        with contextlib.closing(results):
            for batch, skipped in results:
                self._position += 1
                self.skipped.update(skipped)
                if batch is not None:
                    yield pinned(batch) if self._pins_here() else batch

    def _prepared_here(self, jobs: list[Job]) -> Prepared:
        prepare = self._prepare()
        for job in jobs:
            yield prepare(job)

    def _prepared_ahead(self, jobs: list[Job]) -> Prepared:
        pool = self._pool(len(jobs))
        wait, keep = True, False
        waiting, rest = deque[int](), iter(jobs)
        try:
            for job in itertools.islice(rest, self.num_workers * self.prefetch_factor):
                waiting.append(pool.submit(job))
            while waiting:
                result = pool.take(waiting[0], self.timeout)
                waiting.popleft()
                waiting.extend(pool.submit(job) for job in itertools.islice(rest, 1))
                yield result
            keep = self.persistent_workers
        except GeneratorExit:
            keep = self.persistent_workers
            raise
        except TimeoutError:
            wait = False  # a worker that hangs cannot be waited for
            raise
        finally:
            if keep:
                pool.cancel(waiting)
            else:
                self._drop(pool, wait)

    def _prepare(self) -> Prepare:
        finish = pinning() if self.pin_memory and not self._pins_here() else None
        return Prepare(self.dataset, self.collate_fn, self.on_bad_image, finish)

    def _pins_here(self) -> bool:
        """Whether batches are pinned where they are handed out: threads do that ahead, processes have no GPU."""
        return self.pin_memory and self.worker_type == "process" and self.num_workers > 0

    def _pool(self, jobs: int) -> Any:
        """The workers for so many jobs: new ones, or those of the last epoch if they are to be kept."""
        if self._kept is not None:
            return self._kept[0]
        count = self.num_workers if self.persistent_workers else min(self.num_workers, jobs)
        if self.worker_type == "process":
            from minires.data.worker_processes import ProcessPool  # multiprocessing takes its time to import

            pool: Any = ProcessPool(self._prepare(), count, self.worker_init_fn, self.multiprocessing_context)
        else:
            pool = ThreadPool(self._prepare(), count, self.worker_init_fn)
        if self.persistent_workers:
            self._kept = pool, weakref.finalize(self, pool.close)
        return pool

    def _drop(self, pool: Any, wait: bool) -> None:
        if self._kept is not None and self._kept[0] is pool:
            self._kept[1].detach()
            self._kept = None
        pool.close(wait)

    def close(self) -> None:
        """End the workers that `persistent_workers` keeps; the next iteration starts new ones."""
        if self._kept is not None:
            self._drop(self._kept[0], wait=True)


def pinned(batch: Any) -> Any:
    """The batch with its tensors in page-locked memory."""
    return each_tensor(batch, Tensor.pin_memory)


def pinning() -> Callable[[Any], Any]:
    """`pinned`, by any thread, on the GPU that is the present one here: a new thread's would be the first."""
    cupy, number = backend.gpu_module(), backend.resolved("cuda").index

    def pin(batch: Any) -> Any:
        with cupy.cuda.Device(number):
            return pinned(batch)

    return pin


def last_batch_size(samples: int, batch_size: int, drop_last: bool = False) -> int:
    """Samples in the last batch of an epoch.

    One is too few for batch norm in training, which has no variance to divide by: whoever trains asks here before the
    first epoch, and drops that batch or chooses another size.
    """
    rest = samples % batch_size
    return batch_size if rest == 0 or (drop_last and samples >= batch_size) else rest
