"""The operations of networks as functions, with torch.nn.functional's names and arguments: `F.relu(x)`."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from minires.ops import (
    adaptive_avg_pool2d,
    avg_pool2d,
    batch_norm,
    bilinear,
    conv2d,
    cross_entropy,
    dropout,
    fold,
    group_norm,
    l1_loss,
    linear,
    log_softmax,
    max_pool2d,
    mse_loss,
    nll_loss,
    one_hot,
    pad,
    pdist,
    relu,
    sigmoid,
    softmax,
    tanh,
    unfold,
)
from minires.ops.activation_formulas import (
    celu,
    elu,
    gelu,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    logsigmoid,
    mish,
    relu6,
    selu,
    silu,
    softplus,
    softshrink,
    softsign,
    tanhshrink,
    threshold,
)
from minires.ops.activation_learnt import glu, gumbel_softmax, prelu, rrelu, softmin
from minires.ops.attention import scaled_dot_product_attention
from minires.ops.channels import channel_shuffle, pixel_shuffle, pixel_unshuffle
from minires.ops.conv_transpose import conv1d, conv_transpose1d, conv_transpose2d
from minires.ops.dropout_of_channels import (
    alpha_dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
    stochastic_depth,
)
from minires.ops.embeddings import embedding, embedding_bag
from minires.ops.grid import affine_grid, grid_sample
from minires.ops.loss_of_angles import arcface_loss, batch_hard_triplet_loss, cosface_loss
from minires.ops.loss_of_embeddings import (
    cosine_embedding_loss,
    cosine_similarity,
    dice_loss,
    hinge_embedding_loss,
    margin_ranking_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    normalize,
    pairwise_distance,
    sigmoid_focal_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from minires.ops.loss_of_pairs import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    gaussian_nll_loss,
    huber_loss,
    kl_div,
    poisson_nll_loss,
    smooth_l1_loss,
    soft_margin_loss,
)
from minires.ops.norm_of_samples import instance_norm, layer_norm, local_response_norm, rms_norm
from minires.ops.pooling import (
    adaptive_avg_pool1d,
    adaptive_max_pool1d,
    adaptive_max_pool1d_with_indices,
    adaptive_max_pool2d,
    adaptive_max_pool2d_with_indices,
    avg_pool1d,
    lp_pool1d,
    lp_pool2d,
    max_pool1d,
    max_pool1d_with_indices,
    max_pool2d_with_indices,
    max_unpool1d,
    max_unpool2d,
)
from minires.ops.resizing import interpolate, upsample, upsample_bilinear, upsample_nearest
from minires.ops.volumes import (
    adaptive_avg_pool3d,
    adaptive_max_pool3d,
    avg_pool3d,
    conv3d,
    conv_transpose3d,
    max_pool3d,
)
from minires.tensor import Tensor


def _written_into(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function whose result is written into its input: `relu_(x)`."""

    @functools.wraps(function)
    def call(input: Tensor, *arguments: Any, **settings: Any) -> Tensor:
        return input._become(lambda old: function(old, *arguments, **settings), f"{function.__name__}_")

    given = inspect.signature(function)
    kept = [parameter for name, parameter in given.parameters.items() if name != "inplace"]
    call.__name__ = f"{function.__name__}_"
    vars(call)["__signature__"] = given.replace(parameters=kept)
    return call


celu_, elu_, hardtanh_, leaky_relu_, relu_, rrelu_, selu_, threshold_ = (
    _written_into(function) for function in (celu, elu, hardtanh, leaky_relu, relu, rrelu, selu, threshold)
)

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool1d_with_indices", "adaptive_max_pool2d", "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d", "affine_grid", "alpha_dropout", "arcface_loss", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "batch_hard_triplet_loss", "batch_norm", "bilinear", "binary_cross_entropy", "binary_cross_entropy_with_logits",
    "celu", "celu_", "channel_shuffle", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "cosface_loss", "cosine_embedding_loss", "cosine_similarity", "cross_entropy", "dice_loss",
    "dropout", "dropout1d", "dropout2d", "dropout3d", "elu", "elu_", "embedding", "embedding_bag",
    "feature_alpha_dropout", "fold", "gaussian_nll_loss", "gelu", "glu", "grid_sample", "group_norm",
    "gumbel_softmax", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "hardtanh_", "hinge_embedding_loss",
    "huber_loss", "instance_norm", "interpolate", "kl_div", "l1_loss", "layer_norm", "leaky_relu", "leaky_relu_",
    "linear", "local_response_norm", "log_softmax", "logsigmoid", "lp_pool1d", "lp_pool2d", "margin_ranking_loss",
    "max_pool1d", "max_pool1d_with_indices", "max_pool2d", "max_pool2d_with_indices", "max_pool3d", "max_unpool1d",
    "max_unpool2d", "mish", "mse_loss", "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss",
    "nll_loss", "normalize", "one_hot", "pad", "pairwise_distance", "pdist", "pixel_shuffle", "pixel_unshuffle",
    "poisson_nll_loss", "prelu", "relu", "relu6", "relu_", "rms_norm", "rrelu", "rrelu_",
    "scaled_dot_product_attention", "selu", "selu_", "sigmoid", "sigmoid_focal_loss", "silu", "smooth_l1_loss",
    "soft_margin_loss", "softmax", "softmin", "softplus", "softshrink", "softsign", "stochastic_depth", "tanh",
    "tanhshrink", "threshold", "threshold_", "triplet_margin_loss", "triplet_margin_with_distance_loss", "unfold",
    "upsample", "upsample_bilinear", "upsample_nearest",
]  # fmt: skip
