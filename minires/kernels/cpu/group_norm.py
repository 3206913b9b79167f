"""Group normalisation over channels-last images, as many at a time as fit into the cache; formulas in reference/.

A block is (pictures, pixels, C). Sums over pixels come channel by channel, from a product with a row of ones; the
groups are then summed in float64, where there are few numbers left. As in batch normalisation, the variance comes from
differences to the rounded mean, and a third sum corrects by how much that mean is off.
"""

from collections.abc import Sequence

import numpy as np

from minires.kernels.cpu import parallel
from minires.kernels.cpu.buffers import scratch
from minires.kernels.cpu.layout import channels_last, channels_second
from minires.kernels.reference.norm import statistics_type

__all__ = ["group_norm_backward", "group_norm_forward"]

BUDGET = 1 << 16  # values a block
PIXELS = 1 << 11  # that are added up in the values' own type


class Pictures:
    """x (N, C, ...) as (N, pixels, C), its groups, and the blocks of pictures to work on."""

    def __init__(self, x: np.ndarray, groups: int) -> None:
        last = channels_last(x)
        self.shape, self.groups, self.channels = last.shape, groups, x.shape[1]
        self.matrices = self.of(last)
        self.count = max(self.matrices[0].size // groups if len(self.matrices) else 0, 1)
        self.blocks = parallel.ranges(x.shape[0], BUDGET // max(1, self.matrices.shape[1] * self.channels))

    def of(self, last: np.ndarray) -> np.ndarray:
        """(N, ..., C) as (N, pixels, C)."""
        return last.reshape(last.shape[0], int(np.prod(last.shape[1:-1])), last.shape[-1])

    def empty(self, dtype: np.dtype) -> np.ndarray:
        """(N, pixels, C) for a result."""
        return np.empty(self.matrices.shape, dtype)

    def group_means(self, sums: np.ndarray) -> np.ndarray:
        """(B, C) sums over pixels to (B, groups) means, float64."""
        return sums.reshape(len(sums), self.groups, -1).sum(axis=2, dtype=np.float64) / self.count

    def each_channel(self, values: np.ndarray) -> np.ndarray:
        """(B, groups) values to (B, C): every channel gets its group's."""
        return np.repeat(values, self.channels // self.groups, axis=1)

    def result(self, matrices: np.ndarray) -> np.ndarray:
        """(N, pixels, C) as (N, C, ...)."""
        return channels_second(matrices.reshape(self.shape))


def pixel_blocks(block: np.ndarray) -> list[slice]:
    """The pixels of (B, pixels, C) in stretches that are short enough to be added up."""
    return [slice(start, start + PIXELS) for start in range(0, block.shape[1], PIXELS)]


def sum_pixels(block: np.ndarray) -> np.ndarray:
    """(B, pixels, C) to (B, C), float64."""
    total = np.zeros((block.shape[0], block.shape[2]))
    for pixels in pixel_blocks(block):
        part = block[:, pixels]
        total += np.matmul(np.ones((1, part.shape[1]), block.dtype), part)[:, 0]
    return total


def sum_products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(B, pixels, C) twice to the sums of their products, (B, C), float64."""
    total = np.zeros((a.shape[0], a.shape[2]))
    for pixels in pixel_blocks(a):
        total += np.einsum("bpc,bpc->bc", a[:, pixels], b[:, pixels])
    return total


def over_pixels(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """(B, C) or (C,) values, shaped to broadcast against a block."""
    return values.astype(dtype)[..., None, :]


def group_norm_forward(
    x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, groups: int, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As the reference; y is stored channels last."""
    pictures = Pictures(x, groups)
    y = pictures.empty(x.dtype)
    mean, inverse_std = (np.empty((x.shape[0], groups), statistics_type(x)) for _ in range(2))
    scale_of_all = 1.0 if weight is None else weight.astype(np.float64)
    shift_of_all = 0.0 if bias is None else bias.astype(np.float64)

    def work(blocks: Sequence[slice]) -> None:
        for block in blocks:
            source, part = pictures.matrices[block], y[block]
            rounded = pictures.group_means(sum_pixels(source)).astype(x.dtype)
            np.subtract(source, over_pixels(pictures.each_channel(rounded), x.dtype), out=part)
            offset = pictures.group_means(sum_pixels(part))
            variance = np.maximum(pictures.group_means(sum_products(part, part)) - offset**2, 0)
            inverse = 1 / np.sqrt(variance + eps)
            mean[block], inverse_std[block] = rounded + offset, inverse
            scale = pictures.each_channel(inverse) * scale_of_all
            part *= over_pixels(scale, x.dtype)
            part += over_pixels(shift_of_all - pictures.each_channel(offset) * scale, x.dtype)

    parallel.over(pictures.blocks, work)
    return pictures.result(y), mean, inverse_std


def group_norm_backward(
    grad: np.ndarray, x: np.ndarray, weight: np.ndarray | None, mean: np.ndarray, inverse_std: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As the reference; dx is stored channels last."""
    pictures = Pictures(x, mean.shape[1])
    upstream, dx = pictures.of(channels_last(grad)), pictures.empty(x.dtype)
    scale_of_all = np.ones(x.shape[1]) if weight is None else weight.astype(np.float64)

    def work(blocks: Sequence[slice]) -> np.ndarray:
        total = np.zeros((2, x.shape[1]))
        for block in blocks:
            g, part = upstream[block], dx[block]
            inverse = pictures.each_channel(inverse_std[block].astype(np.float64))
            n = np.subtract(pictures.matrices[block], over_pixels(pictures.each_channel(mean[block]), x.dtype),
                            out=scratch("normalised", g.shape, x.dtype))  # fmt: skip
            n *= over_pixels(inverse, x.dtype)
            sums, products = sum_pixels(g), sum_products(g, n)
            total += products.sum(axis=0, dtype=np.float64), sums.sum(axis=0, dtype=np.float64)
            through_mean = pictures.each_channel(pictures.group_means(sums * scale_of_all))
            through_variance = pictures.each_channel(pictures.group_means(products * scale_of_all))
            n *= over_pixels(inverse * through_variance, x.dtype)
            np.multiply(g, over_pixels(inverse * scale_of_all, x.dtype), out=part)
            part -= n
            part -= over_pixels(inverse * through_mean, x.dtype)
        return total

    dweight, dbias = parallel.added([np.zeros((2, x.shape[1])), *parallel.over(pictures.blocks, work)])
    dtype = mean.dtype if weight is None else weight.dtype
    return pictures.result(dx), dweight.astype(dtype), dbias.astype(dtype)
