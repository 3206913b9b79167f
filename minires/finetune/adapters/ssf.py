"""SSF: every channel scaled and shifted (Lian et al. 2022, "Scaling and shifting your features").

    y = scale * norm(x) + shift           scale starts as 1, shift as 0: first nothing changes

Here after every norm, where a ResNet's channels leave a layer. A norm multiplies by its weight and adds its bias
already, so that the adapter goes into them exactly: weight' = scale weight, bias' = scale bias + shift. Other than
training weight and bias themselves, it starts at the pretrained ones, and weight decay on `shift` pulls back to them.
"""

from typing import Any

from minires import nn
from minires.errors import UsageError
from minires.finetune.adapters.base import Adapter, become, layers_before_head, refuse_adapters
from minires.finetune.strategies.plan import Strategy
from minires.nn import Parameter, init
from minires.nn.allocate import empty
from minires.tensor import Tensor


class SSF(Adapter):
    """A norm with ssf_scale and ssf_shift, both of its bias's shape."""

    own = ("ssf_scale", "ssf_shift")
    adapts = ("weight", "bias")

    def adapted(self, name: str, original: Any) -> Tensor:
        """scale weight, or scale bias + shift."""
        scaled = original * self.ssf_scale
        return scaled if name == "weight" else scaled + self.ssf_shift

    @property
    def bias(self) -> Any:
        """The adapted bias."""
        return self.read("bias")


class SSFBatchNorm1d(SSF, nn.BatchNorm1d):
    """BatchNorm1d with an adapter."""

    kind = nn.BatchNorm1d


class SSFBatchNorm2d(SSF, nn.BatchNorm2d):
    """BatchNorm2d with an adapter."""

    kind = nn.BatchNorm2d


class SSFGroupNorm(SSF, nn.GroupNorm):
    """GroupNorm with an adapter."""

    kind = nn.GroupNorm


KINDS: dict[type, type[SSF]] = {layer.kind: layer for layer in (SSFBatchNorm1d, SSFBatchNorm2d, SSFGroupNorm)}


def add_ssf(model: Any, stages: list[str] | None = None) -> list[SSF]:
    """Give every norm with weight and bias before the head an adapter, and return the adapted layers.

    Raises UsageError for a model that has adapters already, and for one without such a norm.
    """
    refuse_adapters(model)
    norms = layers_before_head(model, KINDS, stages)
    layers = [layer for layer in norms if layer.weight is not None and layer.bias is not None]
    if not layers:
        raise UsageError("there is no norm with weight and bias before the head to adapt", code="usage.conflict")
    for layer in layers:
        weight = layer.weight
        scale, shift = (Parameter(empty(weight.shape, weight.device, weight.dtype)) for _ in range(2))
        init.ones_(scale)
        init.zeros_(shift)
        become(layer, KINDS[type(layer)])
        layer.register_parameter("ssf_scale", scale)
        layer.register_parameter("ssf_shift", shift)
    return layers


def ssf(model: Any, bn: str = "auto") -> Strategy:
    """`add_ssf`, and a strategy that trains the adapters and the head."""
    add_ssf(model)
    starts = dict.fromkeys(model.stages(), 0)
    return Strategy(model, starts, lambda path: path.rpartition(".")[2] in SSF.own, bn)
