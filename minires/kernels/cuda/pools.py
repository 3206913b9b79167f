"""Pooling on the GPU: as kernels/reference/pool.py, for arrays [images][height][width][channels]."""

from typing import Any

import numpy as np

from minires.kernels.cuda.types import Array, Run, cpp_type, vector_of
from minires.kernels.shapes import Pair, pooling_sizes

WINDOW = np.dtype([(name, np.int32) for name in (
    "height", "width", "out_height", "out_width", "kernel_h", "kernel_w", "stride_h", "stride_w", "pad_h", "pad_w",
    "dilation_h", "dilation_w")])  # fmt: skip


def window(image: Pair, output: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Any:
    """The structure `Window` of pool.cu: an array of one record, the form in which CuPy passes it."""
    return np.array([(*image, *output, *kernel, *stride, *padding, *dilation)], WINDOW)


def max_pool2d_forward(
    run: Run, x: Array, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[Array, Array]:
    """(y, winner): winner uint8, uint16 for windows of more than 256 places."""
    images, height, width, channels = x.shape
    size = pooling_sizes((height, width), kernel_size, stride, padding, dilation, ceil_mode)
    is_small = kernel_size[0] * kernel_size[1] <= 256
    number = "unsigned char" if is_small else "unsigned short"
    vector = vector_of(x, channels) if is_small else 1
    shape = (images, *size, channels)
    given = {"x": x, "w": window((height, width), size, kernel_size, stride, padding, dilation), "images": images,
             "channels": channels, "places": images * size[0] * size[1]}  # fmt: skip
    outputs = {"y": (shape, x.dtype), "winner": (shape, np.dtype(np.uint8 if is_small else np.uint16))}
    made = run("max_pool_forward", f"{cpp_type(x)}, {vector}, {number}", given, outputs)
    return made["y"], made["winner"]


def max_pool2d_backward(
    run: Run, grad: Array, winner: Array, image: Pair, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair
) -> Array:
    """dx [images][height][width][channels]; `image` is (height, width)."""
    images, *size, channels = grad.shape
    is_small = winner.dtype == np.uint8
    number = "unsigned char" if is_small else "unsigned short"
    vector = vector_of(grad, channels) if is_small else 1
    given = {"grad": grad, "winner": winner,
             "w": window(image, (size[0], size[1]), kernel_size, stride, padding, dilation), "images": images,
             "channels": channels, "places": images * image[0] * image[1]}  # fmt: skip
    outputs = {"dx": ((images, *image, channels), grad.dtype)}
    return run("max_pool_backward", f"{cpp_type(grad)}, {vector}, {number}", given, outputs)["dx"]


def avg_pool2d_forward(
    run: Run, x: Array, kernel_size: Pair, stride: Pair, padding: Pair, ceil_mode: bool, count_include_pad: bool,
    divisor_override: int | None,
) -> Array:  # fmt: skip
    """y: each window's sum over its number of places."""
    images, height, width, channels = x.shape
    size = pooling_sizes((height, width), kernel_size, stride, padding, (1, 1), ceil_mode)
    given = {"x": x, "w": window((height, width), size, kernel_size, stride, padding, (1, 1)), "images": images,
             "channels": channels, "places": images * size[0] * size[1], "include_pad": int(count_include_pad),
             "divisor": divisor_override or 0}  # fmt: skip
    instance = f"{cpp_type(x)}, {vector_of(x, channels)}"
    return run("avg_pool_forward", instance, given, {"y": ((images, *size, channels), x.dtype)})["y"]


def avg_pool2d_backward(
    run: Run, grad: Array, image: Pair, kernel_size: Pair, stride: Pair, padding: Pair, count_include_pad: bool,
    divisor_override: int | None,
) -> Array:  # fmt: skip
    """dx: each place receives its share from every window that met it."""
    images, *size, channels = grad.shape
    given = {"grad": grad, "w": window(image, (size[0], size[1]), kernel_size, stride, padding, (1, 1)),
             "images": images, "channels": channels, "places": images * image[0] * image[1],
             "include_pad": int(count_include_pad), "divisor": divisor_override or 0}  # fmt: skip
    instance = f"{cpp_type(grad)}, {vector_of(grad, channels)}"
    return run("avg_pool_backward", instance, given, {"dx": ((images, *image, channels), grad.dtype)})["dx"]


def adaptive_sizes(images: int, image: Pair, output: Pair, channels: int, places: Pair) -> dict[str, int]:
    return {"images": images, "height": image[0], "width": image[1], "out_height": output[0], "out_width": output[1],
            "channels": channels, "places": images * places[0] * places[1]}  # fmt: skip


def adaptive_avg_pool2d_forward(run: Run, x: Array, output_size: Pair) -> Array:
    """y: means over windows that share the image out evenly; output size (1, 1) is global pooling."""
    images, height, width, channels = x.shape
    sizes = adaptive_sizes(images, (height, width), output_size, channels, output_size)
    instance = f"{cpp_type(x)}, {vector_of(x, channels)}"
    outputs = {"y": ((images, *output_size, channels), x.dtype)}
    return run("adaptive_avg_pool_forward", instance, {"x": x, **sizes}, outputs)["y"]


def adaptive_avg_pool2d_backward(run: Run, grad: Array, image: Pair) -> Array:
    """dx [images][height][width][channels]; `image` is (height, width)."""
    images, *size, channels = grad.shape
    sizes = adaptive_sizes(images, image, (size[0], size[1]), channels, image)
    instance = f"{cpp_type(grad)}, {vector_of(grad, channels)}"
    outputs = {"dx": ((images, *image, channels), grad.dtype)}
    return run("adaptive_avg_pool_backward", instance, {"grad": grad, **sizes}, outputs)["dx"]
