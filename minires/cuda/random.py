"""torch.cuda's names for seeding. One generator serves all devices, so that a seed gives the same numbers on each.

All of this is `minires.manual_seed` and its kin by other names, and needs no GPU. A generator for one device alone is
`minires.Generator(device="cuda:1")`.
"""

import secrets
from typing import Any

from minires.random import default_generator


def manual_seed(seed: int) -> None:
    """As `minires.manual_seed`."""
    default_generator.manual_seed(seed)


manual_seed_all = manual_seed


def seed() -> None:
    """Start from a seed that nobody knows beforehand."""
    default_generator.manual_seed(secrets.randbits(63))


seed_all = seed


def initial_seed() -> int:
    """The seed that the generator was started from."""
    return default_generator.initial_seed()


def get_rng_state(device: Any = "cuda") -> dict[str, int]:
    """Where the generator of all devices stands."""
    return default_generator.get_state()


def set_rng_state(new_state: dict[str, int], device: Any = "cuda") -> None:
    """Go on from a state of `get_rng_state`, on all devices."""
    default_generator.set_state(new_state)
