"""Fused functions under unfused modules: models keep PyTorch's modules and names, and run several of them as one."""

from minires.nn.activation import ReLU
from minires.nn.module import Module
from minires.nn.norm import BatchNorm2d
from minires.tensor import Tensor


def norm_act(norm: Module, act: Module, x: Tensor, residual: Tensor | None = None) -> Tensor:
    """act(norm(x) + residual), or act(norm(x)) without a residual.

    One fused operation where `norm` is a BatchNorm2d and `act` a ReLU without hooks. Otherwise the modules are called
    one by one, so that hooks run and layers can be exchanged for others.
    """
    if type(norm) is BatchNorm2d and type(act) is ReLU and not norm.has_hooks and not act.has_hooks:
        return norm.forward_fused(x, residual, relu=True)
    y = norm(x)
    return act(y if residual is None else y + residual)
