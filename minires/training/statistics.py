"""Batch norm's statistics made anew, for the weights as they are.

In training the running statistics trail behind: they are a mean over the last batches, each with the weights of its
time. `reestimate` goes through the pictures once more, without moving any weight, and takes the plain mean over all
batches (Wu and Johnson 2021, "Rethinking 'Batch' in BatchNorm", section 3). For other pictures than those that a model
was trained on, that alone is an adaptation (Li et al. 2017, "Revisiting batch normalization for domain adaptation").
"""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

from minires import random
from minires.autograd import no_grad
from minires.training.batches import Batches, only_inputs
from minires.training.callbacks import Callback
from minires.training.trainer import Trainer
from minires.training.weights import copy_weights, restore_weights


def learning_norms(model: Any) -> list[Any]:
    """The batch norms that have running statistics which are not frozen."""
    norms = (module for module in model.modules() if hasattr(type(module), "freeze_statistics"))
    return [norm for norm in norms if norm.track_running_stats and not norm.statistics_frozen]


def reestimate(
    model: Any, batches: Iterable[Any], between: Callable[[], None] = lambda: None, seed: int = 0
) -> None:  # fmt: skip
    """Give every batch norm whose statistics are not frozen the mean over `batches` (inputs, or pairs with targets).

    Weights and modes stay; the old statistics have no say. between: called after each batch, and may raise.
    """
    norms = learning_norms(model)
    if not norms:
        return
    modes = [(module, module.training) for module in model.modules()]
    momenta = [norm.momentum for norm in norms]
    device = next(model.parameters()).device
    model.eval()
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.training, norm.momentum = True, None  # None: a mean in which all batches count the same
        with no_grad(), random.address(seed, "reestimate"):
            for batch in batches:
                model(only_inputs(batch, device))
                between()
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, training in modes:
            module.training = training


class AfterTraining(Callback):
    """Makes something in a model anew from whole batches: before every validation, and at the end of an epoch without.

    loader: the training pictures as they are prepared for evaluation. With averaged weights (EMA, SWA) it is made for
    the average; of_averages: for nothing else, so that until there is one no pass is made. A subclass says what, in
    `make`.
    """

    def __init__(self, loader: Any, of_averages: bool = False) -> None:
        self.loader, self.of_averages = loader, of_averages
        self._done_at = -1

    def make(self, trainer: Trainer, batches: Iterable[Any], between: Callable[[], None]) -> None:
        """Go through the batches and change trainer.model; `between` two batches the run may be stopped."""
        raise NotImplementedError

    def before_evaluate(self, trainer: Trainer) -> None:
        if self._idle(trainer):
            return
        self._run(trainer, trainer.pause_for_signals)  # which leaves it half made: it is made anew then
        self._done_at = trainer.step

    def after_epoch(self, trainer: Trainer) -> None:
        if self._done_at == trainer.step or self._idle(trainer):
            return
        if trainer.averaged is None:
            self._run(trainer)
            return
        own = copy_weights(trainer.model)
        restore_weights(trainer.model, trainer.averaged)
        self._run(trainer)
        for name, array in copy_weights(trainer.model).items():
            trainer.averaged[name][...] = array
        restore_weights(trainer.model, own)

    def _idle(self, trainer: Trainer) -> bool:
        return self.of_averages and trainer.averaged is None

    def _run(self, trainer: Trainer, between: Callable[[], None] = lambda: None) -> None:
        with contextlib.closing(iter(Batches(self.loader, 0, device=trainer.device))) as stream:
            self.make(trainer, stream, between)


class Reestimate(AfterTraining):
    """`reestimate`, before every validation and at the end of an epoch without one."""

    order = 3  # after the averaged weights are in the model, before EarlyStopping keeps them

    def make(self, trainer: Trainer, batches: Iterable[Any], between: Callable[[], None]) -> None:
        reestimate(trainer.model, batches, between, trainer.seed)
