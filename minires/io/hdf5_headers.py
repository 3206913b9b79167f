"""Where an HDF5 file begins, and the headers of its objects: lists of messages, each a fact about the object.

A message says "the shape is ...", "the values lie at ...", "an attribute of mine is ...". There are two layouts of
headers: the old one, which h5py writes unless told otherwise, and that of HDF5 1.8, with checksums. A header that has
grown goes on elsewhere: its message CONTINUATION says where.

Source: HDF5 File Format Specification 3.0, II.A (superblock) and IV.A (headers and messages).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from minires.io.hdf5_bytes import Cursor, Source

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SPACE, LINK_INFO, TYPE, LINK, EXTERNAL, LAYOUT, FILTERS, ATTRIBUTE = 0x1, 0x2, 0x3, 0x6, 0x7, 0x8, 0xB, 0xC
CONTINUATION, SYMBOL_TABLE, ATTRIBUTE_INFO = 0x10, 0x11, 0x15
_NAMES = {
    SPACE: "the shape", TYPE: "the type", LAYOUT: "the layout", FILTERS: "the list of filters", LINK: "a link",
    LINK_INFO: "the place of the links", SYMBOL_TABLE: "the place of the members", ATTRIBUTE: "an attribute",
    ATTRIBUTE_INFO: "the place of the attributes", EXTERNAL: "the list of files",
}  # fmt: skip
_SHARED = 0x2  # flag of a message: its content lies elsewhere
_MOST_MESSAGES = 20_000  # of one object: each costs more memory than it has bytes
_SWMR = 0x5  # flags of a file: still open for writing


@dataclass
class Header:
    """An object's messages by their kind. `at`: where the header lies, which tells objects apart."""

    source: Source
    at: int
    messages: dict[int, list[tuple[Cursor, bool]]]

    def has(self, kind: int) -> bool:
        return kind in self.messages

    def all(self, kind: int) -> Iterator[Cursor]:
        """The content of the messages of a kind. FileFormatError if it lies elsewhere; that of weights never does."""
        for body, is_shared in self.messages.get(kind, []):
            if is_shared:
                raise body.error("is shared with other objects, which is not read")
            yield Cursor(body.source, body.at, body.end, body.what)

    def one(self, kind: int) -> Cursor:
        found = list(self.all(kind))
        if len(found) != 1:
            raise self.source.error(self.at, f"an object gives {_NAMES[kind]} {len(found)} times, where one belongs")
        return found[0]


def root_address(source: Source) -> int | None:
    """The address of the root group's header, from the superblock at the file's start."""
    if bytes(source.data[: len(SIGNATURE)]) != SIGNATURE:
        raise source.error(0, "this is no HDF5 file: its first bytes are others")
    start = source.block(0, len(SIGNATURE), "the superblock")
    start.end = len(source.data)
    start.skip(len(SIGNATURE))
    version = start.expect("version", 0, 1, 2, 3)
    return _old_root(start, version) if version < 2 else _new_root(start, version)


def _old_root(start: Cursor, version: int) -> int | None:
    start.skip(4)  # versions of other parts, all 0
    _expect_sizes(start)
    start.skip(1 + 4 + 4 + (4 if version == 1 else 0))  # sizes of nodes, flags
    _expect_base(start)
    start.skip(8)  # free space
    _expect_end(start)
    if start.address() is not None:
        raise start.error("names a driver: the file is one of several, which is not read")
    start.skip(8)  # the root's name, which it lacks
    return start.address()


def _new_root(start: Cursor, version: int) -> int | None:
    _expect_sizes(start)
    if start.number(1) & _SWMR and version == 3:
        raise start.error("says that the program which wrote the file did not finish it")
    _expect_base(start)
    start.skip(8)  # an extension: settings for writing
    _expect_end(start)
    root = start.address()
    start.check_sum(0)
    return root


def _expect_sizes(start: Cursor) -> None:
    start.expect("size of addresses", 8)
    start.expect("size of lengths", 8)


def _expect_base(start: Cursor) -> None:
    start.expect("base address", 0, size=8)


def _expect_end(start: Cursor) -> None:
    end = start.number(8)
    if end > len(start.source.data):
        raise start.error(f"says that the file has {end} bytes, but it has {len(start.source.data)}")


# ---------------------------------------------------------------------------------------------------------- headers


def read(source: Source, at: int | None) -> Header:
    """The header at an address."""
    first = source.check_inside(at, 16, "an object header")
    is_new = bytes(source.data[first : first + 4]) == b"OHDR"
    found: dict[int, list[tuple[Cursor, bool]]] = {}
    messages = _new_messages(source, first) if is_new else _old_messages(source, first)
    for count, (kind, flags, body) in enumerate(messages):
        if count > _MOST_MESSAGES:
            raise source.error(first, f"an object has more than {_MOST_MESSAGES} messages")
        body.what = f"{_NAMES.get(kind, 'a message')} of the object at byte {first}"
        found.setdefault(kind, []).append((body, bool(flags & _SHARED)))
    if not found:
        raise source.error(first, "an object header says nothing")
    return Header(source, first, found)


def _old_messages(source: Source, first: int) -> Iterator[tuple[int, int, Cursor]]:
    """Kind, flags and content. 16 bytes of prefix; before each message 8: its kind, its size, its flags."""
    prefix = source.once(first, 16, "an object header")
    prefix.expect("version", 1)
    prefix.skip(7)  # the number of messages and of links to the object
    waiting: list[tuple[int | None, int]] = [(first + 16, prefix.number(4))]
    while waiting:
        start, size = waiting.pop()
        block = source.once(start, size, "an object header's block") if size else prefix.part(0)
        while block.left >= 8:
            kind, length, flags = block.number(2), block.number(2), block.number(1)
            block.skip(3)
            body = block.part(length)
            if kind == CONTINUATION:
                waiting.append(_place(body))
            else:
                yield kind, flags, body


def _new_messages(source: Source, first: int) -> Iterator[tuple[int, int, Cursor]]:
    """Kind, flags and content. The first block stands in the header, further ones begin with OCHK; all end in a sum."""
    prefix = source.node(first, b"OHDR", "an object header")
    prefix.expect("version", 2)
    options = prefix.number(1)
    prefix.skip((16 if options & 0x20 else 0) + (4 if options & 0x10 else 0))  # times; when attributes go elsewhere
    blocks = [prefix.part(prefix.number(1 << (options & 3)))]
    prefix.check_sum(first)
    while blocks:
        block = blocks.pop()
        while block.left >= (6 if options & 4 else 4):
            kind, length, flags = block.number(1), block.number(2), block.number(1)
            block.skip(2 if options & 4 else 0)  # when the message was made
            body = block.part(length)
            if kind == CONTINUATION:
                blocks.append(_further_block(source, *_place(body)))
            else:
                yield kind, flags, body


def _further_block(source: Source, start: int | None, size: int) -> Cursor:
    whole = source.node(start, b"OCHK", "an object header's block")
    if size < 8:
        raise whole.error(f"should have {size} bytes, less than its own signature and checksum")
    body = whole.part(size - 8)
    whole.check_sum(body.at - 4)
    return body


def _place(body: Cursor) -> tuple[int | None, int]:
    return body.address(), body.number(8)
