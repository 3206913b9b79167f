"""Data sets and transforms that worker processes can import, with every fault that a sample can have."""

import ctypes
import os
import signal
import threading
import time

import numpy as np

from minires.data import ArrayDataset
from minires.data.transforms import (
    ColorJitter,
    Compose,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
    ToTensor,
)
from minires.io.files import append_line
from minires.kernels.cpu.parallel import blas_threads
from minires.random import generator
from minires.tensor import Tensor

PICTURES, BATCH = 22, 4
MARK = 7  # the sample with a fault


class UnpicklableError(RuntimeError):
    """An exception that no pickle will take."""

    def __reduce__(self):
        raise TypeError("cannot be pickled")


class ReadOnceError(RuntimeError):
    """An exception that goes into a pickle and does not come out of it."""

    def __init__(self, sample: int, reason: str) -> None:
        super().__init__(f"{reason} at {sample}")


def raise_error(error: type[Exception], *arguments: object) -> None:
    raise error(*arguments)


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


FAULTS = {
    "none": lambda: None,
    "SIGKILL": kill_this_process,
    "SIGSEGV": lambda: ctypes.string_at(0),
    "exit": lambda: os._exit(3),
    "hang": lambda: time.sleep(600),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "ValueError": lambda: raise_error(ValueError, "no such crop"),
    "MemoryError": lambda: raise_error(MemoryError, "no room"),
    "UnpicklableError": lambda: raise_error(UnpicklableError, "broken transform"),
    "ReadOnceError": lambda: raise_error(ReadOnceError, 3, "broken transform"),
    "SystemExit": lambda: raise_error(SystemExit, 3),
}


class Faulty:
    """Augmented pictures, their numbers as targets; sample MARK has a fault, always, or the first time only.

    `once`: a file that remembers, over all processes, that the fault has been. `size`: side of the pictures.
    """

    def __init__(self, fault: str = "none", once: str | None = None, size: int = 6, count: int = PICTURES) -> None:
        self.fault, self.once, self.size = fault, once, size
        images = np.random.default_rng(0).integers(0, 256, (count, 9, 8, 3), np.uint8)
        augment = Compose([RandomResizedCrop(size), RandomHorizontalFlip(), ColorJitter(0.4, 0.4, 0.4), ToTensor(),
                           RandomErasing(0.5)])  # fmt: skip
        self.inner = ArrayDataset(images, np.arange(count), augment)

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int):
        if index == MARK and not (self.once and os.path.exists(self.once)):
            if self.once:
                append_line(self.once, "been here")
            FAULTS[self.fault]()
        return self.inner[index]

    def sample_name(self, index: int) -> str:
        return f"photos/{index}.png"


class Large:
    """Samples of a megabyte each, and nothing else."""

    def __len__(self) -> int:
        return 96

    def __getitem__(self, index: int):
        return Tensor(np.full((1, 512, 512), index, np.float32)), index


class Blas:
    """Each sample is a matrix product of random numbers, and how many threads computed it."""

    def __init__(self, count: int = 8, size: int = 64) -> None:
        self.count, self.size = count, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int):
        left = generator().random((self.size, self.size))
        return (left @ left.T)[None].astype(np.float32), blas_threads()


class Tell:
    """worker_init_fn that writes its worker's number to a file; `fault`: what it does then."""

    def __init__(self, path: str, fault: str = "none") -> None:
        self.path, self.fault = path, fault

    def __call__(self, worker: int) -> None:
        append_line(self.path, f"{worker} {os.getpid()} {threading.current_thread().name}")
        FAULTS[self.fault]()


def small_files_only(worker: int) -> None:
    """worker_init_fn: no file, and no shared memory, may have more than 16 KiB from here on."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def as_lambda(samples):
    """collate_fn of a batch that cannot be pickled."""
    return lambda: samples
