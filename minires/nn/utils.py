"""What torch.nn.utils has and minires, too: clipping gradients, vectors of parameters, folding a batch norm."""

from minires.nn.fuse import fuse_conv_bn_eval, fuse_conv_bn_weights
from minires.nn.gradients import (
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    get_total_norm,
    parameters_to_vector,
    vector_to_parameters,
)

__all__ = [
    "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "fuse_conv_bn_eval", "fuse_conv_bn_weights",
    "get_total_norm", "parameters_to_vector", "vector_to_parameters",
]  # fmt: skip
