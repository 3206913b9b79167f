"""The norms that models can be built with, by name: `create("resnet50", norm="group")`.

batch       batch normalisation, what the models were made with
group       group normalisation in its place (Wu and He 2018): no statistics of the batch, any batch size
group_ws    group normalisation, and convolutions with standardised weights (Qiao et al. 2019)
"""

import functools
import math
from collections.abc import Callable

from minires import nn

Norm = Callable[[int], nn.Module]

NORMS = ("batch", "group", "group_ws")


def find_norm(norm: str, eps: float = 1e-5) -> Norm:
    """The function from a number of channels to a norm. ValueError for a name that is not in NORMS."""
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, not {norm!r}")
    return functools.partial(nn.BatchNorm2d if norm == "batch" else group_norm, eps=eps)


def group_norm(channels: int, eps: float = 1e-5) -> nn.GroupNorm:
    """32 groups, as in the paper; fewer where there would be less than two channels in each."""
    return nn.GroupNorm(math.gcd(32, channels // 2), channels, eps)


def standardise_weights(model: nn.Module, eps: float = 1e-6) -> None:
    """Put an nn.StdConv2d in the place of every nn.Conv2d inside the model; the weights are new."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Conv2d:
                setattr(module, name, nn.StdConv2d(
                    child.in_channels, child.out_channels, child.kernel_size, child.stride, child.padding,
                    child.dilation, child.groups, child.bias is not None, eps=eps,
                ))  # fmt: skip
