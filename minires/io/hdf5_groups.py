"""The members of an HDF5 group (its links) and the attributes of an object.

An old group has a B-tree whose leaves list the members (SNOD) and a heap with their names. A group of HDF5 1.8 has them
in its header, one message each, or, if there are many, in a fractal heap with an index; the same goes for attributes.

Source: HDF5 File Format Specification 3.0, III.B and III.C, IV.A.2.c, g, m and v.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from minires.io import hdf5_headers as headers
from minires.io.hdf5_bytes import Cursor, Source
from minires.io.hdf5_fractal_heap import FractalHeap
from minires.io.hdf5_indexes import ATTRIBUTES, LINKS, global_heap, local_heap, tree1, tree2
from minires.io.hdf5_types import Space, Type, read_space, read_type

PLAIN = "a plain link"
_HARD, _SOFT, _EXTERNAL = 0, 1, 64  # kinds of links in their messages
_GROUP_IN_CACHE, _SOFT_IN_CACHE = 1, 2  # what an old group notes of a member
_OTHER_KINDS = {_SOFT: "a soft link", _EXTERNAL: "a link to another file"}
MOST_TEXT = 4096  # bytes of an attribute read as text


@dataclass
class Link:
    """A member of a group. `address`: of its header; None if it is not a plain one, and `kind` says what it is.

    copy: the places of the members of the group it leads to, as far as they are noted beside the link, too.
    """

    name: bytes
    address: int | None
    kind: str = PLAIN
    copy: tuple[int | None, int | None] | None = None


def is_group(header: headers.Header) -> bool:
    return header.has(headers.SYMBOL_TABLE) or header.has(headers.LINK_INFO)


def agrees(link: Link, header: headers.Header) -> bool:
    """Whether the copy beside a link says what the header of the object says."""
    if link.copy is None or not header.has(headers.SYMBOL_TABLE):
        return True
    table = header.one(headers.SYMBOL_TABLE)
    return link.copy == (table.address(), table.address())


def links(source: Source, header: headers.Header) -> Iterator[Link]:
    """The members of a group."""
    if header.has(headers.SYMBOL_TABLE):
        yield from _old_links(source, header.one(headers.SYMBOL_TABLE))
        return
    for message in header.all(headers.LINK):
        yield _link(message)
    for content in _stored_apart(source, header, headers.LINK_INFO, 8, LINKS):
        yield _link(content)


def _old_links(source: Source, table: Cursor) -> Iterator[Link]:
    index, heap = table.address(), table.address()
    names, heap_at = local_heap(source, heap)
    for _, child in tree1(source, index, kind=0, key_size=8):
        node = source.node(child, b"SNOD", "a list of members")
        node.expect("version", 1)
        node.skip(1)
        for _ in range(node.number(2)):
            at, address, cached = node.number(8), node.address(), node.number(4)
            node.skip(4)
            copy = node.address(), node.address()
            end = names.find(b"\0", at) if at < len(names) else -1
            if end < 0:
                raise source.error(heap_at, f"a heap of names, of {len(names)} bytes, has no name at {at}")
            if cached == _SOFT_IN_CACHE:
                yield Link(names[at:end], None, "a soft link")
            else:
                yield Link(names[at:end], address, copy=copy if cached == _GROUP_IN_CACHE else None)


def _link(message: Cursor) -> Link:
    message.expect("version", 1)
    options = message.number(1)
    kind = message.number(1) if options & 8 else _HARD
    message.skip((8 if options & 4 else 0) + (1 if options & 16 else 0))  # when it was made; its character set
    name = bytes(message.take(message.number(1 << (options & 3))))
    if kind == _HARD:
        return Link(name, message.address())
    return Link(name, None, _OTHER_KINDS.get(kind, "a link of an unknown kind"))


def _stored_apart(source: Source, header: headers.Header, kind: int, order: int, index_kind: int) -> Iterator[Cursor]:
    """What an object has too much of for its header: its links or attributes in a fractal heap.

    order: bytes of the number that the next one in order of making gets, if that is kept.
    """
    if not header.has(kind):
        return
    info = header.one(kind)
    info.expect("version", 0)
    info.skip(order if info.number(1) & 1 else 0)
    heap_at, index = info.address(), info.address()
    if heap_at is None:
        return
    heap = FractalHeap(source, heap_at)
    for record in tree2(source, index, index_kind):
        if index_kind == LINKS:
            record.skip(4)  # a hash of the name
        yield heap.object(record)


# -------------------------------------------------------------------------------------------------------- attributes


@dataclass
class Attribute:
    """A fact about a group or an array: name, type, shape; `content` holds the value, if it is not a text apart."""

    name: bytes
    type: Type
    space: Space
    content: Cursor


def attributes(source: Source, header: headers.Header) -> Iterator[Attribute]:
    """All attributes of an object, their values unread."""
    for message in header.all(headers.ATTRIBUTE):
        yield _attribute(message)
    for content in _stored_apart(source, header, headers.ATTRIBUTE_INFO, 2, ATTRIBUTES):
        yield _attribute(content)


def _attribute(message: Cursor) -> Attribute:
    version = message.expect("version", 1, 2, 3)
    if message.number(1) and version > 1:
        raise message.error("is an attribute whose type is shared with other objects, which is not read")
    name_size, type_size, space_size = message.numbers(3, 2)
    message.skip(1 if version == 3 else 0)  # the name's character set
    padded = [size + (-size % 8 if version == 1 else 0) for size in (name_size, type_size, space_size)]
    name = bytes(message.take(padded[0])[:name_size]).split(b"\0")[0]
    kind = read_type(message.part(padded[1], "the type of an attribute"))
    space = read_space(message.part(padded[2], "the shape of an attribute"))
    return Attribute(name, kind, space, message)


class Texts:
    """Reads attributes that are one text. Global heaps, where texts of any length lie, are walked over once each."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._heaps: dict[int | None, dict[int, Cursor]] = {}

    def read(self, attribute: Attribute) -> bytes:
        """The bytes of a text; those that end it are cut off."""
        content = attribute.content
        if not attribute.type.is_apart:
            return bytes(content.take(attribute.type.size)).rstrip(b"\0")
        length, at, number = content.number(4), content.address(), content.number(4)
        if length == 0:
            return b""
        if at not in self._heaps:
            self._heaps[at] = global_heap(self._source, at)
        text = self._heaps[at].get(number)
        if text is None or length > text.left:
            there = "no such text" if text is None else f"{text.left} bytes"
            raise content.error(f"claims a text of {length} bytes, the heap at byte {at} has {there}")
        return bytes(self._source.data[text.at : text.at + min(length, MOST_TEXT)]).rstrip(b"\0")
