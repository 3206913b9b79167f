"""Floor 4: optimizers and schedules of the learning rate, by PyTorch's names.

optimizer   groups of parameters, their state       sgd, adam     SGD; Adam, AdamW
lr_scheduler   how the learning rate changes from step to step
"""

from minires.optim import lr_scheduler
from minires.optim.adam import Adam, AdamW
from minires.optim.optimizer import Optimizer
from minires.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "lr_scheduler"]
