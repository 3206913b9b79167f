"""3x3 convolution with stride 1 by Winograd's algorithm F(4x4, 3x3): 36 multiplications where im2col needs 144.

A tile of 4x4 outputs sees 6x6 inputs. Their product as polynomials is found by evaluating both at six points, one of
them infinity, multiplying there, and interpolating; in two dimensions, with d the inputs of one channel, g its filter:

    y = A^T [ (G g G^T) * (B^T d B) ] A          * is element by element; sums over channels go inside the brackets

For every one of the 36 pairs of points the sum over channels is a matrix product (tiles, C) (C, O). The transforms are
matrix products too: written for a tile's 36 values as one vector, B^T d B is a 36 x 36 matrix, A^T m A a 16 x 36 one.

Both gradients see the same inputs. dx is again such a convolution, of dy with the mirrored filter. And because
dweight[o, k] = sum over the places q of x of x[q] dy[q - k], it is the gradient of that convolution by its filter, with
x as what comes down from above: with U = G g G^T, and V the tiles B^T dy B at the points, dU = V^T (A x A^T), summed
over all tiles, and turned into dg = G^T dU G once at the end. So V serves both.

An infinity or NaN in x spreads over the tiles that see it, somewhat further than over the windows that do.

Sources: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016. The usual points 0, 1, -1, 2, -2 lose
three digits in float32; the reciprocal pairs used here lose about one (see Barabasz and others, Error Analysis and
Improving the Accuracy of Winograd Convolution for Deep Neural Networks, 2020): the largest error over the largest value
is 1e-6 to 5e-6 for 16 to 512 channels, against 1e-5 (and 5e-7 by im2col).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minires.kernels.cpu import parallel, small_products
from minires.kernels.cpu.buffers import scratch
from minires.kernels.cpu.layout import copy_runs
from minires.kernels.cpu.small_products import COLUMNS, grid, split, stretches
from minires.kernels.cpu.windows import Block, Cuts, Geometry, blocks_of
from minires.kernels.shapes import Pair

TILE, WINDOW = 4, 3
POINTS = (0.0, 5 / 7, -5 / 7, 7 / 5, -7 / 5)  # and infinity
BUDGET = 1 << 19  # values of a block of transformed tiles
TILES = 128  # a block has about as many tiles even where channels are many: the filters are read again for every block
FILTERS = 1 << 16  # filters that a thread transforms at a time
CHANNELS = 56  # a value wanted, of those computed (tiles overhang): with fewer, transforms cost more than they save
CHANNELS_PER_TILE = 2  # with more, transforming and reading the filters does


def transforms(points: Sequence[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A^T, G, B^T) in one dimension, for n points and infinity: Toom and Cook's algorithm, transposed.

    With others(i) the points other than p_i: A^T[j, i] = p_i^j; G[i, k] = p_i^k / product of (p_i - others(i)); row i
    of B^T holds the coefficients of the product of (x - others(i)). Infinity stands for the highest coefficient.
    """
    n = len(points) + 1
    a, g, b = np.zeros((TILE, n)), np.zeros((n, WINDOW)), np.zeros((n, n))
    for i, point in enumerate(points):
        others = [other for other in points if other != point]
        a[:, i] = [point**j for j in range(TILE)]
        g[i] = [point**k / math.prod(point - other for other in others) for k in range(WINDOW)]
        b[i, : n - 1] = np.poly(others)[::-1]
    a[-1, -1] = g[-1, -1] = 1
    b[-1] = np.poly(points)[::-1]
    return a, g, b


OUTPUT, FILTER, INPUT = (np.kron(matrix, matrix) for matrix in transforms(POINTS))  # (16, 36), (36, 9), (36, 36)
SIDE = TILE + WINDOW - 1


def applies(geometry: Geometry, groups: int) -> bool:
    """Whether a layer is a 3x3 convolution as Winograd's algorithms need it."""
    return (
        geometry.kernel == (WINDOW, WINDOW)
        and geometry.stride == geometry.dilation == (1, 1)
        and max(geometry.padding) < WINDOW
        and groups == 1
    )


def suits(geometry: Geometry, groups: int, images: int, inputs: int, outputs: int) -> bool:
    """Whether the algorithm applies to a layer, and pays."""
    in_picture = math.prod(tiles(geometry.output))
    computed = in_picture * TILE**2 / max(1, math.prod(geometry.output))
    return (
        applies(geometry, groups)
        and min(inputs, outputs) >= CHANNELS * computed
        and max(inputs, outputs) <= CHANNELS_PER_TILE * images * in_picture
    )


def tiles(output: Pair) -> Pair:
    """Rows and columns of tiles that cover an output; the last ones may overhang."""
    return -(-output[0] // TILE), -(-output[1] // TILE)


def tile_windows(side: int, padding: Pair, output: Pair) -> Geometry:
    """Tiles of side x side values as the windows that they are: every TILE places, wherever the output has any."""
    return Geometry((side, side), (TILE, TILE), padding, (1, 1), tiles(output))


def apart(length: int) -> int:
    """How many values apart rows of `length` values should begin.

    Rows a power of two apart would be kept at the same few places of the cache and drive each other out: the
    transforms, which read 36 rows side by side, would take 1.6 times as long.
    """
    lines = -(-length // 16)
    return 16 * (lines + 1 - lines % 2)


def rows_apart(name: str, rows: int, length: int, dtype: np.dtype) -> np.ndarray:
    """A matrix (rows, length) in scratch memory."""
    return scratch(name, (rows, apart(length)), dtype)[:, :length]


def unfolded(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Rows (A B, length), apart from each other, seen as (A, B, *rest)."""
    inner = rows[:1].reshape(1, *shape[2:]).strides[1:]
    return as_strided(rows, shape, (shape[1] * rows.strides[0], rows.strides[0], *inner))


def gathered(cuts: Cuts, block: Block, name: str) -> np.ndarray:
    """(places within a tile, tiles of the block times channels) in scratch memory."""
    view = cuts.windows(block).transpose(3, 4, 0, 1, 2, 5)
    rows = rows_apart(name, view.shape[0] * view.shape[1], math.prod(view.shape[2:]), view.dtype)
    copy_runs(unfolded(rows, view.shape), view)
    return rows


def transformed(matrix: np.ndarray, values: np.ndarray, name: str) -> np.ndarray:
    """matrix (P, Q) times values (Q, length): (P, length) in scratch memory."""
    out = rows_apart(name, len(matrix), values.shape[1], values.dtype)
    for left, right, to in stretches(matrix.astype(values.dtype), values, out):
        np.matmul(left, right, out=to)
    return out


def transformed_filters(filters: np.ndarray) -> np.ndarray:
    """filters (3, 3, A, B) at the 36 pairs of points: (36, A, B); or (36, B / 64, 1, A, 64), as `grid` wants them.

    That if there are several groups of 64, for products without copies: see small_products.py.
    """
    inputs, outputs = filters.shape[2:]
    shape: tuple[int, ...] = (SIDE**2, inputs, outputs)
    if outputs > COLUMNS and outputs % COLUMNS == 0 and small_products.small_products_pay():
        filters = split(filters, 3, COLUMNS).transpose(0, 1, 3, 2, 4)
        shape = (SIDE**2, outputs // COLUMNS, 1, inputs, COLUMNS)
    source = np.ascontiguousarray(filters).reshape(WINDOW**2, inputs * outputs)
    return shared_product(FILTER, source, scratch("filters", (SIDE**2, inputs * outputs), filters.dtype)).reshape(shape)


def shared_product(matrix: np.ndarray, values: np.ndarray, out: np.ndarray) -> np.ndarray:
    """out = matrix (P, Q) times values (Q, filters), whose columns the threads share."""
    left = matrix.astype(values.dtype)

    def work(blocks: Sequence[slice]) -> None:
        for columns in blocks:
            np.matmul(left, values[:, columns], out=out[:, columns])

    parallel.over(parallel.ranges(values.shape[1], FILTERS), work)
    return out


def forward(x: np.ndarray, filters: np.ndarray, bias: np.ndarray | None, geometry: Geometry, y: np.ndarray) -> None:
    """x (N, H, W, C), filters (O, 3, 3, C); fills y (N, OH, OW, O)."""
    right = transformed_filters(filters.transpose(1, 2, 3, 0))
    source_tiles = tile_windows(SIDE, geometry.padding, geometry.output)

    def work(blocks: Sequence[Block]) -> None:
        cuts = Cuts(x, source_tiles)
        for block in blocks:
            left = transformed(INPUT, gathered(cuts, block, "tiles"), "at the points")
            interpolated(left, right, block, y)
            if bias is not None:
                y[block.first : block.last, TILE * block.top : TILE * block.bottom] += bias

    parallel.over(tile_blocks(len(y), source_tiles, max(x.shape[3], y.shape[3])), work)


def gradients(
    grad: np.ndarray, x: np.ndarray | None, filters: np.ndarray | None, geometry: Geometry, shape: tuple[int, ...]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """dx (N, H, W, C), which has the given shape, unless filters (O, 3, 3, C) is None; dweight unless x is None.

    grad (N, OH, OW, O), x (N, H, W, C), dweight (O, 3, 3, C).
    """
    image, points = (shape[1], shape[2]), (SIDE**2, grad.shape[3], shape[3])
    dx = right = None
    if filters is not None:
        dx, right = np.empty(shape, grad.dtype), transformed_filters(filters[:, ::-1, ::-1].transpose(1, 2, 0, 3))
    padding = (WINDOW - 1 - geometry.padding[0], WINDOW - 1 - geometry.padding[1])
    upstream_tiles, picture_tiles = tile_windows(SIDE, padding, image), tile_windows(TILE, (0, 0), image)

    def work(blocks: Sequence[Block]) -> np.ndarray:
        upstream = Cuts(grad, upstream_tiles)
        picture = None if x is None else Cuts(x, picture_tiles, name="picture")
        total = None
        for block in blocks:
            left = transformed(INPUT, gathered(upstream, block, "tiles"), "at the points")
            if dx is not None and right is not None:
                interpolated(left, right, block, dx)
            if picture is not None:
                values = transformed(OUTPUT.T, gathered(picture, block, "outputs"), "products")
                total = add_product(tiled(left, grad.shape[3]).transpose(0, 2, 1), tiled(values, shape[3]), total)
        return np.zeros(points, grad.dtype) if total is None else total

    results = parallel.over(tile_blocks(shape[0], upstream_tiles, max(shape[3], grad.shape[3])), work)
    if x is None:
        return dx, None
    total = parallel.added(results).reshape(SIDE**2, -1)
    by_place = shared_product(FILTER.T, total, scratch("filters", (WINDOW**2, total.shape[1]), total.dtype))
    by_place = by_place.reshape(WINDOW, WINDOW, *points[1:])
    return dx, np.ascontiguousarray(by_place[::-1, ::-1].transpose(2, 0, 1, 3))


def add_product(left: np.ndarray, right: np.ndarray, total: np.ndarray | None) -> np.ndarray:
    """total + left right, written to total; a new array where that is None."""
    if total is None:
        return np.matmul(left, right)
    total += np.matmul(left, right, out=scratch("product", total.shape, total.dtype))
    return total


def tiled(rows: np.ndarray, channels: int) -> np.ndarray:
    """Rows (P, tiles times channels) seen as (P, tiles, channels)."""
    return split(rows, 1, channels)


def interpolated(left: np.ndarray, right: np.ndarray, block: Block, y: np.ndarray) -> None:
    """Multiply a block's tiles (36, tiles times C) and the filters at the points; write the outputs to y."""
    channels, outputs = right.shape[-2], y.shape[3]
    values = tiled(left, channels)
    products = rows_apart("products", len(left), values.shape[1] * outputs, y.dtype)
    to = tiled(products, outputs)
    for one, other, out in grid(values, right, to) if right.ndim == 5 else [(values, right, to)]:
        np.matmul(one, other, out=out)
    results, columns = transformed(OUTPUT, products, "outputs"), tiles((y.shape[1], y.shape[2]))[1]
    place_tiles(unfolded(results, (TILE, TILE, *block.shape, columns, outputs)), block, y)


def tile_blocks(images: int, geometry: Geometry, channels: int) -> list[Block]:
    """Blocks of rows of tiles that hold about BUDGET values, but at least about TILES tiles."""
    budget = max(BUDGET, TILES * SIDE**2 * channels)
    return blocks_of(images, geometry.output[0], geometry.output[1] * SIDE**2 * channels, budget)


def place_tiles(values: np.ndarray, block: Block, y: np.ndarray) -> None:
    """Write values (4, 4, n, rows, columns, O) of a block of tiles to y (N, OH, OW, O), but for what overhangs."""
    part = y[block.first : block.last, TILE * block.top : TILE * block.bottom]
    for i in range(TILE):
        for j in range(TILE):
            target = part[:, i::TILE, j::TILE]
            target[...] = values[i, j, :, : target.shape[1], : target.shape[2]]
