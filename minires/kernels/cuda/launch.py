"""Launch rules: grid, block and dynamic shared memory of one call, from its numbers."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

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
