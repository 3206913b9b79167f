"""Floor 4: what networks are made of, by PyTorch's names.

module       Module, what all layers and models are; registry, hooks, state, parameter belong to it
containers   Sequential, ModuleList, ModuleDict
linear, conv, norm, group_norm, activation, pooling, padding, dropout, flatten, loss   the layers
functional   the operations as functions        init   initial values of weights
fused        several layers run as one operation          fuse   batch norm folded into convolutions, for inference
trace        what a model does to an example, as a list   utils  torch.nn.utils, as far as it is here
"""

from minires.nn import functional, init, utils
from minires.nn.activation import LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from minires.nn.containers import ModuleDict, ModuleList, Sequential
from minires.nn.conv import Conv2d, StdConv2d
from minires.nn.dropout import Dropout
from minires.nn.flatten import Flatten
from minires.nn.fuse import InferenceModel, compile_inference
from minires.nn.fused import FoldedConv2d, norm_act
from minires.nn.group_norm import GroupNorm
from minires.nn.linear import Identity, Linear
from minires.nn.loss import CrossEntropyLoss, L1Loss, MSELoss, NLLLoss
from minires.nn.module import Module
from minires.nn.norm import BatchNorm1d, BatchNorm2d
from minires.nn.padding import ConstantPad2d
from minires.nn.parameter import Parameter
from minires.nn.pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d

__all__ = [
    "AdaptiveAvgPool2d", "AvgPool2d", "BatchNorm1d", "BatchNorm2d", "ConstantPad2d", "Conv2d", "CrossEntropyLoss",
    "Dropout", "Flatten", "FoldedConv2d", "GroupNorm", "Identity", "InferenceModel", "L1Loss", "Linear", "LogSoftmax",
    "MSELoss", "MaxPool2d", "Module", "ModuleDict", "ModuleList", "NLLLoss", "Parameter", "ReLU", "Sequential",
    "Sigmoid", "Softmax", "StdConv2d", "Tanh", "compile_inference", "functional", "init", "norm_act", "utils",
]  # fmt: skip
