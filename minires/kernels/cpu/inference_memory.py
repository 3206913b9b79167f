"""The memory of a plan: worked out once, before the first array is computed, and used again by every call.

A plan knows when each activation is written and when it is read for the last time. Two that are never needed at the
same time may lie at the same place, so that a whole network runs in the memory of its few largest neighbours.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LINE = 64  # bytes: arrays begin at a line of the cache


class Need(NamedTuple):
    """`bytes` of memory, from the step `first` to the step `last` (included)."""

    bytes: int
    first: int
    last: int


def places(needs: Sequence[Need]) -> tuple[list[int], int]:
    """(offset of each need, bytes altogether), largest first, each at the lowest place that is free while it lasts.

    Finding the least memory is hard (it is bin packing with time); largest first comes within some per cent.
    """
    placed: list[tuple[int, int, Need]] = []  # start, end, need: in the order of their starts
    found = [0] * len(needs)
    for index in sorted(range(len(needs)), key=lambda index: (-needs[index].bytes, index)):
        need, start = needs[index], 0
        for other_start, other_end, other in placed:
            if other.last < need.first or need.last < other.first:
                continue
            if start + need.bytes <= other_start:
                break
            start = max(start, other_end)
        found[index] = start
        placed.append((start, start + -(-need.bytes // LINE) * LINE, need))
        placed.sort(key=lambda entry: entry[:2])
    return found, max((end for _, end, _ in placed), default=0)


def aligned(size: int) -> np.ndarray:
    """`size` bytes that begin at a line of the cache."""
    memory = np.empty(size + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    return memory[start : start + size]


class Workspace:
    """Working memory of one thread, for whichever step is running; a step may take several arrays.

    A plan lays out all its steps before it knows how much the largest takes. So it does that twice: the first time the
    memory grows and what was laid out is thrown away, the second time every step finds room.
    """

    def __init__(self) -> None:
        self.memory: list[np.ndarray] = []
        self.taken = 0

    def start(self) -> None:
        """The next step begins: whatever was taken may be overwritten."""
        self.taken = 0

    def take(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array of arbitrary content, valid while this step runs."""
        size = math.prod(shape) * dtype.itemsize
        if self.taken == len(self.memory):
            self.memory.append(aligned(size))
        elif len(self.memory[self.taken]) < size:
            self.memory[self.taken] = aligned(size)
        memory = self.memory[self.taken]
        self.taken += 1
        return memory[:size].view(dtype).reshape(shape)

    @property
    def bytes(self) -> int:
        return sum(len(memory) for memory in self.memory)
