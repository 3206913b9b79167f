"""The operations of networks as functions, with torch.nn.functional's names and arguments: `F.relu(x)`."""

from minires.ops import (
    adaptive_avg_pool2d,
    avg_pool2d,
    batch_norm,
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
from minires.ops.embeddings import embedding
from minires.ops.grid import affine_grid, grid_sample
from minires.ops.loss_of_angles import arcface_loss, batch_hard_triplet_loss, cosface_loss
from minires.ops.loss_of_embeddings import (
    cosine_embedding_loss,
    cosine_similarity,
    dice_loss,
    hinge_embedding_loss,
    margin_ranking_loss,
    multi_margin_loss,
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
    adaptive_max_pool2d,
    avg_pool1d,
    lp_pool1d,
    lp_pool2d,
    max_pool1d,
    max_pool1d_with_indices,
    max_pool2d_with_indices,
    max_unpool1d,
    max_unpool2d,
)
from minires.ops.resizing import interpolate, upsample

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d", "affine_grid",
    "alpha_dropout", "arcface_loss", "avg_pool1d", "avg_pool2d", "batch_hard_triplet_loss", "batch_norm",
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "celu", "channel_shuffle", "conv1d", "conv2d",
    "conv_transpose1d", "conv_transpose2d", "cosface_loss", "cosine_embedding_loss", "cosine_similarity",
    "cross_entropy", "dice_loss", "dropout", "dropout1d", "dropout2d", "dropout3d", "elu", "embedding",
    "feature_alpha_dropout", "fold", "gaussian_nll_loss", "gelu", "glu", "grid_sample", "group_norm", "gumbel_softmax",
    "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "hinge_embedding_loss", "huber_loss", "instance_norm",
    "interpolate", "kl_div", "l1_loss", "layer_norm", "leaky_relu", "linear", "local_response_norm", "log_softmax",
    "logsigmoid", "lp_pool1d", "lp_pool2d", "margin_ranking_loss", "max_pool1d", "max_pool1d_with_indices",
    "max_pool2d", "max_pool2d_with_indices", "max_unpool1d", "max_unpool2d", "mish", "mse_loss", "multi_margin_loss",
    "multilabel_soft_margin_loss", "nll_loss", "normalize", "one_hot", "pad", "pairwise_distance", "pixel_shuffle",
    "pixel_unshuffle", "poisson_nll_loss", "prelu", "relu", "relu6", "rms_norm", "rrelu",
    "scaled_dot_product_attention", "selu", "sigmoid", "sigmoid_focal_loss", "silu", "smooth_l1_loss",
    "soft_margin_loss", "softmax", "softmin", "softplus", "softshrink", "softsign", "stochastic_depth", "tanh",
    "tanhshrink", "threshold", "triplet_margin_loss", "triplet_margin_with_distance_loss", "unfold", "upsample",
]  # fmt: skip
