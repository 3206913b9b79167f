"""The values of an HDF5 array: where they lie, how they are packed, and how they are put together.

An array lies in its object's header (compact), in one piece (contiguous), or in pieces of one shape ("chunks"), each
packed by itself and found through an index. The packings ("filters") read are HDF5's own: deflate, shuffle (all first
bytes of the numbers, then all second ones ...) and fletcher32 (a checksum behind the bytes).

Source: HDF5 File Format Specification 3.0, IV.A.2.i and l, VII; Fletcher, IEEE Transactions on Communications 1982.
"""

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from minires.io.hdf5_bytes import Cursor, Source
from minires.io.hdf5_indexes import tree1

COMPACT, CONTIGUOUS, CHUNKED, VIRTUAL = 0, 1, 2, 3
FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32"}
_ONE, _FIXED = 1, 3  # kinds of the newer indexes over pieces
_MOST_AXES = 32
_MOST_PIECES = 500_000  # of one array


@dataclass
class Filter:
    number: int
    settings: tuple[int, ...]


@dataclass
class Piece:
    """A chunk: the place of its first value in the array, its place in the file, and the filters it did without."""

    corner: tuple[int, ...]
    at: int | None
    stored: int
    without: int


@dataclass
class Layout:
    """How an array lies. Compact and contiguous: `at` and `stored`. Chunked: `chunk`, its shape, and an index `at`."""

    kind: int
    at: int | None = None
    stored: int = 0
    chunk: tuple[int, ...] = ()
    index: int = 0  # 0: a B-tree
    page_bits: int = 0
    without: int = 0


def read_layout(body: Cursor) -> Layout:
    """The message that says how an array lies. FileFormatError for what HDF5 wrote before 2004 or writes for growth."""
    version = body.expect("version", 3, 4, 5)
    kind = body.expect("layout", COMPACT, CONTIGUOUS, CHUNKED, VIRTUAL)
    if kind == COMPACT:
        content = body.part(body.number(2))
        return Layout(kind, content.at, content.left)
    if kind == CONTIGUOUS:
        at, size = body.address(), body.number(8)
        return Layout(kind, at, 0 if at is None else size)
    if kind == VIRTUAL:
        return Layout(kind)
    return _old_chunks(body) if version == 3 else _new_chunks(body)


def _old_chunks(body: Cursor) -> Layout:
    axes = _axes(body)
    at = body.address()
    return Layout(CHUNKED, at, chunk=body.numbers(axes, 4)[:-1])


def _new_chunks(body: Cursor) -> Layout:
    options, axes = body.number(1), _axes(body)
    chunk = body.numbers(axes, body.expect("size of numbers", *range(1, 9)))[:-1]
    found = Layout(CHUNKED, chunk=chunk, index=body.number(1))
    if found.index == _ONE:
        found.stored, found.without = (body.number(8), body.number(4)) if options & 2 else (0, 0)
    elif found.index == _FIXED:
        found.page_bits = body.number(1)
    else:
        raise body.error(f"lists the pieces of an array that can grow (index {found.index}), which is not read")
    found.at = body.address()
    return found


def _axes(body: Cursor) -> int:
    """The number of a piece's sizes, one for each axis and that of a value."""
    axes = body.number(1)
    if not 1 < axes <= _MOST_AXES + 1:
        raise body.error(f"has pieces with {axes - 1} axes")
    return axes


def read_filters(body: Cursor) -> list[Filter]:
    """The message that lists the packings, in the order in which the writer applied them."""
    version = body.expect("version", 1, 2)
    count = body.number(1)
    body.skip(6 if version == 1 else 0)
    found = []
    for _ in range(count):
        number = body.number(2)
        name = body.number(2) if version == 1 or number >= 256 else 0
        body.skip(2)
        settings = body.number(2)
        body.skip(name + (-name % 8 if version == 1 else 0))
        found.append(Filter(number, body.numbers(settings, 4)))
        body.skip(4 if version == 1 and settings % 2 else 0)
    return found


# ------------------------------------------------------------------------------------------------------------ pieces


def pieces(source: Source, layout: Layout, shape: tuple[int, ...], size: int, is_packed: bool) -> list[Piece]:
    """All pieces of an array whose values have `size` bytes. FileFormatError if one lies twice, askew or outside."""
    whole = math.prod(layout.chunk) * size
    found: list[Piece] = []
    corners = set()
    for piece in _listed(source, layout, shape, whole, is_packed) if layout.at is not None and 0 not in shape else ():
        if len(found) == _MOST_PIECES:
            raise source.error(layout.at, f"an array has more than {_MOST_PIECES} pieces")
        if piece.corner in corners or any(at % part or at >= end for at, part, end in
                                          zip(piece.corner, layout.chunk, shape, strict=True)):  # fmt: skip
            raise source.error(piece.at, f"a piece of an array at {piece.corner}, where none belongs")
        corners.add(piece.corner)
        found.append(piece)
        source.check_inside(piece.at, piece.stored, "a piece of an array")
        if not is_packed and piece.stored != whole:
            raise source.error(piece.at, f"a piece of an array has {piece.stored} bytes in place of {whole}")
    return found


def _listed(source: Source, layout: Layout, shape: tuple[int, ...], whole: int, is_packed: bool) -> Iterator[Piece]:
    """The pieces as the index lists them. whole: bytes of a piece that is not packed."""
    if layout.index == 0:
        yield from _from_tree(source, layout)
    elif layout.index == _ONE:
        yield Piece((0,) * len(shape), layout.at, layout.stored or whole, layout.without)
    else:
        yield from _from_table(source, layout, shape, whole, is_packed)


def _from_tree(source: Source, layout: Layout) -> Iterator[Piece]:
    axes = len(layout.chunk)
    for key, child in tree1(source, layout.at, kind=1, key_size=8 * (axes + 2)):
        stored, without = key.number(4), key.number(4)
        yield Piece(key.numbers(axes, 8), child, stored, without)


def _from_table(source: Source, layout: Layout, shape: tuple[int, ...], whole: int, is_packed: bool) -> Iterator[Piece]:
    """A "fixed array": an entry for each piece, row by row, in pages if there are many."""
    header = source.node(layout.at, b"FAHD", "a table of pieces")
    header.expect("version", 0)
    header.expect("kind", 1 if is_packed else 0)
    width, _, count, at = header.number(1), header.number(1), header.number(8), header.address()
    header.check_sum(header.at - 24)
    grid = [-(-end // part) for end, part in zip(shape, layout.chunk, strict=True)]
    expected = math.prod(grid)
    if count != expected or not (13 <= width <= 20 if is_packed else width == 8):
        raise header.error(f"has {count} entries of {width} bytes, for {expected} pieces")
    for number, entry in enumerate(_entries(source, at, count, width, layout.page_bits)):
        place = entry.address()
        stored, without = (entry.number(width - 12), entry.number(4)) if is_packed else (whole, 0)
        if place is not None:
            yield Piece(_corner(number, grid, layout.chunk), place, stored, without)


def _corner(number: int, grid: list[int], chunk: tuple[int, ...]) -> tuple[int, ...]:
    """Of the piece of this number, counted along the last axis first."""
    found = []
    for pieces_along, part in zip(reversed(grid), reversed(chunk), strict=True):
        number, place = divmod(number, pieces_along)
        found.append(place * part)
    return tuple(reversed(found))


def _entries(source: Source, at: int | None, count: int, width: int, page_bits: int) -> Iterator[Cursor]:
    block = source.node(at, b"FADB", "a table of pieces")
    start, page = block.at - 4, 1 << page_bits
    source.check_inside(block.at, count * width, "a table of pieces")
    block.skip(1 + 1 + 8)  # version, kind, the header's address
    if count <= page:
        for _ in range(count):
            yield block.part(width)
        block.check_sum(start)
        return
    used = bytes(block.take((-(-count // page) + 7) // 8))
    block.check_sum(start)
    if any(not used[number // 8] & 128 >> number % 8 for number in range(-(-count // page))):
        raise block.error("lacks entries")
    for first in range(0, count, page):
        start = block.at
        for _ in range(min(page, count - first)):
            yield block.part(width)
        block.check_sum(start)


# ------------------------------------------------------------------------------------------------------------ values


def put_together(source: Source, layout: Layout, found: list[Piece], filters: list[Filter], values: np.ndarray) -> None:
    """Fill `values` from its pieces; at the edges they reach beyond it."""
    size = math.prod(layout.chunk) * values.itemsize
    for piece in found:
        content = unpacked(source, piece, filters, size)
        part = np.frombuffer(content, values.dtype).reshape(layout.chunk)
        place = tuple(slice(at, at + length) for at, length in zip(piece.corner, layout.chunk, strict=True))
        target = values[place]
        target[...] = part[tuple(slice(0, length) for length in target.shape)]


def unpacked(source: Source, piece: Piece, filters: list[Filter], size: int) -> bytes | memoryview:
    """The `size` bytes of a piece, its packings undone, the last one first. FileFormatError names the piece's place."""
    at = source.check_inside(piece.at, piece.stored, "a piece of an array")
    content: bytes | memoryview = source.data[at : at + piece.stored]
    for number, filter in reversed(list(enumerate(filters))):
        if piece.without >> number & 1:
            continue
        if filter.number == 1:
            content = _inflated(source, at, content, size + 4 * len(filters))
        elif filter.number == 2:
            content = _unshuffled(content, filter.settings[0] if filter.settings else 1)
        elif filter.number == 3:
            content = _without_sum(source, at, content)
        else:
            raise source.error(at, f"a piece of an array is packed by the filter {filter.number}")
    if len(content) != size:
        raise source.error(at, f"a piece of an array has {len(content)} bytes when unpacked, in place of {size}")
    return content


def _inflated(source: Source, at: int, content: bytes | memoryview, most: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        found = stream.decompress(content, most + 1)
    except zlib.error as error:
        raise source.error(at, f"a piece of an array cannot be inflated: {error}") from error
    if len(found) > most or not stream.eof:
        raise source.error(at, f"a piece of an array does not end where it should, after {most} bytes or fewer")
    return found


def _unshuffled(content: bytes | memoryview, width: int) -> bytes | memoryview:
    count = len(content) // width if width else 0
    if width < 2 or count < 2:
        return content
    planes = np.frombuffer(content, np.uint8, count * width).reshape(width, count)
    return planes.T.tobytes() + bytes(content[count * width :])


def _without_sum(source: Source, at: int, content: bytes | memoryview) -> memoryview:
    body, expected = memoryview(content)[:-4], int.from_bytes(content[-4:], "little")
    low, high = fletcher32(body)
    if len(content) < 4 or (expected & 0xFFFF) % 65535 != low or (expected >> 16) % 65535 != high:
        raise source.error(at, "a piece of an array is damaged: its checksum differs")
    return body


def fletcher32(content: bytes | memoryview) -> tuple[int, int]:
    """Sum of the 16-bit words, and sum of those sums, modulo 65535. HDF5 takes the words with the high byte first."""
    low = high = 0
    for start in range(0, len(content), 1 << 20):
        part = bytes(content[start : start + (1 << 20)])
        words = np.frombuffer(part + bytes(len(part) % 2), ">u2").astype(np.uint64)
        weights = np.arange(len(words), 0, -1, dtype=np.uint64)  # how many of the sums hold the word
        high = (high + len(words) * low + int((words * weights).sum())) % 65535
        low = (low + int(words.sum())) % 65535
    return low, high
