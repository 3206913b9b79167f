"""3x3 convolution with stride 1 by Winograd's algorithm F(4x4, 3x3): 36 multiplications where im2col needs 144.

A tile of 4x4 outputs sees 6x6 inputs. Their product as polynomials is found by evaluating both at six points, one of
them infinity, multiplying there, and interpolating; in two dimensions, with d the inputs of one channel, g its filter:

    y = A^T [ (G g G^T) * (B^T d B) ] A          * is element by element; sums over channels go inside the brackets

For every one of the 36 pairs of points the sum over channels is a matrix product (tiles, C) (C, O). The transforms are
matrix products too: written for a tile's 36 values as one vector, B^T d B is a 36 x 36 matrix, A^T m A a 16 x 36 one.

An infinity or NaN in x spreads over the tiles that see it, somewhat further than over the windows that do.

Sources: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016. The usual points 0, 1, -1, 2, -2 lose
three digits in float32; the reciprocal pairs used here lose about one (see Barabasz and others, Error Analysis and
Improving the Accuracy of Winograd Convolution for Deep Neural Networks, 2020): the largest error over the largest value
is 1e-6 to 4e-6 for 16 to 512 channels, against 1e-5 (and 5e-7 by im2col).
"""

import math
from collections.abc import Sequence

import numpy as np

from minires.kernels.cpu import parallel
from minires.kernels.cpu.buffers import scratch
from minires.kernels.cpu.windows import Block, Cuts, Geometry, blocks_of
from minires.kernels.shapes import Pair

TILE, WINDOW = 4, 3
POINTS = (0.0, 5 / 7, -5 / 7, 7 / 5, -7 / 5)  # and infinity
BUDGET = 1 << 19  # values of a block of transformed tiles
TILES = 128  # a block has about as many tiles even where channels are many: the filters are read again for every block
COLUMNS = 1 << 16  # values of a transform's operand that are multiplied at a time
CHANNELS = 32  # with fewer, the transforms cost more than they save
CHANNELS_PER_TILE = 8  # with more, transforming the filters does


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


def suits(geometry: Geometry, groups: int, images: int, inputs: int, outputs: int) -> bool:
    """Whether the algorithm applies to a layer, and pays."""
    number = images * math.prod(tiles(geometry.output))
    return (
        geometry.kernel == (WINDOW, WINDOW)
        and geometry.stride == geometry.dilation == (1, 1)
        and max(geometry.padding) < WINDOW
        and groups == 1
        and min(inputs, outputs) >= CHANNELS
        and max(inputs, outputs) <= CHANNELS_PER_TILE * number
    )


def tiles(output: Pair) -> Pair:
    """Rows and columns of tiles that cover an output; the last ones may overhang."""
    return -(-output[0] // TILE), -(-output[1] // TILE)


def tiled(side: int, padding: Pair, output: Pair) -> Geometry:
    """Tiles of side x side values as the windows that they are: every TILE places, wherever the output has any."""
    return Geometry((side, side), (TILE, TILE), padding, (1, 1), tiles(output))


def gathered(cuts: Cuts, block: Block, name: str) -> np.ndarray:
    """(places within a tile, tiles of the block, channels) in scratch memory."""
    view = cuts.windows(block).transpose(3, 4, 0, 1, 2, 5)
    matrix = scratch(name, view.shape, view.dtype)
    np.copyto(matrix, view)
    return matrix.reshape(view.shape[0] * view.shape[1], math.prod(view.shape[2:5]), view.shape[5])


def transformed(matrix: np.ndarray, values: np.ndarray, name: str) -> np.ndarray:
    """matrix (P, Q) times values (Q, tiles, channels), in scratch memory: (P, tiles, channels)."""
    left, right = matrix.astype(values.dtype), values.reshape(len(values), math.prod(values.shape[1:]))
    out = scratch(name, (len(left), right.shape[1]), values.dtype)

    def work(blocks: Sequence[slice]) -> None:
        for columns in blocks:
            np.matmul(left, right[:, columns], out=out[:, columns])

    parallel.over(parallel.ranges(right.shape[1], COLUMNS), work)
    return out.reshape(len(left), *values.shape[1:])


def transformed_filters(filters: np.ndarray) -> np.ndarray:
    """filters (3, 3, A, B) at the 36 pairs of points: (36, A, B)."""
    return transformed(FILTER, np.ascontiguousarray(filters).reshape(WINDOW**2, *filters.shape[2:]), "filters")


def forward(x: np.ndarray, filters: np.ndarray, bias: np.ndarray | None, geometry: Geometry, y: np.ndarray) -> None:
    """x (N, H, W, C), filters (O, 3, 3, C); fills y (N, OH, OW, O)."""
    correlate(x, transformed_filters(filters.transpose(1, 2, 3, 0)), bias, geometry.padding, y)


def input_gradient(grad: np.ndarray, filters: np.ndarray, geometry: Geometry, dx: np.ndarray) -> None:
    """grad (N, OH, OW, O); fills dx (N, H, W, C): again a convolution, by the flipped filters."""
    padding = (WINDOW - 1 - geometry.padding[0], WINDOW - 1 - geometry.padding[1])
    correlate(grad, transformed_filters(filters[:, ::-1, ::-1].transpose(1, 2, 0, 3)), None, padding, dx)


def correlate(x: np.ndarray, right: np.ndarray, bias: np.ndarray | None, padding: Pair, y: np.ndarray) -> None:
    """Fills y (N, OH, OW, O); right (36, C, O) are the transformed filters."""
    geometry = tiled(SIDE, padding, (y.shape[1], y.shape[2]))

    def work(blocks: Sequence[Block]) -> None:
        cuts = Cuts(x, geometry)
        for block in blocks:
            left = transformed(INPUT, gathered(cuts, block, "tiles"), "at the points")
            products = scratch("products", (len(left), left.shape[1], y.shape[3]), y.dtype)
            np.matmul(left, right, out=products)
            values = transformed(OUTPUT, products, "outputs")
            if bias is not None:
                values += bias
            place_tiles(values.reshape(TILE, TILE, *block.shape, -1, y.shape[3]), block, y)

    parallel.over(tile_blocks(len(y), geometry, max(x.shape[3], y.shape[3])), work)


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


def weight_gradient(grad: np.ndarray, x: np.ndarray, geometry: Geometry) -> np.ndarray:
    """dweight (O, 3, 3, C).

    The gradient of y = A^T [U * V] A by U is (A grad A^T) * V, summed over tiles at the points: 36 matrix products
    (O, tiles) (tiles, C). That by g is G^T dU G, once at the end.
    """
    inputs = tiled(SIDE, geometry.padding, geometry.output)
    outputs = tiled(TILE, (0, 0), geometry.output)
    shape = (SIDE**2, grad.shape[3], x.shape[3])

    def work(blocks: Sequence[Block]) -> np.ndarray:
        input_cuts, output_cuts = Cuts(x, inputs), Cuts(grad, outputs, name="output cut")
        total = np.zeros(shape, x.dtype)
        for number, block in enumerate(blocks):
            right = transformed(INPUT, gathered(input_cuts, block, "tiles"), "at the points")
            left = transformed(OUTPUT.T, gathered(output_cuts, block, "outputs"), "products")
            product = scratch("product", shape, x.dtype) if number else total
            np.matmul(left.transpose(0, 2, 1), right, out=product)
            if number:
                total += product
        return total

    blocks = tile_blocks(len(x), inputs, max(x.shape[3], grad.shape[3]))
    total = parallel.added(parallel.over(blocks, work))
    by_place = transformed(FILTER.T, total, "filters").reshape(WINDOW, WINDOW, *shape[1:])
    return np.ascontiguousarray(by_place.transpose(2, 0, 1, 3))
