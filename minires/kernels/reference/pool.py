"""Maximum, average and adaptive average pooling, and their gradients.

Letters: N images, C channels, (H, W) input, (KH, KW) window, (OH, OW) output size. As in conv.py the window's positions
are walked; at one position an array of the output's shape holds the value that each window sees there.
"""

import numpy as np

from minires.kernels.reference.conv import positions
from minires.kernels.shapes import Pair, adaptive_windows, average_counts, pooling_sizes, reach

__all__ = [
    "adaptive_avg_pool2d_backward",
    "adaptive_avg_pool2d_forward",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "max_pool2d_backward",
    "max_pool2d_forward",
]


def frame(image: Pair, output: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> tuple[Pair, Pair]:
    """Padding (before, after) of rows and of columns: p, and after the image more where the last window needs it."""
    rows, columns = (
        (padding[a], max(padding[a], reach(output[a], kernel[a], stride[a], dilation[a]) - padding[a] - image[a]))
        for a in (0, 1)
    )
    return rows, columns


def winner_type(kernel: Pair) -> np.dtype:
    """The smallest of uint8 and uint16 that can number the places of a window."""
    return np.dtype(np.uint8 if kernel[0] * kernel[1] <= 256 else np.uint16)


def max_pool2d_forward(
    x: np.ndarray, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[np.ndarray, np.ndarray]:
    """y[n, c, i, j] = the largest x[n, c, s i + d kh - p, s j + d kw - p] inside the image; winner = its kh KW + kw.

    x (N, C, H, W); y (N, C, OH, OW); winner likewise, uint8 (uint16 for windows of more than 256 places). Of equal
    values the first wins; NaN beats every number and the last NaN the earlier ones, as in PyTorch. A window that meets
    no place of the image (possible with dilation only) gives -inf.
    """
    size = pooling_sizes(x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    margins = ((0, 0), (0, 0), *frame(x.shape[2:], size, kernel_size, stride, padding, dilation))
    padded = np.pad(x, margins)
    is_image = np.pad(np.ones(x.shape[2:], bool), margins[2:])
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    y = np.full((*x.shape[:2], *size), lowest, x.dtype)
    winner = np.zeros(y.shape, winner_type(kernel_size))
    found = np.zeros(size, bool)  # whether the windows have met a place of the image yet
    for kh, kw, rows, columns in positions(kernel_size, size, stride, dilation):
        value, here = padded[:, :, rows, columns], is_image[rows, columns]
        better = here & (~found | (value > y) | np.isnan(value))
        y[better] = value[better]
        winner[better] = kh * kernel_size[1] + kw
        found |= here
    return y, winner


def max_pool2d_backward(
    grad: np.ndarray,
    winner: np.ndarray,
    input_shape: tuple[int, int, int, int],
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> np.ndarray:
    """dx: each window hands its gradient to the place that won; a place that won in several windows adds them up.

    grad, winner (N, C, OH, OW), the latter from the forward pass; dx (N, C, H, W) = `input_shape`.
    """
    height, width = input_shape[2:]
    size = (grad.shape[2], grad.shape[3])
    rows_around, columns_around = frame((height, width), size, kernel_size, stride, padding, dilation)
    padded = np.zeros((*input_shape[:2], height + sum(rows_around), width + sum(columns_around)))
    for kh, kw, rows, columns in positions(kernel_size, size, stride, dilation):
        padded[:, :, rows, columns] += np.where(winner == kh * kernel_size[1] + kw, grad, 0)
    return padded[:, :, padding[0] : padding[0] + height, padding[1] : padding[1] + width].astype(grad.dtype)


def divisors(
    image: Pair, output: Pair, kernel: Pair, stride: Pair, padding: Pair, include: bool, override: int | None
) -> np.ndarray:
    """(OH, OW): by what each window's sum is divided; at least 1, for windows that lie wholly outside of the image."""
    if override is not None:
        return np.full(output, float(override))
    rows, columns = (average_counts(image[a], output[a], kernel[a], stride[a], padding[a], include) for a in (0, 1))
    return np.maximum(np.outer(rows, columns), 1).astype(np.float64)


def avg_pool2d_forward(
    x: np.ndarray,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> np.ndarray:
    """y[n, c, i, j] = sum of x over the window, divided by the number of its places.

    Zeros of the padding count as places if `count_include_pad`; `divisor_override` replaces the number altogether.
    x (N, C, H, W); y (N, C, OH, OW).
    """
    size = pooling_sizes(x.shape[2:], kernel_size, stride, padding, (1, 1), ceil_mode)
    margins = frame(x.shape[2:], size, kernel_size, stride, padding, (1, 1))
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), *margins))
    total = np.zeros((*x.shape[:2], *size))
    for _, _, rows, columns in positions(kernel_size, size, stride, (1, 1)):
        total += padded[:, :, rows, columns]
    count = divisors(x.shape[2:], size, kernel_size, stride, padding, count_include_pad, divisor_override)
    return (total / count).astype(x.dtype)


def avg_pool2d_backward(
    grad: np.ndarray,
    input_shape: tuple[int, int, int, int],
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> np.ndarray:
    """dx: each place receives grad / count from every window that met it, by the forward pass's counts.

    grad (N, C, OH, OW); dx (N, C, H, W) = `input_shape`. `ceil_mode` is known from grad's shape already.
    """
    height, width = input_shape[2:]
    size = (grad.shape[2], grad.shape[3])
    rows_around, columns_around = frame((height, width), size, kernel_size, stride, padding, (1, 1))
    padded = np.zeros((*input_shape[:2], height + sum(rows_around), width + sum(columns_around)))
    share = grad / divisors((height, width), size, kernel_size, stride, padding, count_include_pad, divisor_override)
    for _, _, rows, columns in positions(kernel_size, size, stride, (1, 1)):
        padded[:, :, rows, columns] += share
    return padded[:, :, padding[0] : padding[0] + height, padding[1] : padding[1] + width].astype(grad.dtype)


def adaptive_avg_pool2d_forward(x: np.ndarray, output_size: Pair) -> np.ndarray:
    """y[n, c, i, j] = mean of x over rows floor(i H / OH) to ceil((i + 1) H / OH) and columns likewise.

    x (N, C, H, W); y (N, C, OH, OW) with (OH, OW) = `output_size`. Windows overlap where OH does not divide H.
    """
    y = np.zeros((*x.shape[:2], *output_size))
    for i, rows in enumerate(adaptive_windows(x.shape[2], output_size[0])):
        for j, columns in enumerate(adaptive_windows(x.shape[3], output_size[1])):
            y[:, :, i, j] = x[:, :, rows, columns].mean(axis=(2, 3), dtype=np.float64)
    return y.astype(x.dtype)


def adaptive_avg_pool2d_backward(grad: np.ndarray, input_shape: tuple[int, int, int, int]) -> np.ndarray:
    """dx: each place of a window receives that window's grad divided by its number of places.

    grad (N, C, OH, OW); dx (N, C, H, W) = `input_shape`.
    """
    dx = np.zeros(input_shape)
    for i, rows in enumerate(adaptive_windows(input_shape[2], grad.shape[2])):
        for j, columns in enumerate(adaptive_windows(input_shape[3], grad.shape[3])):
            places = (rows.stop - rows.start) * (columns.stop - columns.start)
            dx[:, :, rows, columns] += (grad[:, :, i, j].astype(np.float64) / places)[:, :, None, None]
    return dx.astype(grad.dtype)
