"""Pooling on a GPU: the reference's signatures in front of `kernels/cuda/pools.py`."""

from minires import backend
from minires.kernels.cuda import pools
from minires.kernels.cuda.adapters.arrays import check, last, new, run, second
from minires.kernels.cuda.types import Array
from minires.kernels.shapes import Pair, pooling_sizes

__all__ = [
    "adaptive_avg_pool2d_backward",
    "adaptive_avg_pool2d_forward",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "max_pool2d_backward",
    "max_pool2d_forward",
]


def max_pool2d_forward(
    x: Array, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[Array, Array]:
    """As the reference."""
    check("max_pool2d_forward", x)
    if x.size == 0:
        size = pooling_sizes(x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
        return new((*x.shape[:2], *size), x.dtype), new((*x.shape[:2], *size), backend.uint8)
    y, winner = pools.max_pool2d_forward(run, last(x), kernel_size, stride, padding, dilation, ceil_mode)
    return second(y), second(winner)


def max_pool2d_backward(
    grad: Array,
    winner: Array,
    input_shape: tuple[int, int, int, int],
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Array:
    """As the reference."""
    check("max_pool2d_backward", grad)
    if grad.size == 0:
        return new(input_shape, grad.dtype)
    image = (input_shape[2], input_shape[3])
    settings = (kernel_size, stride, padding, dilation)
    return second(pools.max_pool2d_backward(run, last(grad), last(winner), image, *settings))


def avg_pool2d_forward(
    x: Array,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Array:
    """As the reference."""
    check("avg_pool2d_forward", x)
    if x.size == 0:
        size = pooling_sizes(x.shape[2:], kernel_size, stride, padding, (1, 1), ceil_mode)
        return new((*x.shape[:2], *size), x.dtype)
    counted = (ceil_mode, count_include_pad, divisor_override)
    return second(pools.avg_pool2d_forward(run, last(x), kernel_size, stride, padding, *counted))


def avg_pool2d_backward(
    grad: Array,
    input_shape: tuple[int, int, int, int],
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Array:
    """As the reference."""
    check("avg_pool2d_backward", grad)
    if grad.size == 0:
        return new(input_shape, grad.dtype)
    image, settings = (input_shape[2], input_shape[3]), (kernel_size, stride, padding)
    return second(pools.avg_pool2d_backward(run, last(grad), image, *settings, count_include_pad, divisor_override))


def adaptive_avg_pool2d_forward(x: Array, output_size: Pair) -> Array:
    """As the reference."""
    check("adaptive_avg_pool2d_forward", x)
    if x.size == 0:
        return new((*x.shape[:2], *output_size), x.dtype)
    return second(pools.adaptive_avg_pool2d_forward(run, last(x), output_size))


def adaptive_avg_pool2d_backward(grad: Array, input_shape: tuple[int, int, int, int]) -> Array:
    """As the reference."""
    check("adaptive_avg_pool2d_backward", grad)
    if grad.size == 0:
        return new(input_shape, grad.dtype)
    return second(pools.adaptive_avg_pool2d_backward(run, last(grad), (input_shape[2], input_shape[3])))
