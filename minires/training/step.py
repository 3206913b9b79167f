"""One step of a Trainer: outputs, loss, gradients, and the weights moved; or an error, and all is as it was before.

A batch too large for the memory goes through the model in parts (`micro_batch_size`). The loss of a batch is the mean
over its N samples, and a mean is a sum of parts:

    L = 1/N sum_i l_i = sum_parts (n/N) L_part,    so    dL/dw = sum_parts (n/N) dL_part/dw

and since `backward` adds to the gradients that are there, the parts' gradients come to those of the whole batch, up to
rounding. Batch norm in training is the exception: it takes mean and variance of the part that it sees.

With the optimizer SAM a step takes the gradient of all parts twice: at the weights, and at the worst place nearby. Both
times layers draw the same numbers, and loss, figures and batch norm's running statistics are those of the first time.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minires import random
from minires.optim import SAM
from minires.optim.optimizer import with_gradients
from minires.tensor import Tensor
from minires.training.batches import inputs_and_targets
from minires.training.diagnostics import NOT_SEEN_AGAIN, NotFiniteError, find_origin
from minires.training.evaluation import add_up, number
from minires.training.gradients import clip_factor, clip_gradients, gradient_norm
from minires.training.weights import copy_buffers, restore_weights

if TYPE_CHECKING:
    from minires.training.trainer import Trainer


class Part(NamedTuple):
    """Samples that go through the model together: their number in the batch's parts, and their share of its loss."""

    number: int
    inputs: Tensor
    targets: Tensor
    share: float


def make_step(trainer: "Trainer") -> None:
    """One step on `trainer.batch`. If it fails before the weights move, all is as it was before."""
    inputs, targets = inputs_and_targets(trainer.batch, trainer.device)
    parts = cut(inputs, targets, trainer.micro_batch_size, getattr(trainer.loss_fn, "reduction", "mean") == "sum")
    trainer.batch_size = len(inputs)
    trainer.last_lr = float(trainer.optimizer.param_groups[0]["lr"])
    statistics, sums = copy_buffers(trainer.model), trainer.sums.state_dict()
    try:
        # what NumPy would warn of, overflow and invalid values, is looked for in the loss and the gradients
        with np.errstate(over="ignore", invalid="ignore"):
            trainer.optimizer.zero_grad()
            trainer.loss = math.fsum(part.share * _backward(trainer, part, statistics) for part in parts)
        folds, factor = _folds(trainer), 1.0
        if not folds:
            trainer.precision.unscale(trainer.optimizer)
        scale = trainer.precision.scaler.get_scale() if folds else 1.0
        norm, too_large = _norm(trainer, parts, statistics, scale)
        if isinstance(trainer.optimizer, SAM):
            norm = _at_the_worst_place(trainer, trainer.optimizer, parts, statistics)
        if trainer.clip_grad is not None and not too_large and folds:
            factor = clip_factor(trainer.clip_grad, norm)
        elif trainer.clip_grad is not None and not too_large:
            clip_gradients(trainer.model.parameters(), trainer.clip_grad, norm)
    except BaseException:
        if isinstance(trainer.optimizer, SAM):
            trainer.optimizer.step_back()
        restore_weights(trainer.model, statistics)
        trainer.sums.load_state_dict(sums)
        raise
    trainer.consistent = False
    if isinstance(trainer.optimizer, SAM):
        trainer.optimizer.second_step()
    else:
        trainer.precision.step(trainer.optimizer, factor)


def _folds(trainer: "Trainer") -> bool:
    """Whether the optimizer unscales and clips as it updates; not where it has parameters that are not the model's."""
    optimizer = trainer.optimizer
    return optimizer.can_fold() and set(trainer.model.parameters()).issuperset(with_gradients(optimizer))


def _at_the_worst_place(trainer: "Trainer", optimizer: SAM, parts: Sequence[Part], statistics: Any) -> float:
    """Put the gradients at p + e in the place of those at p, where the model is left; their norm."""
    learnt = copy_buffers(trainer.model)
    optimizer.first_step()
    optimizer.zero_grad()
    with np.errstate(over="ignore", invalid="ignore"):
        for part in parts:
            _backward(trainer, part, statistics, again=True)
    norm, _ = _norm(trainer, parts, statistics)
    restore_weights(trainer.model, learnt)
    return norm


def _norm(trainer: "Trainer", parts: Sequence[Part], statistics: Any, scale: float = 1.0) -> tuple[float, bool]:
    """The norm of the gradient, which `scale` was multiplied to, and whether a loss scale has made it too large.

    NotFiniteError where it is not finite for another reason.
    """
    norm = gradient_norm(trainer.model.parameters()) / scale
    too_large = trainer.precision.too_large(norm)
    _check(trainer, 0.0 if too_large else norm, f"the norm of the gradient is {norm}", parts, statistics, True)
    return norm, too_large


def cut(inputs: Tensor, targets: Tensor, size: int | None, is_sum: bool = False) -> list[Part]:
    """The parts of a batch, `size` samples each; a single sample left over joins the part before it.

    Shares: the part's samples by all samples, or 1 where the loss is a sum over samples.
    """
    total = len(inputs)
    if size is None or size >= total:
        return [Part(0, inputs, targets, 1.0)]
    starts = list(range(0, total, size))
    if size > 1 and total - starts[-1] == 1:  # batch norm cannot learn statistics from one sample
        starts.pop()
    ends = [*starts[1:], total]
    return [
        Part(place, inputs[start:end], targets[start:end], 1.0 if is_sum else (end - start) / total)
        for place, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]


def _backward(trainer: "Trainer", part: Part, statistics: Any, again: bool = False) -> float:
    """The loss of a part; its gradients are added to those that are there, its figures to the epoch's unless again."""
    with random.address(trainer.seed, "step", trainer.step, part.number):
        with trainer.precision.computing():
            outputs = trainer.model(part.inputs)
            loss = trainer.loss_fn(outputs, part.targets)
        value = number(loss)
        _check(trainer, value, f"the loss is {value}", [part], statistics, False)
        trainer.precision.scaled(loss if part.share == 1 else loss * part.share).backward()
    if not again:
        add_up(trainer.sums, value, trainer.loss_fn, outputs, part.targets)
    return value


def _check(
    trainer: "Trainer", value: float, what: str, parts: Sequence[Part], statistics: Any, backward: bool
) -> None:  # fmt: skip
    """Raise NotFiniteError if `value` is not finite, after looking for the place where that begins."""
    if math.isfinite(value):
        return
    restore_weights(trainer.model, statistics)
    place = NOT_SEEN_AGAIN
    for part in parts:
        with random.address(trainer.seed, "step", trainer.step, part.number):
            try:
                with trainer.precision.computing():
                    place = find_origin(trainer.model, trainer.loss_fn, part.inputs, part.targets, backward)
            except Exception as error:  # the search must not hide what was found
                place = f"an unknown place: the search for it failed ({error})"
        if place != NOT_SEEN_AGAIN:
            break
    raise NotFiniteError(what, trainer.step + 1, trainer.epoch + 1, trainer.last_lr, place)
