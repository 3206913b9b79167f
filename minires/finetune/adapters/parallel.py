"""Parallel adapters: a small convolution beside each large one (Rebuffi, Bilen and Vedaldi 2018, "Efficient
parametrization of multi-domain deep neural networks").

    y = conv(x, W) + conv1x1(x, A)        A starts as 0: first nothing changes

A 1x1 convolution is a larger one whose window is 0 but for its middle. So the adapter goes into the weight exactly:
weight = W, with A added in the middle of each window. A 3x3 convolution with it has a ninth of its numbers to learn.
"""

from typing import Any

from minires import nn
from minires.errors import UsageError
from minires.finetune.adapters.base import Adapter, become, layers_before_head, refuse_adapters
from minires.finetune.strategies.plan import Strategy
from minires.nn import Parameter, init
from minires.nn.allocate import empty
from minires.nn.functional import pad
from minires.tensor import Tensor


class ParallelConv2d(Adapter, nn.Conv2d):  # type: ignore[override]
    """Conv2d of an odd window with an adapter (out_channels, in_channels / groups, 1, 1)."""

    own = ("adapter",)
    kind = nn.Conv2d

    def adapted(self, name: str, original: Any) -> Tensor:
        """W, and the adapter in the middle of its windows."""
        rows, columns = (size // 2 for size in self.kernel_size)
        return original + pad(self.adapter, (columns, columns, rows, rows))


def add_parallel(model: Any, stages: list[str] | None = None) -> list[ParallelConv2d]:
    """Give every Conv2d before the head whose window is odd and larger than 1x1 an adapter; return those layers.

    Raises UsageError for a model that has adapters already, and for one without such a convolution.
    """
    refuse_adapters(model)
    layers = [layer for layer in layers_before_head(model, (nn.Conv2d,), stages) if _has_room(layer)]
    if not layers:
        message = "there is no plain convolution with an odd window before the head to adapt"
        raise UsageError(message, code="usage.conflict")
    for layer in layers:
        weight = layer.weight
        adapter = Parameter(empty((*weight.shape[:2], 1, 1), weight.device, weight.dtype, channels_last=True))
        init.zeros_(adapter)
        become(layer, ParallelConv2d)
        layer.register_parameter("adapter", adapter)
    return layers


def _has_room(layer: nn.Conv2d) -> bool:
    return layer.kernel_size != (1, 1) and all(size % 2 for size in layer.kernel_size)


def parallel(model: Any, bn: str = "auto") -> Strategy:
    """`add_parallel`, and a strategy that trains the adapters and the head."""
    add_parallel(model)
    starts = dict.fromkeys(model.stages(), 0)
    return Strategy(model, starts, lambda path: path.rpartition(".")[2] in ParallelConv2d.own, bn)
