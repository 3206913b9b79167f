"""Fused functions under unfused modules: models keep PyTorch's modules and names, and run several of them as one."""

from minires import ops
from minires.nn.activation import ReLU
from minires.nn.conv import Conv2d
from minires.nn.module import Module
from minires.nn.norm import BatchNorm2d
from minires.tensor import Tensor


class FoldedConv2d(Conv2d):
    """A convolution that a batch norm has been folded into, in the place of the norm: see fuse.py."""

    def forward_fused(self, input: Tensor, residual: Tensor | None, relu: bool) -> Tensor:
        """relu(forward(input) + residual) as one operation; without the residual if None, without relu if False."""
        input, padding = self.padded(input)
        return ops.conv2d_act(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups,
                              residual, relu)  # fmt: skip


def norm_act(norm: Module, act: Module, x: Tensor, residual: Tensor | None = None) -> Tensor:
    """act(norm(x) + residual), or act(norm(x)) without a residual.

    One fused operation where `norm` is a BatchNorm2d (or a FoldedConv2d in its place) and `act` a ReLU without hooks.
    Otherwise the modules are called one by one, so that hooks run and layers can be exchanged for others.
    """
    if type(norm) in (BatchNorm2d, FoldedConv2d) and type(act) is ReLU and not norm.has_hooks and not act.has_hooks:
        return norm.forward_fused(x, residual, relu=True)
    y = norm(x)
    return act(y if residual is None else y + residual)
