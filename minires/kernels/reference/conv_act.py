"""A convolution and what follows it in a residual block: a residual is added, then ReLU.

With batch norm folded into the convolution (see minires/nn/fuse.py), this is a whole layer at inference.
"""

import numpy as np

from minires.kernels.reference.conv import conv2d_forward
from minires.kernels.shapes import Pair

__all__ = ["conv2d_act_forward"]


def conv2d_act_forward(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    residual: np.ndarray | None,
    relu: bool,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> np.ndarray:
    """y = conv2d_forward(x, weight, bias, ...) + residual, then max(y, 0) if `relu`; residual as y, or None."""
    y = conv2d_forward(x.astype(np.float64), weight, bias, stride, padding, dilation, groups)
    if residual is not None:
        y = y + residual
    return (np.maximum(y, 0) if relu else y).astype(x.dtype)
