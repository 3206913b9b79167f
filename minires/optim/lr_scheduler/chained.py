"""Several schedules at once."""

from collections.abc import Sequence
from typing import Any

from minires.optim.lr_scheduler.base import LRScheduler
from minires.optim.lr_scheduler.plateau import ReduceLROnPlateau
from minires.optim.optimizer import Optimizer


class ChainedScheduler(LRScheduler):
    """Every schedule makes its step, one after the other: what they multiply the rate by is multiplied.

    ValueError for no schedules, a ReduceLROnPlateau, or schedules of different optimizers.
    """

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        if not schedulers:
            raise ValueError("ChainedScheduler expects at least one scheduler to be chained, but got no scheduler.")
        self.optimizer = schedulers[0].optimizer if optimizer is None else optimizer
        for index, scheduler in enumerate(schedulers):
            if isinstance(scheduler, ReduceLROnPlateau):
                raise ValueError(f"ChainedScheduler does not support `ReduceLROnPlateau`, which is at index {index}")
            if scheduler.optimizer is not self.optimizer:
                raise ValueError("ChainedScheduler expects all schedulers to belong to the same optimizer, but the one "
                                 f"at index {index} does not")  # fmt: skip
        self._schedulers = list(schedulers)
        self._last_lr = self._current()

    def step(self) -> None:  # type: ignore[override]
        """Move every schedule on by one."""
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = self._current()

    def state_dict(self) -> dict[str, Any]:
        """The state of every schedule under "_schedulers"."""
        own = {name: value for name, value in super().state_dict().items() if name != "_schedulers"}
        return {**own, "_schedulers": [scheduler.state_dict() for scheduler in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "_schedulers"})
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)
