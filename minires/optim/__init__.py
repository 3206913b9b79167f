"""Floor 4: optimizers and schedules of the learning rate, by PyTorch's names.

optimizer   groups of parameters, their state       sgd, adam     SGD; Adam, AdamW
rmsprop     RMSprop, Adagrad, Adadelta              adam_kin      Adamax, NAdam, RAdam
large_batch   LARS, LAMB                            sign_based    Lion, Rprop
averaged    ASGD                                    sam           SAM, around another optimizer
quasi_newton   LBFGS
lr_scheduler   how the learning rate changes from step to step
"""

from minires.optim import lr_scheduler
from minires.optim.adam import Adam, AdamW
from minires.optim.adam_kin import Adamax, NAdam, RAdam
from minires.optim.averaged import ASGD
from minires.optim.large_batch import LAMB, LARS
from minires.optim.optimizer import Optimizer
from minires.optim.quasi_newton import LBFGS
from minires.optim.rmsprop import Adadelta, Adagrad, RMSprop
from minires.optim.sam import SAM
from minires.optim.sgd import SGD
from minires.optim.sign_based import Lion, Rprop

__all__ = [
    "ASGD", "LAMB", "LARS", "LBFGS", "SAM", "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Lion", "NAdam",
    "Optimizer", "RAdam", "RMSprop", "Rprop", "lr_scheduler",
]  # fmt: skip
