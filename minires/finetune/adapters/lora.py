"""LoRA: a frozen weight and a change of low rank (Hu et al. 2022, "LoRA: low-rank adaptation").

    weight = W + alpha / r  B A       W (out, in), B (out, r) starts as 0, A (r, in) at random: first nothing changes

A convolution's window is a matrix with a row for each output channel: in = in_channels / groups * kh * kw. Of a layer
with m x n weights m n numbers stay as they are, and r (m + n) are learnt.
"""

import math
from typing import Any

from minires import nn
from minires.errors import UsageError
from minires.finetune.adapters.base import Adapter, become, layers_before_head, refuse_adapters
from minires.finetune.strategies.plan import Strategy
from minires.nn import Parameter, init
from minires.nn.allocate import empty
from minires.nn.conv import StdConv2d
from minires.tensor import Tensor


class LoRA(Adapter):
    """A layer with lora_A (r, in) and lora_B (out, r); `scaling` is alpha / r."""

    own = ("lora_A", "lora_B")
    scaling: float

    def adapted(self, name: str, original: Any) -> Tensor:
        """W + alpha / r B A, in W's shape; a window's numbers lie in the matrix as in memory, channels last."""
        change = (self.lora_B @ self.lora_A) * self.scaling
        if original.ndim == 4:
            out, channels, height, width = original.shape
            change = change.reshape(out, height, width, channels).permute(0, 3, 1, 2)
        return original + change

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, lora_rank={self.lora_A.shape[0]}, scaling={self.scaling:g}"


class LoRALinear(LoRA, nn.Linear):  # type: ignore[override]
    """Linear with an adapter."""

    kind = nn.Linear


class LoRAConv2d(LoRA, nn.Conv2d):  # type: ignore[override]
    """Conv2d with an adapter."""

    kind = nn.Conv2d


class LoRAStdConv2d(LoRA, StdConv2d):  # type: ignore[override]
    """StdConv2d with an adapter: the adapted weight is standardised."""

    kind = StdConv2d


KINDS: dict[type, type[LoRA]] = {layer.kind: layer for layer in (LoRALinear, LoRAConv2d, LoRAStdConv2d)}


def add_lora(model: Any, rank: int = 8, alpha: float | None = None, stages: list[str] | None = None) -> list[LoRA]:
    """Give every Linear and Conv2d before the head an adapter of this rank, and return the adapted layers.

    alpha: how much the change counts, as a multiple of `rank` (default: rank, a factor of 1). stages: only in these.
    A layer with fewer rows or columns gets as large a rank as it can use. Raises UsageError for a rank below 1, a model
    that has adapters already, and one without a layer to adapt.
    """
    if rank < 1:
        raise UsageError(f"the rank of LoRA must be at least 1, got {rank}", code="usage.value")
    refuse_adapters(model)
    layers = list(layers_before_head(model, KINDS, stages))
    if not layers:
        raise UsageError("there is no Linear or Conv2d before the head to adapt", code="usage.conflict")
    for layer in layers:
        weight = layer.weight
        rows, columns = weight.shape[0], weight.numel() // weight.shape[0]
        own = min(rank, rows, columns)
        a, b = (Parameter(empty(shape, weight.device, weight.dtype)) for shape in ((own, columns), (rows, own)))
        init.kaiming_uniform_(a, a=math.sqrt(5))
        init.zeros_(b)
        become(layer, KINDS[type(layer)])
        layer.register_parameter("lora_A", a)
        layer.register_parameter("lora_B", b)
        layer.scaling = (rank if alpha is None else alpha) / rank
    return layers


def lora(model: Any, rank: int = 8, alpha: float | None = None, bn: str = "auto") -> Strategy:
    """`add_lora`, and a strategy that trains the adapters and the head."""
    add_lora(model, rank, alpha)
    starts = dict.fromkeys(model.stages(), 0)
    return Strategy(model, starts, lambda path: path.rpartition(".")[2] in LoRA.own, bn)
