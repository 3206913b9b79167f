"""One schedule after another."""

from bisect import bisect_right
from typing import Any

from minires.optim.lr_scheduler.base import LRScheduler
from minires.optim.lr_scheduler.plateau import ReduceLROnPlateau
from minires.optim.optimizer import Optimizer


class SequentialLR(LRScheduler):
    """The first schedule until milestones[0], then the second until milestones[1], and so on; each starts at its 0."""

    def __init__(
        self, optimizer: Optimizer, schedulers: list[LRScheduler], milestones: list[int], last_epoch: int = -1
    ) -> None:
        if not schedulers:
            raise ValueError("SequentialLR expects at least one scheduler, but got no scheduler.")
        for index, scheduler in enumerate(schedulers):
            if isinstance(scheduler, ReduceLROnPlateau):
                raise ValueError(f"SequentialLR does not support `ReduceLROnPlateau`, which is at index {index}")
            if scheduler.optimizer is not optimizer:
                raise ValueError("SequentialLR expects all schedulers to belong to the same optimizer, but the one at "
                                 f"index {index} does not")  # fmt: skip
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                "Sequential Schedulers expects number of schedulers to be one more than "
                f"the number of milestone points, but got {len(schedulers)} and {len(milestones)}"
            )
        self.schedulers, self.milestones = schedulers, list(milestones)
        self.optimizer, self.last_epoch = optimizer, last_epoch + 1
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        _undo_first_steps(schedulers)
        self.schedulers[bisect_right(self.milestones, 0)]._first_step()
        self._last_lr = self._current()

    def step(self) -> None:  # type: ignore[override]
        """Move on by one."""
        self.last_epoch += 1
        number = bisect_right(self.milestones, self.last_epoch)
        if number > 0 and self.milestones[number - 1] == self.last_epoch:
            self.schedulers[number]._start_at_zero()
        else:
            self.schedulers[number].step()
        self._last_lr = self._current()

    def _first_step(self) -> None:
        """Begin anew; called where this schedule is part of another."""
        self.last_epoch += 1
        self.schedulers[bisect_right(self.milestones, self.last_epoch)]._first_step()
        self._last_lr = self._current()

    def _start_at_zero(self) -> None:
        self.last_epoch = 0
        self.schedulers[bisect_right(self.milestones, 0)]._start_at_zero()
        self._last_lr = self._current()

    def state_dict(self) -> dict[str, Any]:
        """The position, and the state of every schedule under "schedulers"."""
        own = {name: value for name, value in super().state_dict().items() if name != "schedulers"}
        return {**own, "schedulers": [scheduler.state_dict() for scheduler in self.schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "schedulers"})
        for scheduler, state in zip(self.schedulers, state_dict["schedulers"], strict=True):
            scheduler.load_state_dict(state)


def _undo_first_steps(schedulers: list[LRScheduler]) -> None:
    """Every schedule made its first step when it was built; only the one that is in force at step 0 may have."""
    for scheduler in schedulers:
        scheduler.last_epoch -= 1
        if isinstance(scheduler, SequentialLR):
            _undo_first_steps(scheduler.schedulers)
