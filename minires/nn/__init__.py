"""Floor 4: what networks are made of, by PyTorch's names.

module       Module, what all layers and models are; registry, hooks, state, parameter belong to it
containers   Sequential, ModuleList, ModuleDict; parameter_containers   ParameterList, ParameterDict
linear, conv, norm, group_norm, activation, pooling, padding, dropout, flatten, loss   the layers of a ResNet
conv_transpose, norm_of_samples, attention, activation_*, pooling_kin, resizing, embedding, loss_*   and those of others
functional   the operations as functions        init   initial values of weights
fused        several layers run as one operation          fuse   batch norm folded into convolutions, for inference
trace        what a model does to an example, as a list   utils  torch.nn.utils, as far as it is here
"""

import importlib as _importlib
import typing as _typing

from minires.nn import functional, init, utils
from minires.nn.activation import LogSoftmax, ReLU, Sigmoid, Softmax, Softmax2d, Softmin, Tanh
from minires.nn.activation_curves import (
    CELU,
    ELU,
    GELU,
    GLU,
    SELU,
    LogSigmoid,
    Mish,
    SiLU,
    Softplus,
    Softsign,
    Tanhshrink,
)
from minires.nn.activation_pieces import (
    Hardshrink,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    PReLU,
    ReLU6,
    RReLU,
    Softshrink,
    Threshold,
)
from minires.nn.attention import MultiheadAttention, TransformerEncoder, TransformerEncoderLayer
from minires.nn.containers import ModuleDict, ModuleList, Sequential
from minires.nn.conv import Conv2d, StdConv2d
from minires.nn.conv_transpose import Conv1d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from minires.nn.dropout import (
    AlphaDropout,
    Dropout,
    Dropout1d,
    Dropout2d,
    Dropout3d,
    FeatureAlphaDropout,
    StochasticDepth,
)
from minires.nn.embedding import Embedding, EmbeddingBag
from minires.nn.flatten import Flatten, Unflatten
from minires.nn.fuse import InferenceModel, compile_inference
from minires.nn.fused import FoldedConv2d, conv_norm_act, norm_act
from minires.nn.group_norm import GroupNorm
from minires.nn.linear import Bilinear, Identity, Linear
from minires.nn.loss import CrossEntropyLoss, L1Loss, MSELoss, NLLLoss
from minires.nn.loss_of_embeddings import (
    CosineEmbeddingLoss,
    CosineSimilarity,
    HingeEmbeddingLoss,
    MarginRankingLoss,
    MultiLabelMarginLoss,
    MultiLabelSoftMarginLoss,
    MultiMarginLoss,
    PairwiseDistance,
    TripletMarginLoss,
    TripletMarginWithDistanceLoss,
)
from minires.nn.loss_of_pairs import (
    BCELoss,
    BCEWithLogitsLoss,
    GaussianNLLLoss,
    HuberLoss,
    KLDivLoss,
    PoissonNLLLoss,
    SmoothL1Loss,
    SoftMarginLoss,
)
from minires.nn.metric_learning import (
    ArcFaceLoss,
    BatchHardTripletLoss,
    CosFaceLoss,
    CosineLinear,
    L2Normalize,
)
from minires.nn.module import Module
from minires.nn.norm import BatchNorm1d, BatchNorm2d
from minires.nn.norm_of_samples import (
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    LayerNorm,
    LocalResponseNorm,
    RMSNorm,
)
from minires.nn.padding import (
    CircularPad1d,
    CircularPad2d,
    CircularPad3d,
    ConstantPad1d,
    ConstantPad2d,
    ConstantPad3d,
    ReflectionPad1d,
    ReflectionPad2d,
    ReflectionPad3d,
    ReplicationPad1d,
    ReplicationPad2d,
    ReplicationPad3d,
    ZeroPad1d,
    ZeroPad2d,
    ZeroPad3d,
)
from minires.nn.parameter import Buffer, Parameter
from minires.nn.parameter_containers import ParameterDict, ParameterList
from minires.nn.pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from minires.nn.pooling_kin import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool3d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
    AvgPool1d,
    AvgPool3d,
    LPPool1d,
    LPPool2d,
    MaxPool1d,
    MaxPool3d,
    MaxUnpool1d,
    MaxUnpool2d,
)
from minires.nn.resizing import (
    ChannelShuffle,
    Fold,
    PixelShuffle,
    PixelUnshuffle,
    Unfold,
    Upsample,
    UpsamplingBilinear2d,
    UpsamplingNearest2d,
)
from minires.nn.squeeze_excitation import SqueezeExcitation

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AlphaDropout",
    "ArcFaceLoss",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchHardTripletLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Bilinear",
    "Buffer",
    "ChannelShuffle",
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "CosFaceLoss",
    "CosineEmbeddingLoss",
    "CosineLinear",
    "CosineSimilarity",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "Embedding",
    "EmbeddingBag",
    "FeatureAlphaDropout",
    "Flatten",
    "Fold",
    "FoldedConv2d",
    "GaussianNLLLoss",
    "GroupNorm",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "Identity",
    "InferenceModel",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "KLDivLoss",
    "L1Loss",
    "L2Normalize",
    "LPPool1d",
    "LPPool2d",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "LogSigmoid",
    "LogSoftmax",
    "MSELoss",
    "MarginRankingLoss",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "Mish",
    "Module",
    "ModuleDict",
    "ModuleList",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "MultiheadAttention",
    "NLLLoss",
    "PReLU",
    "PairwiseDistance",
    "Parameter",
    "ParameterDict",
    "ParameterList",
    "PixelShuffle",
    "PixelUnshuffle",
    "PoissonNLLLoss",
    "RMSNorm",
    "RReLU",
    "ReLU",
    "ReLU6",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "SoftMarginLoss",
    "Softmax",
    "Softmax2d",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "SqueezeExcitation",
    "StdConv2d",
    "StochasticDepth",
    "Tanh",
    "Tanhshrink",
    "Threshold",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "TripletMarginLoss",
    "TripletMarginWithDistanceLoss",
    "Unflatten",
    "Unfold",
    "Upsample",
    "UpsamplingBilinear2d",
    "UpsamplingNearest2d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
    "compile_inference",
    "conv_norm_act",
    "functional",
    "init",
    "norm_act",
    "utils",
]  # fmt: skip


def __getattr__(name: str) -> _typing.Any:
    if name in ("common_types", "modules"):  # torch.nn's other names of what is here: imported when first named
        return _importlib.import_module(f"minires.nn.{name}")
    raise AttributeError(f"module 'minires.nn' has no attribute {name!r}")
