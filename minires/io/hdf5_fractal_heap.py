"""The fractal heap of HDF5 1.8: where links and attributes lie if an object has many, each found by its number.

A heap is one long row of bytes, laid out in blocks that lie anywhere in the file. Blocks stand in rows of `width`; in
the first two rows a block has the size `first`, in each further row twice that of the row before. Rows of blocks larger
than `largest` hold, in place of a block, a table of the same kind. An object's number says where in the long row it
begins and how long it is. What is larger than a block lies elsewhere and is found through an index.

Source: HDF5 File Format Specification 3.0, III.G.
"""

import bisect

from minires.io.hdf5_bytes import Cursor, Source, lookup3
from minires.io.hdf5_indexes import LARGE, tree2

_CHECKED = 0x2  # flag: blocks have checksums
_MANAGED, _HUGE = 0, 1  # kinds of objects, in bits 4 and 5 of their numbers
_DEEPEST = 8  # tables in tables


class FractalHeap:
    """The heap whose header lies `at`; every block is walked over once, when it is made."""

    def __init__(self, source: Source, at: int | None) -> None:
        self._source = source
        header = source.node(at, b"FRHP", "a heap")
        self._start = header.at - 4
        header.expect("version", 0)
        self._id_size = header.number(2)
        header.expect("size of filters", 0, size=2)
        self._is_checked = bool(header.number(1) & _CHECKED)
        most = header.number(4)
        header.skip(8)
        self._huge_index = header.address()
        header.skip(10 * 8)  # what is free and how many objects there are
        self._width, self._first, self._largest = header.number(2), header.number(8), header.number(8)
        bits = header.number(2)
        header.skip(2)
        root, rows = header.address(), header.number(2)
        header.check_sum(self._start)
        for size in (self._width, self._first, self._largest):
            if size == 0 or size & size - 1 or size > 1 << 32:
                raise header.error(f"has rows of {self._width} blocks, of {self._first} to {self._largest} bytes")
        if bits > 64 or self._largest < self._first or most == 0:
            raise header.error(f"has numbers of {bits} bits and objects of {most} bytes")
        self._offset_size = (bits + 7) // 8
        self._length_size = min((self._largest.bit_length() + 6) // 8, (most.bit_length() - 1) // 8 + 1)
        self._blocks: list[tuple[int, int, int]] = []  # beginning in the long row, size, address
        self._huge: dict[int, tuple[int | None, int]] | None = None
        if root is not None:
            if rows:
                self._walk_table(root, 0, rows, 0)
            else:
                self._add_block(root, 0, self._first)
        self._blocks.sort()

    def object(self, number: Cursor) -> Cursor:
        """The content of the object of this number."""
        number = number.part(self._id_size)
        kind = number.number(1)
        if kind >> 4 == _MANAGED:
            return self._managed(number.number(self._offset_size), number.number(self._length_size))
        if kind >> 4 == _HUGE:
            return self._large(number.number(min(self._id_size - 1, 8)))
        raise number.error(f"numbers an object of the kind {kind >> 4}, which is not read")

    def _managed(self, offset: int, length: int) -> Cursor:
        place = bisect.bisect_right(self._blocks, offset, key=lambda block: block[0]) - 1
        if place >= 0:
            begin, size, at = self._blocks[place]
            if offset + length <= begin + size:
                return self._source.block(at + offset - begin, length, "an object in a heap")
        raise self._source.error(self._start, f"a heap has no {length} bytes at {offset}, where an object should lie")

    def _large(self, number: int) -> Cursor:
        if self._huge is None:
            records = tree2(self._source, self._huge_index, LARGE)
            self._huge = {}
            for record in records:
                at, length = record.address(), record.number(8)
                self._huge[record.number(8)] = at, length
        if number not in self._huge:
            raise self._source.error(self._start, f"a heap has no large object {number}")
        return self._source.once(*self._huge[number], "an object of a heap")

    def _walk_table(self, at: int | None, begin: int, rows: int, depth: int) -> None:
        """A table of blocks, which lists the addresses row by row."""
        table = self._source.node(at, b"FHIB", "a table of blocks")
        start = table.at - 4
        if depth > _DEEPEST or rows > 64:
            raise table.error(f"has {rows} rows, {depth} tables deep")
        self._expect_prefix(table, begin)
        later = []
        for row in range(rows):
            size = self._first << max(0, row - 1)
            for _ in range(self._width):
                child = table.address()
                if child is not None and size <= self._largest:
                    self._add_block(child, begin, size)
                elif child is not None:
                    later.append((child, begin, (size // (self._first * self._width)).bit_length()))
                begin += size
        table.check_sum(start)
        for child, place, count in later:
            self._walk_table(child, place, count, depth + 1)

    def _add_block(self, at: int | None, begin: int, size: int) -> None:
        block = self._source.node(at, b"FHDB", "a block of a heap")
        start = block.at - 4
        self._expect_prefix(block, begin)
        self._source.check_inside(start, size, "a block of a heap")
        if self._is_checked:
            self._check_block(block, start, size)
        self._blocks.append((begin, size, start))

    def _check_block(self, block: Cursor, start: int, size: int) -> None:
        """The sum of a block is made with zeros in its own place."""
        place, sum_ = block.at, block.number(4)
        block.skip(start + size - block.at)
        content = bytearray(self._source.data[start : start + size])
        content[place - start : place - start + 4] = bytes(4)
        if lookup3(bytes(content)) != sum_:
            raise self._source.error(start, "a block of a heap is damaged: its checksum differs")

    def _expect_prefix(self, block: Cursor, begin: int) -> None:
        block.expect("version", 0)
        block.expect("heap", self._start, size=8)
        block.expect("place in the heap", begin, size=self._offset_size)
