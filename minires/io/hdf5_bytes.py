"""The bytes of an HDF5 file and a cursor over them: nothing is read outside the file, twice, or without end.

An HDF5 file is full of addresses: a node of an index says where its children lie, an object header where it goes on. In
a damaged file an address may lead out of the file, or back to where one came from. So every node is asked for here,
and here each place may be reached once; and all that is read to find the arrays counts against one limit. No walk
over a file can therefore be endless, whatever the file says.

Source: HDF5 File Format Specification, version 3.0 (The HDF Group); the checksum: Bob Jenkins, lookup3.c, 2006.
"""

from minires.errors import FileFormatError
from minires.io import files

MOST_STRUCTURE = 32 << 20  # bytes of headers, indexes and attributes read; a ResNet-152's with its optimizer: 2 MB
_UNDEFINED = (1 << 64) - 1  # an address of nothing


class Cursor:
    """A place in the file, moved on by reading, and the end of what may be read. `what` names the structure."""

    __slots__ = ("at", "end", "source", "what")

    def __init__(self, source: "Source", at: int, end: int, what: str) -> None:
        self.source, self.at, self.end, self.what = source, at, end, what

    @property
    def left(self) -> int:
        return self.end - self.at

    def take(self, size: int) -> memoryview:
        if size > self.end - self.at:
            raise self.error(f"goes on for {size} bytes, {self.left} are left")
        self.source.count(size, self.at)
        self.at += size
        return self.source.data[self.at - size : self.at]

    def skip(self, size: int) -> None:
        self.take(size)

    def number(self, size: int) -> int:
        """An unsigned number of so many bytes, the lowest first."""
        return int.from_bytes(self.take(size), "little")

    def numbers(self, count: int, size: int) -> tuple[int, ...]:
        content = self.take(count * size)
        return tuple(int.from_bytes(content[at : at + size], "little") for at in range(0, len(content), size))

    def address(self) -> int | None:
        """Where something else lies; None for the mark that says nowhere."""
        found = self.number(8)
        return None if found == _UNDEFINED else found

    def part(self, size: int, what: str | None = None) -> "Cursor":
        """A cursor over the next `size` bytes alone; this one goes on behind them."""
        start = self.at
        self.skip(size)
        return Cursor(self.source, start, self.at, what or self.what)

    def expect(self, name: str, *allowed: int, size: int = 1) -> int:
        """The next number, which must be one of those allowed."""
        at, found = self.at, self.number(size)
        if found not in allowed:
            shown = " or ".join(map(str, allowed))
            raise self.source.error(at, f"{self.what} has the {name} {found}; read is {shown}")
        return found

    def check_sum(self, start: int) -> None:
        """The next four bytes must be the checksum of those from `start` to here."""
        expected = lookup3(bytes(self.source.data[start : self.at]))
        if self.number(4) != expected:
            raise self.source.error(self.at - 4, f"{self.what} is damaged: its checksum differs")

    def error(self, reason: str) -> FileFormatError:
        return self.source.error(self.at, f"{self.what} {reason}")


class Source:
    """The content `data` of the file `path`, which errors name."""

    def __init__(self, data: bytes | memoryview, path: files.PathLike) -> None:
        self.data, self.path = memoryview(data).cast("B"), path
        self._reached: set[int] = set()
        self._read = 0

    def error(self, at: int | None, reason: str) -> FileFormatError:
        return FileFormatError(self.path, None if at is None else min(at, len(self.data)), reason)

    def count(self, size: int, at: int) -> None:
        """So many bytes more are read; an error beyond the limit."""
        self._read += size
        if self._read > MOST_STRUCTURE:
            raise self.error(at, f"the structure of the file goes beyond {MOST_STRUCTURE >> 20} MiB")

    def check_inside(self, at: int | None, size: int, what: str) -> int:
        """The address again, if so many bytes from there on are in the file."""
        if at is None or at + size > len(self.data):
            place, length = "nowhere" if at is None else f"at byte {at}", len(self.data)
            raise self.error(length, f"{what} of {size} bytes should lie {place}; the file has {length}")
        return at

    def block(self, at: int | None, size: int, what: str) -> Cursor:
        start = self.check_inside(at, size, what)
        return Cursor(self, start, start + size, what)

    def once(self, at: int | None, size: int, what: str) -> Cursor:
        """`block`, for places that a sound file leads to once only."""
        cursor = self.block(at, size, what)
        if cursor.at in self._reached:
            raise cursor.error("is reached a second time: the structure leads back to itself")
        self._reached.add(cursor.at)
        return cursor

    def node(self, at: int | None, signature: bytes, what: str) -> Cursor:
        """A structure that begins with a signature, met for the first time; the cursor stands behind that."""
        cursor = self.once(at, len(signature), what)
        cursor.end = len(self.data)
        if bytes(cursor.take(len(signature))) != signature:
            raise self.error(at, f"here should be {what}, which begins with {signature.decode()}")
        return cursor


def lookup3(data: bytes) -> int:
    """Jenkins's hash of 32 bits ("hashlittle", started with 0), HDF5's checksum of its structures."""
    mask = 0xFFFFFFFF

    def turned(x: int, count: int) -> int:
        return (x << count | x >> 32 - count) & mask

    a = b = c = 0xDEADBEEF + len(data) & mask
    if not data:
        return c
    padded = data + bytes(-len(data) % 12)
    words = memoryview(padded).cast("B")
    for at in range(0, len(padded), 12):
        a = a + int.from_bytes(words[at : at + 4], "little") & mask
        b = b + int.from_bytes(words[at + 4 : at + 8], "little") & mask
        c = c + int.from_bytes(words[at + 8 : at + 12], "little") & mask
        if at + 12 < len(padded):
            a = a - c & mask ^ turned(c, 4)
            c = c + b & mask
            b = b - a & mask ^ turned(a, 6)
            a = a + c & mask
            c = c - b & mask ^ turned(b, 8)
            b = b + a & mask
            a = a - c & mask ^ turned(c, 16)
            c = c + b & mask
            b = b - a & mask ^ turned(a, 19)
            a = a + c & mask
            c = c - b & mask ^ turned(b, 4)
            b = b + a & mask
    c = (c ^ b) - turned(b, 14) & mask
    a = (a ^ c) - turned(c, 11) & mask
    b = (b ^ a) - turned(a, 25) & mask
    c = (c ^ b) - turned(b, 16) & mask
    a = (a ^ c) - turned(c, 4) & mask
    b = (b ^ a) - turned(a, 14) & mask
    return (c ^ b) - turned(b, 24) & mask
