"""The indexes of HDF5 files: two kinds of B-tree, and the heaps in which names and texts lie.

    B-tree 1        (TREE)                    old: members of a group, pieces of an array
    B-tree 2        (BTHD, BTIN, BTLF)        HDF5 1.8: where in a fractal heap a link or an attribute lies
    local heap      (HEAP)                    the names of an old group's members
    global heap     (GCOL)                    texts of any length
    fractal heap    see hdf5_fractal_heap.py

A reader of everything needs no order and compares no key: it walks over all leaves.

Source: HDF5 File Format Specification 3.0, III.A and III.D to III.F.
"""

from collections.abc import Iterator

from minires.io.hdf5_bytes import Cursor, Source


def tree1(source: Source, root: int | None, kind: int, key_size: int) -> Iterator[tuple[Cursor, int | None]]:
    """The leaves of an old B-tree: key and address of each. kind: 0 of a group, 1 of an array's pieces.

    Row by row from the root down: in a row each node names its neighbours, which must be the ones it has.
    """
    row, above = [root], None
    while row:
        below: list[int | None] = []
        for left, at, right in zip([None, *row], row, [*row[1:], None], strict=False):
            node = source.node(at, b"TREE", "a node of an index")
            node.expect("kind", kind)
            level, count = node.number(1), node.number(2)
            if above is not None and level != above - 1:
                raise node.error(f"is of the level {level}, under one of the level {above}")
            if (node.address(), node.address()) != (left, right):
                raise node.error("names other neighbours than it has")
            for _ in range(count):
                key, child = node.part(key_size), node.address()
                if level == 0:
                    yield key, child
                else:
                    below.append(child)
        row, above = below, level


def local_heap(source: Source, at: int | None) -> tuple[bytes, int]:
    """The content of a heap of names, and where it lies."""
    heap = source.node(at, b"HEAP", "a heap of names")
    heap.expect("version", 0)
    heap.skip(3)
    size = heap.number(8)
    heap.skip(8)  # free space
    content = source.once(heap.address(), size, "the content of a heap of names")
    start = content.at
    return bytes(content.take(size)), start


def global_heap(source: Source, at: int | None) -> dict[int, Cursor]:
    """The texts of a global heap by their numbers.

    16 bytes of prefix, then objects: number (2 bytes; 0: the free rest), count of references (2), 4 unused, size (8;
    that of the free rest counts its own 16 bytes), content padded to 8.
    """
    heap = source.node(at, b"GCOL", "a heap")
    start = heap.at - 4
    heap.expect("version", 1)
    heap.skip(3)
    size = heap.number(8)
    if not 16 <= size <= len(source.data) - start:
        raise source.error(start + 8, f"a heap claims {size} bytes, which the file does not have")
    heap.end = start + size
    found = {}
    while heap.left >= 16:
        number = heap.number(2)
        heap.skip(6)
        length = heap.number(8)
        taken = length - 16 if number == 0 else length + -length % 8
        if not 0 <= taken <= heap.left:
            raise source.error(heap.at - 8, f"an object in a heap claims {length} bytes, which it cannot have")
        content = heap.part(taken, "a text in a heap")
        if number:
            content.end = content.at + length
            found[number] = content
    return found


# --------------------------------------------------------------------------------------------------------- B-tree 2

LARGE, LINKS, ATTRIBUTES = 1, 5, 8  # kinds: objects of a heap too large for it, links, attributes
_DEEPEST = 60  # levels; so many hold more records than bytes exist
_RECORDS = {LARGE: 24, LINKS: 11, ATTRIBUTES: 17}  # bytes of a record


def tree2(source: Source, at: int | None, kind: int) -> Iterator[Cursor]:
    """The records of a new B-tree of this kind."""
    header = source.node(at, b"BTHD", "an index")
    header.expect("version", 0)
    header.expect("kind", kind)
    node_size = header.number(4)
    record, depth = header.expect("size of records", _RECORDS[kind], size=2), header.number(2)
    header.skip(2)  # when to split and merge
    root, count, total = header.address(), header.number(2), header.number(8)
    header.check_sum(header.at - 34)
    if node_size < 10 + record or depth > _DEEPEST:
        raise header.error(f"has nodes of {node_size} bytes, {depth} deep")
    if total == 0:
        return
    own_size, below_sizes = _count_sizes(node_size, record, depth)
    waiting = [(root, count, depth)]
    while waiting:
        place, count, level = waiting.pop()
        node = source.node(place, b"BTIN" if level else b"BTLF", "a node of an index")
        start = node.at - 4
        node.expect("version", 0)
        node.expect("kind", kind)
        for _ in range(count):
            yield node.part(record)
        for _ in range(count + 1 if level else 0):
            child, own = node.address(), node.number(own_size)
            node.skip(below_sizes[level - 1])
            waiting.append((child, own, level - 1))
        node.check_sum(start)


def _count_sizes(node_size: int, record: int, depth: int) -> tuple[int, list[int]]:
    """Bytes of the number of records in a node, and of that below a node of each level: they follow from how large
    these numbers may become."""
    most = (node_size - 10) // record
    count, below, counts = _bytes_for(most), most, [0]
    for _ in range(depth):
        pointer = 8 + count + counts[-1]
        inside = max(0, node_size - 10 - pointer) // (record + pointer)
        below = (inside + 1) * below + inside
        counts.append(_bytes_for(below))
    return count, counts


def _bytes_for(number: int) -> int:
    return max(0, number.bit_length() - 1) // 8 + 1
