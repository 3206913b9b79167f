"""Launch rules: grid, block and dynamic shared memory of one call, from its numbers."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from minires.kernels.cuda.types import BYTES

THREADS = 256  # as in common.cuh

Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Launch:
    """Blocks along x, y and z, threads a block, and bytes of dynamic shared memory a block."""

    grid: tuple[int, int, int]
    block: int = THREADS
    shared: int = 0


Rule = Callable[[Sizes, tuple[str, ...]], Launch]


def over(count: int, size: int) -> int:
    """How many pieces of `size` cover `count`."""
    return -(-count // size)


def template_arguments(instance: str) -> tuple[str, ...]:
    """("float", "4") of "float, 4"."""
    return tuple(re.split(r",\s*", instance)) if instance else ()


def threads(*product: str, vector: int | None = None, per_block: int = THREADS) -> Rule:
    """One thread an element of the product of the named numbers; template argument `vector` counts neighbours."""

    def rule(sizes: Sizes, template: tuple[str, ...]) -> Launch:
        count = 1
        for name in product:
            count *= sizes[name]
        if vector is not None:
            count //= int(template[vector])
        return Launch((over(count, per_block), 1, 1), per_block)

    return rule


def channel_tiles(sizes: Sizes, template: tuple[str, ...]) -> Launch:
    """Arrays [rows][channels]: blocks of `tile` packs of channels, times the splits of the rows."""
    packs = sizes["channels"] // int(template[1])
    return Launch((over(packs, sizes["tile"]), over(sizes["rows"], sizes["rows_per_split"]), 1))


def columns_of_32(name: str) -> Rule:
    """Blocks of 32 columns x 8 shares."""
    return lambda sizes, template: Launch((over(sizes[name], 32), 1, 1))


def blocks(x: str, y: str | None = None, block: int = THREADS) -> Rule:
    """One block for each value of the named numbers."""
    return lambda sizes, template: Launch((sizes[x], sizes[y] if y else 1, 1), block)


def tile_of(channels: int, vector: int) -> int:
    """How many packs of channels a block takes side by side: the power of two that covers them, 32 at most."""
    packs, tile = channels // vector, 1
    while tile < min(packs, 32):
        tile *= 2
    return tile


def rows_per_split(rows: int, channels: int, vector: int, processors: int) -> int:
    """How many rows a block adds up: such that there are about four blocks for each of the GPU's processors."""
    tile = tile_of(channels, vector)
    at_once = THREADS // tile
    splits = max(1, 4 * processors // over(channels // vector, tile))
    return max(at_once, over(over(rows, splits), at_once) * at_once)


def product_tiles(rows: str, columns: str, layers: tuple[str, ...], tile: tuple[int, int] | None = None) -> Rule:
    """Tiles of a matrix product, `layers` of them along z. Sizes of the tile: given, or template arguments 1 and 2."""

    def rule(sizes: Sizes, template: tuple[str, ...]) -> Launch:
        high, wide = tile or (int(template[1]), int(template[2]))
        z = 1
        for name in layers:
            z *= sizes[name]
        grid = (over(sizes[rows], high), over(sizes[columns], wide), z)
        if tile:
            return Launch(grid)
        return Launch(grid, matrix_threads(high, wide), matrix_shared(template[0], high, wide))

    return rule


STAGES, DEEP_BYTES = 3, 64  # as in conv_mma.cu


def matrix_threads(high: int, wide: int) -> int:
    """Threads of a block that makes a tile on tensor cores: a warp for each 64 (or 32) x 32."""
    return high // (64 if high == 128 else 32) * (wide // 32) * 32


def matrix_shared(kind: str, high: int, wide: int) -> int:
    """Bytes of shared memory: the stages' operands, or the tile of results that takes their place."""
    size = BYTES[kind]
    deep = DEEP_BYTES // size
    lengths = [deep * (side + 8) for side in (high, wide)]  # 8 values between the rows, where there are any between
    return max(STAGES * sum(lengths) * size, high * (wide + 8) * 4)


HOPPER_ROWS, HOPPER_DEEP, HOPPER_STAGES, HOPPER_THREADS = 128, 64, 4, 384  # as in conv_wgmma.cu


def hopper_shared(columns: int) -> int:
    """Bytes of shared memory: the stages' operands, 16 bits a value, and two barriers a stage."""
    return HOPPER_STAGES * ((HOPPER_ROWS + columns) * HOPPER_DEEP * 2 + 16)


def hopper_tiles(rows: str, columns: str, layers: tuple[str, ...]) -> Rule:
    """As product_tiles, for warpgroups: tiles of 128 rows, and of as many columns as template argument 1 says."""

    def rule(sizes: Sizes, template: tuple[str, ...]) -> Launch:
        wide, z = int(template[1]), 1
        for name in layers:
            z *= sizes[name]
        grid = (over(sizes[rows], HOPPER_ROWS), over(sizes[columns], wide), z)
        return Launch(grid, HOPPER_THREADS, hopper_shared(wide))

    return rule


def hopper_weight_tiles(sizes: Sizes, template: tuple[str, ...]) -> Launch:
    """As weight_tiles, for warpgroups."""
    wide = int(template[1])
    columns = sizes["taps"] * over(sizes["depth"], wide)
    grid = (over(sizes["breadth"], HOPPER_ROWS), columns, sizes["groups"] * sizes["splits"])
    return Launch(grid, HOPPER_THREADS, hopper_shared(wide))


def weight_tiles(sizes: Sizes, template: tuple[str, ...]) -> Launch:
    """As product_tiles, for the weights' gradient on tensor cores: a tile of columns lies within one tap."""
    high, wide = int(template[1]), int(template[2])
    grid = (over(sizes["breadth"], high), sizes["taps"] * over(sizes["depth"], wide), sizes["groups"] * sizes["splits"])
    return Launch(grid, matrix_threads(high, wide), matrix_shared(template[0], high, wide))


def direct_weight_tiles(sizes: Sizes, template: tuple[str, ...]) -> Launch:
    columns = sizes["taps"] * sizes["depth"]
    return Launch((over(sizes["breadth"], 64), over(columns, 64), sizes["groups"] * sizes["splits"]))


def channel_tiles_of_taps(sizes: Sizes, template: tuple[str, ...]) -> Launch:
    """As channel_tiles, with one layer a tap of the window."""
    x, y, _ = channel_tiles(sizes, template).grid
    return Launch((x, y, sizes["taps"]))
