"""3x3 convolution with stride 1 by Winograd's algorithm F(4, 3) down the columns: half of the multiplications.

A strip of 4 rows of outputs sees 6 rows of inputs. In each column of the picture the outputs are three coefficients of
a product of polynomials, which is found by evaluating both at six points, one of them infinity, multiplying there, and
interpolating. With d the 6 rows of the input, g the filter's 3 rows, and A, B, G the matrices of `transforms`:

    y = A^T [ (G g) * (B^T d) ]        where * is, at each of the six points, a convolution along the row

That convolution is done by im2col: at each point one matrix product (places, 3 C) (3 C, O). B^T and A^T are products
too, of a 6 x 6 and a 4 x 6 matrix with whole rows of the picture, which lie in memory as they are needed.

Both gradients see the same inputs. dx is again such a convolution, of dy with the mirrored filter. And because
dweight[o, k] = sum over the places q of x of x[q] dy[q - k], it is the gradient of that convolution by its filter, with
x as what comes down from above: with U = G g, and L the matrices of B^T dy at the six points, dU = L^T (A x), summed
over all places at the points, and turned into dg = G^T dU once at the end. So B^T dy and its im2col serve both.

`winograd` does the same in both directions, which needs half of the multiplications again, but 2.25 times the
transforms, and products with a third of the channels on their inner side: it is for many channels and large pictures.
An infinity or NaN in x spreads over the strips that see it, a little further than over the windows that do.

Sources: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016. The points are those of
`winograd`. The largest error over the largest value, float32, is about 1e-6 for 16 to 512 channels, against 5e-7 by
im2col alone.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minires.kernels.cpu import parallel
from minires.kernels.cpu.buffers import scratch
from minires.kernels.cpu.windows import Block, Geometry, blocks_of
from minires.kernels.cpu.winograd import POINTS, SIDE, TILE, WINDOW, add_product, transforms
from minires.kernels.shapes import Pair

STRIP = TILE
BUDGET = 1 << 20  # values of a block's matrices
PLACES = 128  # a block has about as many places at least: the filters are read again for every block
CHANNELS = 8  # with fewer, rows of the matrices are so short that transforms and copies cost more than they save
LEAST_PLACES = 48  # with fewer in the whole batch, transforming the filters costs more than it saves

OUTPUT, FILTER, INPUT = transforms(POINTS)  # (4, 6), (6, 3), (6, 6)


def suits(geometry: Geometry, groups: int, images: int, inputs: int, outputs: int) -> bool:
    """Whether the algorithm applies to a layer, and pays."""
    places = images * strips_of(geometry.output[0]) * geometry.output[1]
    return (
        geometry.kernel == (WINDOW, WINDOW)
        and geometry.stride == geometry.dilation == (1, 1)
        and max(geometry.padding) < WINDOW
        and groups == 1
        and min(inputs, outputs) >= CHANNELS
        and places >= LEAST_PLACES
    )


def strips_of(rows: int) -> int:
    """How many strips cover so many rows; the last may overhang."""
    return -(-rows // STRIP)


def blocks_for(images: int, rows: int, columns: int, channels: int) -> list[Block]:
    """Blocks of strips whose matrices hold about BUDGET values, but have at least about PLACES rows."""
    values_a_place = SIDE * WINDOW * max(1, channels)
    return blocks_of(images, strips_of(rows), columns * values_a_place, max(BUDGET, PLACES * values_a_place))


def evaluated(matrix: np.ndarray, x: np.ndarray, block: Block, padding: Pair, name: str) -> np.ndarray:
    """matrix (6, Q) times Q rows of images x (N, H, W, C) for each strip of a block: (6, n, strips, columns C).

    In scratch memory. `padding`: zeros above and below the image, which only shorten the products of the outer strips,
    and columns of zeros on its left and right, which stand in the result. x is contiguous.
    """
    height, row, (above, beside), rows = x.shape[1], x.shape[2] * x.shape[3], padding, matrix.shape[1]
    edge = beside * x.shape[3]
    out = scratch(name, (SIDE, *block.shape, row + 2 * edge), x.dtype)
    out[..., :edge] = 0
    out[..., edge + row :] = 0
    inner = out[..., edge : edge + row].transpose(1, 2, 0, 3)
    left, images = matrix.astype(x.dtype), x[block.first : block.last].reshape(block.shape[0], height, row)
    low = max(block.top, -(-above // STRIP))  # strips from here see rows of the image only
    high = max(low, min(block.bottom, (height + above - rows) // STRIP + 1))  # and from here not any more
    if low < high:
        seen = strips_of_rows(images[:, STRIP * low - above :], high - low, rows)
        np.matmul(left, seen, out=inner[:, low - block.top : high - block.top])
    for strip in (*range(block.top, min(low, block.bottom)), *range(high, block.bottom)):
        top = STRIP * strip - above
        first, last = max(top, 0), max(top, 0, min(top + rows, height))
        np.matmul(left[:, first - top : last - top], images[:, first:last], out=inner[:, strip - block.top])
    return out


def strips_of_rows(images: np.ndarray, count: int, rows: int) -> np.ndarray:
    """Images (n, rows, values) as strips (n, count, rows, values), STRIP apart, which may overlap: a view."""
    image, row, value = images.strides
    return as_strided(images, (len(images), count, rows, images.shape[2]), (image, STRIP * row, row, value))


def im2col(rows: np.ndarray, width: int, channels: int) -> np.ndarray:
    """rows (6, n, strips, columns C) as matrices (6, places, 3 C) in scratch memory: `width` windows a row."""
    strides = (*rows.strides[:3], channels * rows.itemsize, rows.itemsize)
    windows = as_strided(rows, (*rows.shape[:3], width, WINDOW * channels), strides)
    matrices = scratch("im2col", windows.shape, rows.dtype)
    np.copyto(matrices, windows)
    return matrices.reshape(SIDE, math.prod(windows.shape[1:4]), WINDOW * channels)


def interpolated(products: np.ndarray, block: Block, y: np.ndarray) -> None:
    """Write A^T products (6, places, O) of a block to its rows of y (N, OH, OW, O), but for what overhangs."""
    height, row = y.shape[1], y.shape[2] * y.shape[3]
    rows = products.reshape(SIDE, *block.shape, row).transpose(1, 2, 0, 3)
    part, left = y[block.first : block.last].reshape(block.shape[0], height, row), OUTPUT.astype(y.dtype)
    whole = min(block.bottom, height // STRIP)
    if block.top < whole:
        full = strips_of_rows(part[:, STRIP * block.top :], whole - block.top, STRIP)
        np.matmul(left, rows[:, : whole - block.top], out=full)
    if whole < block.bottom:
        np.matmul(left[: height - STRIP * whole], rows[:, whole - block.top], out=part[:, STRIP * whole :])


def filters_at_points(filters: np.ndarray) -> np.ndarray:
    """filters (O, 3, 3, C) at the six points of their rows: (6, O, 3, C)."""
    source = np.ascontiguousarray(filters)
    out = np.empty((SIDE, *filters.shape[:1], *filters.shape[2:]), filters.dtype)
    _by_output(FILTER.astype(filters.dtype), source.transpose(0, 2, 1, 3), out.transpose(1, 2, 0, 3))
    return out


def mirrored_at_points(filters: np.ndarray) -> np.ndarray:
    """The filters of the data gradient, g[o, 2 - k, 2 - l, c], at the six points of their rows: (6, 3, O, C)."""
    source = np.ascontiguousarray(filters)[:, :, ::-1]
    out = np.empty((SIDE, WINDOW, len(filters), filters.shape[3]), filters.dtype)
    _by_output(FILTER[:, ::-1].astype(filters.dtype), source.transpose(0, 2, 1, 3), out.transpose(2, 1, 0, 3))
    return out


def mirrored_from_points(gradient: np.ndarray) -> np.ndarray:
    """The way back, transposed: the gradient (6, 3, O, C) by the mirrored filters at the points as one by the filters.

    (O, 3, 3, C).
    """
    dweight = np.empty((gradient.shape[2], WINDOW, WINDOW, gradient.shape[3]), gradient.dtype)
    left = FILTER[:, ::-1].T.astype(gradient.dtype)
    _by_output(left, gradient.transpose(2, 1, 0, 3), dweight[:, :, ::-1].transpose(0, 2, 1, 3))
    return dweight


def _by_output(matrix: np.ndarray, values: np.ndarray, out: np.ndarray) -> None:
    """out (O, 3, P, C) = matrix (P, Q) times values (O, 3, Q, C), the output channels shared among the threads."""
    left = np.ascontiguousarray(matrix)

    def work(blocks: Sequence[slice]) -> None:
        for block in blocks:
            np.matmul(left, values[block], out=out[block])

    parallel.over(parallel.ranges(len(values), BUDGET // max(1, SIDE * WINDOW * values.shape[3])), work)


def forward(x: np.ndarray, filters: np.ndarray, bias: np.ndarray | None, geometry: Geometry, y: np.ndarray) -> None:
    """x (N, H, W, C), filters (O, 3, 3, C); fills y (N, OH, OW, O)."""
    right = filters_at_points(filters).reshape(SIDE, len(filters), WINDOW * x.shape[3]).transpose(0, 2, 1)
    x = np.ascontiguousarray(x)

    def work(blocks: Sequence[Block]) -> None:
        for block in blocks:
            rows = evaluated(INPUT, x, block, geometry.padding, "at the points")
            left = im2col(rows, y.shape[2], x.shape[3])
            products = scratch("products", (*left.shape[:2], y.shape[3]), y.dtype)
            interpolated(np.matmul(left, right, out=products), block, y)
            if bias is not None:
                y[block.first : block.last, STRIP * block.top : STRIP * block.bottom] += bias

    parallel.over(blocks_for(len(y), y.shape[1], y.shape[2], max(x.shape[3], y.shape[3])), work)


def gradients(
    grad: np.ndarray, x: np.ndarray | None, filters: np.ndarray | None, geometry: Geometry, shape: tuple[int, ...]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """dx (N, H, W, C), which has the given shape, unless filters (O, 3, 3, C) is None; dweight unless x is None.

    grad (N, OH, OW, O), x (N, H, W, C), dweight (O, 3, 3, C).
    """
    outputs, image, channels = grad.shape[3], (shape[1], shape[2]), shape[3]
    padding = (WINDOW - 1 - geometry.padding[0], WINDOW - 1 - geometry.padding[1])
    dx = right = None
    if filters is not None:
        dx = np.empty(shape, grad.dtype)
        right = mirrored_at_points(filters).reshape(SIDE, WINDOW * outputs, channels)

    grad, x = np.ascontiguousarray(grad), None if x is None else np.ascontiguousarray(x)

    def work(blocks: Sequence[Block]) -> np.ndarray:
        total = None
        for block in blocks:
            left = im2col(evaluated(INPUT, grad, block, padding, "at the points"), image[1], outputs)
            if dx is not None and right is not None:
                products = scratch("products", (*left.shape[:2], channels), grad.dtype)
                interpolated(np.matmul(left, right, out=products), block, dx)
            if x is not None:
                values = evaluated(OUTPUT.T, x, block, (0, 0), "products").reshape(*left.shape[:2], channels)
                total = add_product(left.transpose(0, 2, 1), values, total)
        return np.zeros((SIDE, WINDOW * outputs, channels), grad.dtype) if total is None else total

    results = parallel.over(blocks_for(shape[0], *image, max(channels, outputs)), work)
    if x is None:
        return dx, None
    return dx, mirrored_from_points(parallel.added(results).reshape(SIDE, WINDOW, outputs, channels))
