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

The threads share the images, or rows of large ones. Where a batch has few places and many channels (the last layers of
a ResNet), each thread would read all of the filters for a few rows of a matrix; there they share the points instead.

`winograd` does the same in both directions, which needs half of the multiplications again, but 2.25 times the
transforms, and products with a third of the channels on their inner side: it is for many channels and large pictures.
An infinity or NaN in x spreads over the strips that see it, a little further than over the windows that do.

Sources: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016. The points are those of
`winograd`. The largest error over the largest value, float32, is about 1e-6 for 16 to 512 channels, against 5e-7 by
im2col alone.
"""

from collections.abc import Sequence

import numpy as np

from minires.kernels.cpu import parallel, strips_by_points
from minires.kernels.cpu.small_products import NARROW, multiplied, summed_over_rows
from minires.kernels.cpu.strip_transforms import (
    INPUT,
    OUTPUT,
    STRIP,
    evaluated,
    filters_at_points,
    im2col,
    interpolated,
    mirrored_at_points,
    mirrored_from_points,
    strips_of,
)
from minires.kernels.cpu.windows import Block, Geometry, blocks_of
from minires.kernels.cpu.winograd import SIDE, WINDOW, applies
from minires.kernels.shapes import Pair

BUDGET = 1 << 20  # values of a block's matrices
PLACES = 128  # a block has about as many places at least: the filters are read again for every block
CHANNELS = 8  # with fewer, rows of the matrices are so short that transforms and copies cost more than they save
LEAST_PLACES = 48  # with fewer in the whole batch, transforming the filters costs more than it saves
FEW_PLACES, LARGE_FILTERS = 1 << 10, 1 << 17  # places of the batch, channels in times out: threads share the points


def suits(geometry: Geometry, groups: int, images: int, inputs: int, outputs: int) -> bool:
    """Whether the algorithm applies to a layer, and pays."""
    places = images * strips_of(geometry.output[0]) * geometry.output[1]
    return applies(geometry, groups) and min(inputs, outputs) >= CHANNELS and places >= LEAST_PLACES


def blocks_for(images: int, rows: int, columns: int, channels: int) -> list[Block]:
    """Blocks of strips whose matrices hold about BUDGET values, but have at least about PLACES rows."""
    values_a_place = SIDE * WINDOW * max(1, channels)
    return blocks_of(images, strips_of(rows), columns * values_a_place, max(BUDGET, PLACES * values_a_place))


def shares_points(images: int, output: Pair, inputs: int, outputs: int) -> bool:
    """Whether the threads share the points."""
    return images * strips_of(output[0]) * output[1] <= FEW_PLACES and inputs * outputs >= LARGE_FILTERS


def forward(x: np.ndarray, filters: np.ndarray, bias: np.ndarray | None, geometry: Geometry, y: np.ndarray) -> None:
    """x (N, H, W, C), filters (O, 3, 3, C); fills y (N, OH, OW, O)."""
    right = filters_at_points(filters).reshape(SIDE, len(filters), WINDOW * x.shape[3]).transpose(0, 2, 1)
    right = np.ascontiguousarray(right) if len(filters) <= NARROW else right
    x = np.ascontiguousarray(x)
    if shares_points(len(y), geometry.output, x.shape[3], y.shape[3]):
        strips_by_points.correlate(strips_by_points.laid_out(x, geometry.padding, geometry.output), right, y)
        if bias is not None:
            y += bias
        return

    def work(blocks: Sequence[Block]) -> None:
        for block in blocks:
            rows = evaluated(INPUT, x, block, geometry.padding, "at the points")
            left = im2col(rows, y.shape[2], x.shape[3])
            interpolated(multiplied(left, right), block, y)
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
    points = (SIDE, WINDOW * outputs, channels)
    padding = (WINDOW - 1 - geometry.padding[0], WINDOW - 1 - geometry.padding[1])
    dx = right = None
    if filters is not None:
        dx, right = np.empty(shape, grad.dtype), mirrored_at_points(filters).reshape(points)
    grad, x = np.ascontiguousarray(grad), None if x is None else np.ascontiguousarray(x)
    share = by_points if shares_points(shape[0], image, outputs, channels) else by_places
    total = share(grad, x, right, padding, image, dx)
    return dx, None if total is None else mirrored_from_points(total.reshape(SIDE, WINDOW, outputs, channels))


def by_points(
    grad: np.ndarray, x: np.ndarray | None, right: np.ndarray | None, padding: Pair, image: Pair, dx: np.ndarray | None
) -> np.ndarray | None:
    """Fills dx unless it is None; returns dU (6, 3 O, C) unless x is None. right (6, 3 O, C): the mirrored filters."""
    left = strips_by_points.laid_out(grad, padding, image)
    if dx is not None and right is not None:
        strips_by_points.correlate(left, right, dx)
    return None if x is None else strips_by_points.filter_gradient(left, x)


def by_places(
    grad: np.ndarray, x: np.ndarray | None, right: np.ndarray | None, padding: Pair, image: Pair, dx: np.ndarray | None
) -> np.ndarray | None:
    """As `by_points`."""
    outputs = grad.shape[3]
    channels = next(array.shape[3] for array in (dx, x) if array is not None)

    def work(blocks: Sequence[Block]) -> np.ndarray:
        total = None
        for block in blocks:
            left = im2col(evaluated(INPUT, grad, block, padding, "at the points"), image[1], outputs)
            if dx is not None and right is not None:
                interpolated(multiplied(left, right), block, dx)
            if x is not None:
                values = evaluated(OUTPUT.T, x, block, (0, 0), "products").reshape(*left.shape[:2], channels)
                product = summed_over_rows(left, values)
                total = product if total is None else np.add(total, product, out=total)
        return np.zeros((SIDE, WINDOW * outputs, channels), grad.dtype) if total is None else total

    results = parallel.over(blocks_for(len(grad), *image, max(channels, outputs)), work)
    return None if x is None else parallel.added(results)
