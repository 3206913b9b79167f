"""Schedules of the learning rate: torch.optim.lr_scheduler's names, arguments and numbers.

`schedule.step()` after `optimizer.step()` moves on by one and sets `group["lr"]` of every parameter group. As in
PyTorch most schedules are written as the change from one rate to the next, so that they can be chained; `base_lrs` are
the rates that the groups began with. The deprecated argument `epoch` of step is not there.
"""

from minires.optim.lr_scheduler.base import LRScheduler
from minires.optim.lr_scheduler.chained import ChainedScheduler
from minires.optim.lr_scheduler.curves import (
    ConstantLR,
    CosineAnnealingLR,
    CosineWithWarmup,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    StepLR,
)
from minires.optim.lr_scheduler.cycles import CosineAnnealingWarmRestarts, CyclicLR
from minires.optim.lr_scheduler.factors import MultiplicativeLR, PolynomialLR
from minires.optim.lr_scheduler.one_cycle import OneCycleLR
from minires.optim.lr_scheduler.plateau import ReduceLROnPlateau
from minires.optim.lr_scheduler.sequential import SequentialLR

__all__ = [
    "ChainedScheduler", "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CosineWithWarmup",
    "CyclicLR", "ExponentialLR", "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR", "MultiplicativeLR",
    "OneCycleLR", "PolynomialLR", "ReduceLROnPlateau", "SequentialLR", "StepLR",
]  # fmt: skip
