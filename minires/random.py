"""Random numbers as addresses, not streams.

A stream of random numbers has a position, and whoever draws one number more or less changes all numbers that follow.
A training run that must not change with the number of workers, or after a resume, cannot live with that. So every
draw here has an address: the seed, a purpose ("shuffle", "augment", "dropout", ...) and a position such as
(epoch, sample index) or (step,). The counter-based generator Philox (Salmon et al. 2011, "Parallel random numbers: as
easy as 1, 2, 3") turns an address into numbers directly; there is no state to carry from one draw to the next.

    with address(seed, "augment", epoch, index):   # whatever runs inside draws from this address
        image = random_crop(image)

Code that draws asks for `generator()`: it gets the address it runs under, or else the process-wide generator, which
`manual_seed` starts anew and which numbers its draws one by one.
"""

import contextlib
import copy
import hashlib
import secrets
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from minires import backend

_MASK = (1 << 64) - 1


def philox(seed: int, purpose: str, *position: int) -> np.random.Generator:
    """NumPy generator for one address: `seed` any integer, `purpose` a word, `position` up to three integers.

    The key is (seed, hash of the purpose); the upper words of the counter hold the position, the lowest counts the
    numbers drawn, so that two addresses never share numbers (within 2**64 draws each).
    """
    if len(position) > 3:
        raise ValueError(f"an address has at most three positions, got {len(position)}: {position}")
    purpose_key = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little")
    counter = [0, *(value & _MASK for value in position), *([0] * (3 - len(position)))]
    bits = np.random.Philox(counter=np.array(counter, np.uint64), key=np.array([seed & _MASK, purpose_key], np.uint64))
    return np.random.Generator(bits)


class Generator:
    """A seed and the number of draws made so far. Every draw is an address of its own: (seed, purpose; position, draw).

    The whole state is two small integers, so that it can be written into a JSON file. Not safe to share among threads
    that draw at the same time (the order of the draws would be theirs, not yours).

    device: the only one whose tensors may be drawn from it; it may also come first, as in `Generator("cuda:1")`.
    None: all. The numbers are the same on each.
    """

    def __init__(self, seed: Any = 0, purpose: str = "default", *position: int, device: Any = None) -> None:
        if len(position) > 2:
            raise ValueError(f"a generator's position has at most two integers, got {position}")
        if isinstance(seed, str | backend.device):
            seed, device = 0, seed
        self.purpose = purpose
        self.position = position
        self.device = None if device is None else backend.device(device)
        self._seed = int(seed)
        self._draws = 0

    def manual_seed(self, seed: int) -> "Generator":
        """Start anew from `seed`."""
        self._seed, self._draws = int(seed), 0
        return self

    def initial_seed(self) -> int:
        """The seed that this generator was started from."""
        return self._seed

    def get_state(self) -> dict[str, int]:
        """Seed and number of draws: all that `set_state` needs to go on from here."""
        return {"seed": self._seed, "draws": self._draws}

    def set_state(self, state: dict[str, int]) -> None:
        """Go on from a state that `get_state` returned."""
        self._seed, self._draws = int(state["seed"]), int(state["draws"])

    def next(self) -> np.random.Generator:
        """The NumPy generator of the next draw."""
        position = (self._draws, *self.position)
        self._draws += 1
        return philox(self._seed, self.purpose, *position)


default_generator = Generator()
_local = threading.local()


def manual_seed(seed: int) -> Generator:
    """Start the process-wide generator anew from `seed` and return it (as `torch.manual_seed`)."""
    return default_generator.manual_seed(seed)


@contextlib.contextmanager
def using(source: Generator) -> Iterator[None]:
    """Within the block, and in this thread alone, draws come from `source`."""
    outer = getattr(_local, "generator", None)
    _local.generator = source
    try:
        yield
    finally:
        _local.generator = outer


def address(seed: int, purpose: str, *position: int) -> contextlib.AbstractContextManager[None]:
    """Within the block, and in this thread alone, draws come from the address (seed, purpose; position).

    `position` holds up to two integers; a third counts the draws made inside the block.
    """
    return using(Generator(seed, purpose, *position))


def snapshot() -> Generator:
    """A copy of the generator that draws come from now: `using` it draws the same numbers once more."""
    return copy.copy(getattr(_local, "generator", None) or default_generator)


def generator(explicit: Generator | None = None, device: Any = None) -> np.random.Generator:
    """NumPy generator for one draw: from `explicit` if given, else the address in force, else the default generator.

    device: where the tensor will be, None the CPU. RuntimeError for a generator that is another device's.
    """
    if explicit is not None and explicit.device is not None:
        own, wanted = backend.resolved(explicit.device), backend.resolved("cpu" if device is None else device)
        if own != wanted:
            raise RuntimeError(f"expected a generator of the device {wanted}, got one of {own}")
    source = explicit or getattr(_local, "generator", None) or default_generator
    return source.next()


def initial_seed() -> int:
    """The seed that the process-wide generator was started from."""
    return default_generator.initial_seed()


def seed() -> int:
    """Start the process-wide generator anew from a seed that nobody knows beforehand, and return it."""
    chosen = secrets.randbits(63)
    default_generator.manual_seed(chosen)
    return chosen


def get_rng_state() -> dict[str, int]:
    """The state of the process-wide generator: two integers, where PyTorch has thousands of bytes."""
    return default_generator.get_state()


def set_rng_state(new_state: dict[str, int]) -> None:
    """Let the process-wide generator go on from a state that `get_rng_state` returned."""
    default_generator.set_state(new_state)
