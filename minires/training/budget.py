"""How much one call of `fit` may do, and the end of its patience."""

import time
from collections.abc import Callable


class Paused(Exception):  # noqa: N818 - nothing went wrong
    """Raised between two steps: the run stops here and can go on from here. The text says why."""


class Budget:
    """At most `max_steps` steps and `max_time` seconds from now; one step is made whatever the clock says."""

    def __init__(
        self, max_steps: int | None = None, max_time: float | None = None, step: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        if max_steps is not None and max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, got {max_steps}")
        if max_time is not None and not max_time > 0:
            raise ValueError(f"max_time must be above 0 seconds, got {max_time}")
        self.first_step = step
        self.last_step = None if max_steps is None else step + max_steps
        self.clock = clock
        self.deadline = None if max_time is None else clock() + max_time

    def spent(self, step: int) -> str | None:
        """Why the run must pause after `step` steps, None if it may go on."""
        if self.last_step is not None and step >= self.last_step:
            return "the steps allowed are used up"
        if self.deadline is not None and step > self.first_step and self.clock() >= self.deadline:
            return "the time allowed is used up"
        return None
