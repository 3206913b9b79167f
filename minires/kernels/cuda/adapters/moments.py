"""A training step's convolution and batch norm on a GPU, the norm's statistics taken in the convolution's epilogue.

A pass over the images less: batch norm would read them all for their mean and variance, and once more to apply these.
Each block of the convolution has a tile of finished results in shared memory, in float32, and adds up the tile's mean
and, in a second round, the squared deviations from it; `norms.merged_statistics` joins the tiles (Chan's formula).

How exact, with u = 2^-24, R rows a tile (64 or 128) and T tiles: a tile's mean is off by at most R u max|y|, and the
variance by a share of (R + T / 8 + 8) u at most, plus the square of R u max|y| / deviation. Sums of squares, from which
the mean's square is taken away, would be off by (max|y| / deviation)^2 u. y is rounded to float16 after the sums were
taken: its mean may differ from theirs by 2^-11 max|y|.
"""

from minires import backend
from minires.kernels.cuda import norms
from minires.kernels.cuda.adapters import conv, norm
from minires.kernels.cuda.adapters.arrays import check, last, new, run, second, single
from minires.kernels.cuda.types import Array
from minires.kernels.shapes import Pair

__all__ = ["batch_norm_moments_forward", "conv2d_moments_forward"]


def conv2d_moments_forward(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> tuple[Array, Array, Array]:
    """As the reference; y is stored channels last, mean and variance are float32."""
    check("conv2d_moments_forward", x)
    layer = conv.layer_of(x.shape, weight.shape, stride, padding, dilation, groups)
    if conv.is_empty(layer):
        y = conv.conv2d_forward(x, weight, bias, stride, padding, dilation, groups)
        wide = y.astype(backend.float32)
        nothing = new((y.shape[1],), backend.float32, float("nan"))
        return (y, nothing, nothing) if y.size == 0 else (y, wide.mean(axis=(0, 2, 3)), wide.var(axis=(0, 2, 3)))
    weight = weight.astype(x.dtype, copy=False)
    y, sums, rows = conv.forward(last(x), last(weight), layer, {"bias": single(bias)}, wants_sums=True)
    if sums is None:  # depthwise: its blocks have no tile of one channel
        mean, variance, _ = norms.batch_norm_statistics(run, y.reshape(-1, y.shape[3]), 0.0)
    else:
        mean, variance, _ = norms.merged_statistics(run, sums, layer.pixels, rows, 0.0)
    return second(y), mean, variance


def batch_norm_moments_forward(
    x: Array,
    mean: Array,
    variance: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    residual: Array | None,
    relu: bool,
) -> tuple[Array, Array]:
    """As the reference."""
    check("batch_norm_moments_forward", x)
    mean, variance = single(mean), single(variance)
    if x.size == 0:
        return x.copy(), new(x.shape[1:2], backend.float32, float("nan"))
    inverse_std = norms.fixed_inverse_std(run, variance, eps)
    residual = None if residual is None else norm.rows(residual.astype(x.dtype, copy=False))
    y = norms.batch_norm_apply(run, norm.rows(x), single(weight), single(bias), mean, inverse_std, residual, relu)
    return norm.shaped(y, x), inverse_std
