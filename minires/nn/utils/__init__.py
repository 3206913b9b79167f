"""What torch.nn.utils has and minires, too: clipping, vectors of parameters, folding a batch norm, computed weights."""

from minires.nn.fuse import (
    fuse_conv_bn_eval,
    fuse_conv_bn_weights,
    fuse_linear_bn_eval,
    fuse_linear_bn_weights,
)
from minires.nn.gradients import (
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    get_total_norm,
    parameters_to_vector,
    vector_to_parameters,
)
from minires.nn.reparametrised import remove_spectral_norm, remove_weight_norm, spectral_norm, weight_norm
from minires.nn.utils import parametrizations, parametrize

__all__ = [
    "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "fuse_conv_bn_eval", "fuse_conv_bn_weights",
    "fuse_linear_bn_eval", "fuse_linear_bn_weights", "get_total_norm", "parameters_to_vector", "parametrizations",
    "parametrize", "remove_spectral_norm", "remove_weight_norm", "spectral_norm", "vector_to_parameters",
    "weight_norm",
]  # fmt: skip
