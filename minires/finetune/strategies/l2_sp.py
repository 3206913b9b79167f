"""L2-SP: a pull towards the pretrained weights in place of one towards zero.

    loss(w) + alpha / 2 sum (w - w0)^2        over the trained weights before the head; w0: their values at the start

Weight decay forgets what was learnt before, slowly but surely; a pull towards the starting point allows what the new
pictures ask for and keeps the rest (Li, Grandvalet and Davoine 2018, "Explicit inductive bias for transfer learning").
"""

from collections.abc import Callable
from typing import Any

from minires.finetune.freezing import HEAD, stage_modules
from minires.tensor import Tensor


class PullToStart:
    """`loss_fn` plus alpha / 2 times the squared distance to where the model is now. Make it before the training.

    Frozen parameters are left out while they are frozen; the head has nothing to be pulled to. A run that is resumed
    makes it with the model it started from, and then loads its checkpoint.
    """

    def __init__(self, loss_fn: Callable[[Any, Any], Tensor], model: Any, alpha: float) -> None:
        if not alpha > 0:
            raise ValueError(f"alpha must be above 0, got {alpha}")
        if getattr(loss_fn, "reduction", "mean") == "sum":
            raise ValueError("the loss must be a mean over the batch: the pull is the same for every batch")
        head = {id(each) for module in stage_modules(model)[HEAD] for each in module.parameters()}
        body = [parameter for parameter in model.parameters() if id(parameter) not in head]
        self.loss_fn, self.alpha = loss_fn, alpha
        self.starts = [(parameter, Tensor(parameter.array.copy(order="K"))) for parameter in body]

    def __call__(self, outputs: Any, targets: Any) -> Tensor:
        loss = self.loss_fn(outputs, targets)
        for parameter, start in self.starts:
            if parameter.requires_grad:
                away = parameter - start
                loss = loss + (away * away).sum() * (self.alpha / 2)
        return loss
