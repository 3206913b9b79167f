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


PLACES = 32  # times the channels: with fewer, the products of matrices of channels cost more than they save


def conv_norm_act(conv: Module, norm: Module, act: Module | None, x: Tensor, residual: Tensor | None = None) -> Tensor:
    """act(norm(conv(x)) + residual), without the residual if None; without act if None.

    In training one operation, if `conv` makes many channels of few (see ops/conv1x1_norm.py), and norm and act are as
    `norm_act` wants them; else conv(x), and then as `norm_act`.
    """
    modules = [module for module in (conv, norm, act) if module is not None]
    known = [type(module) for module in modules] in ([Conv2d, BatchNorm2d], [Conv2d, BatchNorm2d, ReLU])
    if known and not any(module.has_hooks for module in modules) and is_expansion(conv, norm, x):
        return norm.forward_convolved(conv, x, residual, relu=act is not None)
    y = conv(x)
    return norm(y) if act is None else norm_act(norm, act, y, residual)


def is_expansion(conv: Module, norm: Module, x: Tensor) -> bool:
    """Whether `conv`, by 1x1 windows, makes several times as many channels, of many places, and `norm` trains."""
    is_pointwise = conv.kernel_size == (1, 1) and conv.padding in ((0, 0), "same", "valid") and conv.groups == 1
    places = x.numel() // max(1, conv.in_channels * conv.stride[0] * conv.stride[1])
    expands = conv.out_channels >= 4 * conv.in_channels and places >= PLACES * conv.in_channels
    return is_pointwise and conv.bias is None and x.dim() == 4 and expands and norm.uses_batch_statistics()
