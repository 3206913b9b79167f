"""Stochastic depth: in training, a picture leaves out residual blocks at random (Huang et al. 2016).

    y = x + branch(x) m / (1 - p)       m = 0 with probability p, else 1: one draw for each picture and block

A block that is left out is its shortcut alone. p rises evenly from 0 at the first block to `rate` at the last, since
early features are needed by all that follows. In evaluation every block counts, and the division keeps the mean.
"""

from typing import Any

from minires import nn
from minires.backend import array_module
from minires.errors import UsageError
from minires.models.inception_resnet import ScaledResidual
from minires.models.resnet import PlainBlock
from minires.random import generator
from minires.tensor import HookHandle, Tensor


class DropBranch:
    """A forward hook for the last layer of a block's branch. Draws from `minires.random.generator()`."""

    def __init__(self, rate: float) -> None:
        if not 0 <= rate < 1:
            raise ValueError(f"the rate must be at least 0 and below 1, got {rate}")
        self.rate = rate

    def __call__(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
        if not module.training or not self.rate:
            return None
        xp = array_module(output.array)
        kept = xp.asarray(generator().random((len(output), 1, 1, 1)) >= self.rate)
        return output * Tensor(kept.astype(output.dtype) / output.dtype.type(1 - self.rate))


def stochastic_depth(model: Any, rate: float) -> list[HookHandle]:
    """Let the blocks of a residual network be left out in training. Returns handles; `remove()` of each undoes it.

    Raises ValueError for a rate that is not at least 0 and below 1, UsageError for a model without residual blocks.
    """
    ends = [end for end in map(_end_of_branch, model.modules()) if end is not None]
    if not ends:
        raise UsageError("stochastic depth leaves out residual blocks, and this model has none", code="usage.conflict")
    last = max(len(ends) - 1, 1)
    hooks = [DropBranch(rate * place / last) for place in range(len(ends))]
    return [end.register_forward_hook(hook) for end, hook in zip(ends, hooks, strict=True)]


def _end_of_branch(block: Any) -> Any:
    """The layer whose output the shortcut is added to; None for a module that is no residual block."""
    if isinstance(block, ScaledResidual):
        return block.conv2d
    if isinstance(block, PlainBlock) or not isinstance(getattr(type(block), "last", None), str):
        return None
    return block.se if "se" in block._modules else getattr(block, block.last)
